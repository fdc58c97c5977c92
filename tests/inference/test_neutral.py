"""Tests of the comparison with the neutral face, on drawn faces whose motion is known."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fmpn_timm.data.drawn import draw_face
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.inference import Predictor, compare_with_neutral
from fmpn_timm.inference.neutral import compare_faces, find_neutrals, with_comparisons
from fmpn_timm.inference.tracks import Tracker
from fmpn_timm.priors.regions import face_region
from tests.faces.marked import Marked, marked
from tests.inference.conftest import save_tiny
from tests.inference.test_tracks import face, frame

SIZE = 56
INSIDE = face_region(SIZE, SIZE)


def aligned(expression: str, subject: int = 3) -> np.ndarray:
    drawn = draw_face(subject, expression, size=128, intensity=1.0, pose=0, noise=0, light=0)
    return Recipe(size=SIZE).align(drawn.image, drawn.landmarks)


NEUTRAL, FEAR = aligned("neutral"), aligned("fear")
FLAT = np.full((SIZE, SIZE), 0.5, np.float32)


def test_the_motion_is_where_the_face_differs():
    changed = NEUTRAL.copy()
    cv2.ellipse(changed, (28, 43), (8, 5), 0, 0, 360, (20, 20, 20), -1)
    motion = compare_faces(changed, NEUTRAL, FLAT).motion
    assert motion.shape == (SIZE, SIZE) and motion.dtype == np.float32 and motion.min() >= 0 and motion.max() <= 1
    assert motion[40:47, 23:34].mean() > 10 * motion[:30].mean()
    inner = (slice(41, 46), slice(24, 33))
    grey = cv2.cvtColor(NEUTRAL, cv2.COLOR_RGB2GRAY)[inner].mean()
    assert motion[inner].mean() == pytest.approx((grey - 20) / 255, abs=0.04)


def test_a_mask_that_is_the_motion_agrees_and_one_that_is_not_does_not():
    motion = compare_faces(FEAR, NEUTRAL, FLAT).motion
    perfect = compare_faces(FEAR, NEUTRAL, 0.5 * motion + 0.1)
    assert perfect.r == pytest.approx(1) and 0.4 < perfect.share <= 1 and perfect.problem == ""
    opposite = compare_faces(FEAR, NEUTRAL, 1 - motion)
    assert opposite.r == pytest.approx(-1) and opposite.share < 0.05
    noise = np.random.default_rng(0).uniform(0.1, 1, (SIZE, SIZE)).astype(np.float32)
    chance = compare_faces(FEAR, NEUTRAL, noise)
    assert abs(chance.r) < 0.1 and chance.share == pytest.approx(0.2, abs=0.04)


def test_light_makes_no_motion_and_what_lies_outside_does_not_count():
    mask = np.random.default_rng(0).uniform(0.1, 1, (SIZE, SIZE)).astype(np.float32)
    plain, darker = compare_faces(FEAR, NEUTRAL, mask), compare_faces((FEAR * 0.75).astype(np.uint8), NEUTRAL, mask)
    assert darker.r == pytest.approx(plain.r, abs=0.02)
    np.testing.assert_allclose(darker.motion[INSIDE], plain.motion[INSIDE], atol=0.02)
    elsewhere = FEAR.copy()
    elsewhere[:4], elsewhere[:, :2] = 255, 0
    assert compare_faces(elsewhere, NEUTRAL, mask).r == pytest.approx(plain.r, abs=0.05)
    around = FEAR.copy()
    around[cv2.dilate(INSIDE.astype(np.uint8), np.ones((9, 9))) == 0] = 255
    motion = 0.5 * plain.motion + 0.1
    assert compare_faces(around, NEUTRAL, motion).r > 0.95 > 0.8 > np.corrcoef(
        compare_faces(around, NEUTRAL, motion).motion.ravel(), motion.ravel())[0, 1]
    unseen = np.where(np.arange(SIZE) < 28, mask, 0)  # the model did not look at the right half
    half = np.where((np.arange(SIZE) < 28)[None, :, None], FEAR, NEUTRAL)
    assert compare_faces(half, NEUTRAL, unseen).r == pytest.approx(compare_faces(FEAR, NEUTRAL, unseen).r, abs=0.05)


def test_without_motion_there_is_no_agreement():
    same = compare_faces(NEUTRAL, NEUTRAL, np.linspace(0.1, 1, SIZE)[None].repeat(SIZE, 0).astype(np.float32))
    assert math.isnan(same.r) and math.isnan(same.share) and same.motion.max() < 1e-6
    assert math.isnan(compare_faces(FEAR, NEUTRAL, FLAT).r)


def test_pairs_that_are_not_fit_say_why():
    assert compare_faces((FEAR * 0.3).astype(np.uint8), NEUTRAL, FLAT).problem.startswith("light: ")
    closed = cv2.GaussianBlur(NEUTRAL, (0, 0), 9)
    assert compare_faces(NEUTRAL, closed, FLAT).problem.startswith("blink: ")
    assert compare_faces(closed, NEUTRAL, FLAT).problem == ""  # expressive faces may close their eyes


def test_a_picture_and_a_neutral_picture(predictor):
    pictures = [marked((5, 5, 30), (60, 20, 70)), marked((20, 9, 50))]
    pair = compare_with_neutral(predictor, *pictures)
    faces = [predictor(picture).faces[0] for picture in pictures]
    np.testing.assert_array_equal(pair.face, faces[0].face)
    np.testing.assert_array_equal(pair.neutral, faces[1].face)
    np.testing.assert_array_equal(pair.mask, faces[0].motion_mask)
    with pytest.raises(InputError, match="The neutral face .*no face was found"):
        compare_with_neutral(predictor, pictures[0], marked())
    with pytest.raises(InputError, match="The picture .gone.jpg.: cannot be read: no such file"):
        compare_with_neutral(predictor, "gone.jpg", pictures[0])


def test_models_without_masks_have_nothing_to_compare(tmp_path):
    plain = Predictor(save_tiny(tmp_path / "model", arch="test_resnet"), detector=Marked())
    with pytest.raises(InputError, match="no motion masks"):
        compare_with_neutral(plain, marked((5, 5, 30)), marked((5, 5, 30)))


def with_tracks(frames):
    return list(map(Tracker(), frames))


def test_the_neutral_face_of_each_track_is_the_most_neutral():
    pytest.importorskip("scipy")
    frames = with_tracks([frame(i / 25, seen(100, happy), seen(300, 0.9 - happy / 10))
                          for i, happy in enumerate([0.9, 0.2, 0.05, 0.6])])
    found = find_neutrals(frames)
    assert found[0] is frames[2].faces[0].face and found[1] is None
    assert find_neutrals(frames, threshold=0.96) == {0: None, 1: None}
    best = frames[2].faces[0]
    turned = replace(best, quality=replace(best.quality, flags=("turned",)))
    frames[2] = replace(frames[2], faces=(turned, *frames[2].faces[1:]))
    assert find_neutrals(frames)[0] is frames[1].faces[0].face


def test_faces_are_compared_with_their_own_neutral():
    pytest.importorskip("scipy")
    two, = with_tracks([frame(0, seen(100), seen(300))])
    neutral = two.faces[0].face
    each = with_comparisons(two, {0: neutral, 1: None}).faces
    assert each[0].comparison.neutral is neutral and each[1].comparison is None
    largest = with_comparisons(two, neutral).faces
    assert [one.comparison is None for one in largest] == [False, True]
    row = with_comparisons(two, neutral).as_rows()[0]
    assert row["neutral_r"] is None and row["neutral_share"] is None  # nothing moved
    assert with_comparisons(frame(0), neutral).faces == ()
    elsewhere = with_comparisons(two, neutral, Recipe(margin=0.5).frame).faces[0].comparison
    assert elsewhere.inside.sum() < 0.3 * largest[0].comparison.inside.sum()


def seen(x: float, happy: float = 0.0, subject: int = 0):
    """A face that is well seen, with a motion mask."""
    one = face(x, happy=happy, subject=subject)
    mask = np.full(one.face.shape[:2], 0.5, np.float32)
    return replace(one, quality=replace(one.quality, flags=()), motion_mask=mask, face=one.face.copy())
