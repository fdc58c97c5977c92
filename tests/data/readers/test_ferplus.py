"""Tests of the FERPlus reader, in both layouts."""

import csv
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.readers.ferplus import read_ferplus
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests
from tests.real import needs, real

ARCHIVE = real("data/ferplus_trainvalid.tar.gz")
FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
USAGES = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}

SHARED = dict(neutral=4 / 9, anger=3 / 9, disgust=2 / 9)

# Votes for neutral happiness surprise sadness anger disgust fear contempt unknown NF, then the label under either rule
# and the shares that are not zero.
CASES = {
    "clear": ((0, 10, 0, 0, 0, 0, 0, 0, 0, 0), "happiness", "happiness", {"happiness": 1}),
    "no_majority": ((4, 0, 0, 1, 3, 2, 0, 0, 0, 0), None, "neutral", SHARED),
    "majority": ((0, 0, 6, 0, 0, 0, 4, 0, 0, 0), "surprise", "surprise", {"surprise": 0.6, "fear": 0.4}),
    "single_votes_dropped": ((1, 1, 1, 5, 1, 1, 0, 0, 0, 0), "sadness", "sadness", {"sadness": 1}),
    "half_is_no_majority": ((0, 0, 0, 0, 5, 5, 0, 0, 0, 0), None, "anger", {"anger": 0.5, "disgust": 0.5}),
    "half_with_unknown": ((0, 0, 0, 0, 0, 0, 0, 5, 3, 2), None, "contempt", {"contempt": 1}),
    "tie_of_later": ((2, 0, 0, 0, 0, 4, 4, 0, 0, 0), None, "disgust", {"neutral": 0.2, "disgust": 0.4, "fear": 0.4}),
    "tie_with_unknown": ((0, 0, 0, 4, 0, 0, 0, 2, 4, 0), None, "sadness", {"sadness": 2 / 3, "contempt": 1 / 3}),
    "over_half_beside_unknown": ((0, 0, 0, 0, 0, 6, 0, 0, 4, 0), "disgust", "disgust", {"disgust": 1}),
    "all_single": ((1,) * 10, None, "neutral", dict.fromkeys(EXPRESSIONS, 1 / 8)),
    "single_against_not_a_face": ((1, 0, 0, 0, 0, 0, 0, 0, 0, 9), None, None, {}),
    "unknown_wins": ((1, 1, 0, 0, 0, 0, 0, 0, 8, 0), None, None, {}),
    "unknown_by_plurality": ((3, 0, 0, 0, 0, 0, 0, 0, 4, 3), None, None, {}),
    "nothing": ((0,) * 10, None, None, {}),
}
Rows = list[tuple[str, tuple[int, ...]]]
ROWS: Rows = [(f"{name}.png", votes) for name, (votes, *_) in CASES.items()]
SPLITS = {"train": ROWS, "valid": ROWS[:3], "test": ROWS[2:5]}


def grey(name: str) -> np.ndarray:
    return np.random.default_rng(list(name.encode())).integers(0, 256, (48, 48), dtype=np.uint8)


def write_folders(root: Path, splits: dict[str, Rows] = SPLITS) -> None:
    for split, rows in splits.items():
        folder = root / FOLDERS[split]
        folder.mkdir(parents=True)
        for name, _ in rows:
            cv2.imwrite(str(folder / name), grey(name))
        with open(folder / "label.csv", "w", newline="") as file:
            csv.writer(file).writerows([name, "(0, 0, 48, 48)", *votes] for name, votes in rows)


def write_csvs(root: Path, splits: dict[str, Rows] = SPLITS) -> None:
    root.mkdir(parents=True, exist_ok=True)
    labels = [["Usage", "Image name", *EXPRESSIONS, "unknown", "NF"]]
    pixels = [["emotion", "pixels", "Usage"]]
    for split, rows in splits.items():
        not_a_face = ("", (0,) * 9 + (10,))  # FERPlus gives it no name
        for name, votes in (rows[0], not_a_face, *rows[1:]):
            labels.append([USAGES[split], name, *votes])
            pixels.append([0, " ".join(map(str, grey(name).flat)), USAGES[split]])
    for name, rows in (("fer2013new.csv", labels), ("fer2013.csv", pixels)):
        with open(root / name, "w", newline="") as file:
            csv.writer(file).writerows(rows)


