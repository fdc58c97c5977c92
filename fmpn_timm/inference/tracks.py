"""Faces followed through a video: who is who from frame to frame, and probabilities smoothed over time."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np

from fmpn_timm.errors import InputError

from .results import FacePrediction, PicturePrediction, label_of

__all__ = ["NEEDS_SCIPY", "Tracker", "can_follow", "check_times", "follow", "overlaps"]

T = TypeVar("T")

#: Boxes are enlarged by this share on every side before their overlap is measured, so that a face which has moved
#: farther than its own width is found again. Yang et al., `Hard to Track Objects with Irregular Motions and Similar
#: Appearances? Make It Easier by Buffering the Matching Space`, WACV 2023.
BUFFER = 0.3
#: Boxes that overlap less are two people's.
MIN_OVERLAP = 0.15
#: How much of a match is that the faces look alike; the rest is where they are.
LOOKS = 0.5
#: Seconds over which a face's speed is averaged.
SPEED_SECONDS = 0.15
THUMBNAIL = 16
NEEDS_SCIPY = 'following faces needs SciPy: pip install "fmpn-timm[video]"'


class Tracker:
    """Follows the faces of one video.

    A face belongs to the track whose box, moved on at its speed, it overlaps most and whose last face it looks like,
    all faces of a frame decided together (the Hungarian method). A face that is not seen for up to ``gap`` seconds
    keeps its track, and each frame in between names it in ``gaps``; one that comes back later, or elsewhere, is a new
    track. Identity is no more than that: nobody is recognised.

    Probabilities are smoothed with weights that fall off over time as ``exp(-t / smooth)``, so that they mean the same
    for any and for a varying frame rate.

    Args:
        gap: Seconds that a track outlives its face. At least two intervals between frames, however far apart they are.
        smooth: Time constant in seconds; 0 for none.
        abstain: Smoothed probability below which a face is called ``uncertain``.

    Raises:
        InputError: SciPy is missing, or an option is out of range.
    """

    def __init__(self, gap: float = 1.0, smooth: float = 0.3, abstain: float | None = None):
        check_times(gap, smooth)
        if not can_follow():
            raise InputError(f"{NEEDS_SCIPY[0].upper()}{NEEDS_SCIPY[1:]}.")
        from scipy.optimize import linear_sum_assignment

        self._assign = linear_sum_assignment
        self.gap, self.smooth, self.abstain = gap, smooth, abstain
        self._tracks: list[_Track] = []
        self._count, self._last, self._interval = 0, -math.inf, math.inf

    def __call__(self, prediction: PicturePrediction) -> PicturePrediction:
        """The prediction of the next frame with its faces' tracks, smoothed probabilities and labels, and gaps."""
        now = prediction.time
        if now is None:  # what cannot be read has no time
            return prediction
        limit = max(self.gap, 2 * self._interval)
        self._tracks = [track for track in self._tracks if now - track.time <= limit + 1e-6]
        thumbnails = [_thumbnail(face.face) for face in prediction.faces]
        matches = self._matches(prediction.faces, thumbnails, now)
        faces = []
        for i, face in enumerate(prediction.faces):
            track = matches.get(i)
            if track is None:
                track = _Track(self._count, now, face.box, thumbnails[i], dict(face.probabilities))
                self._tracks.append(track)
                self._count += 1
            else:
                track.update(now, face, thumbnails[i], self.smooth)
            faces.append(replace(face, track=track.number, smoothed=dict(track.probabilities),
                                 smoothed_label=label_of(track.probabilities, self.abstain)))
        if self._last > -math.inf:
            self._interval = now - self._last
        self._last = now
        gaps = tuple(track.number for track in self._tracks if track.time < now)
        return replace(prediction, faces=tuple(faces), gaps=gaps)

    def _matches(
            self,
            faces: tuple[FacePrediction, ...],
            thumbnails: list[np.ndarray],
            now: float,
    ) -> dict[int, "_Track"]:
        """Which track each face belongs to, by the face's place in the frame."""
        if not faces or not self._tracks:
            return {}
        boxes = np.stack([face.box for face in faces])
        # one that turned or stopped while it was not seen may be where it was
        overlap = np.maximum(overlaps(np.stack([track.ahead(now) for track in self._tracks]), boxes),
                             overlaps(np.stack([track.box for track in self._tracks]), boxes) - 0.1)
        alike = np.array([[_likeness(track.thumbnail, thumbnail) for thumbnail in thumbnails]
                          for track in self._tracks])
        score = np.where(overlap >= MIN_OVERLAP, (1 - LOOKS) * overlap + LOOKS * alike, 0)
        rows, columns = self._assign(score, maximize=True)
        return {int(j): self._tracks[i] for i, j in zip(rows, columns, strict=True) if score[i, j] > 0}


