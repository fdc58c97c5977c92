"""Where a face really moved away from the person's neutral face, beside where the model says that it moved."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from fmpn_timm.errors import InputError
from fmpn_timm.faces import REFERENCE_LANDMARKS
from fmpn_timm.priors.build import grey_face
from fmpn_timm.priors.pairs import LIMITS, match_light
from fmpn_timm.priors.regions import face_region

from .predictor import Predictor
from .results import Comparison, FacePrediction, PicturePrediction

__all__ = ["NEUTRAL", "TOP", "compare_faces", "compare_with_neutral", "find_neutrals", "neutral_face",
           "with_comparisons"]

#: A face of a video stands for the neutral one from this probability of neutral on.
NEUTRAL = 0.5
#: The share of the face, where the mask is strongest, that should hold more than this share of the motion.
TOP = 0.2
#: Standard deviation of the Gaussian over the difference, as a share of the face's size: landmarks are found no better.
SMOOTH = 0.02
#: Faces with these flags do not stand for the neutral one.
UNFIT = {"no face", "blurred", "turned", "tilted"}


def compare_with_neutral(predictor: Predictor, picture: Any, neutral: Any) -> Comparison:
    """Compare the largest face of a picture with the same person's neutral face.

    Nobody checks that it is the same person.

    Args:
        predictor: A predictor whose model has motion masks.
        picture: As for ``Predictor``.
        neutral: As for ``Predictor``; its largest face counts.

    Raises:
        InputError: A picture cannot be read or has no face, or the model has no motion masks.
    """
    face = _largest(predictor, picture, "picture")
    return compare_faces(face.face, neutral_face(predictor, neutral), face.motion_mask, predictor.recipe.frame)


def neutral_face(predictor: Predictor, picture: Any) -> np.ndarray:
    """The aligned face of a neutral picture, RGB uint8 (H, W, 3).

    Raises:
        InputError: As ``compare_with_neutral``.
    """
    return _largest(predictor, picture, "neutral face").face


def compare_faces(
        face: np.ndarray,
        neutral: np.ndarray,
        mask: np.ndarray,
        landmarks: np.ndarray = REFERENCE_LANDMARKS,
) -> Comparison:
    """Compare two aligned faces of a person.

    Args:
        face: RGB uint8 (H, W, 3).
        neutral: RGB uint8 of the same shape.
        mask: What the model predicts for the face, (H, W) in [0, 1], 0 where it did not look.
        landmarks: Where the landmarks lie in both, (5, 2), x and y as shares of the size: ``Recipe.frame``.
    """
    size = len(face)
    after, before = grey_face(face, size), grey_face(neutral, size)
    difference = np.abs(match_light(after, before, landmarks=landmarks) - before)
    difference = cv2.GaussianBlur(difference, (0, 0), SMOOTH * size, borderType=cv2.BORDER_REPLICATE)
    motion = (difference / 255).clip(0, 1).astype(np.float32)
    inside = face_region(size, size, landmarks)
    seen = inside & (mask > 0)
    r, share = _agreement(motion[seen], mask[seen])
    return Comparison(face, neutral, motion, mask, inside, r, share, LIMITS.refuse(after, before, landmarks) or "")


def find_neutrals(
        predictions: Iterable[PicturePrediction],
        threshold: float = NEUTRAL,
) -> dict[int, np.ndarray | None]:
    """The aligned neutral face of each track of a video: the one that is most probably neutral, and well seen.

    Args:
        predictions: Of all frames, with tracks.
        threshold: Least probability of neutral; a track without such a face has None.

    Raises:
        InputError: The model has no class neutral.
    """
    neutrals = Neutrals(threshold)
    for prediction in predictions:
        neutrals.add(prediction)
    return neutrals.faces


class Neutrals:
    """What ``find_neutrals`` keeps of the frames it has seen.

    Args:
        threshold: See ``find_neutrals``.
    """

    def __init__(self, threshold: float = NEUTRAL):
        self.threshold = threshold
        self.best: dict[int, tuple[float, np.ndarray | None]] = {}

    def add(self, prediction: PicturePrediction) -> None:
        """Add the next frame.

        Raises:
            InputError: The model has no class neutral.
        """
        for face in prediction.faces:
            if "neutral" not in face.probabilities:
                raise InputError("This model has no class neutral: give the neutral face as a picture.")
            probability = face.probabilities["neutral"]
            fit = probability >= self.threshold and not UNFIT.intersection(face.quality.flags)
            if probability * fit > self.best.setdefault(face.track, (0.0, None))[0]:
                self.best[face.track] = probability, face.face

    @property
    def faces(self) -> dict[int, np.ndarray | None]:
        """The neutral face of each track."""
        return {track: face for track, (_, face) in self.best.items()}


def with_comparisons(
        prediction: PicturePrediction,
        neutral: np.ndarray | dict[int, np.ndarray | None],
        landmarks: np.ndarray = REFERENCE_LANDMARKS,
) -> PicturePrediction:
    """A prediction whose faces have their ``comparison``.

    Args:
        prediction: Of a model with motion masks.
        neutral: The aligned neutral face of one person, who is taken to be the largest face; or of each track.
        landmarks: As for ``compare_faces``.
    """
    if isinstance(neutral, dict):
        references = [neutral.get(face.track) for face in prediction.faces]
    else:
        references = [neutral] + [None] * len(prediction.faces)
    faces = [face if reference is None else
             replace(face, comparison=compare_faces(face.face, reference, face.motion_mask, landmarks))
             for face, reference in zip(prediction.faces, references, strict=False)]
    return replace(prediction, faces=tuple(faces))


def _largest(predictor: Predictor, picture: Any, what: str) -> FacePrediction:
    if not predictor.masks:
        raise InputError("This model has no motion masks to compare: take an fmpn model.")
    prediction = predictor(picture)
    if not prediction.faces:
        raise InputError(f"The {what} ({prediction.source}): {prediction.reason}. Give another.")
    return prediction.faces[0]


def _agreement(motion: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Pearson's r, and the share of the motion where the mask is strongest."""
    if not motion.size or min(motion.std(), mask.std()) < 1e-6:
        return float("nan"), float("nan")
    strongest = np.argsort(mask, kind="stable")[-max(round(TOP * mask.size), 1):]
    share = motion[strongest].sum(dtype=np.float64) / motion.sum(dtype=np.float64)
    return float(np.corrcoef(motion, mask)[0, 1]), float(share)
