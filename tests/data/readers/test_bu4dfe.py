"""Tests of the BU-4DFE reader."""

from pathlib import Path

import pytest

from fmpn_timm.data.readers.bu4dfe import read_bu4dfe
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests, write_picture

FOLDERS = {"Angry": "anger", "Disgust": "disgust", "Fear": "fear", "Happy": "happiness", "Sad": "sadness",
           "Surprise": "surprise"}


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "bu4dfe"
    for subject in ("F001", "M002"):
        for sequence in FOLDERS:
            for n in range(9):
                write_picture(root / subject / sequence / f"{n:03d}.jpg", n)
            (root / subject / sequence / "000.wrl").write_text("mesh")
            (root / subject / sequence / "._000.jpg").write_bytes(b"x")
    return root


class TestBU4DFE(ReaderTests):
    dataset = "bu4dfe"
    split = "all"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_bu4dfe(self.root, split)


def test_the_middle_carries_the_label_and_the_first_is_neutral(root):
    faces = read_bu4dfe(root)
    found = {(s.subject, s.sequence): s.expression for s in faces.samples}
    assert found == {(subject, name): label for subject in ("F001", "M002") for name, label in FOLDERS.items()}
    assert [s.frame for s in faces.samples[:3]] == [3, 4, 5]
    assert [s.frame for s in faces.neutral] == [0] * 12
    assert [s.frame for s in read_bu4dfe(root, frames=8).samples[:8]] == list(range(1, 9))


def test_bad_sequences(root):
    with pytest.raises(InputError, match=r"F001/Angry holds 9 pictures, and 10 are needed"):
        read_bu4dfe(root, frames=9)
    (root / "M002/Sad").rename(root / "M002/Bored")
    with pytest.raises(InputError, match=r"M002/Bored is none of the classes"):
        read_bu4dfe(root)


def test_wrong_root(root):
    for wrong, message in ((root.parent, "one level too high"), (root / "F001", "one level too low"),
                           (root / "F001/Sad", "two levels too low")):
        with pytest.raises(InputError, match=f"{wrong} is {message}: give {root}\\."):
            read_bu4dfe(wrong)
