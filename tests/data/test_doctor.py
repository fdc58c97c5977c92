"""Tests of the doctor: what it finds, and that it finds nothing in what is sound."""

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmpn_timm import cli
from fmpn_timm.data import published, readers
from fmpn_timm.data.doctor import examine, lines
from fmpn_timm.data.prepare import prepare_faces
from fmpn_timm.data.published import PUBLISHED, Published
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from tests.data.readers.base import write_picture


@pytest.fixture
def root(tmp_path) -> Path:
    """An image folder of two splits and four subjects, sound."""
    rows = [("train/happy/a.png", "ann"), ("train/neutral/b.png", "ann"), ("train/happy/c.png", "ben"),
            ("test/happy/d.png", "cat"), ("test/neutral/e.png", "dan")]
    root = tmp_path / "faces"
    for seed, (name, _) in enumerate(rows):
        write_picture(root / name, seed)
    write_subjects(root, rows)
    return root


def write_subjects(root: Path, rows: list[tuple[str, str]]) -> None:
    with open(root / "subjects.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image", "subject"), *rows])


def found(root: Path, **options) -> list[dict]:
    return examine("folder", root, **options)["problems"]


def test_sound(root):
    report = examine("folder", root)
    assert report["sound"] and report["problems"] == [] and report["notes"] == []
    assert (report["dataset"], report["samples"], report["subjects"]) == ("folder", 5, 4)
    assert report["per_class"] == {"neutral": 2, "happiness": 3}
    assert {s: part["samples"] for s, part in report["splits"].items()} == {"test": 2, "train": 3}
    assert json.loads(json.dumps(report)) == report


def test_nobody_has_a_name(root):
    (root / "subjects.csv").unlink()
    report = examine("folder", root)
    assert report["sound"] and report["subjects"] is None
    (note,) = report["notes"]
    assert note["path"] == str(root / "subjects.csv") and "a subject of its own" in note["what"]


def test_class_folders_without_splits(root):
    (root / "subjects.csv").unlink()
    report = examine("folder", root / "train")
    assert report["sound"] and list(report["splits"]) == ["all"]


@pytest.mark.parametrize("decode", [True, False])
def test_empty_picture(root, decode):
    (root / "train/happy/a.png").write_bytes(b"")
    [problem] = found(root, decode=decode)
    assert problem["path"].endswith("train/happy/a.png") and "empty" in problem["what"]


def test_broken_picture_is_found_by_decoding(root):
    path = root / "train/happy/a.png"
    path.write_bytes(path.read_bytes()[:100])
    [problem] = found(root)
    assert problem["path"] == str(path) and problem["what"] == "broken picture (100 bytes)"
    assert problem["mend"] == "Fetch it again, or leave it out."
    assert found(root, decode=False) == []


def test_each_broken_picture_is_listed(root):
    for name in ("a", "c"):
        (root / f"train/happy/{name}.png").write_text("no picture")
    assert [p["path"][-5:] for p in found(root, threads=2)] == ["a.png", "c.png"]


def test_one_colour(root):
    Image.fromarray(np.full((12, 12, 3), 7, np.uint8)).save(root / "train/happy/a.png")
    [problem] = found(root)
    assert problem["path"].endswith("a.png") and problem["what"].startswith("1 picture(s) of one colour")


def test_strays_are_one_problem_a_kind(root):
    for folder in ("train", "test/happy", "."):
        (root / folder / ".DS_Store").write_bytes(b"\0")
    (root / "train/happy/._a.png").write_bytes(b"\0")
    (root / "test/Thumbs.db").write_bytes(b"\0")
    (root / "train/happy/.ipynb_checkpoints").mkdir()
    write_picture(root / "train/happy/.ipynb_checkpoints/a-checkpoint.png")
    problems = {p["what"]: p for p in found(root)}
    assert [w.split(",")[0] for w in problems] == [
        "3 stray .DS_Store", "1 stray .ipynb_checkpoints", "1 stray AppleDouble file (._*)", "1 stray Thumbs.db",
    ]
    first = problems["3 stray .DS_Store, this is the first"]
    assert len(first["paths"]) == 3 and first["path"].endswith(".DS_Store") and first["mend"] == "Delete them."


def test_subject_on_both_sides(root):
    write_subjects(root, [("train/happy/a.png", "ann"), ("train/neutral/b.png", "ann"), ("train/happy/c.png", "ben"),
                          ("test/happy/d.png", "ann"), ("test/neutral/e.png", "dan")])
    [problem] = found(root)
    assert problem["what"] == "1 subject(s) are in test and in train (ann)"
    assert "one split" in problem["mend"]


