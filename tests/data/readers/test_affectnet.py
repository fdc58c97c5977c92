"""Tests of the AffectNet reader, in both layouts."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fmpn_timm.data.readers.affectnet import read_affectnet
from fmpn_timm.errors import InputError
from fmpn_timm.faces import five_of_68
from tests.data.readers.base import ReaderTests

CODES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt", "none", "uncertain",
         "no face")
HEADER = ("subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal")
BOX = (10, 20, 40, 40)  # x, y, width, height
POINTS = np.random.default_rng(0).uniform((10, 20), (50, 60), (68, 2)).round(2)


def face(seed: int) -> np.ndarray:
    return cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (80, 70, 3), dtype=np.uint8), (0, 0), 3)


def line(path: str, code: int | str, box=BOX, points: str | None = None) -> str:
    points = ";".join(f"{v:g}" for v in POINTS.flat) if points is None else points
    return ",".join([path, *map(str, box), points, str(code), "0.5", "-0.5"]) + "\n"


def write_old(root: Path) -> Path:
    """Two pictures of each code to train, one to validate; the list to validate lacks a header."""
    (root / "Manually_Annotated_file_lists").mkdir(parents=True)
    for name, n, header in (("training", 2, HEADER + "\n"), ("validation", 1, "")):
        rows = [(f"{i}/{name}{code}.jpg", code) for i in range(n) for code in range(11)]
        for seed, (path, _) in enumerate(rows):
            file = root / "Manually_Annotated_Images" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), face(seed))
        table = root / "Manually_Annotated_file_lists" / f"{name}.csv"
        table.write_text(header + "".join(line(*r) for r in rows))
    return root


def write_new(root: Path) -> Path:
    for name, n in (("train_set", 2), ("val_set", 1)):
        for folder in ("images", "annotations"):
            (root / name / folder).mkdir(parents=True)
        for i in range(n * 9):
            cv2.imwrite(str(root / name / "images" / f"{i}.jpg"), face(i))
            write_code(root, i, i % 9, name)
            np.save(root / name / "annotations" / f"{i}_lnd.npy", POINTS.ravel())
    return root


def write_code(root: Path, i: int, code: object, name: str = "train_set") -> Path:
    path = root / name / "annotations" / f"{i}_exp.npy"
    np.save(path, np.array(code, dtype=None if not isinstance(code, dict) else object))
    return path


WRITERS = {"old": write_old, "new": write_new}


@pytest.fixture
def old(tmp_path) -> Path:
    return write_old(tmp_path / "affectnet")


@pytest.fixture
def new(tmp_path) -> Path:
    return write_new(tmp_path / "affectnet")


def training(root: Path) -> Path:
    return root / "Manually_Annotated_file_lists" / "training.csv"


class TestOld(ReaderTests):
    dataset = "affectnet"

    @pytest.fixture(autouse=True)
    def data(self, old):
        self.root = old

    def read(self, split):
        return read_affectnet(self.root, split)


class TestNew(ReaderTests):
    dataset = "affectnet"

    @pytest.fixture(autouse=True)
    def data(self, new):
        self.root = new

    def read(self, split):
        return read_affectnet(self.root, split)


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize(("split", "n"), [("train", 2), ("valid", 1)])
def test_codes(tmp_path, layout, split, n):
    faces = read_affectnet(WRITERS[layout](tmp_path / "a"), split)
    assert set(faces.per_class().values()) == {n} and len(faces.classes) == 8
    for sample in faces.samples:
        number = int("".join(c for c in Path(sample.source).stem if c.isdigit()))
        assert sample.expression == CODES[number % 9 if layout == "new" else number]
    left_out = {"none": n} if layout == "new" else {"none": n, "uncertain": n, "no face": n}
    assert (faces.options["layout"], faces.options["left_out"]) == (layout, left_out)


@pytest.mark.parametrize("layout", WRITERS)
def test_seven_classes_leave_contempt_out(tmp_path, layout):
    faces = read_affectnet(WRITERS[layout](tmp_path / "a"), classes=7)
    assert "contempt" not in faces.classes and len(faces) == 14 and faces.options["left_out"]["contempt"] == 2


@pytest.mark.parametrize("layout", WRITERS)
def test_so_many_of_each_class(tmp_path, layout):
    root = WRITERS[layout](tmp_path / "a")
    drawn = [{s.source for s in read_affectnet(root, per_class=1, seed=seed).samples} for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1] and len(set(map(frozenset, drawn))) > 1
    assert set(read_affectnet(root, per_class=1).per_class().values()) == {1}
    assert read_affectnet(root, per_class=3500).per_class() == read_affectnet(root).per_class()
    seven = {s.source for s in read_affectnet(root, per_class=1, classes=7).samples}
    assert seven == {s.source for s in read_affectnet(root, per_class=1).samples if s.expression != "contempt"}


def test_crop_and_landmarks_go_together(old):
    whole, tight, roomy = (read_affectnet(old, crop=crop).samples[0] for crop in (None, 0, 0.5))
    np.testing.assert_allclose(whole.landmarks(), five_of_68(POINTS), atol=1e-4)
    np.testing.assert_allclose(tight.landmarks(), five_of_68(POINTS) - (10, 20), atol=1e-4)
    np.testing.assert_allclose(roomy.landmarks(), five_of_68(POINTS), atol=1e-4)  # clipped at the picture's edge
    picture = whole.picture()
    assert picture.shape == (80, 70, 3)
    np.testing.assert_array_equal(tight.picture(), picture[20:60, 10:50])
    np.testing.assert_array_equal(roomy.picture(), picture[0:80, 0:70])


def test_no_box_and_no_landmarks(old):
    training(old).write_text(HEADER + "\n" + line("0/training1.jpg", 1, ["NULL"] * 4, "NULL"))
    sample = read_affectnet(old).samples[0]
    assert sample.landmarks is None and sample.picture().shape == (80, 70, 3)


def test_landmarks_of_the_new_layout(new):
    np.testing.assert_allclose(read_affectnet(new).samples[0].landmarks(), five_of_68(POINTS), atol=1e-4)
    (new / "train_set" / "annotations" / "0_lnd.npy").unlink()
    assert read_affectnet(new).samples[0].landmarks is None
    np.save(new / "train_set" / "annotations" / "1_lnd.npy", POINTS[:5])
    sample = next(s for s in read_affectnet(new).samples if s.source.endswith("/1.jpg"))
    with pytest.raises(InputError, match="1_lnd.npy: expected 68 landmarks, found 10 numbers"):
        sample.landmarks()


@pytest.mark.parametrize("code", ["1", 1, 1.0, [1], np.int64(1), "1.0"])
def test_codes_as_text_and_numbers(new, code):
    write_code(new, 0, code)
    assert read_affectnet(new).per_class()["happiness"] == 3


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (11, r"0_exp\.npy: unknown code 11, known are 0 neutral, 1 happiness"),
        (-1, "unknown code -1"),
        ("happy", r"0_exp\.npy: expected one number, found \['happy'\]"),
        ([1, 2], r"expected one number, found \[1, 2\]"),
        ({"code": 1}, r"0_exp\.npy: no plain NumPy array .*pickle"),
    ],
)
def test_odd_code_files(new, code, message):
    write_code(new, 0, code)
    with pytest.raises(InputError, match=message):
        read_affectnet(new)


def test_truncated_code_file(new):
    path = write_code(new, 0, 1)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"0_exp\.npy: no plain NumPy array"):
        read_affectnet(new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line("0/training1.jpg", 11), r"training\.csv, line 24: unknown code '11', known are 0 neutral"),
        (line("0/training1.jpg", "0.5"), "line 24: unknown code '0.5'"),  # valence in the column of the expression
        (line("0/training1.jpg", 1)[:-6] + "\n", "line 24: expected 9 columns .*, got 8"),
        (line("0/training1.jpg", 1, points="1;2;3"), "line 24: expected 68 landmarks.*'1;2;3' .3 numbers"),
        (line("0/training1.jpg", 1, (1, 2, 0, 4)), "line 24: face_x.* are 1, 2, 0, 4, no box"),
    ],
)
def test_wrong_line(old, text, message):
    with open(training(old), "a") as file:
        file.write(text)
    with pytest.raises(InputError, match=message):
        read_affectnet(old)


def test_blank_lines_at_the_end_are_no_pictures(old):
    n = len(read_affectnet(old).samples)
    with open(training(old), "a") as file:
        file.write("\n \n,,,,,,,,\n")
    assert len(read_affectnet(old).samples) == n


def test_missing_column(old):
    training(old).write_text(training(old).read_text().replace("facial_landmarks", "points"))
    with pytest.raises(InputError, match=r"training\.csv: no column facial_landmarks"):
        read_affectnet(old)


def test_missing_pictures_are_listed(tmp_path):
    old, new = write_old(tmp_path / "old"), write_new(tmp_path / "new")
    (old / "Manually_Annotated_Images" / "1" / "training3.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of the 16 files for .*training\.csv are missing \(1/training3\.jpg\)"):
        read_affectnet(old)
    (new / "train_set" / "images" / "4.jpg").unlink()
    with pytest.raises(InputError, match=r"images: 1 of the 18 .*missing \(4\). Unpack the pictures"):
        read_affectnet(new)
    (new / "val_set" / "annotations" / "2_exp.npy").unlink()
    with pytest.raises(InputError, match=r"annotations: 1 of the 9 files for .*images are missing \(2_exp\.npy\)\. Un"):
        read_affectnet(new, "valid")


def test_files_in_another_case(old):
    folder = old / "Manually_Annotated_Images" / "0"
    (folder / "training1.jpg").rename(folder / "training1.JPG")
    faces = read_affectnet(old)
    assert len(faces) == 16 and any(s.source == str(folder / "training1.JPG") for s in faces.samples)
    assert all(s.picture().size for s in faces.samples)


def test_files_that_differ_in_case_alone_are_two(old):
    folder = old / "Manually_Annotated_Images" / "0"
    if (folder / "training1.JPG").exists():
        pytest.skip("this disk does not tell case apart")
    (folder / "training2.jpg").rename(folder / "training1.JPG")
    training(old).write_text(training(old).read_text().replace("0/training2.jpg", "0/training1.JPG"))
    faces = {Path(s.source).name: s.expression for s in read_affectnet(old).samples if "/0/" in s.source}
    assert (faces["training1.jpg"], faces["training1.JPG"]) == ("happiness", "sadness")


@pytest.mark.parametrize("option", [{"classes": 6}, {"per_class": 0}, {"crop": -1}])
def test_bad_options(old, option):
    with pytest.raises(InputError, match="give|choose one of 7, 8"):
        read_affectnet(old, **option)


@pytest.mark.parametrize("layout", WRITERS)
def test_wrong_root(tmp_path, layout):
    def refusal(path: Path, split: str = "train") -> str:
        with pytest.raises(InputError) as caught:
            read_affectnet(path, split)
        return str(caught.value)

    root = WRITERS[layout](tmp_path / "up" / "affectnet")
    assert refusal(root.parent) == f"{root.parent} is one level too high: give {root}."
    for low in root.iterdir():
        assert refusal(low) == f"{low} is one level too low: give {root}."
    lists, images = ("Manually_Annotated_file_lists/training.csv", "Manually_Annotated_Images")
    if layout == "new":
        lists, images = "train_set/annotations", "train_set/images"
        assert refusal(root / images) == f"{root / images} is two levels too low: give {root}."
    (root / images).rename(tmp_path / "images")
    assert refusal(root).startswith(f"{root / images} is missing: unpack")
    (tmp_path / "images").rename(root / images)
    (root / lists).rename(tmp_path / "lists")
    assert refusal(root).startswith(f"{root / lists} is missing: unpack")
    assert "is this AffectNet" in refusal(tmp_path / "lists" if layout == "new" else root / images / "0")
