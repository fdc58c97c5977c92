"""Tests of the reader of drawn faces."""

from collections import Counter

import numpy as np
import pytest

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.readers.drawn import read_drawn
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests


class TestDrawn(ReaderTests):
    dataset = "drawn"

    def read(self, split):
        return read_drawn(split=split, subjects=5, takes=1, size=24)


@pytest.mark.parametrize(("subjects", "counts"), [(5, (3, 1, 1)), (60, (36, 12, 12)), (7, (4, 2, 1))])
def test_splits_part_the_subjects(subjects, counts):
    parts = [{s.subject for s in read_drawn(None, split, subjects).samples} for split in ("train", "valid", "test")]
    assert tuple(map(len, parts)) == counts
    everybody = {s.subject for s in read_drawn(None, "all", subjects).samples}
    assert set.union(*parts) == everybody and len(everybody) == subjects  # with the counts: nobody is in two


def test_every_subject_shows_every_expression_in_every_take():
    faces = read_drawn(None, "train", subjects=5, takes=3)
    assert Counter((s.subject, s.expression, s.frame) for s in faces.samples) == {
        (f"{subject:04d}", expression, take): 1
        for subject in range(3)
        for expression in EXPRESSIONS
        for take in range(3)
    }
    assert faces.classes == EXPRESSIONS


def test_size_seed_and_nuisance_reach_the_pictures():
    def picture(**options):
        return read_drawn(None, "all", subjects=5, takes=1, **{"size": 32} | options).samples[1].picture()

    assert picture().shape == (32, 32, 3) and picture(size=40).shape == (40, 40, 3)
    assert (picture() == picture()).all()
    for change in ({"seed": 1}, {"pose": 0.0}, {"noise": 0.0}, {"light": 0.0}, {"intensity": 0.1}):
        assert (picture(**change) != picture()).any(), change


def test_samples_differ_in_picture():
    pictures = [s.picture() for s in read_drawn(None, "valid", subjects=5, takes=2, size=24).samples]
    assert len({p.tobytes() for p in pictures}) == len(pictures) == 16
    assert all(np.std(p) > 10 for p in pictures)


def test_options_are_recorded():
    faces = read_drawn(None, "test", subjects=6, takes=2, size=24, seed=9, light=0.5)
    assert faces.options == {"subjects": 6, "takes": 2, "size": 24, "seed": 9, "light": 0.5}


@pytest.mark.parametrize("options", [{"subjects": 4}, {"takes": 0}])
def test_too_few_to_split(options):
    with pytest.raises(InputError, match="at least 5 subjects and 1 take"):
        read_drawn(None, "train", **options)


def test_unknown_split_lists_the_splits():
    with pytest.raises(InputError, match="no split 'validation': choose one of train, valid, test, all"):
        read_drawn(None, "validation")


@pytest.mark.parametrize(
    ("options", "named"),
    [({"glare": 1.0}, "'glare'"), ({"pose": 5.0}, "pose must be in"), ({"seed": -1}, "seed must be")],
)
def test_bad_options_are_refused_before_the_first_picture(options, named):
    with pytest.raises(InputError, match=named):
        read_drawn(None, "train", subjects=5, **options)
