"""Tests of the image folder reader."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from fmpn_timm.data.readers.image_folder import read_image_folder
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests, write_picture


@pytest.fixture
def root(tmp_path) -> Path:
    """Three splits, of which no one has every class; their folders go by other names of the classes."""
    for seed, name in enumerate(
        ("train/happy/b.png", "train/happy/a.png", "train/Angry/c.png", "train/neutral/d.png", "valid/happiness/e.png",
         "valid/FE/f.png", "test/su/g.png")
    ):
        write_picture(tmp_path / "faces" / name, seed)
    return tmp_path / "faces"


class TestSplitFolders(ReaderTests):
    dataset = "folder"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_image_folder(self.root, split)


class TestClassFolders(ReaderTests):
    dataset = "folder"
    split = "all"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root / "train"

    def read(self, split):
        return read_image_folder(self.root, split)


def names(faces, root: Path) -> list[str]:
    return [Path(s.source).relative_to(root).as_posix() for s in faces.samples]


def test_pictures_are_those_of_the_folders(root):
    faces = read_image_folder(root, "train")
    assert names(faces, root / "train") == ["Angry/c.png", "happy/a.png", "happy/b.png", "neutral/d.png"]
    assert [s.expression for s in faces.samples] == ["anger", "happiness", "happiness", "neutral"]
    np.testing.assert_array_equal(faces.samples[1].picture(), write_picture(root.parent / "again.png", seed=1))


def test_classes_are_the_same_in_every_split(root):
    classes = {read_image_folder(root, split).classes for split in ("train", "valid", "test")}
    assert classes == {("neutral", "happiness", "surprise", "anger", "fear")}


@pytest.mark.parametrize("split", [None, "all"])
def test_class_folders_under_the_root(root, split):
    faces = read_image_folder(root / "train", split)
    assert faces.classes == ("neutral", "happiness", "anger")
    assert (faces.split, len(faces)) == ("all", 4)


def test_two_folders_of_one_class(tmp_path):
    write_picture(tmp_path / "Happy" / "a.png")
    write_picture(tmp_path / "happiness" / "a.png")
    faces = read_image_folder(tmp_path)
    assert faces.classes == ("happiness",) and len(faces) == 2


def test_extensions_in_any_case_and_depth(tmp_path):
    for name in ("a.PNG", "b.JPG", "c.jpeg", "d.Bmp", "e.TIFF", "deep/er/f.png"):
        write_picture(tmp_path / "sad" / name)
    (tmp_path / "sad" / "notes.txt").write_text("no picture")
    (tmp_path / "README.md").write_text("no class")
    assert len(read_image_folder(tmp_path)) == 6


def test_hidden_files_and_folders_are_skipped(root):
    write_picture(root / "train" / "happy" / ".thumbnail.png")
    write_picture(root / "train" / "happy" / ".ipynb_checkpoints" / "a-checkpoint.png")
    write_picture(root / "train" / ".cache" / "x.png")
    write_picture(root / ".git" / "x" / "x.png")
    (root / "train" / "happy" / ".DS_Store").write_bytes(b"\0")
    (root / "train" / "happy" / "._a.png").write_bytes(b"\0")
    assert len(read_image_folder(root, "train")) == 4


def test_a_hidden_folder_above_the_root_is_no_matter(tmp_path):
    write_picture(tmp_path / ".data" / "faces" / "happy" / "a.png")
    assert len(read_image_folder(tmp_path / ".data" / "faces")) == 1


def test_subjects_are_read(root):
    (root / "subjects.csv").write_text("subject,image\nAnna,train/happy/a.png\nBen,valid/FE/f.png\n")
    train = {Path(s.source).name: s.subject for s in read_image_folder(root, "train").samples}
    assert train == {"a.png": "Anna", "b.png": None, "c.png": None, "d.png": None}
    valid = {Path(s.source).name: s.subject for s in read_image_folder(root, "valid").samples}
    assert valid == {"f.png": "Ben", "e.png": None}


def test_subjects_saved_by_a_spreadsheet(root):
    (root / "subjects.csv").write_text("image,subject\r\ntrain/happy/a.png,Zoë\r\n", encoding="utf-8-sig", newline="")
    assert {s.subject for s in read_image_folder(root, "train").samples} == {"Zoë", None}


def test_spaces_around_a_subject_are_not_of_its_name(root):
    (root / "subjects.csv").write_text("image,subject\ntrain/happy/a.png,Zoë\n train/happy/b.png, Zoë\n")
    known = [s.subject for s in read_image_folder(root, "train").samples if s.subject]
    assert known and set(known) == {"Zoë"}


def test_without_subjects_nobody_is_known(root):
    assert {s.subject for s in read_image_folder(root, "train").samples} == {None}


@pytest.mark.parametrize(
    ("text", "found"), [("file,person\na.png,1\n", "file, person"), ("image\na.png\n", "image"), ("", "")]
)
def test_bad_columns_of_subjects_are_reported(root, text, found):
    (root / "subjects.csv").write_text(text)
    with pytest.raises(InputError, match=rf"subjects\.csv: expected the columns image, subject, found {found}\."):
        read_image_folder(root, "train")


def test_unknown_class_is_named(root):
    write_picture(root / "train" / "bored" / "a.png")
    with pytest.raises(InputError, match=r"train/bored: Unknown expression 'bored': use one of neutral") as caught:
        read_image_folder(root, "train")
    assert "split" not in str(caught.value)


def test_a_class_that_is_misspelt_is_named_before_its_subjects(root):
    (root / "subjects.csv").write_text("image,subject\ntrain/happy/a.png,ann\n")
    (root / "train/happy").rename(root / "train/hapy")
    with pytest.raises(InputError, match="train/hapy: Unknown expression"):
        read_image_folder(root, "train")


def test_unknown_class_of_another_split_is_named(root):
    write_picture(root / "valid" / "bored" / "a.png")
    with pytest.raises(InputError, match=r"valid/bored: Unknown expression 'bored'"):
        read_image_folder(root, "train")


def test_splits_taken_for_classes(root):
    with pytest.raises(InputError, match=r"expression 'test'.*a split, name it: its folders are su\. For folds"):
        read_image_folder(root)


def test_splits_of_classes_by_other_names(root):
    (root / "test/su").rename(root / "test/2")
    with pytest.raises(InputError, match=r"test: Unknown .* If it is a split, name its folders so: they are 2\.$"):
        read_image_folder(root)


def test_class_taken_for_a_split_lists_the_folders(root):
    with pytest.raises(InputError, match=r"train is not a folder.*holds: Angry, happy, neutral"):
        read_image_folder(root / "train", "train")


def test_no_such_root(tmp_path):
    with pytest.raises(InputError, match=r"gone is not a folder\.$"):
        read_image_folder(tmp_path / "gone")


@pytest.mark.parametrize("inside", [(), ("happy",), ("happy", "sad")])
def test_no_picture(tmp_path, inside):
    for name in inside:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"holds no picture in a class folder: expected .*/<expression>/\*\.png"):
        read_image_folder(tmp_path)


def test_pictures_right_under_the_root(tmp_path):
    write_picture(tmp_path / "a.png")
    with pytest.raises(InputError, match="holds no picture in a class folder"):
        read_image_folder(tmp_path)


@pytest.mark.parametrize("kept", [0, 60])
def test_broken_picture_is_named(root, kept):
    path = root / "train" / "happy" / "a.png"
    path.write_bytes(path.read_bytes()[:kept])
    sample = next(s for s in read_image_folder(root, "train").samples if s.source == str(path))
    with pytest.raises(InputError, match=rf"happy/a\.png: broken picture \({kept} bytes\)"):
        sample.picture()


def test_subjects_of_pictures_that_are_not_there_are_refused(root):
    absolute = (root / "train/happy/a.png").as_posix()
    for gone in ("elsewhere/a.png", "happy/a.png", absolute):
        (root / "subjects.csv").write_text(f"image,subject\n{gone},ann\ntrain/happy/b.png,ben\n,\n")
        with pytest.raises(InputError, match=rf"csv: 1 of its \d lines name no picture .* first {gone}\. Give"):
            read_image_folder(root, "test")


def test_subjects_of_another_split_alone(root):
    (root / "subjects.csv").write_text("image,subject\ntrain/happy/a.png,ann\n")
    assert {s.subject for s in read_image_folder(root, "test").samples} == {None}


def test_other_ways_to_write_a_path(root):
    (root / "subjects.csv").write_text("image, subject\n./train/happy/a.png,ann\ntrain\\happy\\b.png,ben\n")
    assert [s.subject for s in read_image_folder(root, "train").samples] == [None, "ann", "ben", None]


@pytest.mark.parametrize(("disk", "table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_letters_in_two_parts_are_the_same_letters(root, disk, table):
    """As macOS and its archives hold them, and spreadsheets do not."""
    on_disk, name = (unicodedata.normalize(form, "jörg") for form in (disk, table))
    write_picture(root / "train" / "happy" / f"{on_disk}.png")
    (root / "subjects.csv").write_text(f"image,subject\ntrain/happy/{name}.png,{name}\ntrain/happy/a.png,{on_disk}\n")
    assert [s.subject for s in read_image_folder(root, "train").samples if s.subject] == ["jörg", "jörg"]
    (root / "subjects.csv").write_text(f"image,subject\ntrain/happy/{name}2.png,{name}\n")
    with pytest.raises(InputError, match="1 of its 1 lines name no picture"):
        read_image_folder(root, "train")


def test_a_folder_is_no_picture(root):
    (root / "train/happy/Zoë").mkdir()
    (root / "subjects.csv").write_text("image,subject\ntrain/happy/Zoë,ann\n")
    with pytest.raises(InputError, match="1 of its 1 lines name no picture that is there, first train/happy/Zoë"):
        read_image_folder(root, "train")


def test_an_empty_subject_is_nobody(root):
    (root / "subjects.csv").write_text("image,subject\ntrain/happy/a.png,\ntrain/happy/b.png,ann\n")
    subjects = [s.subject for s in read_image_folder(root, "train").samples]
    assert subjects == [None, None, "ann", None]


def test_an_empty_class_folder_is_no_class(root):
    classes = read_image_folder(root, "train").classes
    (root / "train/contempt").mkdir()
    write_picture(root / "test/sadness/.hidden.png")
    assert read_image_folder(root, "train").classes == read_image_folder(root, "test").classes == classes


def test_other_folders_beside_the_splits_are_left_alone(root):
    """A prepared set, or what an archive leaves behind, is no split."""
    classes = read_image_folder(root, "train").classes
    (root / "prep/data").mkdir(parents=True)
    (root / "__MACOSX/train/happy").mkdir(parents=True)
    assert read_image_folder(root, "train").classes == classes


def test_a_split_of_a_folder_without_splits(root):
    with pytest.raises(InputError, match=r"holds: .*It has no splits: read all of it \(split all\)"):
        read_image_folder(root / "train", "train")


def test_bad_lines_of_subjects_are_reported(root):
    (root / "subjects.csv").write_text("image,subject\na.png,A\n./a.png,B\n")
    with pytest.raises(InputError, match=r"subjects.csv: a.png has two subjects"):
        read_image_folder(root, "train")
    (root / "subjects.csv").write_bytes("image,subject\na.png,M\xfcller\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"subjects.csv is not in UTF-8 .*Save it so"):
        read_image_folder(root, "train")
