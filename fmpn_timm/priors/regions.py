"""Where the face is in an aligned picture: ellipses about where its landmarks are."""

import numpy as np

from fmpn_timm.faces import REFERENCE_LANDMARKS

__all__ = ["face_region", "feature_region"]


def face_region(height: int, width: int, landmarks: np.ndarray = REFERENCE_LANDMARKS) -> np.ndarray:
    """The face from brows to chin and ear to ear, bool (height, width).

    The ellipse's centre lies between eyes and mouth; it is 2.2 times as wide and 2.8 times as high as the eyes are
    apart.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        landmarks: Where the five landmarks lie in it, (5, 2), x and y as shares of width and height: ``Recipe.frame``.
    """
    return _ellipse(height, width, landmarks, 2.2, 2.8)


def feature_region(height: int, width: int, landmarks: np.ndarray = REFERENCE_LANDMARKS) -> np.ndarray:
    """Where the features are, bool (height, width): brows, cheeks and chin, without hair, ears and the jaw's outline.

    The ellipse's centre lies just above the middle between eyes and mouth; it is 1.9 times as wide and 2.4 times as
    high as the eyes are apart. Arguments as for ``face_region``.
    """
    return _ellipse(height, width, landmarks, 1.9, 2.4, lift=0.05)


def _ellipse(
        height: int,
        width: int,
        landmarks: np.ndarray,
        wide: float,
        high: float,
        lift: float = 0.0,
) -> np.ndarray:
    """Sizes and lift in units of the distance between the eyes."""
    apart = float(landmarks[1, 0] - landmarks[0, 0])
    x, y = landmarks[[0, 1, 3, 4]].mean(0) - (0, lift * apart)
    rows, columns = np.mgrid[:height, :width]
    across = ((columns + 0.5) / width - x) / (wide / 2 * apart)
    along = ((rows + 0.5) / height - y) / (high / 2 * apart)
    return across**2 + along**2 <= 1
