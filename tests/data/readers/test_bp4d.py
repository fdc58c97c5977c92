"""Tests of the BP4D and BP4D+ reader."""

from pathlib import Path

import pytest

from fmpn_timm.data.readers.bp4d import read_bp4d
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests, write_picture

PLUS = {"T1": "happiness", "T2": "surprise", "T3": "sadness", "T7": "fear", "T9": "anger", "T10": "disgust"}
SPONTANEOUS = {"T1": "happiness", "T2": "sadness", "T3": "surprise", "T5": "fear", "T7": "anger", "T8": "disgust"}


def write(root: Path, tasks: int, images: str = "2D+3D") -> Path:
    for subject in ("F001", "M016"):
        for task in range(1, tasks + 1):
            for n in range(1, 8):
                write_picture(root / images / subject / f"T{task}" / f"{n:04d}.jpg", n)
    return root


def write_coding(root: Path, rows: list, folder: str = "AUCoding/AU_OCC", name: str = "F001_T1") -> Path:
    path = root / folder / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(",".join(map(str, row)) for row in [[0, 1, 6, 12], *rows]) + "\n")
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    return write(tmp_path / "bp4d", 10)


class TestBP4D(ReaderTests):
    dataset = "bp4d"
    split = "all"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_bp4d(self.root, split)


def frames(faces, subject: str, task: str) -> list[int]:
    return [s.frame for s in faces if (s.subject, s.sequence) == (subject, task)]


def test_the_task_is_the_label(root, tmp_path):
    plus = read_bp4d(root)
    assert {s.sequence: s.expression for s in plus.samples} == PLUS
    assert frames(plus.samples, "M016", "T10") == [3, 4, 5] and frames(plus.neutral, "M016", "T10") == [1]
    assert plus.options == {"edition": "plus", "frames": 3, "images": "2D+3D", "coded": 0}
    other = read_bp4d(write(tmp_path / "other", 8, "Sequences(2D+3D)"), edition="spontaneous")
    assert {s.sequence: s.expression for s in other.samples} == SPONTANEOUS
    assert other.options["images"] == "Sequences(2D+3D)"


def test_the_wrong_edition_is_refused(root, tmp_path):
    with pytest.raises(InputError, match="has task T9 or T10, .*: say edition=plus"):
        read_bp4d(root, edition="spontaneous")
    with pytest.raises(InputError, match="has no task T9 or T10: unpack .* BP4D-Spontaneous .* edition=spontaneous"):
        read_bp4d(write(tmp_path / "other", 8))


@pytest.mark.parametrize("folder", ["AUCoding/AU_OCC", "AU_OCC", "AUCoding"])
def test_coded_tasks_peak_where_most_units_are_present(root, folder):
    write_coding(root, [(2, 1, 0, 9), (3, 0, 9, 9), (4, 0, 1, 0), (5, 1, 1, 0), (6, 0, 1, 0), (7, 1, 1, 9)], folder)
    faces = read_bp4d(root)
    assert frames(faces.samples, "F001", "T1") == [4, 5, 6] and frames(faces.neutral, "F001", "T1") == [3]
    assert frames(faces.samples, "F001", "T2") == [3, 4, 5] and faces.options["coded"] == 1


def test_coding_without_a_still_frame(root):
    write_coding(root, [(5, 0, 0, 1), (6, 0, 0, 1), (7, 1, 1, 1)])
    faces = read_bp4d(root)
    assert frames(faces.samples, "F001", "T1") == [5, 6, 7] and frames(faces.neutral, "F001", "T1") == [1]


def test_bad_coding(root):
    path = write_coding(root, [(1, 0, 0, "x")])
    with pytest.raises(InputError, match=r"F001_T1\.csv, line 2: expected a frame and numbers, got '1,0,0,x'"):
        read_bp4d(root)
    path.write_text("0,1\n100,1\n101,1\n")
    with pytest.raises(InputError, match=r"F001/T1: 0 of its pictures are coded, and 3 are needed"):
        read_bp4d(root)


def test_blank_lines_at_the_end_of_a_coding(root):
    path = write_coding(root, [(n, 0, 0, int(n == 5)) for n in range(1, 8)])
    path.write_text(path.read_text() + "\n,,,\n")
    assert frames(read_bp4d(root).samples, "F001", "T1") == [4, 5, 6]


def test_bad_options_and_pictures(root):
    with pytest.raises(InputError, match="no edition 'minus': choose one of plus, spontaneous"):
        read_bp4d(root, edition="minus")
    with pytest.raises(InputError, match=r"F001/T1 holds 7 pictures, and 8 are needed"):
        read_bp4d(root, frames=7)


def test_wrong_root(root):
    for wrong, message in ((root.parent, "one level too high"), (root / "2D+3D", "one level too low"),
                           (root / "2D+3D/F001/T1", "three levels too low")):
        with pytest.raises(InputError) as caught:
            read_bp4d(wrong)
        assert str(caught.value) == f"{wrong} is {message}: give {root}."
