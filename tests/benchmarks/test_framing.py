"""Where a data set's faces lie, as a recipe counts it."""

import cv2
import numpy as np

from benchmarks.framing import BORDER, SIDE, reference
from fmpn_timm.faces import REFERENCE_LANDMARKS, Recipe


def test_a_face_that_is_cut_by_what_was_found_lies_where_it_lay():
    rng = np.random.default_rng(0)
    face = cv2.GaussianBlur(rng.integers(0, 256, (48, 48, 3), np.uint8), (0, 0), 2)
    landmarks = 48 * REFERENCE_LANDMARKS
    enlarged = (landmarks + 0.5) * SIDE / 48 - 0.5 + BORDER  # as cv2.resize moves the middle of a pixel
    recipe = Recipe(size=48, reference=reference(enlarged, (48, 48)).tolist())
    assert np.abs(recipe.align(face, landmarks).astype(int) - face).max() <= 1
