"""Tests of prepared sets: written once, resumed, read back by us and by `datasets`."""

import csv
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmpn_timm.data import prepare
from fmpn_timm.data.folds import find_folds
from fmpn_timm.data.prepare import prepare_faces
from fmpn_timm.data.protocols import get_protocol
from fmpn_timm.data.readers import prepared, read_faces
from fmpn_timm.data.readers.drawn import read_drawn
from fmpn_timm.data.samples import FaceSet, Sample, read_picture
from fmpn_timm.errors import InputError
from fmpn_timm.faces import REFERENCE_LANDMARKS, Recipe
from tests.data.readers.base import write_picture

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

CLASSES = ("happiness", "anger")


@pytest.fixture(scope="module")
def drawn() -> FaceSet:
    return read_drawn(None, "train", subjects=5, takes=1, size=24)


@pytest.fixture
def folder(tmp_path) -> FaceSet:
    """Five pictures in files, of two subjects, the fourth broken, and a neutral reference."""
    rng = np.random.default_rng(0)
    root = tmp_path / "raw"
    root.mkdir()

    def sample(i: int, expression: str) -> Sample:
        path = root / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
        votes = (0.75, 0.25) if i == 0 else None
        return Sample(str(path), FromFile(str(path)), expression, f"s{i % 2}", "a", i, votes)

    samples = tuple(sample(i, CLASSES[i % 2]) for i in range(5))
    (root / "3.png").write_bytes(b"")
    return FaceSet("ckplus", "all", CLASSES, samples, {"frames": 3}, neutral=(sample(9, "neutral"),))


@dataclass(frozen=True)
class FromFile:
    path: str

    def __call__(self) -> np.ndarray:
        return read_picture(self.path)


@dataclass(frozen=True)
class FoundFace:
    image: np.ndarray
    box: np.ndarray
    landmarks: np.ndarray
    score: float


class Found(list):
    reason = ""


@dataclass(frozen=True)
class FakeAligner:
    """Finds a face that fills the picture, but none in picture 2."""

    recipe: Recipe
    policy: str = "largest"
    missing: str = "skip"
    given: bool = False

    def __call__(self, pictures, landmarks, names):
        results = []
        for picture, name in zip(pictures, names, strict=True):
            found, points = Found(), REFERENCE_LANDMARKS * len(picture)
            if name.endswith("2.png"):
                found.reason = "no face was found"
            else:
                box = np.array([0, 0, 40, 40], np.float32)
                found.append(FoundFace(self.recipe.align(picture, points), box, points, 0.9))
            results.append(found)
        return results


def test_what_was_prepared_is_read_back(drawn, tmp_path):
    entry = prepare_faces(drawn, tmp_path / "out", shard_size=7, progress=False)
    assert entry["samples"] == len(drawn) and entry["skipped"] == 0 and len(entry["shards"]) == 4
    back = read_faces("prepared", tmp_path / "out", "train")
    assert (back.dataset, back.classes, back.options) == (drawn.dataset, drawn.classes, drawn.options)
    for a, b in zip(drawn.samples, back.samples, strict=True):
        assert (a.source, a.expression, a.subject, a.sequence, a.frame) == (
            b.source, b.expression, b.subject, b.sequence, b.frame)
        np.testing.assert_array_equal(a.picture(), b.picture())
    assert (tmp_path / "out/train.png").stat().st_size > 5_000


def test_a_large_split_is_read_face_by_face(drawn, tmp_path, monkeypatch):
    """Over more than one group of rows, with the same faces as a small one, which is kept."""
    prepare_faces(drawn, tmp_path / "out", progress=False)
    kept = read_faces("prepared", tmp_path / "out", "train").samples
    monkeypatch.setattr(prepared, "KEPT", 0)
    assert len(kept) > prepare.ROW_GROUP
    for a, b in zip(kept, read_faces("prepared", tmp_path / "out", "train").samples, strict=True):
        assert (a.picture() == b.picture()).all()


