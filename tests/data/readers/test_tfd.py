"""Tests of the TFD reader. SciPy is optional: where it is missing, a stand-in reads the same arrays."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fmpn_timm.data.readers.tfd import read_tfd
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests

if importlib.util.find_spec("scipy"):  # whole, before a stand-in takes its place: half of it would stay behind
    import scipy.io

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
N = 40


def arrays(size: int = 48) -> dict[str, np.ndarray]:
    """Every tenth face is unlabelled; face n is in the test part of fold n % 5, in the valid part of the next."""
    rng = np.random.default_rng(0)
    n = np.arange(N)
    labelled = n % 10 != 9
    folds = np.ones((N, 5), np.uint8)
    folds[n, n % 5], folds[n, (n + 1) % 5] = 3, 2
    return {
        "images": rng.integers(0, 256, (N, size, size), dtype=np.uint8),
        "labs_ex": np.where(labelled, 1 + n % 7, -1)[:, None].astype(np.int16),
        "labs_id": np.where(n % 4 == 3, -1, n // 4)[:, None].astype(np.int16),
        "folds": folds * labelled[:, None].astype(np.uint8),
    }


def write(path: Path, values: dict[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        np.savez(file, **values)
    return path.parent


@pytest.fixture(autouse=True)
def scipy(monkeypatch):
    """SciPy's ``loadmat``, but of .npz files."""
    package, module = ModuleType("scipy"), ModuleType("scipy.io")
    module.loadmat = lambda path, variable_names: dict(np.load(path))
    package.io = module
    monkeypatch.setitem(sys.modules, "scipy", package)
    monkeypatch.setitem(sys.modules, "scipy.io", module)


@pytest.fixture
def root(tmp_path) -> Path:
    return write(tmp_path / "tfd" / "TFD_48x48.mat", arrays())


class TestTFD(ReaderTests):
    dataset = "tfd"
    split = "all"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_tfd(self.root, split)


def test_labelled_faces(root):
    faces, given = read_tfd(root), arrays()
    assert len(faces) == 36 and len(faces.classes) == 7
    for sample in faces.samples:
        n = int(sample.source.rsplit(":", 1)[1])
        assert sample.expression == CLASSES[n % 7]
        assert sample.subject == (None if n % 4 == 3 else f"{n // 4:04d}")
        np.testing.assert_array_equal(sample.picture(), np.repeat(given["images"][n][:, :, None], 3, 2))


@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5])
def test_parts_of_a_fold(root, fold):
    parts = {split: read_tfd(root, split, fold=fold) for split in ("train", "valid", "test")}
    numbers = {split: {int(s.source[-6:]) for s in faces.samples} for split, faces in parts.items()}
    labelled = {n for n in range(N) if n % 10 != 9}
    assert numbers["test"] == {n for n in labelled if n % 5 == fold - 1}
    assert numbers["valid"] == {n for n in labelled if (n + 1) % 5 == fold - 1}
    assert numbers["train"] == labelled - numbers["test"] - numbers["valid"]
    assert parts["test"].options == {"size": 48, "fold": fold} and parts["test"].split == "test"


def test_other_orders_sizes_and_kinds_of_numbers(tmp_path):
    values = arrays(96)
    values["images"] = np.moveaxis(values["images"], 0, -1) / 255
    root = write(tmp_path / "TFD_ranzato_96x96.mat", values)
    picture = read_tfd(root, size=96).samples[1].picture()
    np.testing.assert_array_equal(picture[:, :, 0], arrays(96)["images"][1])
    with pytest.raises(InputError, match=r"has no TFD_48x48\.mat, but TFD_ranzato_96x96\.mat"):
        read_tfd(root)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("labs_ex", 0, "unknown code 0 in labs_ex; TFD has -1, 1, 2"), ("labs_ex", 8, "unknown code 8 in labs_ex"),
    ("folds", 4, "unknown code 4 in folds"),
])
def test_unknown_codes(tmp_path, name, value, message):
    values = arrays()
    values[name][0, 0] = value
    with pytest.raises(InputError, match=message):
        read_tfd(write(tmp_path / "TFD_48x48.mat", values))


def test_arrays_that_do_not_belong_together(tmp_path):
    values = arrays()
    del values["folds"]
    with pytest.raises(InputError, match="holds no folds: is this TFD"):
        read_tfd(write(tmp_path / "TFD_48x48.mat", values))
    values["folds"] = np.ones((N, 4), np.uint8)
    with pytest.raises(InputError, match=r"folds \(40, 4\) do not belong together"):
        read_tfd(write(tmp_path / "TFD_48x48.mat", values))


def test_files_that_cannot_be_read(root, monkeypatch):
    path = root / "TFD_48x48.mat"
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"TFD_48x48\.mat cannot be read .*fetch it again"):
        read_tfd(root)
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    with pytest.raises(InputError, match=r"version 7\.3: save it again"):
        read_tfd(root)


def test_without_scipy_the_extra_is_named(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(InputError, match=r'TFD_48x48\.mat needs SciPy: pip install "fmpn-timm\[data\]"'):
        read_tfd(root)


def test_real_matlab_file(tmp_path, monkeypatch):
    for name in ("scipy", "scipy.io"):
        monkeypatch.delitem(sys.modules, name)
    io = pytest.importorskip("scipy.io")
    io.savemat(tmp_path / "TFD_48x48.mat", arrays())
    assert len(read_tfd(tmp_path)) == 36


def test_wrong_root_and_options(root):
    with pytest.raises(InputError, match=f"one level too high: give {root}"):
        read_tfd(root.parent)
    with pytest.raises(InputError, match=f"one level too low: give its folder, {root}"):
        read_tfd(root / "TFD_48x48.mat")
    for options, message in (({"size": 64}, "no size 64"), ({"fold": 0}, "no fold 0: choose one of 1, 2, 3, 4, 5")):
        with pytest.raises(InputError, match=message):
            read_tfd(root, **options)