WRITERS = {"folders": write_folders, "csvs": write_csvs}


@pytest.fixture(params=WRITERS)
def root(request, tmp_path) -> Path:
    WRITERS[request.param](tmp_path / "ferplus")
    return tmp_path / "ferplus"


@pytest.fixture
def folders(tmp_path) -> Path:
    write_folders(tmp_path / "ferplus")
    return tmp_path / "ferplus"


@pytest.fixture
def csvs(tmp_path) -> Path:
    write_csvs(tmp_path / "ferplus")
    return tmp_path / "ferplus"


class TestFERPlusFolders(ReaderTests):
    dataset = "ferplus"

    @pytest.fixture(autouse=True)
    def data(self, folders):
        self.root = folders

    def read(self, split):
        return read_ferplus(self.root, split)


class TestFERPlusCsvs(ReaderTests):
    dataset = "ferplus"

    @pytest.fixture(autouse=True)
    def data(self, csvs):
        self.root = csvs

    def read(self, split):
        return read_ferplus(self.root, split, rule="argmax")


def name_of(source: str) -> str:
    return source.replace(":", "/").rsplit("/", 1)[-1]


@pytest.mark.parametrize("rule", ["majority", "argmax"])
@pytest.mark.parametrize("case", CASES)
def test_rules(root, case, rule):
    faces = read_ferplus(root, "train", rule)
    found = {name_of(s.source): s for s in faces.samples}
    _, *labels, shares = CASES[case]
    label = dict(zip(("majority", "argmax"), labels, strict=True))[rule]
    if label is None:
        assert f"{case}.png" not in found
    else:
        sample = found[f"{case}.png"]
        assert sample.expression == label
        assert sample.votes == pytest.approx([shares.get(name, 0) for name in EXPRESSIONS])


def test_majority_is_the_rule_unless_told(folders):
    faces = read_ferplus(folders)
    assert (faces.split, faces.options, faces.classes) == ("train", {"rule": "majority"}, EXPRESSIONS)
    assert len(faces) == sum(label is not None for _, label, *_ in CASES.values())


@pytest.mark.parametrize("rule", ["majority", "argmax"])
@pytest.mark.parametrize("split", SPLITS)
def test_both_layouts_give_the_same(tmp_path, split, rule):
    write_folders(tmp_path / "folders")
    write_csvs(tmp_path / "csvs")
    one, other = (read_ferplus(tmp_path / layout, split, rule) for layout in ("folders", "csvs"))
    assert len(one) == len(other) > 0
    for a, b in zip(one.samples, other.samples, strict=True):
        assert name_of(a.source) == name_of(b.source)
        assert (a.expression, a.votes) == (b.expression, b.votes)
        expected = np.repeat(grey(name_of(a.source))[:, :, None], 3, 2)
        np.testing.assert_array_equal(a.picture(), expected)
        np.testing.assert_array_equal(b.picture(), expected)


def test_splits_are_kept_apart(root):
    counts = {split: len(read_ferplus(root, split, "argmax")) for split in SPLITS}
    assert counts == {"train": 10, "valid": 3, "test": 3}


def test_unknown_split_and_rule_list_the_choices(folders):
    with pytest.raises(InputError, match="no split 'Training': choose one of train, valid, test"):
        read_ferplus(folders, "Training")
    with pytest.raises(InputError, match="no label rule 'plurality': choose one of majority, argmax"):
        read_ferplus(folders, "train", "plurality")


