"""Tests of the CK+ reader."""

from pathlib import Path

import numpy as np
import pytest

from fmpn_timm.data.readers.ckplus import CODES, read_ckplus
from fmpn_timm.errors import InputError
from fmpn_timm.faces.alignment import five_of_68
from tests.data.readers.base import ReaderTests
from tests.data.readers.ckplus import SEQUENCES, write_ckplus

POINTS = np.stack([np.linspace(100, 500, 68), np.linspace(80, 400, 68)], 1)


@pytest.fixture
def root(tmp_path) -> Path:
    return write_ckplus(tmp_path / "ckplus")


class TestCKPlus(ReaderTests):
    dataset = "ckplus"
    split = "all"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_ckplus(self.root, split)


def names(samples) -> list[str]:
    return [Path(s.source).name for s in samples]


def test_last_three_frames_carry_the_label_and_the_first_is_neutral(root):
    faces = read_ckplus(root)
    assert "neutral" not in faces.classes and len(faces.classes) == 7 and len(faces) == 15
    of_sequence = [s for s in faces.samples if (s.subject, s.sequence) == ("S010", "004")]
    assert names(of_sequence) == [f"S010_004_{n:08d}.png" for n in (10, 11, 12)]
    assert [(s.expression, s.frame, s.role) for s in of_sequence] == [("anger", n, "expressive") for n in (10, 11, 12)]
    assert faces.per_class() == {name: 3 * (name in CODES[:4] + CODES[5::2]) for name in faces.classes}
    assert names(faces.neutral) == [f"{a}_{b}_00000001.png" for a, b, _, code in SEQUENCES if code]
    assert {s.role for s in faces.neutral} == {"neutral"}


def test_eight_and_six_classes(root):
    eight, six = (read_ckplus(root, classes=n) for n in (8, 6))
    assert (len(eight), len(eight.neutral), eight.per_class()["neutral"]) == (20, 0, 5)
    assert (len(six), len(six.neutral)) == (12, 4)
    assert {"neutral", "contempt"}.isdisjoint(six.classes)


def test_number_of_frames_and_options_are_told(root):
    faces = read_ckplus(root, frames=1)
    assert len(faces) == 5
    assert faces.options == {"classes": 7, "frames": 1, "images": "cohn-kanade-images", "labels": "Emotion",
                             "landmarks": None, "without_neutral": 0}


