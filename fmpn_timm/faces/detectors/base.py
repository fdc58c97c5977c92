"""What all detectors share: what they return, and the size at which they look at a picture."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

__all__ = ["Detector", "Faces", "OpenCVDetector", "quiet_opencv", "resize_for_detection", "scale_back"]


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces of one picture, the largest first.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels, clipped to the picture.
        landmarks: (N, 5, 2) float32, pixels (x, y), in the order of ``REFERENCE_LANDMARKS``: the subject's right eye
            comes first. Those of a face at the edge may lie outside the picture.
        scores: (N,) float32 in [0, 1].
    """

    boxes: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def in_picture(
            cls,
            boxes: np.ndarray,
            landmarks: np.ndarray,
            scores: np.ndarray,
            shape: tuple[int, ...],
    ) -> "Faces":
        """Clip and sort what was found in a picture; what lies outside it, or is no number, is left out.

        Args:
            boxes: (N, 4), x1 y1 x2 y2 in pixels.
            landmarks: (N, 5, 2), pixels (x, y).
            scores: (N,).
            shape: Height and width of the picture first.
        """
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        landmarks = np.asarray(landmarks, np.float32).reshape(-1, 5, 2)
        scores = np.asarray(scores, np.float32).reshape(-1).clip(0, 1)
        height, width = shape[:2]
        finite = np.isfinite(boxes).all(1) & np.isfinite(landmarks).all((1, 2)) & np.isfinite(scores)
        boxes = boxes.clip(0, [width, height, width, height]).astype(np.float32)
        sides = (boxes[:, 2:] - boxes[:, :2]).clip(0)
        area = np.where(finite, sides.prod(1), 0)
        order = np.lexsort([-scores, -area])  # by area, then by score
        order = order[area[order] > 0]
        return cls(boxes[order], landmarks[order], scores[order])


class Detector(Protocol):
    """A detector is called with pictures, RGB uint8 (H, W, 3) of any sizes, and returns the faces of each.

    It pickles, so that worker processes can have it, and may be called by several threads at once. The options of its
    class are keywords with defaults.
    """

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Faces]: ...


class OpenCVDetector:
    """A detector on OpenCV's networks, of which each thread needs its own: ``_of_thread`` holds them."""

    def __init__(self):
        self._of_thread = threading.local()

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Faces]:
        return [self._detect(picture) for picture in pictures]

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_of_thread"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _of_thread=threading.local())

    def _detect(self, picture: np.ndarray) -> Faces:
        raise NotImplementedError


def resize_for_detection(picture: np.ndarray, min_side: int, max_side: int) -> np.ndarray:
    """Bring the longest side of a picture, uint8 (H, W, 3), between two bounds in pixels."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"A picture is RGB uint8 (H, W, 3), not {picture.dtype} {picture.shape}.")
    longest = max(picture.shape[:2])
    side = min(max(longest, min_side), max_side)
    if side == longest:
        return picture
    height, width = (max(round(s * side / longest), 1) for s in picture.shape[:2])
    interpolation = cv2.INTER_AREA if side < longest else cv2.INTER_CUBIC
    return cv2.resize(picture, (width, height), interpolation=interpolation)


def scale_back(
        boxes: np.ndarray,
        landmarks: np.ndarray,
        resized: tuple[int, ...],
        shape: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Bring boxes (N, 4) and landmarks (N, 5, 2) of a resized picture to the picture it was made from.

    Args:
        boxes: x1 y1 x2 y2; a picture begins at 0 and ends at its width.
        landmarks: (x, y); the middle of the first pixel is (0, 0), so that OpenCV's warps take them.
        resized: Height and width of the resized picture first.
        shape: Height and width of the picture first.
    """
    ratio = np.array([shape[1] / resized[1], shape[0] / resized[0]])
    return boxes * np.tile(ratio, 2), (landmarks + 0.5) * ratio - 0.5


#: The level is the process's: of two threads at once the second would put back silence.
_QUIET = threading.RLock()


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """While active, OpenCV keeps its warnings, of targets and cameras, to itself."""
    logging = cv2.utils.logging
    with _QUIET:
        level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            logging.setLogLevel(level)
