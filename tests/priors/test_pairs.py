"""Tests of what refuses a pair, of light normalisation and of the artefact score."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.readers.drawn import read_drawn
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.priors import MaskSet, PairLimits, build_masks
from fmpn_timm.priors.pairs import artefacts, match_light
from fmpn_timm.priors.regions import face_region

SIZE = 72


def grey_face() -> np.ndarray:
    """A face-like grey picture (SIZE, SIZE): smooth noise with two dark eyes."""
    face = np.random.default_rng(0).uniform(0, 255, (SIZE, SIZE))
    face = 110 + 4 * (cv2.GaussianBlur(face, (0, 0), 3) - 127)
    for x in (22, 50):
        cv2.circle(face, (x, 26), 3, 15, -1)
    return face.clip(0, 255)


def pair_set(*pairs: tuple[np.ndarray, np.ndarray]) -> FaceSet:
    samples = []
    for i, (neutral, happy) in enumerate(pairs):
        for name, grey in (("neutral", neutral), ("happiness", happy)):
            picture = np.repeat(grey.round().astype(np.uint8)[..., None], 3, 2)
            samples.append(Sample(f"{i}/{name}", lambda p=picture: p, name, str(i)))
    return FaceSet("folder", "train", EXPRESSIONS, tuple(samples))


def smiling(face: np.ndarray, amount: float = 60) -> np.ndarray:
    moved = face.copy()
    moved[52:58, 26:46] = (moved[52:58, 26:46] + amount).clip(0, 255)
    return moved


@pytest.mark.parametrize("how", ["gain", "local"])
def test_light_is_matched(how):
    face = grey_face()
    matched = match_light(face * 0.8, face, how)
    assert np.abs(matched - face).mean() < 0.1 * np.abs(face * 0.8 - face).mean()


def test_local_light_follows_a_gradient_and_gain_does_not():
    face = grey_face()
    slope = face * np.linspace(0.8, 1.2, SIZE)
    left = {how: np.abs(match_light(slope, face, how) - face).mean() for how in ("none", "gain", "local")}
    assert left["local"] < 0.5 * left["gain"] and left["gain"] <= left["none"] * 1.05


def test_light_is_left_alone():
    face = grey_face()
    np.testing.assert_array_equal(match_light(face * 0.5, face, "none"), face * 0.5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: (f * 0.4, f), "light: 1[0-9]{2}% apart"),
        (lambda f: (f, f * 0.4), "light: 1[0-9]{2}% apart"),
        (lambda f: (np.roll(f, 9, axis=1), f), "alignment"),
        (lambda f: (f, cv2.GaussianBlur(f, (0, 0), 9)), "blink"),
    ],
)
def test_unfit_pairs_are_refused_with_the_reason(change, reason):
    happy, neutral = change(grey_face())
    assert re.match(reason, PairLimits().refuse(happy, neutral))


def padded(face: np.ndarray) -> np.ndarray:
    """The face with a margin of half its side all around."""
    return np.pad(face, SIZE // 2, mode="edge")


def test_a_pair_with_a_margin_is_judged_where_its_face_is():
    face, frame = grey_face(), Recipe(margin=0.5).frame
    closed = cv2.GaussianBlur(face, (0, 0), 9)
    limits = PairLimits()
    assert limits.refuse(padded(face), padded(closed), frame).startswith("blink")
    assert limits.refuse(padded(smiling(face)), padded(face), frame) is None
    # what is beside the face does not decide about its light
    dark, bright = padded(face), padded(face)
    dark[:, :SIZE // 2] = 0
    bright[:, :SIZE // 2] = 255
    np.testing.assert_allclose(match_light(bright, dark, landmarks=frame), bright)
    assert match_light(bright, dark).mean() < 0.98 * bright.mean()
    outside = ~face_region(2 * SIZE, 2 * SIZE, frame)
    assert artefacts(outside.astype(np.float32), frame) == 1 > artefacts(outside.astype(np.float32))


def test_masks_of_faces_with_a_margin_refuse_what_those_without_refuse():
    face = grey_face()
    closed = cv2.GaussianBlur(face, (0, 0), 9)
    plain = pair_set((face, smiling(face)), (closed, face))
    wide = replace(pair_set((padded(face), padded(smiling(face))), (padded(closed), padded(face))),
                   recipe=Recipe(size=2 * SIZE, margin=0.5))
    of_plain, of_wide = (build_masks(faces, size, progress=False) for faces, size in ((plain, SIZE), (wide, 2 * SIZE)))
    for masks in (of_plain, of_wide):
        (refused,) = masks.quality["refused"]
        assert refused["source"] == "1/happiness" and refused["reason"].startswith("blink")
    (mask,), (score,) = of_wide.masks.numpy(), of_wide.quality["artefacts"].values()
    assert score == artefacts(mask, wide.recipe.frame) != artefacts(mask)


def test_fit_pairs_are_not_refused():
    face = grey_face()
    assert PairLimits().refuse(smiling(face), face) is None
    assert PairLimits().refuse(smiling(face) * 0.8, face) is None


def test_outlier_is_refused():
    rng = np.random.default_rng(1)
    differences = rng.uniform(0, 10, (12, 20, 20))
    differences[5] += 80
    reasons = PairLimits().outliers(differences)
    assert [i for i, reason in enumerate(reasons) if reason] == [5] and reasons[5].startswith("outlier")
    assert PairLimits().outliers(differences[:7]) == [None] * 7  # too few to tell


def test_outliers_are_judged_by_the_spread_of_their_class():
    differences = np.arange(0, 200, 10.0)[:, None, None] * np.ones((1, 8, 8))
    assert PairLimits().outliers(differences) == [None] * 20


def test_refused_pairs_are_in_the_set_and_survive_saving(tmp_path):
    face = grey_face()
    faces = pair_set((face, smiling(face)), (face, smiling(face) * 0.3))
    masks = build_masks(faces, progress=False)
    assert masks.pairs == {"happiness": 1}
    assert [(r["source"], r["neutral"]) for r in masks.quality["refused"]] == [("1/happiness", "1/neutral")]
    masks.save(tmp_path / "m.safetensors")
    assert MaskSet.load(tmp_path / "m.safetensors").quality == masks.quality
    assert build_masks(faces, limits=None, progress=False).pairs == {"happiness": 2}


def test_all_pairs_refused_is_an_error():
    face = grey_face()
    with pytest.raises(InputError, match="all 1 pairs were refused.*light.*--keep-all"):
        build_masks(pair_set((face, face * 0.3)), progress=False)


def test_unknown_light():
    with pytest.raises(InputError, match="choose none, gain or local"):
        build_masks(pair_set((grey_face(), grey_face())), light="best")


def test_sizes_out_of_range():
    for options in (dict(size=7), dict(smooth=-1.0)):
        with pytest.raises(InputError, match="give at least 8, and 0 or more"):
            build_masks(pair_set((grey_face(), grey_face())), **options)


def test_light_normalisation_keeps_the_mask_clean():
    face = grey_face()
    faces = pair_set((face, (smiling(face) * 1.2).clip(0, 255)))
    score = {how: build_masks(faces, light=how, progress=False).quality["artefacts"]["happiness"]
             for how in ("none", "gain")}
    assert score["gain"] < score["none"]


def test_artefact_score_is_the_share_outside_the_face():
    inside = face_region(SIZE, SIZE)
    assert 0.3 < inside.mean() < 0.8
    assert artefacts(inside.astype(np.float32)) == 0 and artefacts((~inside).astype(np.float32)) == 1
    assert artefacts(np.ones((SIZE, SIZE), np.float32)) == pytest.approx(1 - inside.mean(), abs=1e-3)


def test_drawn_pairs_are_fit():
    masks = build_masks(read_drawn(None, "train", subjects=10, takes=1), progress=False)
    assert len(masks.quality["refused"]) <= 0.15 * (sum(masks.pairs.values()) + len(masks.quality["refused"]))
