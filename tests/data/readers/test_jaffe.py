"""Tests of the JAFFE reader."""

from pathlib import Path

import pytest

from fmpn_timm.data.readers.jaffe import read_jaffe
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests, write_picture

CODES = ("AN", "DI", "FE", "HA", "NE", "SA", "SU")


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "jaffe"
    serial = 1
    for subject in ("KA", "YM"):
        for code in CODES:
            for repetition in (1, 2):
                write_picture(root / f"{subject}.{code}{repetition}.{serial}.tiff", serial)
                serial += 1
    (root / "README").write_text("words")
    (root / "._KA.AN1.1.tiff").write_bytes(b"x")
    return root


class TestJAFFE(ReaderTests):
    dataset = "jaffe"
    split = "all"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_jaffe(self.root, split)


def test_what_the_names_say(root):
    faces = read_jaffe(root)
    assert faces.per_class() == {name: 4 for name in faces.classes} and len(faces.classes) == 7
    found = {Path(s.source).name: (s.subject, s.expression, s.frame) for s in faces.samples}
    assert found["KA.AN2.2.tiff"] == ("KA", "anger", 2)
    assert found["YM.SU1.27.tiff"] == ("YM", "surprise", 1)


def test_neutral_is_a_reference_where_it_is_no_class(root):
    faces = read_jaffe(root, classes=6)
    assert (len(faces), len(faces.neutral), len(faces.classes)) == (24, 4, 6)


def test_lower_case_names(root):
    (root / "KA.AN1.1.tiff").rename(root / "ka.an1.1.TIF")
    assert len(read_jaffe(root)) == 28 and {s.subject for s in read_jaffe(root).samples} == {"KA", "YM"}


def test_unknown_code_and_options(root):
    with pytest.raises(InputError, match="no number of classes 8"):
        read_jaffe(root, classes=8)
    (root / "KA.AN1.1.tiff").rename(root / "KA.XX1.1.tiff")
    with pytest.raises(InputError, match=r"KA\.XX1\.1\.tiff: unknown expression 'XX'; JAFFE has AN, DI"):
        read_jaffe(root)


def test_wrong_root(root):
    with pytest.raises(InputError, match=f"is one level too high: give {root}"):
        read_jaffe(root.parent)
    (root / "empty").mkdir()
    with pytest.raises(InputError, match=r"does not hold pictures such as KA.AN1.39.tiff: is this JAFFE\?"):
        read_jaffe(root / "empty")
