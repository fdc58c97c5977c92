"""What a prediction is: for each picture its faces, for each face its expression, quality and motion mask."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

__all__ = ["BLURRED", "LOW_SCORE", "SMALL", "TILTED", "TURNED", "UNCERTAIN", "Comparison", "FacePrediction",
           "PicturePrediction", "Quality", "columns", "face_quality", "label_of"]

#: The label of a face whose most likely expression is less likely than was asked for.
UNCERTAIN = "uncertain"

#: Flags: a face is "blurred" below this sharpness. Of 51 sharp portraits (London) the least sharp has 0.45; blurred by
#: a tenth of the distance between the eyes (standard deviation) half of them fall below 0.25.
BLURRED = 0.25
#: "small" below this size, in pixels: a face is then enlarged for the smallest networks (48 pixels).
SMALL = 40
#: "turned" beyond this yaw, "tilted" beyond this roll, in degrees.
TURNED, TILTED = 35, 45
#: "low score" below this score of the detector (YuNet lists faces from 0.7 on).
LOW_SCORE = 0.8

#: How far the tip of the nose lies before the eyes, in halves of the distance between them; of ICT FaceKit's mean head.
NOSE_DEPTH = 1.18
SHARPNESS_SIZE = 48
#: Columns of rows.
BOX, MEASURES = ("x1", "y1", "x2", "y2"), ("sharpness", "size", "yaw", "roll")


@dataclass(frozen=True)
class Quality:
    """How well a face can be seen.

    Attributes:
        sharpness: Standard deviation of the Laplacian over that of the grey face, both of 48 x 48 pixels; 0 for a face
            of one colour. It falls with blur, and with enlargement.
        size: Square root of the area of the box, in pixels of the picture.
        yaw: Estimate from the landmarks, in degrees; positive to the right of the picture. nan without landmarks.
        roll: Slope of the line between the eyes, in degrees, positive clockwise; nan without landmarks.
        score: The detector's, in [0, 1]; 0 if it found no face.
        flags: Words on what is wrong: ``no face`` (the middle of the picture stands for one), ``low score``, ``small``,
            ``blurred``, ``turned``, ``tilted``; empty if nothing is.
    """

    sharpness: float
    size: float
    yaw: float
    roll: float
    score: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Comparison:
    """A face, the same person's neutral face, and the motion between them.

    Attributes:
        face: The aligned face, RGB uint8 (H, W, 3).
        neutral: The aligned neutral face, of the same size.
        motion: The real motion, float32 (H, W) in [0, 1], 1 for the step from black to white: |face - neutral| of
            equation (1) of the FMPN paper for this one pair, grey, the light of the face matched to that of the neutral
            one by one factor, lightly smoothed.
        mask: The motion mask that the model predicts from the face alone, float32 (H, W) in [0, 1].
        inside: Where the face is in its picture, bool (H, W): ``face_region``.
        r: Pearson's correlation of the two inside the face; nan if either is flat.
        share: Share of the real motion, inside the face, that lies where the mask is strongest, on a fifth of the face:
            0.2 by chance, 1 at most; nan as ``r``.
        problem: Why the pair is hardly fit for a comparison (light, alignment, closed eyes); empty if it is.
    """

    face: np.ndarray
    neutral: np.ndarray
    motion: np.ndarray
    mask: np.ndarray
    inside: np.ndarray
    r: float
    share: float
    problem: str = ""

    @property
    def moved(self) -> bool:
        """Whether anything moved, so that there is something to agree about."""
        return bool(np.isfinite([self.r, self.share]).all())

    def shown(self) -> np.ndarray:
        """The motion as it is drawn, float32 (H, W) in [0, 1]: as bright as it can be, what is off the face dimmed."""
        # hair and background move more than any face: they shall not decide what is bright
        top = max(float(np.quantile(self.motion[self.inside], 0.995)), 1 / 255)
        return (np.where(self.inside, self.motion, 0.4 * self.motion) / top).clip(0, 1)


@dataclass(frozen=True, eq=False)
class FacePrediction:
    """A face and its expression.

    Attributes:
        box: (4,) float32, x1 y1 x2 y2 in pixels of the picture.
        landmarks: (5, 2) float32, pixels (x, y) of the picture: the subject's right eye, left eye, nose tip, right and
            left corner of the mouth; None if no face was found and the middle of the picture stands for one.
        score: The detector's, in [0, 1].
        label: Name of the most likely class, or ``uncertain``.
        probabilities: By class name, in the order of the model's classes; they sum to 1.
        quality: How well the face can be seen.
        face: The aligned face, RGB uint8 (H, W, 3).
        motion_mask: Where the face moved, float32 (H, W) in [0, 1] in the pixels of ``face``, 0 where the model did not
            look; None for models without motion masks.
        matrix: (2, 3), brings pixels (x, y) of the picture to pixels of ``face``.
        picture_size: Width and height of the picture in pixels.
        track: In a video, the number of the person, from 0; None where faces are not followed.
        smoothed: The probabilities smoothed over the track's time; None where faces are not followed.
        smoothed_label: The label by them.
        comparison: How the face moved away from the person's neutral face; None where none was given.
    """

    box: np.ndarray
    landmarks: np.ndarray | None
    score: float
    label: str
    probabilities: dict[str, float]
    quality: Quality
    face: np.ndarray
    motion_mask: np.ndarray | None
    matrix: np.ndarray
    picture_size: tuple[int, int]
    track: int | None = None
    smoothed: dict[str, float] | None = None
    smoothed_label: str | None = None
    comparison: Comparison | None = None

    @property
    def probability(self) -> float:
        """That of the most likely class."""
        return max(self.probabilities.values())

    def mask_in_picture(self) -> np.ndarray | None:
        """The motion mask in the pixels of the picture, float32 (H, W) in [0, 1], 0 off the face; None without one."""
        if self.motion_mask is None:
            return None
        width, height = self.picture_size
        # the warp interpolates between the pixels it looks up, so a mask that shrinks much is averaged down first
        scale = np.hypot(*self.matrix[:, 0])
        mask, matrix = self.motion_mask, self.matrix
        if scale > 1.5:
            shrunk = max(round(len(mask) / scale), 1)
            ratio = shrunk / len(mask)
            mask = cv2.resize(mask, (shrunk, shrunk), interpolation=cv2.INTER_AREA)
            matrix = ratio * matrix + [[0, 0, 0.5 * (ratio - 1)]] * 2
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(mask, matrix, (width, height), flags=flags).clip(0, 1)


@dataclass(frozen=True, eq=False)
class PicturePrediction:
    """A picture and its faces.

    Attributes:
        source: Its name: the path as given, or its place in the list.
        size: Width and height in pixels, upright; (0, 0) if it cannot be read.
        faces: Its faces, the largest first.
        reason: Why no face was found, or why the picture cannot be read; empty if a face was found.
        time: For a frame of a video, when it is shown, in seconds; None for a picture.
        read: Whether the picture could be read.
        frame: For a frame of a video, its place in it, from 0.
        gaps: Tracks that are not seen in this frame, but were not long ago.
    """

    source: str
    size: tuple[int, int]
    faces: tuple[FacePrediction, ...]
    reason: str = ""
    time: float | None = None
    read: bool = True
    frame: int | None = None
    gaps: tuple[int, ...] = ()

    def as_rows(self) -> list[dict[str, Any]]:
        """One row for each face and each gap, or one without any: what ``columns`` names, JSON-serialisable."""
        where = {"source": self.source, "time": self.time, "frame": self.frame}
        seen = [
            {
                **where,
                "track": face.track,
                "face": i,
                "label": face.label,
                **face.probabilities,
                "smoothed_label": face.smoothed_label,
                **{f"smoothed_{name}": face.smoothed and face.smoothed[name] for name in face.probabilities},
                **dict(zip(BOX, map(float, face.box), strict=True)),
                "score": face.score,
                **{name: _number(getattr(face.quality, name)) for name in MEASURES},
                "flags": list(face.quality.flags),
                "neutral_r": face.comparison and _number(face.comparison.r),
                "neutral_share": face.comparison and _number(face.comparison.share),
                "reason": self.reason or (face.comparison.problem if face.comparison else ""),
            }
            for i, face in enumerate(self.faces)
        ]
        unseen = [{**where, "track": track, "face": None, "reason": "not seen"} for track in self.gaps]
        return seen + unseen or [{**where, "track": None, "face": None, "reason": self.reason}]


def label_of(probabilities: Mapping[str, float], abstain: float | None) -> str:
    """The most likely class, or ``uncertain`` if it is less likely than ``abstain``."""
    best = max(probabilities, key=probabilities.get)
    return UNCERTAIN if abstain is not None and probabilities[best] < abstain else best


def columns(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the columns of rows, in order.

    ``source``; of a video ``time`` (seconds), ``frame`` (from 0) and ``track`` (the person's number, from 0); ``face``
    (0, 1, ..., the largest first; none without a face), ``label``, the probability of each class; of a video
    ``smoothed_label`` and ``smoothed_`` and each class; the box (pixels), the detector's ``score``, ``sharpness``,
    ``size`` (pixels), ``yaw`` and ``roll`` (degrees), ``flags``; ``neutral_r`` and ``neutral_share`` where a neutral
    face was given; ``reason``. The columns are the same whatever is looked at, so that tables can be put together.
    """
    smoothed = ("smoothed_label", *(f"smoothed_{name}" for name in classes))
    return ("source", "time", "frame", "track", "face", "label", *classes, *smoothed, *BOX, "score", *MEASURES, "flags",
            "neutral_r", "neutral_share", "reason")