def test_dotfiles_and_upper_case_suffixes(root):
    folder = root / "cohn-kanade-images" / "S005" / "001"
    (folder / "S005_001_00000006.png").rename(folder / "S005_001_00000006.PNG")
    for name in (".DS_Store", "._S005_001_00000007.png", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    (root / "cohn-kanade-images" / ".DS_Store").write_bytes(b"x")
    label = root / "Emotion" / "S005" / "001"
    (label / "._S005_001_00000006_emotion.txt").write_bytes(b"\0\5\x16\7")
    assert names(read_ckplus(root).samples[:3]) == ["S005_001_00000004.png", "S005_001_00000005.png",
                                                    "S005_001_00000006.PNG"]


def test_variants_of_the_unpacked_archives(tmp_path):
    root = write_ckplus(tmp_path, "extended-cohn-kanade-images/cohn-kanade-images", "Emotion_labels/Emotion")
    faces = read_ckplus(root)
    assert len(faces) == 15
    assert faces.options["images"] == "extended-cohn-kanade-images/cohn-kanade-images"
    assert faces.options["labels"] == "Emotion_labels/Emotion"


def test_landmarks_where_there_are_any(root):
    path = root / "Landmarks" / "S005" / "001" / "S005_001_00000004_landmarks.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(f"   {x:.7e}   {y:.7e}" for x, y in POINTS) + "\n")
    with_landmarks, without = read_ckplus(root).samples[:2]
    np.testing.assert_allclose(with_landmarks.landmarks(), five_of_68(POINTS), rtol=1e-6)
    assert without.landmarks is None
    for text in ("1 2\n3 4\n", "one two\n" * 68, "1 2\n" * 67 + "3\n"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"00000004_landmarks\.txt: expected 68 lines of two numbers"):
            with_landmarks.landmarks()


@pytest.mark.parametrize(("text", "message"), [
    ("8.0000000e+00", "unknown code 8.0"), ("-1", "unknown code -1"), ("2.5", "unknown code 2.5"),
    ("", "expected one number, got ''"), ("happy", "expected one number, got 'happy'"), ("nan", "unknown code nan"),
])
def test_bad_label_is_named(root, text, message):
    (root / "Emotion/S005/001/S005_001_00000006_emotion.txt").write_text(text)
    with pytest.raises(InputError, match=f"S005_001_00000006_emotion.txt: {message}"):
        read_ckplus(root)


def test_two_label_files(root):
    (root / "Emotion/S005/001/S005_001_00000005_emotion.txt").write_text("1")
    with pytest.raises(InputError, match=r"S005/001 holds 2 emotion files"):
        read_ckplus(root)


def test_sequences_without_pictures_are_counted(root):
    for path in (root / "cohn-kanade-images/S999/001").iterdir():
        path.unlink()
    for n in (4, 5):
        (root / f"cohn-kanade-images/S010/002/S010_002_{n:08d}.png").unlink()
    message = r"2 of the 5 labelled sequences have too few pictures, the first is .*S010/002 \(3 pictures\)"
    with pytest.raises(InputError, match=message):
        read_ckplus(root)


def test_a_copy_of_peaks_only_has_no_neutral_faces(root):
    for n in (1, 2):
        (root / f"cohn-kanade-images/S010/002/S010_002_{n:08d}.png").unlink()
    faces = read_ckplus(root)
    assert (len(faces), len(faces.neutral), faces.options["without_neutral"]) == (15, 4, 1)
    with pytest.raises(InputError, match=r"1 of the 5 .* too few pictures, the first is .*S010/002"):
        read_ckplus(root, classes=8)


@pytest.mark.parametrize(("options", "message"), [
    ({"classes": 5}, "no number of classes 5: choose one of 8, 7, 6"), ({"classes": "7"}, "number of classes '7'"),
    ({"frames": 0}, "frames must be a whole number of at least 1, got 0"), ({"frames": 1.5}, "got 1.5"),
])
def test_bad_options(root, options, message):
    with pytest.raises(InputError, match=message):
        read_ckplus(root, **options)


class TestWrongRoot:
    def refusal(self, root: Path) -> str:
        with pytest.raises(InputError) as caught:
            read_ckplus(root)
        return str(caught.value)

    def test_too_high(self, root):
        assert self.refusal(root.parent) == f"{root.parent} is one level too high: give {root}."
        inner = root.parent / "a" / "ckplus"
        inner.parent.mkdir()
        root.rename(inner)
        assert self.refusal(root.parent) == f"{root.parent} is two levels too high: give {inner}."

    @pytest.mark.parametrize(("inner", "levels"), [
        ("cohn-kanade-images", "one level"), ("Emotion", "one level"), ("cohn-kanade-images/S010", "two levels"),
        ("cohn-kanade-images/S010/002", "three levels"),
    ])
    def test_too_low(self, root, inner, levels):
        assert self.refusal(root / inner) == f"{root / inner} is {levels} too low: give {root}."

    def test_no_labels(self, root):
        (root / "Emotion").rename(root / "labels")
        assert f"{root / 'Emotion'} is missing: unpack Emotion_labels.zip" in self.refusal(root)

    def test_empty_labels(self, root):
        for path in (root / "Emotion").rglob("*.txt"):
            path.unlink()
        assert "no labelled face" in self.refusal(root)

    def test_something_else(self, tmp_path):
        (tmp_path / "empty").mkdir()
        assert "does not hold cohn-kanade-images and Emotion: is this CK+?" in self.refusal(tmp_path / "empty")
        assert "gone is not a folder: give the folder that holds cohn-kanade-images" in self.refusal(tmp_path / "gone")


def test_the_folder_of_the_pictures_is_not_the_root(root):
    (root / "extended-cohn-kanade-images").mkdir()
    (root / "cohn-kanade-images").rename(root / "extended-cohn-kanade-images" / "cohn-kanade-images")
    assert len(read_ckplus(root)) == 15
    with pytest.raises(InputError, match=f"one level too low: give {root}\\."):
        read_ckplus(root / "extended-cohn-kanade-images")