def test_picture_without_a_subject(root):
    write_subjects(root, [("train/happy/a.png", "ann"), ("test/happy/d.png", "cat")])
    [problem] = found(root)
    assert problem["what"].startswith("3 of 5 samples have no subject") and len(problem["paths"]) == 3


@pytest.mark.parametrize("decode", [True, False])
def test_same_file_in_two_splits(root, decode):
    (root / "test/happy/d.png").write_bytes((root / "train/happy/a.png").read_bytes())
    [problem] = found(root, decode=decode)
    assert "1 picture(s) of train are in test too" in problem["what"] and "d.png" in problem["what"]


def test_every_copy_in_another_split_is_listed(root):
    for name in ("a.png", "c.png"):
        (root / "train/happy" / name).write_bytes((root / "test/happy/d.png").read_bytes())
    [problem] = found(root)
    assert "2 picture(s) of train are in test too" in problem["what"]
    assert [Path(path).name for path in problem["paths"]] == ["a.png", "c.png"]


def test_copies_within_a_split_are_a_note(root):
    (root / "train/happy/c.png").write_bytes((root / "train/happy/a.png").read_bytes())
    (root / "train/neutral/b.png").write_bytes((root / "train/happy/a.png").read_bytes())
    report = examine("folder", root)
    assert report["sound"] and len(report["notes"]) == 1
    assert report["notes"][0]["what"].endswith("1 of them have more than one label")
    assert any(line.startswith("note: ") for line in lines(report))


def test_unknown_class_is_parted_into_path_what_and_mend(root):
    (root / "train" / "dreaming").mkdir()
    problem = found(root, splits=["train"])[0]
    assert problem["path"] == str(root / "train" / "dreaming")
    assert problem["what"] == "Unknown expression 'dreaming'" and problem["mend"].startswith("Use one of neutral")


def test_files_of_a_class_that_are_not_read_are_named(root):
    (root / "train" / "happy" / "a.psd").touch()
    [problem] = found(root)
    assert problem["path"] == str(root / "train" / "happy" / "a.psd") and "is not read as a picture" in problem["what"]


def test_pictures_in_no_class_folder_are_named(root):
    """Such as those of a split whose class folders go by numbers; a prepared set's contact sheet is its own."""
    (root / "subjects.csv").unlink()
    (root / "train/happy").rename(root / "train/1")
    (root / "train/neutral").rename(root / "train/0")
    write_picture(root / "test/loose.JPG")
    write_picture(root / "prepared/train.png")
    (root / "prepared/prepared.json").write_text("{}")
    (problem,) = found(root)
    assert problem["path"] == str(root / "test/loose.JPG") and problem["what"].startswith("4 picture(s) in no class")
    assert not found(root, splits=["test"])


def test_a_linked_folder_in_a_class_is_named(root):
    (root.parent / "more").mkdir()
    (root / "train/happy/more").symlink_to(root.parent / "more")
    (problem,) = found(root)
    assert problem["path"] == str(root / "train/happy/more") and "not looked into" in problem["what"]


def test_root_that_is_no_folder(tmp_path):
    [problem] = found(tmp_path / "gone")
    assert (problem["path"], problem["what"]) == (str(tmp_path / "gone"), "is not a folder")


def test_unknown_data_set_and_no_root(tmp_path):
    with pytest.raises(InputError, match="Unknown data set 'ckplus2'"):
        examine("ckplus2", tmp_path)
    with pytest.raises(InputError, match="Where is folder"):
        examine("folder")


@pytest.fixture
def raf(tmp_path) -> Path:
    root = tmp_path / "rafdb"
    names = [("train_00001", 1), ("train_00002", 4), ("train_00003", 4), ("test_0001", 7)]
    for seed, (name, _) in enumerate(names):
        write_picture(root / "Image" / "aligned" / f"{name}_aligned.jpg", seed)
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("".join(f"{n}.jpg {c}\n" for n, c in names))
    return root


def test_wrong_level_is_one_problem_with_its_mend(raf):
    [problem] = examine("rafdb", raf.parent)["problems"]
    assert problem == {"path": str(raf.parent), "what": "is one level too high", "mend": f"Give {raf}."}
    [problem] = examine("rafdb", raf / "Image")["problems"]
    assert problem == {"path": str(raf / "Image"), "what": "is one level too low", "mend": f"Give {raf}."}


