"""Similarity alignment of five landmarks to a reference: phi in equation (1) of the FMPN paper."""

import cv2
import numpy as np

__all__ = ["REFERENCE_LANDMARKS", "align_face", "five_of_68", "shrink", "similarity_transform"]

#: Where the landmarks of an aligned face lie, (5, 2) as shares of its width and height, (x, y): subject's right eye
#: (left in the picture), left eye, nose tip, right and left corner of the mouth. It shows the face from brows to chin.
REFERENCE_LANDMARKS = np.array([(0.30, 0.36), (0.70, 0.36), (0.50, 0.58), (0.34, 0.76), (0.66, 0.76)], np.float32)

INTERPOLATION = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_LINEAR}


def similarity_transform(points: np.ndarray, reference: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The rotation, scale and shift (2, 3) that brings points nearest to a reference, weighted least squares.

    Umeyama, `Least-squares estimation of transformation parameters between two point patterns`, 1991; here in 2-D.

    Args:
        points: (N, 2), pixels.
        reference: (N, 2), pixels.
        weights: (N,), not negative; all equal if None.
    """
    weights = np.full(len(points), 1 / len(points)) if weights is None else np.asarray(weights) / np.sum(weights)
    centre, reference_centre = weights @ points, weights @ reference
    a, b = points - centre, reference - reference_centre
    norm = weights @ (a**2).sum(1)
    cos = weights @ (a * b).sum(1) / norm
    sin = weights @ (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / norm
    rotation = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([rotation, (reference_centre - rotation @ centre)[:, None]])


def align_face(
        image: np.ndarray,
        landmarks: np.ndarray,
        size: int = 112,
        reference: np.ndarray = REFERENCE_LANDMARKS,
        weights: np.ndarray | None = None,
        interpolation: str = "linear",
) -> np.ndarray:
    """Cut a face out of a picture, its landmarks brought to a reference.

    Args:
        image: Picture, uint8 (H, W, 3).
        landmarks: (5, 2), pixels (x, y), in the order of ``REFERENCE_LANDMARKS``.
        size: Height and width of the aligned face in pixels.
        reference: (5, 2), where the landmarks go, as shares of the aligned face.
        weights: Weight of each landmark; all equal if None.
        interpolation: ``linear``, ``cubic`` or ``area``: linear after averaging a larger face down to about the size.

    Returns:
        Aligned face, uint8 (size, size, 3); what lies outside the picture repeats its edge.

    Raises:
        ValueError: The landmarks are not those of the reference.
    """
    landmarks, reference = np.asarray(landmarks, np.float64), np.asarray(reference, np.float64)
    if landmarks.shape != reference.shape:
        raise ValueError(f"Landmarks are {reference.shape}, not {landmarks.shape}: of 68, take five_of_68(landmarks).")
    matrix = similarity_transform(landmarks, reference * size, weights)
    if interpolation == "area":
        image, landmarks = shrink(image, landmarks, np.hypot(*matrix[:, 0]))
        matrix = similarity_transform(landmarks, reference * size, weights)
    flags = INTERPOLATION[interpolation]
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def shrink(image: np.ndarray, landmarks: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Average a picture down where a linear look-up at a scale would skip pixels, which is below 0.75.

    Args:
        image: Picture, uint8 (H, W, 3).
        landmarks: (N, 2), pixels (x, y).
        scale: By which the picture is going to be looked up.

    Returns:
        The picture and the landmarks in it.
    """
    if scale >= 0.75:
        return image, landmarks
    height, width = (max(round(s * scale), 1) for s in image.shape[:2])
    landmarks = (landmarks + 0.5) * (width / image.shape[1], height / image.shape[0]) - 0.5
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), landmarks


def five_of_68(points: np.ndarray) -> np.ndarray:
    """The five landmarks (5, 2) of the 68 of the iBUG mark-up (68, 2): eye centres, nose tip, corners of the mouth.

    Raises:
        ValueError: They are not 68.
    """
    points = np.asarray(points)
    if len(points) != 68:
        raise ValueError(f"The landmarks of the iBUG mark-up are 68, not {len(points)}.")
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    return np.stack([*eyes, points[30], points[48], points[54]])
