"""Tests of protocols, their folds, and ``fmpn data folds``."""

import json
import os
from pathlib import Path

import pytest

from fmpn_timm import cli
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.protocols import PROTOCOLS, Protocol, file_names, get_protocol
from fmpn_timm.data.published import published as published_sizes
from fmpn_timm.data.readers import READERS
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from tests.data.readers.base import write_picture
from tests.real import needs, real

FOLDS = real("reference/folds")
ALL = [protocol for protocols in PROTOCOLS.values() for protocol in protocols.values()]


def face_set(dataset: str = "folder", subjects: int = 23, classes: tuple[str, ...] = EXPRESSIONS[:2]) -> FaceSet:
    samples = tuple(
        Sample(f"/data/S{s:03d}/{name}.png", None, name, f"S{s:03d}") for s in range(subjects) for name in classes
    )
    neutral = tuple(Sample(f"/data/S{s:03d}/0.png", None, "neutral", f"S{s:03d}") for s in range(subjects))
    return FaceSet(dataset, "all", classes, samples, neutral=neutral)


def who(samples) -> set[str]:
    return {s.subject for s in samples}


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: f"{p.dataset}-{p.name}")
def test_protocols_are_sound(protocol):
    assert protocol.dataset in READERS and protocol.source
    assert protocol.rule in ("subjects", "one subject", "official")
    assert protocol.numbering in ("ascending", "descending")
    assert protocol.classes == tuple(name for name in EXPRESSIONS if name in protocol.classes)
    for size in published_sizes(protocol.dataset, "all", protocol.options):
        assert size.per_class is None or set(size.per_class) == set(protocol.classes)
    assert get_protocol(protocol.dataset, protocol.name) is protocol


@pytest.mark.parametrize("numbering", ["ascending", "descending"])
def test_nobody_is_on_both_sides(numbering):
    faces = face_set()
    folds = Protocol("p", "folder", "nobody", numbering=numbering).cut(faces)
    assert list(folds) == list(range(10))
    for n, fold in folds.items():
        assert not who(fold.train.samples) & who(fold.test.samples)
        assert who(fold.train.neutral) == who(fold.train.samples) and who(fold.test.neutral) == who(fold.test.samples)
        assert len(fold.train) + len(fold.test) == len(faces) and fold.valid is None
        assert (fold.train.split, fold.test.split) == (f"fold {n} train", f"fold {n} test")
    tested = [s for fold in folds.values() for s in fold.test.samples]
    assert len(tested) == len(faces) and set(tested) == set(faces.samples)
    assert ("S000" in who(folds[0].test.samples)) == (numbering == "ascending")


def test_one_subject_out():
    folds = Protocol("p", "folder", "nobody", rule="one subject", number=None).cut(face_set(subjects=4))
    assert [who(fold.test.samples) for fold in folds.values()] == [{f"S{n:03d}"} for n in range(4)]


def test_official_folds():
    parts = ["train/test", "test/train", "valid/train", "none/valid"]
    samples = tuple(Sample(f"x:{n}", None, "fear", None, part) for n, part in enumerate(parts))
    faces = FaceSet("tfd", "all", ("fear",), samples)
    folds = Protocol("p", "tfd", "nobody", ("fear",), rule="official", number=2).cut(faces)
    found = {n: [[s.source for s in part.samples] for part in (f.train, f.valid, f.test)] for n, f in folds.items()}
    assert found == {0: [["x:0"], ["x:2"], ["x:1"]], 1: [["x:1", "x:2"], ["x:3"], ["x:0"]]}
    with pytest.raises(InputError, match="fold 0 has no face to train or none to test on"):
        Protocol("p", "tfd", "nobody", rule="official", number=2).cut(faces.where(lambda s: s.source != "x:1"))