def test_broken_row_is_a_problem_of_the_label_file(raf):
    labels = raf / "EmoLabel" / "list_patition_label.txt"
    labels.write_text(labels.read_text() + "train_00004.jpg 9\n")
    [problem] = examine("rafdb", raf)["problems"]
    assert problem["path"] == str(labels) and problem["what"].startswith("line 5: unknown code 9")
    assert problem["mend"] == "Use RAF-DB's own list."


def test_counts_are_held_against_the_published(raf):
    problems = examine("rafdb", raf)["problems"]
    assert [p["what"].split(";")[0] for p in problems] == [
        "train has 3 samples instead of the published 12,271", "test has 1 samples instead of the published 3,068",
    ]
    assert "2 of happiness instead of 4,772" in problems[0]["what"] and "unpack" in problems[0]["mend"].lower()


def test_published_counts_are_sound(raf, monkeypatch):
    train, test = {"surprise": 1, "happiness": 2}, {"neutral": 1}
    table = (Published("rafdb", "train", 3, train), Published("rafdb", "test", 1, test))
    monkeypatch.setattr(published, "PUBLISHED", table)
    assert examine("rafdb", raf)["sound"]
    assert not examine("rafdb", raf, decode=False)["problems"]


def test_missing_split_is_a_problem_beside_the_rest(tmp_path):
    for name, n in (("FER2013Train", 2), ("FER2013Valid", 1)):
        rows = [(f"{name}{i}.png", "(0, 0, 48, 48)", 10, *[0] * 9) for i in range(n)]
        for i, row in enumerate(rows):
            write_picture(tmp_path / name / row[0], seed=n + 2 * i)
        with open(tmp_path / name / "label.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
    report = examine("ferplus", tmp_path)
    assert report["samples"] == 3 and list(report["splits"]) == ["train", "valid"]
    what = [p["what"] for p in report["problems"]]
    assert str(tmp_path / "FER2013Test" / "label.csv") in [p["path"] for p in report["problems"]]
    assert "train has 2 samples instead of the published 25,060" in what
    argmax = examine("ferplus", tmp_path, rule="argmax", decode=False)["problems"]
    assert "train has 2 samples instead of the published 28,389" in [p["what"] for p in argmax]


class TestAnyReader:
    """A reader that lists no splits, whose sources are frames and whose landmarks may be odd."""

    @pytest.fixture(autouse=True)
    def reader(self, monkeypatch):
        self.samples = [Sample(f"video:{i}", self.picture(i), "anger", f"s{i}") for i in range(3)]

        def read(root, split="everything"):
            return FaceSet("some", split, ("anger", "fear"), tuple(self.samples))

        monkeypatch.setitem(readers.READERS, "some", read)

    def picture(self, seed: int):
        return lambda: np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)

    def test_default_of_its_split_is_read(self, tmp_path):
        report = examine("some", tmp_path)
        assert list(report["splits"]) == ["everything"] and report["sound"] and report["subjects"] == 3
        assert report["per_class"] == {"anger": 3, "fear": 0}

    def test_equal_frames_are_found(self, tmp_path):
        self.samples.append(Sample("video:again", self.picture(0), "fear", "s0"))
        assert len(examine("some", tmp_path)["notes"]) == 1
        assert not examine("some", tmp_path, decode=False)["notes"]

    @pytest.mark.parametrize(("points", "odd"), [(4.0, False), (-3.0, False), (13.0, True), (np.nan, True)])
    def test_landmarks_far_outside(self, tmp_path, points, odd):
        given = Sample("video:5", self.picture(5), "fear", "s5", landmarks=lambda: np.full((5, 2), points))
        self.samples.append(given)
        problems = examine("some", tmp_path)["problems"]
        assert [p["path"] for p in problems] == (["video:5"] if odd else [])

    def test_whatever_a_decoder_throws_is_a_finding(self, tmp_path):
        def picture():
            raise RuntimeError("no such codec")

        self.samples.append(Sample("video:6", picture, "fear", "s6"))
        [problem] = examine("some", tmp_path)["problems"]
        assert problem["what"] == "cannot be read (RuntimeError: no such codec)" and problem["path"] == "video:6"

    def test_one_picture_listed_twice(self, tmp_path):
        self.samples.append(Sample("video:1", self.picture(1), "fear", "s1"))
        [problem] = examine("some", tmp_path)["problems"]
        assert problem["path"] == "video:1" and "listed twice" in problem["what"]

    def test_swapped_codes(self, tmp_path, monkeypatch):
        monkeypatch.setattr(published, "PUBLISHED", (Published("some", "everything", 3, {"anger": 0, "fear": 3}),))
        [problem] = examine("some", tmp_path)["problems"]
        assert "swapped: anger has the 3 of fear" in problem["what"]

    def test_subjects_are_counted(self, tmp_path, monkeypatch):
        monkeypatch.setattr(published, "PUBLISHED", (Published("some", "everything", subjects=5),))
        [problem] = examine("some", tmp_path)["problems"]
        assert problem["what"] == "everything has 3 subjects instead of 5"

    def test_a_reader_that_stumbles_is_a_problem(self, tmp_path, monkeypatch):
        def read(root, split="all"):
            return (Path(root) / "labels.txt").read_text()

        monkeypatch.setitem(readers.READERS, "some", read)
        [problem] = examine("some", tmp_path)["problems"]
        assert (problem["path"], problem["what"]) == (str(tmp_path / "labels.txt"), "No such file or directory")