def check_times(gap: float, smooth: float) -> None:
    """Refuse a gap or smoothing that is no time.

    Args:
        gap: As for ``Tracker``.
        smooth: As for ``Tracker``.

    Raises:
        InputError: One is negative, infinite or no number.
    """
    for name, value in (("gap", gap), ("smooth", smooth)):
        if not 0 <= value < math.inf:
            raise InputError(f"{name}: give seconds, 0 or more, not {value}.")


def can_follow() -> bool:
    """Whether what ``Tracker`` needs is installed."""
    try:
        import scipy.optimize  # noqa: F401
    except ImportError:
        return False
    return True


def follow(
        predictions: Iterable[tuple[PicturePrediction, T]],
        tracker: Tracker,
) -> Iterator[tuple[PicturePrediction, T]]:
    """Follow the faces of one video: ``Predictor.stream``'s output with what ``Tracker`` adds.

    Args:
        predictions: Each frame's prediction, in order, and whatever goes with it.
        tracker: A new one.
    """
    return ((tracker(prediction), other) for prediction, other in predictions)


def overlaps(first: np.ndarray, second: np.ndarray, buffer: float = BUFFER) -> np.ndarray:
    """Intersection over union of boxes that are enlarged on every side, (N, M).

    Args:
        first: (N, 4), x1 y1 x2 y2.
        second: (M, 4).
        buffer: By which share of their width and height.
    """
    a, b = (np.concatenate([boxes[:, :2] - buffer * (boxes[:, 2:] - boxes[:, :2]),
                            boxes[:, 2:] + buffer * (boxes[:, 2:] - boxes[:, :2])], 1) for boxes in (first, second))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low).clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return common / np.maximum(areas[0][:, None] + areas[1][None] - common, 1e-9)


@dataclass
class _Track:
    """A face that is followed: where it was last, how fast, what it looked like and expressed."""

    number: int
    time: float
    box: np.ndarray
    thumbnail: np.ndarray
    probabilities: dict[str, float]
    speed: np.ndarray | float = 0.0  # (2,), pixels of the picture in a second

    def ahead(self, now: float) -> np.ndarray:
        """The box where it should be by now."""
        return self.box + np.tile(np.broadcast_to(self.speed, 2), 2) * (now - self.time)

    def update(self, now: float, face: FacePrediction, thumbnail: np.ndarray, smooth: float) -> None:
        passed = max(now - self.time, 0.0)
        if passed > 0:
            moved = (face.box[:2] + face.box[2:] - self.box[:2] - self.box[2:]) / 2
            self.speed = self.speed + (1 - math.exp(-passed / SPEED_SECONDS)) * (moved / passed - self.speed)
        weight = 1 - math.exp(-passed / smooth) if smooth else 1.0
        for name, probability in face.probabilities.items():
            self.probabilities[name] += weight * (probability - self.probabilities[name])
        self.time, self.box, self.thumbnail = now, face.box, thumbnail


def _thumbnail(face: np.ndarray) -> np.ndarray:
    """An aligned face as a vector of unit length about its mean: what is left when the light is taken away."""
    small = cv2.resize(face, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    return small.ravel() / max(float(np.linalg.norm(small)), 1e-6)


def _likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two thumbnails, 0 where it is negative."""
    return max(float(first @ second), 0.0)
