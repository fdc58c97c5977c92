"""Tests of results: rows, quality, masks in the picture."""

import json
import math

import cv2
import numpy as np
import pytest

from fmpn_timm.data.drawn import draw_face
from fmpn_timm.faces import REFERENCE_LANDMARKS, Recipe
from fmpn_timm.inference.results import FacePrediction, PicturePrediction, columns, face_quality

FRONTAL = REFERENCE_LANDMARKS.astype(np.float64) * 100
BOX = np.array([0, 0, 100, 100], np.float32)
NOISE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)


def quality(face=NOISE, box=BOX, landmarks=FRONTAL, score=0.95):
    return face_quality(face, box, landmarks, score)


def turned(degrees: float, depth: float = 1.18) -> np.ndarray:
    """Landmarks of a head that is turned: the nose lies before the plane of eyes and mouth."""
    centre = FRONTAL[:2].mean(0)
    points = FRONTAL - centre
    z = np.zeros(5)
    z[2] = depth * 20
    angle = np.deg2rad(degrees)
    x = points[:, 0] * np.cos(angle) + z * np.sin(angle)
    return np.stack([x, points[:, 1]], 1) + centre


def prediction(landmarks=FRONTAL, mask=None, size=(100, 100), face_size=48) -> FacePrediction:
    return FacePrediction(BOX, landmarks, 0.9, "fear", {"neutral": 0.25, "fear": 0.75}, quality(), NOISE, mask,
                          Recipe(size=face_size).matrix(landmarks), size)


@pytest.mark.parametrize("degrees", [-50, -20, 0, 20, 50])
def test_yaw_is_that_of_the_head(degrees):
    found = quality(landmarks=turned(degrees))
    assert found.yaw == pytest.approx(degrees, abs=0.1) and found.roll == pytest.approx(0, abs=0.01)
    assert ("turned" in found.flags) == (abs(degrees) > 35)


@pytest.mark.parametrize("degrees", [-80, -10, 10, 60])
def test_roll_is_clockwise_in_the_picture_and_leaves_yaw_alone(degrees):
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = quality(landmarks=turned(20) @ matrix.T)
    assert found.roll == pytest.approx(degrees, abs=0.1) and found.yaw == pytest.approx(20, abs=0.1)
    assert ("tilted" in found.flags) == (abs(degrees) > 45)


def test_sharpness_falls_with_blur_and_not_with_contrast():
    drawn = draw_face(1, size=128)
    face = Recipe(size=112).align(drawn.image, drawn.landmarks)
    found = [quality(face=cv2.GaussianBlur(face, (0, 0), s)).sharpness for s in (0.1, 2, 4, 8)]
    assert found == sorted(found, reverse=True) and found[0] > 2 * found[-1]
    assert "blurred" not in quality(face=face).flags
    assert "blurred" in quality(face=cv2.GaussianBlur(face, (0, 0), 8)).flags
    pale = (face / 2 + 60).astype(np.uint8)
    assert quality(face=pale).sharpness == pytest.approx(found[0], rel=0.1)
    assert quality(face=np.zeros_like(face)).sharpness == 0


def test_flags_say_what_is_wrong():
    assert quality().flags == ()
    assert quality(box=BOX * 0.39).flags == ("small",)
    assert quality(score=0.75).flags == ("low score",)
    nobody = quality(landmarks=None, score=0.0)
    assert nobody.flags == ("no face",) and math.isnan(nobody.yaw) and nobody.size == 100
    assert quality(landmarks=np.full((5, 2), 3.0)).flags == ("turned",)  # no division by the distance between the eyes


def test_rows_have_the_columns_and_are_json():
    rows = PicturePrediction("a.jpg", (100, 100), (prediction(), prediction())).as_rows()
    assert [row["face"] for row in rows] == [0, 1]
    assert tuple(rows[0]) == columns(("neutral", "fear"))
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0]["label"] == "fear" and rows[0]["fear"] == 0.75 and rows[0]["x2"] == 100 and rows[0]["flags"] == []
    row, = PicturePrediction("b.jpg", (0, 0), (), "cannot be read: no such file", read=False).as_rows()
    assert row == {"source": "b.jpg", "time": None, "frame": None, "track": None, "face": None,
                   "reason": "cannot be read: no such file"}
    nobody = FacePrediction(BOX, None, 0.0, "fear", {"fear": 1.0}, quality(landmarks=None, score=0.0), NOISE, None,
                            np.eye(2, 3), (9, 9))
    assert PicturePrediction("c.jpg", (9, 9), (nobody,), "no face").as_rows()[0]["yaw"] is None


@pytest.mark.parametrize(("scale", "degrees"), [(0.25, 0), (1, 30), (3, -70), (8, 10)])
def test_mask_lies_on_the_face_in_the_picture(scale, degrees):
    """The mask is one where the aligned face shows what was painted white in the picture."""
    angle = np.deg2rad(degrees)
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (REFERENCE_LANDMARKS - 0.5) @ rotation.T * 48 + 250
    picture = np.zeros((500, 500, 3), np.uint8)
    nose = landmarks[2]
    cv2.circle(picture, tuple(nose.round().astype(int).tolist()), max(round(6 * scale), 2), (255, 255, 255), -1)
    mask = Recipe(size=48).align(picture, landmarks)[..., 0].astype(np.float32) / 255
    warped = prediction(landmarks, mask, (500, 500)).mask_in_picture()
    assert warped.shape == (500, 500) and warped.dtype == np.float32 and warped.min() >= 0 and warped.max() <= 1
    y, x = np.mgrid[:500, :500]
    centre = np.array([(warped * x).sum(), (warped * y).sum()]) / warped.sum()
    np.testing.assert_allclose(centre, nose.round(), atol=max(0.6 * scale, 0.3))
    assert warped.sum() == pytest.approx((picture[..., 0] / 255).sum(), rel=0.15)


def test_without_a_mask_there_is_none_in_the_picture():
    assert prediction().mask_in_picture() is None