def test_a_damaged_prepared_set(tmp_path):
    (tmp_path / "prepared.json").write_text('{"dataset": "ck')
    problem, = examine("prepared", tmp_path)["problems"]
    assert "prepared.json" in problem["path"] and "damaged" in problem["what"]


def test_a_prepared_set_may_lack_faces_that_were_not_found(root, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(published, "PUBLISHED", (Published("folder", "train", samples=100),))
    assert "100" in found(root, splits=["train"])[0]["what"]
    prepare_faces(read_faces("folder", root, "train"), tmp_path / "out", progress=False)
    assert examine("prepared", tmp_path / "out")["sound"]


def test_several_faces_of_a_picture_are_no_picture_listed_twice(root, tmp_path):
    pytest.importorskip("pyarrow")
    faces = read_faces("folder", root, "train")
    twice = replace(faces, samples=faces.samples + faces.samples[:1])
    prepare_faces(twice, tmp_path / "out", progress=False)
    assert not any("listed twice" in problem["what"] for problem in examine("prepared", tmp_path / "out")["problems"])


def test_empty_class_folders(root):
    (root / "train/fear").mkdir()
    (folder,) = found(root)
    assert folder["path"] == str(root / "train/fear") and folder["what"] == "holds no picture"


def test_subjects_of_pictures_that_are_not_there(root):
    with open(root / "subjects.csv", "a", newline="") as file:
        csv.writer(file).writerow(("train/happy/gone.png", "x"))
    (line,) = found(root)
    assert line["path"] == str(root / "subjects.csv") and "train/happy/gone.png" in line["what"]


@pytest.mark.parametrize("option", ["split=train", "decode=false", "colour=red"])
def test_options_that_no_reader_takes(option, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["data", "doctor", "drawn", "--option", option])
    assert option.split("=")[0] in f"{exit.value.code} {capsys.readouterr().out}"


def test_published_table():
    """Sums that the publications give beside their parts."""
    sizes = {(p.dataset, p.split, *p.options.values()): p.samples for p in PUBLISHED if "levels" not in p.options}
    assert sizes["affectnet", "train", 8, None] == 287651 and sizes["affectnet", "train", 7, None] == 283901
    assert [sizes["fer2013", s] for s in ("train", "valid", "test")] == [28709, 3589, 3589]
    assert [sizes["rafdb", s] for s in ("train", "test")] == [12271, 3068]
    assert [sizes["sfew", s] for s in ("train", "valid")] == [958, 436]
    assert (sizes["ckplus", "all", 7, 3], sizes["jaffe", "all", 7], sizes["oulu_casia", "all", 3]) == (981, 213, 1440)
    assert max(Counter((p.dataset, p.split, str(p.options), p.samples) for p in PUBLISHED).values()) == 1


def test_command(root, capsys):
    cli.main(["data", "doctor", "folder", str(root), "--json"])
    assert json.loads(capsys.readouterr().out)["sound"]
    (root / "train/happy/.DS_Store").touch()
    with pytest.raises(SystemExit) as exit:
        cli.main(["data", "doctor", "folder", str(root), "--quick"])
    assert exit.value.code == 1
    out = capsys.readouterr().out.splitlines()
    assert "5 samples (test 2, train 3), 4 subjects; 1 problem" in out[0]
    assert out[-1] == f"{root / 'train/happy/.DS_Store'}: 1 stray .DS_Store. Delete it."
    with pytest.raises(SystemExit) as exit:
        cli.main(["data", "doctor", "rafdb", str(root), "--json", "--option", "pictures=original"])
    assert exit.value.code == 1 and json.loads(capsys.readouterr().out)["problems"]
