"""Similarity alignment of five landmarks to a reference: phi in equation (1) of the FMPN paper."""

import cv2
import numpy as np

__all__ = ["REFERENCE_LANDMARKS", "align_face", "similarity_transform"]

#: Where the landmarks of an aligned face lie, (5, 2) as shares of its width and height, (x, y): subject's right eye
#: (left in the picture), left eye, nose tip, right and left corner of the mouth. It shows the face from brows to chin.
REFERENCE_LANDMARKS = np.array([(0.30, 0.36), (0.70, 0.36), (0.50, 0.58), (0.34, 0.76), (0.66, 0.76)], np.float32)


def similarity_transform(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift (2, 3) that brings points nearest to a reference, least squares.

    Umeyama, `Least-squares estimation of transformation parameters between two point patterns`, 1991; here in 2-D.

    Args:
        points: (N, 2), pixels.
        reference: (N, 2), pixels.
    """
    centre, reference_centre = points.mean(0), reference.mean(0)
    a, b = points - centre, reference - reference_centre
    norm = (a**2).sum()
    cos = (a * b).sum() / norm
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / norm
    rotation = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([rotation, (reference_centre - rotation @ centre)[:, None]])


def align_face(image: np.ndarray, landmarks: np.ndarray, size: int = 112) -> np.ndarray:
    """Cut a face out of a picture, its landmarks brought to ``REFERENCE_LANDMARKS``.

    Args:
        image: Picture, uint8 (H, W, 3).
        landmarks: (5, 2), pixels (x, y), in the order of ``REFERENCE_LANDMARKS``.
        size: Height and width of the aligned face in pixels.

    Returns:
        Aligned face, uint8 (size, size, 3); what lies outside the picture repeats its edge.
    """
    matrix = similarity_transform(landmarks.astype(np.float64), REFERENCE_LANDMARKS.astype(np.float64) * size)
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