def face_quality(face: np.ndarray, box: np.ndarray, landmarks: np.ndarray | None, score: float) -> Quality:
    """Judge how well a face can be seen.

    Args:
        face: The aligned face, RGB uint8 (H, W, 3).
        box: (4,), pixels of the picture.
        landmarks: (5, 2), pixels of the picture, or None.
        score: The detector's.
    """
    sharpness, size = _sharpness(face), float(np.sqrt(np.prod(box[2:] - box[:2])))
    yaw, roll = (math.nan, math.nan) if landmarks is None else _angles(np.asarray(landmarks, np.float64))
    wrong = {
        "no face": landmarks is None,
        "low score": landmarks is not None and score < LOW_SCORE,
        "small": size < SMALL,
        "blurred": sharpness < BLURRED,
        "turned": abs(yaw) > TURNED,
        "tilted": abs(roll) > TILTED,
    }
    return Quality(sharpness, size, yaw, roll, score, tuple(word for word, holds in wrong.items() if holds))


def _sharpness(face: np.ndarray) -> float:
    interpolation = cv2.INTER_AREA if len(face) > SHARPNESS_SIZE else cv2.INTER_LINEAR
    grey = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (SHARPNESS_SIZE,) * 2, interpolation=interpolation)
    contrast = float(grey.std())
    return float(cv2.Laplacian(grey, cv2.CV_32F).std()) / contrast if contrast > 1 else 0.0


def _angles(landmarks: np.ndarray) -> tuple[float, float]:
    """Yaw and roll in degrees: the nose leaves the middle of the eyes as the head turns."""
    right, left, nose = landmarks[:3]
    half = (left - right) / 2
    length = float(np.hypot(*half))
    if length == 0:
        return 90.0, 0.0
    aside = float((nose - (left + right) / 2) @ half) / length**2
    roll = math.degrees(math.atan2(half[1], half[0]))
    return math.degrees(math.atan(aside / NOSE_DEPTH)), roll


def _number(value: float) -> float | None:
    """JSON knows no nan."""
    return None if math.isnan(value) else value