@pytest.mark.parametrize("line", ["few.png,box,1,2,3", "many.png,box" + ",1" * 11, "text.png,box" + ",x" * 10,
                                  "minus.png,box,-1" + ",1" * 9])
def test_wrong_columns_name_file_and_line(folders, line):
    path = folders / "FER2013Train" / "label.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], line, *lines[3:]]) + "\n")
    with pytest.raises(InputError, match=rf"label\.csv, line 4: expected 2 columns.*10 numbers.*{line[:7]}"):
        read_ferplus(folders)


def test_wrong_columns_name_the_line_below_a_header(csvs):
    path = csvs / "fer2013new.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1], "Training,short.png,3", *lines[3:]]) + "\n")
    with pytest.raises(InputError, match=r"fer2013new\.csv, line 3: expected.*Training,short\.png,3"):
        read_ferplus(csvs)


def test_missing_pictures_are_counted(folders):
    for name in ("majority.png", "unknown_wins.png"):
        (folders / "FER2013Train" / name).unlink()
    message = rf"FER2013Train: 2 of the {len(ROWS)} .*\(majority\.png, unknown_wins\.png\)\. Unpack the archive again"
    with pytest.raises(InputError, match=message):
        read_ferplus(folders)
    assert len(read_ferplus(folders, "valid")) > 0


def test_files_in_another_case(folders):
    path = folders / "FER2013Train" / "clear.png"
    path.rename(path.with_suffix(".PNG"))
    sample = read_ferplus(folders).samples[0]
    assert sample.source == str(path.with_suffix(".PNG")) and sample.picture().shape == (48, 48, 3)


def test_broken_picture_is_named(folders):
    path = folders / "FER2013Train" / "clear.png"
    path.write_bytes(path.read_bytes()[:100])
    sample = read_ferplus(folders).samples[0]
    with pytest.raises(InputError, match=r"FER2013Train/clear\.png: broken picture"):
        sample.picture()


def test_blank_lines_at_the_end_are_no_faces(folders):
    before = len(read_ferplus(folders))
    with open(folders / "FER2013Train" / "label.csv", "a") as file:
        file.write("\n" + 11 * "," + "\n")
    assert len(read_ferplus(folders)) == before


def test_no_labelled_face(tmp_path):
    write_folders(tmp_path, {"train": [row for row in ROWS if row[0] == "unknown_wins.png"]})
    with pytest.raises(InputError, match=r"no labelled face in split 'train'.*again"):
        read_ferplus(tmp_path)


def test_votes_without_pixels(csvs):
    (csvs / "fer2013.csv").unlink()
    with pytest.raises(InputError, match=r"fer2013\.csv is missing.*[Pp]ut FER2013's .*beside it"):
        read_ferplus(csvs)


def test_pixels_and_votes_of_different_length(csvs):
    path = csvs / "fer2013.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join(rows[:-2]) + "\n")
    with pytest.raises(InputError, match=rf"has {len(rows) - 3} rows, fer2013new\.csv {len(rows) - 1}"):
        read_ferplus(csvs)


@pytest.mark.parametrize("text", ["", "emotion,Usage\n0,Training\n", "a,b,c\n1,2,3\n"])
def test_pixels_without_their_columns(csvs, text):
    (csvs / "fer2013.csv").write_text(text)
    with pytest.raises(InputError, match=r"fer2013\.csv: expected the columns emotion, pixels, Usage"):
        read_ferplus(csvs)


@pytest.mark.parametrize(
    ("line", "message"),
    [("0,1 2 3,Training", "line 2: expected 48 x 48 pixels, 0-255, got 3"),
     (f"0,{'x ' * 2304},Training", "line 2: expected 48 x 48 pixels"),
     ("0,1 2 3", "line 2: expected 3 columns, got 2")],
)
def test_broken_line_of_pixels_is_named(csvs, line, message):
    path = csvs / "fer2013.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    with pytest.raises(InputError, match=rf"fer2013\.csv, {message}"):
        read_ferplus(csvs)


