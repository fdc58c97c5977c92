"""Drawn faces as a data set: subjects the package draws itself, aligned like any other faces."""

from functools import partial

import numpy as np

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.drawn import draw_face
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe

from .layout import check_choice

__all__ = ["SPLITS", "read_drawn", "subjects_of"]

SPLITS = {"train": (0.0, 0.6), "valid": (0.6, 0.8), "test": (0.8, 1.0)}


def read_drawn(
        root: None = None,
        split: str = "train",
        subjects: int = 60,
        takes: int = 4,
        size: int = 72,
        seed: int = 0,
        **nuisance: float,
) -> FaceSet:
    """Drawn faces, split by subject: 60 % train, 20 % valid, 20 % test, or ``all``.

    Args:
        root: Nothing to read: the faces are drawn when asked for.
        split: ``train``, ``valid``, ``test`` or ``all``.
        subjects: Number of subjects over all splits.
        takes: Pictures of each subject and expression.
        size: Height and width of the aligned faces in pixels.
        seed: Seed of the people and of the takes.
        nuisance: ``pose``, ``noise``, ``light``, ``occlusion``, ``intensity`` of ``draw_face``.

    Raises:
        InputError: Unknown split, too few subjects to split, or an option that ``draw_face`` does not take.
    """
    people = subjects_of("The drawn data set", split, subjects, takes)
    try:
        draw_face(0, size=size * 4 // 3, seed=seed, **nuisance)  # its checks, now and not at the first picture
    except (TypeError, ValueError) as error:
        raise InputError(f"The drawn faces cannot be drawn so: {error}.") from None
    samples = tuple(
        Sample(
            source=f"drawn:seed={seed}/subject={subject}/{expression}/take={take}",
            picture=partial(_aligned_face, subject, expression, take=take, size=size, seed=seed, **nuisance),
            expression=expression,
            subject=f"{subject:04d}",
            sequence=expression,
            frame=take,
        )
        for subject in people
        for expression in EXPRESSIONS
        for take in range(takes)
    )
    options = dict(subjects=subjects, takes=takes, size=size, seed=seed, **nuisance)
    return FaceSet("drawn", split, EXPRESSIONS, samples, options, recipe=_recipe(size))


def subjects_of(name: str, split: str, subjects: int, takes: int) -> range:
    """Numbers of the subjects of a split of faces that are made; ``name`` is the data set's.

    Raises:
        InputError: Unknown split, or too few subjects or takes.
    """
    check_choice(name, "split", split, (*SPLITS, "all"))
    if subjects < 5 or takes < 1:
        raise InputError(f"Give at least 5 subjects and 1 take, not {subjects} and {takes}: the splits are by subject.")
    return range(*(round(share * subjects) for share in SPLITS.get(split, (0.0, 1.0))))


def _recipe(size: int) -> Recipe:
    return Recipe("dataset", size, interpolation="linear")


def _aligned_face(subject: int, expression: str, *, size: int, **options) -> np.ndarray:
    face = draw_face(subject, expression, size=size * 4 // 3, **options)  # somewhat larger than the crop it gives
    return _recipe(size).align(face.image, face.landmarks)