def test_datasets_reads_it(drawn, tmp_path):
    datasets = pytest.importorskip("datasets")
    prepare_faces(drawn, tmp_path / "out", shard_size=10, progress=False)
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == len(drawn) and loaded.features["label"].names == list(drawn.classes)
    np.testing.assert_array_equal(np.array(loaded[3]["image"].convert("RGB")), drawn.samples[3].picture())
    streamed = datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    assert next(iter(streamed))["expression"] == drawn.samples[0].expression


def test_faces_are_aligned_and_skips_are_counted_and_listed(folder, tmp_path):
    recipe = Recipe(size=16)
    folds = {s.source: int(s.subject[1]) for s in folder.samples}
    entry = prepare_faces(folder, tmp_path / "out", FakeAligner(recipe), folds, tmp_path / "raw", progress=False)
    assert (entry["samples"], entry["references"], entry["skipped"]) == (3, 1, 2)
    assert entry["per_class"] == {"happiness": 2, "anger": 1}
    with open(tmp_path / "out/skipped.csv", newline="") as file:
        skipped = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    assert skipped.keys() == {"2.png", "3.png"} and "no face" in skipped["2.png"] and "broken" in skipped["3.png"]
    back = read_faces("prepared", tmp_path / "out", "train")
    assert back.recipe == recipe and [s.source for s in back.samples] == ["0.png", "1.png", "4.png"]
    assert back.samples[0].votes == (0.75, 0.25) and back.samples[0].picture().shape == (16, 16, 3)
    assert [s.expression for s in back.neutral] == ["neutral"]


def test_folds(folder, tmp_path):
    folds = {s.source: int(s.subject[1]) for s in folder.samples}
    prepare_faces(folder, tmp_path / "out", None, folds, progress=False)
    train, test = (read_faces("prepared", tmp_path / "out", split, fold=1) for split in ("train", "test"))
    assert {s.subject for s in train.samples} == {"s0"} and {s.subject for s in test.samples} == {"s1"}
    with pytest.raises(InputError, match="no fold 7; its folds: 0, 1"):
        read_faces("prepared", tmp_path / "out", "train", fold=7)


