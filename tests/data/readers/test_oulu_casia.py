"""Tests of the Oulu-CASIA reader."""

import shutil
from pathlib import Path

import pytest

from fmpn_timm.data.readers.oulu_casia import read_oulu_casia
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests, write_picture

FOLDERS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")


def write(root: Path, images: str = "OriginalImg", of: str = "VL/Strong", subjects=("P001", "P002")) -> Path:
    for k, subject in enumerate(subjects):
        for sequence in FOLDERS:
            for n in range(5 + k, -1, -1):
                write_picture(root / images / of / subject / sequence / f"{n:03d}.jpeg", seed=n)
    return root


@pytest.fixture
def root(tmp_path) -> Path:
    return write(tmp_path / "oulu")


class TestOuluCASIA(ReaderTests):
    dataset = "oulu_casia"
    split = "all"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_oulu_casia(self.root, split)


def test_last_three_frames_and_the_first(root):
    faces = read_oulu_casia(root)
    assert faces.per_class() == {name: 6 for name in faces.classes} and len(faces.classes) == 6
    fear = [s for s in faces.samples if (s.subject, s.sequence) == ("P002", "Fear")]
    assert [(s.frame, s.expression) for s in fear] == [(n, "fear") for n in (4, 5, 6)]
    assert [(s.frame, s.expression) for s in faces.neutral] == [(0, "neutral")] * 12
    assert faces.options == {"light": "VL", "strength": "Strong", "frames": 3, "images": "OriginalImg"}


def test_frames_are_counted_by_number_and_hidden_files_skipped(root):
    folder = root / "OriginalImg/VL/Strong/P001/Fear"
    (folder / "005.jpeg").rename(folder / "1000.JPEG")
    for name in ("._1001.jpeg", ".DS_Store", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    (root / "OriginalImg/VL/Strong/P001/.hidden").mkdir()
    fear = [s.frame for s in read_oulu_casia(root).samples if (s.subject, s.sequence) == ("P001", "Fear")]
    assert fear == [3, 4, 1000]


def test_other_folder_light_and_strength(tmp_path):
    root = write(tmp_path, "B_OriginalImg", "NI/Dark", ["P080"])
    faces = read_oulu_casia(root, light="NI", strength="Dark", frames=2)
    assert len(faces) == 12 and faces.options["images"] == "B_OriginalImg"
    with pytest.raises(InputError, match=r"VL/Strong is missing: unpack it, or choose .*\(NI/Dark\)"):
        read_oulu_casia(root)


def test_too_few_pictures_and_unknown_expression(root):
    folder = root / "OriginalImg/VL/Strong/P001"
    (folder / "Fear").rename(folder / "Boredom")
    with pytest.raises(InputError, match=r"P001/Boredom is none of the classes"):
        read_oulu_casia(root)
    shutil.rmtree(folder / "Boredom")
    for n in range(3):
        (folder / "Anger" / f"{n:03d}.jpeg").unlink()
    with pytest.raises(InputError, match=r"P001/Anger holds 3 pictures, and 4 are needed"):
        read_oulu_casia(root)


@pytest.mark.parametrize(("options", "message"), [
    ({"light": "UV"}, "no light 'UV': choose one of VL, NI"), ({"strength": "strong"}, "no strength 'strong'"),
    ({"frames": -1}, "got -1"),
])
def test_bad_options(root, options, message):
    with pytest.raises(InputError, match=message):
        read_oulu_casia(root, **options)


def test_wrong_root(root):
    for wrong, message in ((root.parent, "one level too high"), (root / "OriginalImg", "one level too low"),
                           (root / "OriginalImg/VL/Strong", "three levels too low")):
        with pytest.raises(InputError, match=f"{wrong} is {message}: give {root}\\."):
            read_oulu_casia(wrong)


def test_the_archive_in_a_folder_of_its_name(tmp_path):
    root = write(tmp_path / "nested", images="B_OriginalImg/OriginalImg")
    assert len(read_oulu_casia(root)) == len(read_oulu_casia(root / "B_OriginalImg")) == 36
    with pytest.raises(InputError, match="one level too high"):
        read_oulu_casia(tmp_path)
