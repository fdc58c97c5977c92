"""The recipe: how a face is cut out of a picture, frozen in one object with a hash that travels with what it made."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from fmpn_timm.errors import InputError

from .alignment import REFERENCE_LANDMARKS, align_face, similarity_transform

__all__ = ["FRAMING", "Recipe", "check_recipe"]

#: What decides where a face lies in its picture.
FRAMING = ("margin", "reference")


@dataclass(frozen=True)
class Recipe:
    """How faces are found, aligned and cut out.

    Attributes:
        detector: Where the five landmarks come from: the name of a detector, or ``dataset`` for the data set's own.
        size: Height and width of the aligned face in pixels.
        margin: What is added around the reference frame on every side, as a share of its side.
        reference: Where the landmarks of an aligned face lie before the margin, five (x, y) as shares of the frame,
            counted from the middle of its first pixel, as ArcFace's template is.
        weights: Weight of each landmark in the alignment.
        interpolation: ``linear``, ``cubic`` or ``area`` (linear after averaging down to about the size, no aliasing).
        color: ``rgb``, the order of the channels, or ``grey``: the face's luma (ITU-R 601) in three equal channels, for
            models that learnt from grey faces.
    """

    detector: str = "yunet"
    size: int = 112
    margin: float = 0.0
    reference: tuple[tuple[float, float], ...] = tuple((float(x), float(y)) for x, y in REFERENCE_LANDMARKS.round(4))
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)
    interpolation: str = "area"
    color: str = "rgb"

    def __post_init__(self):
        # JSON knows lists only; a recipe that was read must equal the one that was written
        reference = tuple((round(float(x), 4), round(float(y), 4)) for x, y in self.reference)
        object.__setattr__(self, "reference", reference)
        object.__setattr__(self, "size", int(self.size))
        object.__setattr__(self, "margin", float(self.margin))
        object.__setattr__(self, "weights", tuple(float(w) for w in self.weights))
        if len(self.reference) != 5 or len(self.weights) != 5:
            raise InputError("A recipe has five reference landmarks and five weights.")
        if self.size < 8 or not -0.3 < self.margin < 3 or min(self.weights) < 0 or sum(w > 0 for w in self.weights) < 2:
            raise InputError(f"This recipe cuts no face: {self}.")
        if self.interpolation not in ("linear", "cubic", "area") or self.color not in ("rgb", "grey"):
            raise InputError("A recipe's interpolation is linear, cubic or area, and its color rgb or grey.")

    @property
    def photo_detector(self) -> str:
        """The detector for photos, which come without a data set's own landmarks."""
        return Recipe.detector if self.detector == "dataset" else self.detector

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name the recipe; equal for equal recipes on any machine."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """JSON-serialisable, with the hash."""
        return {**json.loads(json.dumps(asdict(self))), "hash": self.hash}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """Read what ``as_dict`` wrote.

        Raises:
            InputError: A field is unknown, or the hash does not belong to the other fields.
        """
        fields = {k: v for k, v in values.items() if k != "hash"}
        try:
            recipe = cls(**fields)
        except TypeError as error:
            raise InputError(f"This recipe was written by another version of fmpn-timm: {error}.") from None
        if values.get("hash", recipe.hash) != recipe.hash:
            raise InputError(f"The recipe's hash {values['hash']} does not belong to its fields ({recipe.hash}).")
        return recipe

    def align(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Cut a face out of a picture.

        Args:
            image: RGB picture, uint8 (H, W, 3).
            landmarks: (5, 2), pixels (x, y), in the order of ``REFERENCE_LANDMARKS``.

        Returns:
            Aligned face, RGB uint8 (size, size, 3).
        """
        face = align_face(image, landmarks, self.size, self.frame, np.asarray(self.weights), self.interpolation)
        return self.colored(face)

    def colored(self, face: np.ndarray) -> np.ndarray:
        """The face, RGB uint8 (H, W, 3), in the recipe's color."""
        if self.color == "rgb":
            return face
        return cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)

    def matrix(self, landmarks: np.ndarray) -> np.ndarray:
        """What brings a pixel of the picture to its place in the face that ``align`` cuts out of it, (2, 3).

        Args:
            landmarks: (5, 2), pixels (x, y), in the order of ``REFERENCE_LANDMARKS``.
        """
        landmarks = np.asarray(landmarks, np.float64)
        return similarity_transform(landmarks, self.frame * self.size, np.asarray(self.weights))

    @property
    def frame(self) -> np.ndarray:
        """Where the landmarks of an aligned face lie, margin included, as shares of its side: (5, 2)."""
        return (np.asarray(self.reference) + self.margin) / (1 + 2 * self.margin)


FIELDS = tuple(Recipe.__dataclass_fields__)


def check_recipe(
        have: Recipe | None,
        want: Recipe | None,
        where: str,
        override: bool = False,
        fields: Sequence[str] = FIELDS,
) -> None:
    """Refuse faces that were cut by another recipe than the model, or the masks, were made for.

    Where those were cut by a data set's own landmarks, faces cut by those of a detector for photos are as good.

    Args:
        have: The recipe of the faces at hand; None if they were taken as they are.
        want: The recipe asked for; None if it is not known, and then anything goes.
        where: What asks, for the message.
        override: Go on in spite of a difference (``--any-recipe``).
        fields: What must be equal; ``FRAMING`` for masks, which fit faces of any size.

    Raises:
        InputError: The recipes differ; the message names the fields.
    """
    if want is None or override:
        return
    if have is None:
        raise InputError(
            f"{where} asks for faces cut by recipe {want.hash}, and these were not aligned. Prepare them for it (fmpn "
            "data prepare, for a model with --recipe MODEL), or pass --any-recipe (in training --any_recipe true)."
        )
    mine, wanted = asdict(have), asdict(want)
    if have.detector == want.photo_detector:
        wanted["detector"] = have.detector
    differ = [f"{k} {mine[k]} instead of {wanted[k]}" for k in fields if mine[k] != wanted[k]]
    if differ:
        raise InputError(
            f"{where} asks for faces cut by recipe {want.hash}, and these were cut by {have.hash} "
            f"({'; '.join(differ)}). Prepare the faces again (fmpn data prepare, for a model with --recipe "
            "MODEL), or pass --any-recipe (in training --any_recipe true)."
        )
