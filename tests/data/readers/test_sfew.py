"""Tests of the SFEW reader."""

import shutil
from pathlib import Path

import pytest

from fmpn_timm.data.readers.sfew import read_sfew
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests, write_picture

NAMES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


@pytest.fixture
def root(tmp_path) -> Path:
    for split, n in (("Train", 2), ("Val", 1)):
        for name in NAMES:
            for i in range(n):
                write_picture(tmp_path / "sfew" / f"{split}_Aligned_Faces" / name / f"Film_{name}_{i}.png", i)
    return tmp_path / "sfew"


class TestSFEW(ReaderTests):
    dataset = "sfew"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_sfew(self.root, split)


def test_splits_and_classes(root):
    assert read_sfew(root).per_class() == dict.fromkeys(read_sfew(root).classes, 2)
    valid = read_sfew(root, "valid")
    assert len(valid) == 7 and valid.options == {"folder": "Val_Aligned_Faces"}
    assert all(Path(s.source).parent.name.lower()[:3] == s.expression[:3] for s in valid.samples
               if s.expression not in ("happiness", "anger"))


def test_test_labels_are_withheld(root):
    with pytest.raises(InputError, match="no split 'test': choose one of train, valid. .*withheld: report valid"):
        read_sfew(root, "test")


def test_folders_as_the_archives_unpack(root):
    (root / "Val").mkdir()
    (root / "Val_Aligned_Faces").rename(root / "Val" / "Val_Aligned_Faces_new")
    assert read_sfew(root, "valid").options == {"folder": "Val/Val_Aligned_Faces_new"}


def test_strays_are_no_faces(root):
    (root / "Train_Aligned_Faces" / "Happy" / "._a.png").write_bytes(b"\0")
    (root / "Train_Aligned_Faces" / "Happy" / "Thumbs.db").write_bytes(b"\0")
    (root / "Train_Aligned_Faces" / ".cache").mkdir()
    (root / "Train_Aligned_Faces" / "__MACOSX").mkdir()
    assert len(read_sfew(root)) == 14


@pytest.mark.parametrize(("name", "message"), [
    ("Bored", "Bored is none of the classes"), ("Anger", "Angry: anger, as .*Anger is. Unpack"),
    ("Contempt", r"Contempt is none of the classes \(neutral, .*rename"),
])
def test_odd_class_folder(root, name, message):
    (root / "Train_Aligned_Faces" / name).mkdir()
    with pytest.raises(InputError, match=message):
        read_sfew(root)


def test_missing_class_folder(root):
    shutil.rmtree(root / "Train_Aligned_Faces" / "Fear")
    with pytest.raises(InputError, match="Train_Aligned_Faces has no pictures of fear. Unpack the data set again"):
        read_sfew(root)


def test_wrong_root(root, tmp_path):
    def refusal(path: Path, split: str = "train") -> str:
        with pytest.raises(InputError) as caught:
            read_sfew(path, split)
        return str(caught.value)

    assert refusal(tmp_path) == f"{tmp_path} is one level too high: give {root}."
    low = root / "Val_Aligned_Faces"
    assert refusal(low) == f"{low} is one level too low: give {root}."
    assert refusal(low / "Happy") == f"{low / 'Happy'} is two levels too low: give {root}."
    shutil.rmtree(low)
    assert "Val_Aligned_Faces is missing: unpack it there; found only the split train" in refusal(root, "valid")
    assert "not a folder" in refusal(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "is this SFEW" in refusal(tmp_path / "empty")


def test_a_split_s_own_folder_is_not_the_root(root):
    for split in ("Train", "Val"):
        (root / split).mkdir()
        (root / f"{split}_Aligned_Faces").rename(root / split / f"{split}_Aligned_Faces")
    assert len(read_sfew(root, "valid")) == 7
    for low in (root / "Train", root / "Train" / "Train_Aligned_Faces"):
        with pytest.raises(InputError, match=f"too low: give {root}\\."):
            read_sfew(low, "valid")
