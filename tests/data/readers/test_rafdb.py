"""Tests of the RAF-DB reader."""

from pathlib import Path

import numpy as np
import pytest

from fmpn_timm.data import published
from fmpn_timm.data.published import Published
from fmpn_timm.data.readers.rafdb import read_rafdb
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests, write_picture

EXPRESSIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # codes 1-7
POINTS = [(60.0, 40.5), (20.0, 41.0), (40.0, 60.0), (25.0, 80.0), (55.0, 81.0)]  # eyes in the other order


@pytest.fixture
def root(tmp_path) -> Path:
    """One face of each code to train, two to test."""
    root = tmp_path / "rafdb" / "basic"
    names = [(f"train_{i:05d}", i) for i in range(1, 8)] + [("test_0001", 4), ("test_0002", 7)]
    for seed, (name, _) in enumerate(names):
        write_picture(root / "Image" / "aligned" / f"{name}_aligned.jpg", seed)
        write_picture(root / "Image" / "original" / f"{name}.jpg", seed, 100)
        points = root / "Annotation" / "manual" / f"{name}_manu_attri.txt"
        points.parent.mkdir(parents=True, exist_ok=True)
        points.write_text("".join(f"{x:.6f}\t{y:.6f}\n" for x, y in POINTS) + "1\n0\n2\n")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("".join(f"{n}.jpg {c}\n" for n, c in names))
    return root


def labels(root: Path) -> Path:
    return root / "EmoLabel" / "list_patition_label.txt"


class TestAligned(ReaderTests):
    dataset = "rafdb"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_rafdb(self.root, split)


class TestOriginal(TestAligned):
    def read(self, split):
        return read_rafdb(self.root, split, pictures="original")


def test_codes_are_those_of_the_owner(root):
    faces = read_rafdb(root)
    assert [s.expression for s in faces.samples] == list(EXPRESSIONS)
    assert [s.expression for s in read_rafdb(root, "test").samples] == ["happiness", "neutral"]
    assert faces.options == {"pictures": "aligned", "list": "list_patition_label.txt", "landmarks": False}


def test_landmarks_belong_to_the_original_pictures(root):
    assert all(s.landmarks is None for s in read_rafdb(root).samples)
    sample = read_rafdb(root, pictures="original").samples[0]
    assert sample.source.endswith("original/train_00001.jpg") and sample.picture().shape == (100, 100, 3)
    expected = [POINTS[1], POINTS[0], *POINTS[2:]]
    np.testing.assert_allclose(sample.landmarks(), expected)


def test_broken_landmarks_are_named(root):
    (root / "Annotation" / "manual" / "train_00001_manu_attri.txt").write_text("1 2\n3 4\n")
    sample = read_rafdb(root, pictures="original").samples[0]
    with pytest.raises(InputError, match=r"train_00001_manu_attri\.txt: expected five lines"):
        sample.landmarks()


def test_list_without_the_misspelling_and_files_in_other_case(root):
    labels(root).rename(labels(root).with_name("list_partition_label.txt"))
    aligned = root / "Image" / "aligned"
    (aligned / "train_00001_aligned.jpg").rename(aligned / "train_00001_aligned.JPG")
    (aligned / "train_00002_aligned.jpg").rename(aligned / "train_00002.jpg")
    faces = read_rafdb(root)
    assert len(faces) == 7 and faces.options["list"] == "list_partition_label.txt"


def test_tabs_and_blank_lines_in_the_list(root):
    before = [(s.source, s.expression) for s in read_rafdb(root).samples]
    labels(root).write_text(labels(root).read_text().replace(" ", "\t") + " \n\n")
    assert [(s.source, s.expression) for s in read_rafdb(root).samples] == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_00009.jpg 8", r"label\.txt, line 10: unknown code 8, known are 1 surprise.*own list"),
        ("train_00009.jpg", r"line 10: expected a line such as 'train_00001.jpg 5', got 'train_00009.jpg'"),
        ("train_00009.jpg,5", "line 10: expected a line"),
        ("valid_1.jpg 5", "line 10: expected a line"),
        ("train_00009.jpg --5", "line 10: expected a line"),
        ("train_00001.jpg 5", "train_00001.jpg is listed twice, as surprise and sadness"),
    ],
)
def test_wrong_line(root, line, message):
    with open(labels(root), "a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=message):
        read_rafdb(root)


def test_codes_off_by_one(root):
    lines = [line.split() for line in labels(root).read_text().splitlines()]
    labels(root).write_text("".join(f"{name} {int(code) - 1}\n" for name, code in lines))
    with pytest.raises(InputError, match="unknown code 0.*begin at 0 instead of 1: add 1 to each"):
        read_rafdb(root)


def test_swapped_codes(root, monkeypatch):
    counts = {"happiness": 1, "neutral": 2}
    with open(labels(root), "a") as file:
        file.write("test_0003.jpg 4\n")
    write_picture(root / "Image" / "aligned" / "test_0003_aligned.jpg")
    others = dict.fromkeys(EXPRESSIONS, 0) | counts
    monkeypatch.setattr(published, "PUBLISHED", (Published("rafdb", "test", 3, others),))
    with pytest.raises(InputError, match=r"label\.txt: the codes are swapped, .*happiness has the 2 of neutral"):
        read_rafdb(root, "test")


def test_missing_pictures_are_listed(root):
    for i in (2, 5):
        (root / "Image" / "aligned" / f"train_{i:05d}_aligned.jpg").unlink()
    with pytest.raises(InputError, match=r"aligned: 2 of the 7.*missing \(train_00002.jpg, train_00005.jpg\). Unpack"):
        read_rafdb(root)
    assert len(read_rafdb(root, "test")) == 2


def test_unknown_pictures_list_the_choices(root):
    with pytest.raises(InputError, match="no kind of pictures 'cropped': choose one of aligned, original"):
        read_rafdb(root, pictures="cropped")


class TestWrongRoot:
    def refusal(self, root: Path) -> str:
        with pytest.raises(InputError) as caught:
            read_rafdb(root)
        return str(caught.value)

    def test_levels(self, root):
        assert self.refusal(root.parent) == f"{root.parent} is one level too high: give {root}."
        for low in (root / "EmoLabel", root / "Image"):
            assert self.refusal(low) == f"{low} is one level too low: give {root}."
        low = root / "Image" / "aligned"
        assert self.refusal(low) == f"{low} is two levels too low: give {root}."

    def test_missing_parts(self, root, tmp_path):
        labels(root).unlink()
        assert self.refusal(root).startswith(f"{labels(root)} is missing")
        (tmp_path / "empty").mkdir()
        assert "is this RAF-DB" in self.refusal(tmp_path / "empty")
        assert "gone is not a folder" in self.refusal(tmp_path / "gone")

    def test_pictures_still_packed(self, root):
        aligned = root / "Image" / "aligned"
        aligned.rename(root / "Image" / "elsewhere")
        assert "or read the original pictures (pictures=original)" in self.refusal(root)
        aligned.with_suffix(".zip").touch()
        assert self.refusal(root) == f"{aligned} is missing: unpack {aligned}.zip."
