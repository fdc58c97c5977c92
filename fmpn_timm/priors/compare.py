"""How much two sets of prior masks resemble each other."""

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from fmpn_timm.errors import InputError
from fmpn_timm.faces import REFERENCE_LANDMARKS

from .masks import MaskSet
from .regions import feature_region

__all__ = ["MaskComparison", "compare_masks"]

SCALES, SHIFTS = (0.7, 1.3), 0.2  # how far the framing may go, as shares of the frame


@dataclass(frozen=True)
class MaskComparison:
    """Pearson correlations of masks with those of a reference set, pixel by pixel.

    Attributes:
        classes: The classes that both sets have, in the reference's order.
        r: Of each class with the reference's mask of that class.
        r_face: The same, inside the face.
        specific: Of what is the class's own: after each set's mean over the classes was subtracted from its masks. Raw
            r is high between any two classes, for all expressions move the same parts of the face.
        specific_face: The same, inside the face.
        nearest: The reference's class with the highest class-specific r.
        nearest_face: The same, inside the face.
        framing: Scale and shift (x, y, as shares of the frame) that lay the masks over the reference's frame.
    """

    classes: tuple[str, ...]
    r: tuple[float, ...]
    r_face: tuple[float, ...]
    specific: tuple[float, ...]
    specific_face: tuple[float, ...]
    nearest: tuple[str, ...]
    nearest_face: tuple[str, ...]
    framing: tuple[float, float, float]

    def summary(self) -> dict[str, float]:
        """Means over the classes, and how many classes are nearest to their own."""
        means = {name: round(float(np.mean(getattr(self, name))), 3)
                 for name in ("r", "r_face", "specific", "specific_face")}
        own = {name: sum(a == b for a, b in zip(self.classes, getattr(self, name), strict=True))
               for name in ("nearest", "nearest_face")}
        return {**means, **own, "classes": len(self.classes)}

    def as_dict(self) -> dict[str, Any]:
        """JSON-serialisable, with the summary."""
        return {**asdict(self), "summary": self.summary()}


def compare_masks(
        masks: MaskSet,
        reference: MaskSet,
        framing: tuple[float, float, float] | None = None,
) -> MaskComparison:
    """Correlate masks with a reference set's masks of the same classes.

    The sets may frame faces differently: one scale and one shift, the same for all classes, lay the masks over the
    reference's frame; they maximise the mean r over the full frame. The face is ``feature_region`` of the masks' own
    frame, laid over with them; masks that do not say how their faces were cut are taken to be framed by the default
    reference.

    Args:
        masks: The masks to judge.
        reference: The masks to judge them by; correlations are taken in its frame at its size.
        framing: Scale and shift to use instead of the best.

    Raises:
        InputError: The sets have fewer than two classes in common.
    """
    classes = tuple(name for name in reference.classes if name in masks.classes and name != "neutral")
    if len(classes) < 2:
        raise InputError(f"The sets have {len(classes)} class(es) in common: there is nothing to compare. One has "
                         f"{', '.join(masks.classes)}, the other {', '.join(reference.classes)}.")
    ours, theirs = masks.select(classes).masks.numpy(), reference.select(classes).masks.numpy()
    size = theirs.shape[1:]
    if framing is None:
        framing = _best_framing(ours, theirs)
    face = feature_region(*ours.shape[1:], masks.cut.frame if masks.cut else REFERENCE_LANDMARKS)
    ours, face = _lay(ours, framing, size), _lay(face[None], framing, size)[0] > 0.5
    everywhere = np.ones(size, bool)
    own, own_theirs = ours - ours.mean(0), theirs - theirs.mean(0)
    raw, raw_face = (_correlate(ours[:, where], theirs[:, where]) for where in (everywhere, face))
    specific, specific_face = (_correlate(own[:, where], own_theirs[:, where]) for where in (everywhere, face))
    return MaskComparison(
        classes=classes,
        **{name: tuple(np.diag(table).round(4).tolist()) for name, table in
           dict(r=raw, r_face=raw_face, specific=specific, specific_face=specific_face).items()},
        nearest=tuple(classes[i] for i in specific.argmax(1)),
        nearest_face=tuple(classes[i] for i in specific_face.argmax(1)),
        framing=framing,
    )


def _best_framing(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Scale and shift with the highest mean r: a coarse grid, then ever smaller steps from its best point."""
    size = theirs.shape[1:]

    def score(framing: tuple[float, float, float]) -> float:
        return float(np.diag(_correlate(*(m.reshape(len(m), -1) for m in (_lay(ours, framing, size), theirs)))).mean())

    shifts = np.linspace(-SHIFTS, SHIFTS, 9)
    best = max(((s, 0.0, y) for s in np.linspace(*SCALES, 13) for y in shifts), key=score)
    value, step = score(best), 0.05
    while step > 0.002:
        moves = np.concatenate([np.eye(3), -np.eye(3)]) * step
        around = [tuple(np.clip(np.add(best, move), (SCALES[0], -SHIFTS, -SHIFTS), (SCALES[1], SHIFTS, SHIFTS)))
                  for move in moves]
        scores = [score(framing) for framing in around]
        if max(scores) > value:
            value, best = max(scores), around[int(np.argmax(scores))]
        else:
            step /= 2
    return tuple(round(float(v), 4) for v in best)


def _lay(masks: np.ndarray, framing: tuple[float, float, float], size: tuple[int, int]) -> np.ndarray:
    """Masks (K, H, W) scaled about the middle of the frame and shifted, at another size; zero outside."""
    scale, x, y = framing
    height, width = size
    middle = np.array([0.5 + x, 0.5 + y]) * (width, height) - 0.5
    steps = scale * width / masks.shape[2], scale * height / masks.shape[1]
    start = middle - np.multiply(steps, (masks.shape[2] / 2 - 0.5, masks.shape[1] / 2 - 0.5))
    matrix = np.array([[steps[0], 0, start[0]], [0, steps[1], start[1]]])
    return np.stack([cv2.warpAffine(mask.astype(np.float32), matrix, (width, height)) for mask in masks])


def _correlate(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Pearson r of every row (K, N) with every row of the other (K, N): (K, K)."""
    a, b = (m - m.mean(1, keepdims=True) for m in (ours.astype(np.float64), theirs.astype(np.float64)))
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
    return a @ b.T / np.maximum(norms, 1e-12)
