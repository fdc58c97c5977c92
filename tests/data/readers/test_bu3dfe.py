"""Tests of the BU-3DFE reader."""

from pathlib import Path

import pytest

from fmpn_timm.data.readers.bu3dfe import read_bu3dfe
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests, write_picture

CODES = ("AN", "DI", "FE", "HA", "SA", "SU")


def write(root: Path, folders: bool) -> Path:
    for seed, (subject, race) in enumerate((("F0001", "WH"), ("M0044", "AE"))):
        folder = root / subject if folders else root
        for name in [f"{code}{level:02d}" for code in CODES for level in range(1, 5)] + ["NE00"]:
            write_picture(folder / f"{subject}_{name}{race}_F2D.bmp", seed)
        write_picture(folder / f"{subject}_AN01{race}_F3D.bmp")
        (folder / f"{subject}_AN01{race}_F3D.wrl").write_text("mesh")
        (folder / f"._{subject}_AN01{race}_F2D.bmp").write_bytes(b"x")
    return root


@pytest.fixture(params=[False, True], ids=["one folder", "subjects"])
def root(request, tmp_path) -> Path:
    return write(tmp_path / "bu3dfe", request.param)


class TestBU3DFE(ReaderTests):
    dataset = "bu3dfe"
    split = "all"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_bu3dfe(self.root, split)


def test_levels_and_neutral(root):
    faces = read_bu3dfe(root)
    assert faces.per_class() == {name: 4 for name in faces.classes} and len(faces.classes) == 6
    assert {s.frame for s in faces.samples} == {3, 4}
    assert [(s.subject, s.expression) for s in faces.neutral] == [("F0001", "neutral"), ("M0044", "neutral")]
    assert len(read_bu3dfe(root, levels=[1, 2, 3, 4])) == 48 and len(read_bu3dfe(root, levels=4)) == 12
    assert read_bu3dfe(root, classes=7).per_class()["neutral"] == 2


def test_the_layout_found_is_told(root, request):
    found = read_bu3dfe(root).options["layout"]
    assert found == request.node.callspec.id


@pytest.mark.parametrize(("options", "message"), [
    ({"levels": [0]}, "no level 0: choose one of 1, 2, 3, 4"), ({"levels": "3,4"}, "no level '3,4'"),
    ({"levels": []}, "no level None"), ({"classes": 8}, "number of classes 8"),
])
def test_bad_options(root, options, message):
    with pytest.raises(InputError, match=message):
        read_bu3dfe(root, **options)


@pytest.mark.parametrize("code", ["XX01", "AN05"])
def test_unknown_code(root, code):
    path = next(root.rglob("F0001_AN01WH_F2D.bmp"))
    path.rename(path.with_name(f"F0001_{code}WH_F2D.bmp"))
    with pytest.raises(InputError, match=f"unknown expression {code}; BU-3DFE has AN"):
        read_bu3dfe(root)


def test_wrong_root(tmp_path):
    root = write(tmp_path / "bu3dfe", folders=True)
    with pytest.raises(InputError, match=f"is one level too high: give {root}"):
        read_bu3dfe(tmp_path)
    # A subject's folder is a root in itself, with one subject in it: it cannot be told from one.
    assert {s.subject for s in read_bu3dfe(root / "F0001").samples} == {"F0001"}
