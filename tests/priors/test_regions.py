"""Tests of where the face is."""

import numpy as np

from fmpn_timm.faces import Recipe
from fmpn_timm.faces.alignment import REFERENCE_LANDMARKS
from fmpn_timm.priors.regions import face_region, feature_region


def test_features_are_inside_and_the_frame_is_not():
    features = feature_region(100, 100)
    assert features[36, 30] and features[36, 70] and features[76, 50] and features[20, 50]  # eyes, mouth, forehead
    assert not (features[0].any() or features[:, 2].any() or features[95, 5]) and 0.4 < features.mean() < 0.7


def test_the_face_takes_in_the_features():
    face, features = face_region(100, 100), feature_region(100, 100)
    assert (face | ~features).all() and face.sum() > 1.2 * features.sum()


def test_a_margin_shrinks_the_face_about_the_middle():
    frame = Recipe(size=100, margin=0.5).frame  # twice the frame's side
    for region in (face_region, feature_region):
        inner = region(200, 200, frame)[50:150, 50:150]
        assert (inner == region(100, 100)).mean() > 0.999
    np.testing.assert_array_equal(face_region(100, 100, Recipe().frame), face_region(100, 100))


def test_features_lie_above_the_middle_between_eyes_and_mouth():
    middle = REFERENCE_LANDMARKS[[0, 1, 3, 4]].mean(0)[1]

    def centre(region: np.ndarray) -> float:
        """Where it is widest."""
        wide = region.sum(1)
        return (np.nonzero(wide == wide.max())[0].mean() + 0.5) / len(region)

    assert centre(feature_region(400, 400)) < middle - 0.01
    assert abs(centre(face_region(400, 400)) - middle) < 0.005
