"""Independent splits: nobody, and no picture, is on both sides."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fmpn_timm.errors import InputError

from .samples import FaceSet, Sample

__all__ = ["fingerprint", "split_by_subject", "subject_folds", "without_copies"]


def _subject(sample: Sample) -> str:
    """Who a sample shows; where nobody knows, every sample counts as a subject of its own."""
    return sample.source if sample.subject is None else sample.subject


def split_by_subject(faces: FaceSet, fraction: float, seed: int = 0) -> tuple[FaceSet, FaceSet]:
    """Hold out a random part of the subjects.

    Args:
        faces: The face set to split.
        fraction: Share of the subjects to hold out, in (0, 1).
        seed: Seed of the choice.

    Returns:
        The rest and the part held out.

    Raises:
        InputError: There are fewer than two subjects, or the fraction is out of range.
    """
    subjects = sorted({_subject(s) for s in faces.samples})
    if not 0 < fraction < 1:
        raise InputError(f"The held-out fraction must be between 0 and 1, got {fraction}.")
    if len(subjects) < 2:
        raise InputError(f"{faces.dataset} {faces.split}: {len(subjects)} subject(s) cannot be split; give more data.")
    n = min(max(round(fraction * len(subjects)), 1), len(subjects) - 1)
    held_out = set(random.Random(seed).sample(subjects, n))
    rest = faces.where(lambda s: _subject(s) not in held_out)
    return rest, faces.where(lambda s: _subject(s) in held_out, split=f"{fraction:g} of {faces.split} (seed {seed})")


def subject_folds(samples: Sequence[Sample], folds: int = 10) -> list[list[str]]:
    """Subjects of each test fold: subjects ascending, cut into consecutive folds of nearly equal size.

    Raises:
        InputError: There are fewer subjects than folds.
    """
    subjects = sorted({_subject(s) for s in samples})
    if len(subjects) < folds:
        raise InputError(f"{len(subjects)} subjects cannot make {folds} folds: ask for fewer folds.")
    bounds = [round(i * len(subjects) / folds) for i in range(folds + 1)]
    return [subjects[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def without_copies(faces: FaceSet, seen: FaceSet) -> FaceSet:
    """The faces whose pictures, pixel by pixel, are not among others: FERPlus has faces in Valid that Train has too.

    ``options`` says so (``without``: the other set's name and options, and how many faces went).

    Args:
        faces: The faces to test on.
        seen: The faces that were learnt from.

    Raises:
        InputError: A picture is missing or broken, or none is left.
    """
    known = {fingerprint(sample.picture()) for sample in seen.samples}
    kept = tuple(sample for sample in faces.samples if fingerprint(sample.picture()) not in known)
    if not kept:
        raise InputError(f"Every picture of {faces.dataset} {faces.split} is in {seen.split} too.")
    record = {"split": seen.split, **seen.options, "copies": len(faces) - len(kept)}
    return replace(faces, samples=kept, options={**faces.options, "without": record})


def fingerprint(picture: np.ndarray) -> bytes:
    """A hash of a picture's pixels and shape: equal for copies, whatever files they lie in."""
    return hashlib.blake2b(repr(picture.shape).encode() + picture.tobytes()).digest()
