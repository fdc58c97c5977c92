"""Tests of the ICT FaceKit reader, on a coarse head in its layout."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.readers.ict import read_ict
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.priors import build_masks
from tests.data.ict_head import write_head
from tests.data.readers.base import ReaderTests


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_head(tmp_path_factory.mktemp("ict")).parent


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FMPN_CACHE", str(tmp_path_factory.getbasetemp() / "ict-cache"))


class TestIct(ReaderTests):
    dataset = "ict"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_ict(self.root, split, subjects=5, size=32)


def test_splits_part_the_subjects(root):
    parts = [{s.subject for s in read_ict(root, split, 10).samples} for split in ("train", "valid", "test")]
    assert tuple(map(len, parts)) == (6, 2, 2)
    assert len(set.union(*parts)) == 10  # with the counts: nobody is in two


def test_every_subject_shows_every_expression_in_every_take(root):
    faces = read_ict(root, "test", subjects=5, takes=2)
    assert faces.classes == EXPRESSIONS
    assert Counter((s.subject, s.expression, s.frame) for s in faces.samples) == {
        ("0004", expression, take): 1 for expression in EXPRESSIONS for take in range(2)}


def test_with_seven_classes_neutral_faces_are_references(root):
    faces = read_ict(root, "test", subjects=5, classes=7, size=32)
    assert faces.classes == EXPRESSIONS[1:] and {s.expression for s in faces.samples} == set(EXPRESSIONS[1:])
    assert [(s.subject, s.expression) for s in faces.neutral] == [("0004", "neutral")]


def test_spoilt_pictures(root):
    """A patch hides a part, blur and noise go over all; a picture is the same each time and apart from the others."""
    options = dict(subjects=5, size=48, light=0)
    clean = [s.picture().astype(int) for s in read_ict(root, "test", **options).samples]
    patched = [s.picture().astype(int) for s in read_ict(root, "test", **options, occlude=1).samples]
    shares = [(a != b).any(2).mean() for a, b in zip(clean, patched, strict=True)]
    assert min(shares) > 0.04 and max(shares) < 0.27 and len(set(shares)) > 1
    noisy = read_ict(root, "test", **options, noise=30).samples
    assert all((s.picture() == s.picture()).all() for s in noisy)
    spread = [(s.picture() - a).std() for s, a in zip(noisy, clean, strict=True)]
    assert 3 < max(spread) < 32 and min(spread) < 0.7 * max(spread)
    soft = [s.picture().astype(int) for s in read_ict(root, "test", **options, blur=0.1).samples]
    assert np.mean([np.abs(np.diff(a)).mean() for a in soft]) < np.mean([np.abs(np.diff(a)).mean() for a in clean])


def test_weak_expressions_are_nearer_to_neutral(root):
    def apart(intensity):
        options = dict(subjects=5, classes=8, intensity=intensity, pose=0, size=48)
        pictures = {s.expression: s.picture().astype(int) for s in read_ict(root, "test", **options).samples}
        return np.abs(pictures["surprise"] - pictures["neutral"]).mean()

    assert apart((0.1, 0.2)) < 0.7 * apart((0.9, 1.0))


def test_faces_lie_where_the_recipe_says(root):
    faces = read_ict(root, "test", subjects=5, size=64, margin=0.25, weights=(1, 1, 0, 0, 0))
    assert faces.recipe == Recipe("dataset", size=64, margin=0.25, weights=(1, 1, 0, 0, 0))
    reference = (np.asarray(faces.recipe.reference)[:2] + 0.25) / 1.5 * 64
    for sample in faces.samples:
        np.testing.assert_allclose(sample.landmarks()[:2], reference, atol=0.05)
        assert sample.landmarks().shape == (5, 2) and sample.picture().shape == (64, 64, 3)


def test_a_take_shares_its_scene_unless_told(root):
    def corners(**options):
        samples = read_ict(root, "test", subjects=5, size=48, margin=1.0, **options).samples
        return [s.picture()[:4, :4] for s in samples[:3]]

    shared, own = corners(), corners(scene="face")
    assert all((c == shared[0]).all() for c in shared)
    assert any((c != own[0]).any() for c in own)


def test_takes_subjects_and_seeds_differ(root):
    samples = read_ict(root, "all", subjects=5, takes=2, size=32).samples
    samples += read_ict(root, "all", subjects=5, size=32, seed=1).samples
    neutral = [s.picture().tobytes() for s in samples if s.expression == "neutral"]
    assert len(set(neutral)) == len(neutral) == 15


def test_faces_make_prior_masks(root):
    masks = build_masks(read_ict(root, "all", subjects=5, size=48), size=24, progress=False)
    assert masks.classes == EXPRESSIONS[1:] and set(masks.pairs.values()) == {5}
    assert all(mask.std() > 0.1 for mask in masks.masks)


@pytest.mark.parametrize(("options", "message"), [
    ({"subjects": 4}, "at least 5 subjects"), ({"takes": 0}, "1 take"), ({"pose": 4}, "pose in"),
    ({"light": -1}, "light in"), ({"seed": -1}, "seed from 0"), ({"size": 4}, "cuts no face")])
def test_bad_options_are_refused_before_the_first_picture(root, options, message):
    with pytest.raises(InputError, match=message):
        read_ict(root, **options)


def test_wrong_root_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no FaceXModel"):
        read_ict(tmp_path)


def test_jitter_moves_the_frame_and_leaves_landmarks_exact(root):
    still, jittered = (read_ict(root, "test", subjects=5, size=64, jitter=jitter).samples[1] for jitter in (0, 0.1))
    moved = np.abs(still.landmarks() - jittered.landmarks())
    assert 0.2 < moved.mean() < 8 and (still.picture() != jittered.picture()).any()
