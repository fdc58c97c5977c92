"""Tests of what detectors return and of the sizes at which they look."""

import threading

import cv2
import numpy as np
import pytest

from fmpn_timm.faces import Faces
from fmpn_timm.faces.detectors.base import quiet_opencv, resize_for_detection, scale_back


def test_faces_are_clipped_and_sorted_and_what_lies_outside_is_left_out():
    boxes = [[10, 10, 20, 20], [-30, 50, 40, 200], [120, 10, 150, 20], [0, 0, np.inf, 5], [40, 40, 50, 50]]
    landmarks = np.arange(50).reshape(5, 5, 2)
    faces = Faces.in_picture(boxes, landmarks, [0.5, 0.6, 0.9, 0.9, 1.0000001], (80, 100, 3))
    assert faces.boxes.tolist() == [[0, 50, 40, 80], [40, 40, 50, 50], [10, 10, 20, 20]]
    assert faces.landmarks[:, 0, 0].tolist() == [10, 40, 0]
    np.testing.assert_allclose(faces.scores, [0.6, 1, 0.5])
    assert faces.scores.max() <= 1


def test_landmarks_that_are_no_numbers_are_no_face():
    assert len(Faces.in_picture([0, 0, 9, 9], np.full((5, 2), np.nan), [1], (10, 10))) == 0


def test_no_faces_have_shapes():
    faces = Faces.in_picture([], [], [], (80, 100, 3))
    assert len(faces) == 0 and faces.boxes.shape == (0, 4) and faces.landmarks.shape == (0, 5, 2)


@pytest.mark.parametrize(("shape", "expected"), [
    ((48, 48), (192, 192)), ((24, 48), (96, 192)), ((300, 200), (300, 200)), ((500, 2000), (200, 800)),
    ((3, 8000), (1, 800)),
])
def test_longest_side_comes_between_the_bounds(shape, expected):
    assert resize_for_detection(np.zeros((*shape, 3), np.uint8), 192, 800).shape == (*expected, 3)


@pytest.mark.parametrize("factor", [4, 0.25])
def test_what_is_seen_in_the_resized_picture_is_brought_back(factor):
    picture = np.zeros((80, 120, 3), np.uint8)
    picture[32:48, 56:72] = 255
    side = int(120 * factor)
    resized = resize_for_detection(picture, side, side)
    y, x = (resized[:, :, 0] > 127).nonzero()
    box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], float)
    middle = np.array([[[x.mean(), y.mean()]] * 5])
    boxes, landmarks = scale_back(box, middle, resized.shape, picture.shape)
    np.testing.assert_allclose(boxes, [[56, 32, 72, 48]])
    np.testing.assert_allclose(landmarks, [[[63.5, 39.5]] * 5])


def test_the_log_is_as_it_was_after_several_threads():
    level, inside, leave = cv2.utils.logging.getLogLevel(), threading.Event(), threading.Event()

    def quiet():
        with quiet_opencv():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=quiet)
    with quiet_opencv():
        other.start()
        inside.wait(0.2)  # without a lock, it takes silence for the level to put back
    leave.set()
    other.join()
    assert cv2.utils.logging.getLogLevel() == level
