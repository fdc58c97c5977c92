"""Tests of the FER2013 reader, in both layouts."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmpn_timm.data import published
from fmpn_timm.data.published import Published
from fmpn_timm.data.readers.fer2013 import read_fer2013
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests

EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # codes 0-6
NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
USAGES = {"Training": 14, "PublicTest": 7, "PrivateTest": 7}


def grey(usage: str, i: int) -> np.ndarray:
    return np.random.default_rng([len(usage), i]).integers(0, 256, (48, 48), dtype=np.uint8)


def row(usage: str, i: int, shift: int = 0) -> str:
    return f"{i % 7 + shift},{' '.join(map(str, grey(usage, i).flat))},{usage}\n"


def write_table(root: Path, header: str = "emotion,pixels,Usage", shift: int = 0) -> Path:
    root.mkdir(exist_ok=True)
    rows = [row(usage, i, shift) for usage, n in USAGES.items() for i in range(n)]
    (root / "fer2013.csv").write_text(header + "\n" + "".join(rows))
    return root


def write_folders(root: Path, name: str = "{usage}_{i}.png") -> Path:
    for usage, n in USAGES.items():
        for i in range(n):
            file = name.format(usage=usage, i=f"{usage[1]}{i}")
            path = root / ("train" if usage == "Training" else "test") / NAMES[i % 7] / file
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), grey(usage, i))
    return root


@pytest.fixture
def table(tmp_path) -> Path:
    return write_table(tmp_path / "fer")


@pytest.fixture
def folders(tmp_path) -> Path:
    return write_folders(tmp_path / "fer")


class TestTable(ReaderTests):
    dataset = "fer2013"

    @pytest.fixture(autouse=True)
    def data(self, table):
        self.root = table

    def read(self, split):
        return read_fer2013(self.root, split)


class TestFolders(ReaderTests):
    dataset = "fer2013"
    split = "valid"

    @pytest.fixture(autouse=True)
    def data(self, folders):
        self.root = folders

    def read(self, split):
        return read_fer2013(self.root, split)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_codes_and_splits(table, split):
    usage = dict(zip(("train", "valid", "test"), USAGES, strict=True))[split]
    faces = read_fer2013(table, split)
    assert [s.expression for s in faces.samples] == [EXPRESSIONS[i % 7] for i in range(USAGES[usage])]
    np.testing.assert_array_equal(faces.samples[3].picture(), np.repeat(grey(usage, 3)[:, :, None], 3, 2))


def test_folders_are_split_by_file_name(folders):
    for split, usage in zip(("train", "valid", "test"), USAGES, strict=True):
        faces = read_fer2013(folders, split)
        assert len(faces) == USAGES[usage] and set(faces.per_class().values()) == {USAGES[usage] // 7}
        assert all(Path(s.source).name.startswith(usage) for s in faces.samples)
    assert faces.options == {"layout": "folders", "splits told apart": "file name"}


def test_folders_whose_test_is_both(tmp_path):
    root = write_folders(tmp_path / "fer", "{i}.png")
    faces = read_fer2013(root, "test")
    assert len(faces) == 14 and faces.options["splits told apart"] == "together"
    with pytest.raises(InputError, match="has no valid split.*Select on a part of train"):
        read_fer2013(root, "valid")


def test_folders_with_a_valid_split_and_numbers(tmp_path):
    root = write_folders(tmp_path / "fer", "{i}.png")
    shutil.copytree(root / "test", root / "validation")
    for i, name in enumerate(NAMES):
        (root / "test" / name).rename(root / "test" / str(i))
    assert len(read_fer2013(root, "valid")) == 14
    faces = read_fer2013(root, "test")
    assert faces.options["splits told apart"] == "folder" and set(faces.per_class().values()) == {2}


def test_columns_in_another_order_and_with_spaces(tmp_path):
    rows = [row("Training", i).strip().split(",") for i in range(7)]
    text = "emotion, Usage, pixels\n" + "".join(f"{e},{u},{p}\n" for e, p, u in rows)
    (tmp_path / "icml_face_data.csv").write_text(text)
    assert [s.expression for s in read_fer2013(tmp_path).samples] == list(EXPRESSIONS)


@pytest.mark.parametrize("header", ["emotion,Usage", "Usage,Image name,neutral", ""])
def test_wrong_columns(tmp_path, header):
    with pytest.raises(InputError, match=r"fer2013\.csv: expected the columns emotion, pixels, Usage, found"):
        read_fer2013(write_table(tmp_path / "fer", header))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,1 2 3,Training", r"line 30: expected 48 x 48 pixels, 0-255, got 3"),
        (f"0,{'256 ' * 2304},Training", "line 30: expected 48 x 48 pixels"),
        ("0,1 2 3", "line 30: expected 3 columns, got 2"),
        ("0,1,Test", "line 30: unknown Usage 'Test', known are Training, PublicTest, PrivateTest"),
        (f"9,{'1 ' * 2304},PublicTest", "line 30: unknown code '9', known are 0 anger.*own file"),
        (f"x,{'1 ' * 2304},Training", "line 30: unknown code 'x'"),
    ],
)
def test_wrong_line(table, line, message):
    with open(table / "fer2013.csv", "a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=message):
        read_fer2013(table)


def test_blank_lines_at_the_end_are_no_faces(table):
    with open(table / "fer2013.csv", "a") as file:
        file.write("\n \n,,\n")
    assert len(read_fer2013(table)) == 14


def test_a_quote_that_is_not_closed_names_the_line(table):
    with open(table / "fer2013.csv", "a") as file:
        file.write('0,"' + 140_000 * "1 " + ",Training\n")
    with pytest.raises(InputError, match=r"fer2013\.csv, line 30: field larger than field limit.*owner's file"):
        read_fer2013(table)


def test_codes_off_by_one(tmp_path):
    with pytest.raises(InputError, match="unknown code '7'.*begin at 1 instead of 0: subtract 1"):
        read_fer2013(write_table(tmp_path / "fer", shift=1))


def test_swapped_codes(table, monkeypatch):
    counts = dict.fromkeys(EXPRESSIONS, 2) | {"anger": 3}
    monkeypatch.setattr(published, "PUBLISHED", (Published("fer2013", "train", 15, counts),))
    with open(table / "fer2013.csv", "a") as file:
        file.write(row("Training", 20))  # neutral
    with pytest.raises(InputError, match=r"fer2013\.csv: the codes are swapped.*neutral has the 3 of anger"):
        read_fer2013(table)


def test_odd_and_missing_class_folders(folders):
    (folders / "train" / "contempt").mkdir()
    with pytest.raises(InputError, match="contempt is none of the classes"):
        read_fer2013(folders)
    (folders / "train" / "contempt").rename(folders / "train" / "bored")
    with pytest.raises(InputError, match="bored is none of the classes"):
        read_fer2013(folders)
    (folders / "train" / "bored").rmdir()
    shutil.rmtree(folders / "train" / "sad")
    with pytest.raises(InputError, match="train has no pictures of sadness"):
        read_fer2013(folders)


def test_wrong_root(folders, tmp_path):
    def refusal(path: Path) -> str:
        with pytest.raises(InputError) as caught:
            read_fer2013(path)
        return str(caught.value)

    assert refusal(tmp_path) == f"{tmp_path} is one level too high: give {folders}."
    assert refusal(folders / "test") == f"{folders / 'test'} is one level too low: give {folders}."
    shutil.rmtree(folders / "test")
    assert refusal(folders) == f"{folders / 'test'} is missing: unpack FER2013 again."
    shutil.rmtree(folders / "train")
    assert "is this FER2013" in refusal(folders)
    (folders / "fer2013new.csv").touch()
    assert "the votes of FERPlus" in refusal(folders)
