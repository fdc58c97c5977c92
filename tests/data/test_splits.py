"""Tests of independent splits."""

from dataclasses import replace

import numpy as np
import pytest

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.data.splits import fingerprint, split_by_subject, subject_folds, without_copies
from fmpn_timm.errors import InputError
from tests.real import needs, real

FOLDS = real("reference/folds")


def face_set(subjects: list[str | None], takes: int = 3) -> FaceSet:
    samples = tuple(
        Sample(f"{n}/{take}", None, EXPRESSIONS[(n + take) % 8], subject)
        for take in range(takes)  # the takes of a subject lie apart
        for n, subject in enumerate(subjects)
    )
    return FaceSet("folder", "train", EXPRESSIONS, samples, {"rule": "majority"})


SUBJECTS = [f"S{n:03d}" for n in (7, 3, 20, 11, 5, 1, 8, 2, 14, 9, 30, 4)]


def who(faces: FaceSet) -> set[str]:
    return {s.subject for s in faces.samples}


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_nobody_is_on_both_sides(fraction):
    faces = face_set(SUBJECTS)
    rest, held_out = split_by_subject(faces, fraction)
    assert not who(rest) & who(held_out)
    assert who(rest) | who(held_out) == set(SUBJECTS)
    assert len(who(held_out)) == max(round(fraction * 12), 1)
    assert len(rest) + len(held_out) == len(faces)
    assert len(held_out) == 3 * len(who(held_out))


def test_order_and_facts_survive():
    faces = face_set(SUBJECTS)
    rest, held_out = split_by_subject(faces, 0.3, seed=4)
    for part in (rest, held_out):
        assert list(part.samples) == [s for s in faces.samples if s in part.samples]
        assert (part.dataset, part.classes, part.options) == (faces.dataset, faces.classes, faces.options)
    assert rest.split == "train"
    assert held_out.split == "0.3 of train (seed 4)"


def test_the_seed_decides():
    faces = face_set(SUBJECTS)
    held_out = [who(split_by_subject(faces, 0.3, seed)[1]) for seed in (0, 0, *range(1, 6))]
    assert held_out[0] == held_out[1]
    assert any(held_out[0] != other for other in held_out[2:])


def test_the_order_of_samples_does_not_decide():
    one, other = face_set(SUBJECTS), face_set(SUBJECTS[::-1])
    assert who(split_by_subject(one, 0.4)[1]) == who(split_by_subject(other, 0.4)[1])


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_both_sides_have_somebody(fraction):
    parts = split_by_subject(face_set(["a", "b"]), fraction)
    assert [len(who(part)) for part in parts] == [1, 1]


def test_samples_of_nobody_known_count_singly():
    rest, held_out = split_by_subject(face_set([None] * 10, takes=1), 0.3)
    assert (len(rest), len(held_out)) == (7, 3)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_fraction_out_of_range(fraction):
    with pytest.raises(InputError, match=f"fraction must be between 0 and 1, got {fraction}"):
        split_by_subject(face_set(SUBJECTS), fraction)


def test_one_subject_cannot_be_split():
    with pytest.raises(InputError, match=r"folder train: 1 subject\(s\) cannot be split"):
        split_by_subject(face_set(["only"]), 0.5)


@pytest.mark.parametrize("folds", [1, 2, 5, 10, 12])
def test_folds_partition_the_subjects(folds):
    parts = subject_folds(face_set(SUBJECTS).samples, folds)
    assert len(parts) == folds
    assert [s for part in parts for s in part] == sorted(SUBJECTS)  # ascending, consecutive, each once
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_ten_folds_unless_asked():
    assert len(subject_folds(face_set(SUBJECTS).samples)) == 10


def test_fewer_subjects_than_folds():
    with pytest.raises(InputError, match="3 subjects cannot make 10 folds: ask for fewer"):
        subject_folds(face_set(["a", "b", "c"]).samples)


def test_copies_of_what_was_learnt_from_are_left_out():
    def showing(name: str, value: int) -> Sample:
        return Sample(name, lambda: np.full((4, 4, 3), value, np.uint8), "fear")

    learnt = FaceSet("some", "train", EXPRESSIONS, (showing("a", 1), showing("b", 2)), {"rule": "argmax"})
    faces = replace(learnt, split="valid", samples=(showing("c", 2), showing("d", 3), showing("e", 2)), options={})
    left = without_copies(faces, learnt)
    assert [s.source for s in left.samples] == ["d"]
    assert left.options == {"without": {"split": "train", "rule": "argmax", "copies": 2}}
    with pytest.raises(InputError, match="Every picture of some valid is in train too"):
        without_copies(replace(faces, samples=faces.samples[:1]), learnt)
    assert fingerprint(np.zeros((2, 8, 3), np.uint8)) != fingerprint(np.zeros((4, 4, 3), np.uint8))


@needs(FOLDS)
def test_folds_of_ck_plus_are_the_authors():
    """Theirs are numbered from the last subjects to the first."""
    files = [FOLDS / "CKPlus" / f"test_ids_{fold}.csv" for fold in range(10)]
    authors = [sorted({name.split("_")[0] for name in file.read_text().split()}) for file in files]
    faces = face_set([subject for fold in authors for subject in fold], takes=1)
    assert subject_folds(faces.samples) == authors[::-1]
