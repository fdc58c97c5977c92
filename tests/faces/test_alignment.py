"""Tests of the alignment of faces."""

import cv2
import numpy as np
import pytest

from fmpn_timm.data.drawn import draw_face
from fmpn_timm.faces import REFERENCE_LANDMARKS, align_face, five_of_68, similarity_transform
from fmpn_timm.faces.alignment import shrink


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("degrees", [0, 7, -35, 90, 180])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, (0.0, 0.0)), (2.5, (13.0, -40.0)), (0.3, (-5.0, 100.0))])
def test_known_transform_is_recovered(degrees, scale, shift):
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.random.default_rng(0).normal(size=(5, 2)) * 30 + 50
    matrix = similarity_transform(points, scale * points @ rotation.T + shift)
    np.testing.assert_allclose(matrix, np.column_stack([scale * rotation, shift]), atol=1e-9)


def test_fit_is_least_squares():
    rng = np.random.default_rng(1)
    points, reference = rng.normal(size=(2, 5, 2)) * 20
    matrix = similarity_transform(points, reference)

    def error(m):
        return ((apply(m, points) - reference) ** 2).sum()

    (a, c), (b, d) = matrix[:, :2]
    assert a == pytest.approx(d) and b == pytest.approx(-c)  # no shear, no mirror image
    for parameter in (np.eye(2, 3), [[0, -1, 0], [1, 0, 0]], [[0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]):
        for step in (1e-3, -1e-3):
            assert error(matrix + step * np.array(parameter, float)) > error(matrix)


def test_reference_is_a_level_symmetric_face():
    right_eye, left_eye, nose, right_mouth, left_mouth = REFERENCE_LANDMARKS
    assert right_eye[1] == left_eye[1] < nose[1] < right_mouth[1] == left_mouth[1]
    assert right_eye[0] < right_mouth[0] < nose[0] == 0.5 < left_mouth[0] < left_eye[0]
    assert right_eye[0] + left_eye[0] == right_mouth[0] + left_mouth[0] == pytest.approx(1)


@pytest.mark.parametrize("size", [64, 112])
@pytest.mark.parametrize("pose", [0.0, 1.0, 2.0])
def test_landmarks_of_a_drawn_face_come_to_the_reference(pose, size):
    reference = REFERENCE_LANDMARKS.astype(float) * size
    off = []
    for subject in range(8):
        landmarks = draw_face(subject, take=subject, pose=pose).landmarks.astype(float)
        off.append(np.abs(apply(similarity_transform(landmarks, reference), landmarks) - reference) / size)
    assert np.max(off) < 0.08
    assert np.mean(off) < 0.03


@pytest.mark.parametrize("size", [64, 112])
@pytest.mark.parametrize("subject", range(3))
def test_the_picture_moves_with_its_landmarks(subject, size):
    landmarks = draw_face(subject, size=192, pose=1.5).landmarks
    reference = REFERENCE_LANDMARKS.astype(float) * size
    for point, target in zip(landmarks, apply(similarity_transform(landmarks.astype(float), reference), landmarks),
                             strict=True):
        picture = np.zeros((192, 192, 3), np.uint8)
        cv2.circle(picture, tuple(int(round(v * 16)) for v in point), 5 * 16, (255, 255, 255), -1, cv2.LINE_AA, shift=4)
        aligned = align_face(picture, landmarks, size)[:, :, 0].astype(float)
        rows, columns = np.mgrid[:size, :size]
        centre = (aligned * columns).sum() / aligned.sum(), (aligned * rows).sum() / aligned.sum()
        np.testing.assert_allclose(centre, target, atol=0.6)


def test_a_turned_face_comes_out_upright():
    face = draw_face(1, size=192, pose=0.0, noise=0.0)
    turn = cv2.getRotationMatrix2D((96, 96), 25, 0.9)
    turned = cv2.warpAffine(face.image, turn, (192, 192), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    upright = align_face(face.image, face.landmarks, 96).astype(float)
    again = align_face(turned, apply(turn, face.landmarks), 96).astype(float)
    inner = np.s_[24:80, 24:72]
    assert np.abs(upright - again)[inner].mean() < 3
    assert np.abs(upright - cv2.resize(turned, (96, 96)))[inner].mean() > 12


@pytest.mark.parametrize("size", [None, 40])
def test_size_and_type(size):
    face = draw_face(0)
    aligned = align_face(face.image, face.landmarks, **({"size": size} if size else {}))
    assert aligned.dtype == np.uint8 and aligned.shape == (size or 112, size or 112, 3)


def test_outside_the_picture_its_edge_is_repeated():
    picture = np.full((60, 60, 3), 200, np.uint8)
    landmarks = REFERENCE_LANDMARKS * 60 - 25  # the face hangs over the corner
    assert (align_face(picture, landmarks, 60) == 200).all()


def test_other_landmarks_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 2\), not \(68, 2\): of 68, take five_of_68"):
        align_face(np.zeros((60, 60, 3), np.uint8), np.zeros((68, 2)))
    with pytest.raises(ValueError, match="are 68, not 5"):
        five_of_68(REFERENCE_LANDMARKS)


def test_landmarks_without_weight_do_not_count():
    points = np.random.default_rng(0).normal(size=(5, 2)) * 30 + 50
    wrong = points.copy()
    wrong[2] += 40
    np.testing.assert_allclose(similarity_transform(wrong, points, np.array([1, 1, 0, 2, 2])), np.eye(2, 3), atol=1e-9)


def test_a_picture_is_shrunk_with_its_landmarks():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:12, 20:22] = 255  # the middle of these pixels is between them
    small, (point,) = shrink(picture, np.array([[20.5, 10.5]]), 0.5)
    assert small.shape == (20, 30, 3) and small[5, 10, 0] == 255
    np.testing.assert_allclose(point, (10, 5))
    assert shrink(picture, np.zeros((1, 2)), 0.7)[0].shape == (28, 42, 3)
    assert shrink(picture, np.zeros((1, 2)), 0.75)[0] is picture


def test_five_of_the_68():
    points = np.random.default_rng(0).normal(size=(68, 2))
    right, left, *others = five_of_68(points)
    np.testing.assert_allclose(right, points[36:42].mean(0))  # the subject's, on the left of the picture
    np.testing.assert_allclose(left, points[42:48].mean(0))
    np.testing.assert_array_equal(others, points[[30, 48, 54]])