def test_faces_that_do_not_fit():
    protocol = Protocol("p", "folder", "nobody", EXPRESSIONS[:2])
    with pytest.raises(InputError, match="is for folder with neutral, happiness; these are faces of mmi"):
        protocol.cut(face_set("mmi"))
    with pytest.raises(InputError, match="these are faces of folder with neutral, happiness, surprise"):
        protocol.cut(face_set(classes=EXPRESSIONS[:3]))
    with pytest.raises(InputError, match="9 subject.s. cannot make 10 folds. Take --protocol one-subject-out"):
        protocol.cut(face_set(subjects=9))
    nobody = FaceSet("folder", "all", EXPRESSIONS[:2], (Sample("a.png", None, "happiness"),))
    with pytest.raises(InputError, match=r"a\.png has no subject"):
        protocol.cut(nobody)


def test_unknown_names():
    assert get_protocol("ckplus").name == "fmpn"
    with pytest.raises(InputError, match="ckplus has no protocol 'x': choose one of fmpn, fn2en-8, fn2en-6"):
        get_protocol("ckplus", "x")
    with pytest.raises(InputError, match="Unknown data set 'x'"):
        get_protocol("x")
    with pytest.raises(InputError, match="ferplus has no protocol with folds: .*ckplus"):
        get_protocol("ferplus")


def test_file_names_and_paths_where_names_repeat():
    def of(*sources):
        return list(file_names(sources).values())

    assert of("/a/S1/x.png", "/a/S2/y.png", "/a/v.avi:S1_1_030.png") == ["x.png", "y.png", "S1_1_030.png"]
    assert of("/a/S1/x.png", "/a/S2/x.png") == ["S1/x.png", "S2/x.png"]


def folds_of(capsys, *args) -> dict:
    cli.main(["data", "folds", *map(str, args), "--json"])
    out = json.loads(capsys.readouterr().out)
    assert list(out) == ["folds"]
    return out["folds"]


def test_command_prints_json(tmp_path, capsys):
    rows = ["image,subject"]
    for n in range(12):
        for name in ("happy", "sad"):
            write_picture(tmp_path / name / f"{n}_{name}.png", n, size=2)
            rows.append(f"{name}/{n}_{name}.png,{n:02d}")
    (tmp_path / "subjects.csv").write_text("\n".join(rows))
    folds = folds_of(capsys, "folder", tmp_path)
    assert list(folds) == [str(n) for n in range(10)]
    assert folds["0"] == {"subjects": ["00"], "samples": ["0_happy.png", "0_sad.png"]}
    assert sorted(s for fold in folds.values() for s in fold["subjects"]) == [f"{n:02d}" for n in range(12)]
    cli.main(["data", "folds", "folder", str(tmp_path)])
    text = capsys.readouterr().out
    assert "protocol ten-folds of folder: 24 samples of 12 subjects in 10 folds" in text
    assert "fold 0: test on 2 samples of 1 subjects, train on 22" in text


def test_command_takes_options_and_no_root_for_drawn_faces(capsys):
    folds = folds_of(capsys, "drawn", "--protocol", "ten-folds", "--option", "subjects=20", "--option", "takes=1")
    assert [len(f["subjects"]) for f in folds.values()] == [2] * 10


@pytest.mark.parametrize(("args", "message"), [
    (["ferplus", "x"], "ferplus has no protocol with folds"), (["ckplus"], "Where is ckplus?"),
    (["ckplus", "/nowhere"], "/nowhere is not a folder"), (["mmi", "/", "--option", "halves=1"], "halves"),
    (["jaffe", "/", "--protocol", "x"], "jaffe has no protocol 'x'"),
])
def test_command_says_what_is_wrong(args, message):
    with pytest.raises(SystemExit) as exit:
        cli.main(["data", "folds", *args])
    text = str(exit.value.code)
    assert text.startswith("error: ") and message in text and "\n" not in text


def published(dataset: str, part: str) -> dict[str, set[str]]:
    return {str(n): set((FOLDS / dataset / f"{part}_ids_{n}.csv").read_text().split()) for n in range(10)}


def labels_of(dataset: str) -> dict[str, int]:
    return json.loads((FOLDS / dataset / "emotion_labels.json").read_text())


def touch(path: Path, text: str = "") -> None:
    os.makedirs(path.parent, exist_ok=True)
    path.write_text(text)