def test_a_stopped_run_goes_on(drawn, tmp_path, monkeypatch):
    out, write, done = tmp_path / "out", prepare._write_shard, []

    def stop_at_the_third(path, *args, **kwargs):
        if len(done) == 2:
            path.with_name(f".{path.name}.partial").write_bytes(b"half")
            raise KeyboardInterrupt
        done.append(path.name)
        return write(path, *args, **kwargs)

    monkeypatch.setattr(prepare, "_write_shard", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        prepare_faces(drawn, out, shard_size=7, progress=False)
    with pytest.raises(InputError, match="not finished"):
        read_faces("prepared", out, "train")
    times = {p: p.stat().st_mtime_ns for p in (out / "data").glob("*.parquet")}
    assert len(times) == 2
    monkeypatch.setattr(prepare, "_write_shard", write)
    prepare_faces(drawn, out, shard_size=7, progress=False)
    assert all(p.stat().st_mtime_ns == t for p, t in times.items())  # finished shards are not made again
    assert len(read_faces("prepared", out, "train")) == len(drawn)
    assert not list((out / "data").glob(".*"))


def test_other_options_do_not_mix(drawn, tmp_path):
    prepare_faces(drawn, tmp_path / "out", progress=False)
    with pytest.raises(InputError, match="prepared with other samples of split train.*new folder"):
        prepare_faces(replace(drawn, samples=drawn.samples[:-1]), tmp_path / "out", progress=False)
    with pytest.raises(InputError, match="another recipe"):
        prepare_faces(replace(drawn, recipe=Recipe()), tmp_path / "out", progress=False)
    with pytest.raises(InputError, match="prepared with other reader options of split train"):
        prepare_faces(replace(drawn, options={**drawn.options, "noise": 2}), tmp_path / "out", progress=False)


def test_two_splits_live_side_by_side(drawn, tmp_path):
    valid = read_drawn(None, "valid", subjects=5, takes=1, size=24)
    prepare_faces(drawn, tmp_path / "out", progress=False)
    prepare_faces(valid, tmp_path / "out", progress=False)
    info = json.loads((tmp_path / "out/prepared.json").read_text())
    assert info["splits"].keys() == {"train", "valid"}
    assert len(read_faces("prepared", tmp_path / "out", "valid")) == len(valid)


def test_no_face_at_all_is_an_error(folder, tmp_path):
    only = replace(folder, samples=(folder.samples[2],), neutral=())
    with pytest.raises(InputError, match="no face in any of 1 pictures.*--as-is"):
        prepare_faces(only, tmp_path / "out", FakeAligner(Recipe(size=16)), progress=False)
    assert prepare_faces(only, tmp_path / "out", progress=False)["samples"] == 1  # and other options may follow


def test_a_broken_picture_that_was_mended_is_taken(folder, tmp_path, monkeypatch):
    """In place, with the root spelled in another way, and in the list of what was skipped, which is of all splits."""
    raw = str(tmp_path / "raw")
    assert prepare_faces(folder, tmp_path / "out", root=raw, progress=False)["skipped"] == 1
    other = replace(folder, split="test", samples=folder.samples[:1], neutral=())
    assert prepare_faces(other, tmp_path / "out", root=raw, progress=False)["skipped"] == 0
    with open(tmp_path / "out/skipped.csv", newline="") as file:
        assert [row["split"] for row in csv.DictReader(file)] == ["train"]
    Image.new("RGB", (40, 40), (200, 0, 0)).save(tmp_path / "raw/3.png")
    monkeypatch.chdir(tmp_path)
    again = replace(folder, samples=tuple(replace(s, source=s.source.replace(raw, "raw")) for s in folder.samples),
                    neutral=tuple(replace(s, source=s.source.replace(raw, "raw")) for s in folder.neutral))
    entry = prepare_faces(again, tmp_path / "out", root="./raw", progress=False)
    assert (entry["samples"], entry["skipped"]) == (5, 0)


@pytest.mark.parametrize("limit", ["BATCH", "BATCH_BYTES"])
def test_few_pictures_at_a_time_give_the_same(folder, tmp_path, monkeypatch, limit):
    aligner = FakeAligner(Recipe(size=16))
    prepare_faces(folder, tmp_path / "together", aligner, progress=False)
    monkeypatch.setattr(prepare, limit, 1)
    prepare_faces(folder, tmp_path / "apart", aligner, progress=False)
    together, apart = (read_faces("prepared", tmp_path / name, "train").samples for name in ("together", "apart"))
    assert [s.source for s in together] == [s.source for s in apart]
    assert all((a.picture() == b.picture()).all() for a, b in zip(together, apart, strict=True))


def test_landmarks_that_nobody_asks_for_may_be_broken(folder, tmp_path):
    def broken():
        raise InputError("expected 68 lines of two numbers")

    faces = replace(folder, samples=tuple(replace(s, landmarks=broken) for s in folder.samples[:3]))
    assert prepare_faces(faces, tmp_path / "as-is", progress=False)["samples"] == 3
    aligner = FakeAligner(Recipe(size=16))
    assert prepare_faces(faces, tmp_path / "found", aligner, progress=False)["samples"] == 2
    with pytest.raises(InputError, match="no face in any"):
        prepare_faces(replace(faces, neutral=()), tmp_path / "given", replace(aligner, given=True), progress=False)
    with pytest.raises(InputError, match="9.png: the recipe takes the data set's own landmarks.*there are none"):
        prepare_faces(faces, tmp_path / "none", replace(aligner, given=True), progress=False)
    assert not (tmp_path / "none").exists()


def test_odd_numbers_and_names_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="shard_size 0, workers 0"):
        prepare_faces(folder, tmp_path / "out", shard_size=0)
    odd = replace(folder.samples[0], source="m\udcfcller.png")
    with pytest.raises(InputError, match="no UTF-8. Rename it"):
        prepare_faces(replace(folder, samples=(odd,)), tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/prepared.json").write_text('{"dataset": "ck')
    with pytest.raises(InputError, match="prepared.json is damaged"):
        read_faces("prepared", tmp_path / "out", "train")


def test_a_folder_that_is_no_prepared_set_is_left_alone(drawn, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        prepare_faces(drawn, tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="no prepared.json"):
        read_faces("prepared", tmp_path, "train")


def test_all_folds_are_read_at_once(tmp_path, monkeypatch):
    protocol = get_protocol("drawn")
    faces = protocol.read(subjects=10, takes=1, size=24)
    folds = {s.source: n for n, fold in protocol.cut(faces).items() for s in fold.test.samples}
    prepare_faces(faces, tmp_path / "out", folds=folds, shard_size=1024, progress=False)
    read, rows = [], prepared._rows
    monkeypatch.setattr(prepared, "_rows", lambda path: read.append(path) or rows(path))
    found = find_folds("prepared", tmp_path / "out")
    assert sum(len(found.read(n).test) for n in found.numbers) == len(faces) and len(read) == 1
    with pytest.raises(InputError, match="takes no reader options: leave out rule"):
        find_folds("prepared", tmp_path / "out", options={"rule": "argmax"})


@pytest.mark.parametrize("name", ["ten-folds", "one-subject-out"])
def test_folds_are_known_again(tmp_path, name):
    for i in range(12):
        write_picture(tmp_path / f"people/happy/{i}.png", i, size=8)
    lines = "".join(f"happy/{i}.png,{i}\n" for i in range(12))
    (tmp_path / "people/subjects.csv").write_text(f"image,subject\n{lines}")
    protocol = get_protocol("folder", name)
    faces = protocol.read(tmp_path / "people")
    folds = {s.source: n for n, fold in protocol.cut(faces).items() for s in fold.test.samples}
    prepare_faces(faces, tmp_path / "out", folds=folds, progress=False)
    found = find_folds("prepared", tmp_path / "out")
    assert (found.protocol, len(found.numbers)) == (name, 10 if name == "ten-folds" else 12)


def test_a_broken_shard_is_named(drawn, tmp_path):
    entry = prepare_faces(drawn, tmp_path / "out", progress=False)
    shard: Path = tmp_path / "out/data" / entry["shards"][0]
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(InputError, match=f"{shard.name} is missing or broken"):
        read_faces("prepared", tmp_path / "out", "train")


def test_a_file_of_others_under_a_shards_name_is_not_overwritten(folder, tmp_path):
    entry = prepare_faces(folder, tmp_path / "out", progress=False)
    shard = tmp_path / "out/data" / entry["shards"][0]
    pq.write_table(pa.table({"label": [1]}), shard)
    theirs = shard.read_bytes()
    with pytest.raises(InputError, match=f"{shard.name} was not written by `fmpn data prepare`. Move it away"):
        prepare_faces(folder, tmp_path / "out", progress=False)
    assert shard.read_bytes() == theirs


@pytest.mark.slow
def test_processes_write_the_same(folder, tmp_path):
    for workers in (0, 2):
        prepare_faces(folder, tmp_path / str(workers), shard_size=2, workers=workers, progress=False)
    for shard in sorted((tmp_path / "0/data").iterdir()):
        assert shard.read_bytes() == (tmp_path / "2/data" / shard.name).read_bytes()


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for read in (prepared.read_prepared, prepared.prepared_folds):
        with pytest.raises(InputError, match=r"need pyarrow: pip install"):
            read(tmp_path)