def test_rows_in_another_order_are_refused(csvs):
    path = csvs / "fer2013.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    with pytest.raises(InputError, match=r"fer2013\.csv, line 2: its Usage is PrivateTest, and Training in fer2013new"):
        read_ferplus(csvs)


def test_a_checkout_holds_the_folders_in_data(tmp_path):
    write_folders(tmp_path / "FERPlus" / "data")
    expected = read_ferplus(tmp_path / "FERPlus" / "data", "test")
    write_csvs(tmp_path / "FERPlus")
    assert "fer2013.csv" in read_ferplus(tmp_path / "FERPlus", "test").samples[0].source
    (tmp_path / "FERPlus" / "fer2013.csv").unlink()  # what FERPlus's repository comes with, and its script wrote
    found = read_ferplus(tmp_path / "FERPlus", "test")
    assert [s.source for s in found.samples] == [s.source for s in expected.samples] and found.per_class()


def test_a_label_file_with_a_byte_order_mark(folders):
    path = folders / "FER2013Test" / "label.csv"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert len(read_ferplus(folders, "test")) > 0


class TestWrongRoot:
    def refusal(self, root: Path, split: str = "train") -> str:
        with pytest.raises(InputError) as caught:
            read_ferplus(root, split)
        return str(caught.value)

    def test_one_level_too_high(self, root):
        assert self.refusal(root.parent) == f"{root.parent} is one level too high: give {root}."

    def test_one_level_too_low(self, folders):
        low = folders / "FER2013Valid"
        assert self.refusal(low) == f"{low} is one level too low: give {folders}."

    def test_one_level_too_low_from_inside(self, folders, monkeypatch):
        monkeypatch.chdir(folders / "FER2013Train")
        assert self.refusal(Path(".")) == f". is one level too low: give {folders}."

    def test_empty(self, tmp_path):
        message = self.refusal(tmp_path)
        assert f"{tmp_path} does not hold FER2013Train or fer2013new.csv: is this FERPlus?" in message
        assert "Splits" not in message

    def test_an_archive(self, tmp_path):
        (tmp_path / "ferplus.tar.gz").touch()
        assert "ferplus.tar.gz is an archive: unpack it" in self.refusal(tmp_path / "ferplus.tar.gz")

    def test_nonexistent(self, tmp_path):
        message = self.refusal(tmp_path / "gone")
        assert "gone is not a folder: give the folder that holds FER2013Train or fer2013new.csv" in message

    def test_split_not_there(self, tmp_path):
        write_folders(tmp_path, {"train": ROWS, "valid": ROWS})
        message = self.refusal(tmp_path, "test")
        assert "FER2013Test/label.csv is missing: unpack" in message and "there: train, valid." in message

    def test_labels_not_there(self, folders):
        (folders / "FER2013Train" / "label.csv").unlink()
        message = self.refusal(folders)
        assert "FER2013Train/label.csv is missing: copy it from FERPlus's data/FER2013Train" in message


@pytest.mark.slow
@needs(ARCHIVE)
def test_counts_of_the_real_data(tmp_path):
    """The labels come from the archive, the pictures are empty files: no picture is opened to read the labels."""
    wanted = {f"ferplus/{FOLDERS[split]}/label.csv" for split in ("train", "valid")}
    with tarfile.open(ARCHIVE, "r|gz") as archive:
        for member in archive:
            if member.name not in wanted:
                continue
            wanted.remove(member.name)
            path = tmp_path / member.name
            path.parent.mkdir(parents=True)
            path.write_bytes(archive.extractfile(member).read())
            for row in csv.reader(path.read_text().splitlines()):
                (path.parent / row[0]).touch()
            if not wanted:
                break
    faces = {split: read_ferplus(tmp_path / "ferplus", split) for split in ("train", "valid")}
    assert {split: len(part) for split, part in faces.items()} == {"train": 25045, "valid": 3191}
    assert all(min(part.per_class().values()) > 0 for part in faces.values())