@needs(FOLDS)
class TestPublishedFolds:
    """Trees of empty files with the published names: the folds equal the authors' lists as sets of names."""

    def write_ckplus(self, root: Path) -> None:
        pictures = set().union(*published("CKPlus", "test").values())
        labels = labels_of("CKPlus")
        last = {name.rsplit("_", 1)[0]: name for name in sorted(pictures)}
        for stem, code in labels.items():
            subject, sequence = stem.split("_")
            folder = root / "cohn-kanade-images" / subject / sequence
            touch(folder / f"{stem}_00000001.png")  # neutral
            touch(folder / f"{stem}_00000002.png")
            if code > 0:
                assert stem in last
                name = last[stem].replace(".png", "_emotion.txt")
                touch(root / "Emotion" / subject / sequence / name, f"   {code:.7e}\n")
        for name in pictures:
            subject, sequence, _ = name.split("_")
            touch(root / "cohn-kanade-images" / subject / sequence / name)

    def write_mmi(self, root: Path) -> None:
        for number, (stem, code) in enumerate(sorted(labels_of("MMI").items()), start=1):
            folder, name = root / "Sessions" / str(number), stem.replace("_", "-")
            touch(folder / f"{name}.avi")
            # The authors count from 0, MMI from 1.
            touch(folder / f"{name}.xml", f'<A><Metatag Name="Emotion" Value="{code + 1}"/></A>')

    @pytest.mark.parametrize(("name", "folder"), [("ckplus", "CKPlus"), ("mmi", "MMI")])
    def test_folds_equal_the_lists(self, tmp_path, capsys, name, folder):
        getattr(self, f"write_{name}")(tmp_path)
        folds = folds_of(capsys, name, tmp_path)
        test = published(folder, "test")
        assert {n: set(fold["samples"]) for n, fold in folds.items()} == test
        assert all(len(fold["samples"]) == len(set(fold["samples"])) for fold in folds.values())
        assert {n: set(fold["subjects"]) for n, fold in folds.items()} == {
            n: {name.split("_")[0] for name in names} for n, names in test.items()
        }
        protocol = get_protocol(name)
        faces = protocol.read(tmp_path)
        names = file_names(s.source for s in faces.samples)
        for n, fold in protocol.cut(faces).items():
            assert {names[s.source] for s in fold.train.samples} == published(folder, "train")[str(n)]
        size = published_sizes(name, "all", faces.options)[0]
        assert (len(faces), len(who(faces.samples))) == (size.samples, size.subjects)
        assert len({(s.subject, s.sequence) for s in faces.samples}) == {"ckplus": 327, "mmi": 208}[name]
        assert size.per_class in (None, faces.per_class())
        codes = labels_of(folder)
        seven = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
        authors = dict(enumerate(seven, 1)) if name == "ckplus" else dict(enumerate((seven[0], *seven[2:])))
        assert all(s.expression == authors[codes[f"{s.subject}_{s.sequence}"]] for s in faces.samples)
        if name == "ckplus":
            for other in ("fn2en-8", "fn2en-6"):
                protocol = get_protocol(name, other)
                faces = protocol.read(tmp_path)
                size = published_sizes(name, "all", faces.options)[0]
                assert (len(faces), faces.per_class()) == (size.samples, size.per_class)
        else:
            assert faces.options["left_out"] == {"not published": 5}


@pytest.mark.parametrize(("people", "folds"), [(2, 2), (1, None)])
def test_a_folder_of_few_people_leaves_one_out(tmp_path, people, folds):
    for i in range(people):
        write_picture(tmp_path / f"happy/{i}.png")
    lines = "".join(f"happy/{i}.png,{i}\n" for i in range(people))
    (tmp_path / "subjects.csv").write_text(f"image,subject\n{lines}")
    faces = get_protocol("folder").read(tmp_path)
    mend = "Take --protocol one-subject-out" if folds else "Give data of more"
    with pytest.raises(InputError, match=f"cannot make 10 folds. {mend}"):
        get_protocol("folder").cut(faces)
    out = get_protocol("folder", "one-subject-out")
    if folds:
        assert [(len(fold.train), len(fold.test)) for fold in out.cut(faces).values()] == [(1, 1)] * folds
    else:
        with pytest.raises(InputError, match=r"1 subject\(s\) cannot make 2 folds. Give data of more"):
            out.cut(faces)
