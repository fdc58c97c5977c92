"""ICT FaceKit as a data set: people the package renders from a user's copy of the model, aligned by exact landmarks.

The model: https://github.com/ICT-VGL/ICT-FaceKit (MIT). See ``fmpn_timm.data.ict``.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.ict import expression_weights, load_ict, paint_face, pose_head, render
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe, five_of_68

from .drawn import SPLITS, subjects_of
from .layout import check_choice

__all__ = ["SPLITS", "read_ict"]

INTENSITY = (0.6, 1.0)
CLASSES = {7: tuple(name for name in EXPRESSIONS if name != "neutral"), 8: EXPRESSIONS}
IDENTITY_SPREAD = 0.8  # of the coefficients; at 1 some heads are caricatures


def read_ict(
        root: str | Path,
        split: str = "train",
        subjects: int = 60,
        takes: int = 1,
        size: int = 160,
        seed: int = 0,
        margin: float = 0.0,
        weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 1.0),
        pose: float = 1.0,
        light: float = 1.0,
        scene: str = "take",
        jitter: float = 0.0,
        classes: int = 8,
        intensity: Sequence[float] = INTENSITY,
        occlude: float = 0.0,
        blur: float = 0.0,
        noise: float = 0.0,
        reference: Sequence[Sequence[float]] | None = None,
) -> FaceSet:
    """Rendered people, split by subject: 60 % train, 20 % valid, 20 % test, or ``all``.

    Every subject shows a neutral face and the seven expressions in every take: the shapes of the expression's action
    units at a random intensity, contempt on a random side. Faces are rendered when asked for, straight
    into the aligned frame, some 20 a second and core at 160 pixels. Prior masks pair a subject's faces with its
    first neutral one, so build them from one take, or let the subject's takes share a scene.

    Args:
        root: The folder ``FaceXModel``, or one that holds it.
        split: ``train``, ``valid``, ``test`` or ``all``.
        subjects: Number of subjects over all splits.
        takes: Renderings of each subject and expression, with other light, pose and intensity.
        size: Height and width of the aligned faces in pixels.
        seed: Seed of the people and of the takes.
        margin: What is added around the reference frame, as a share of its side.
        weights: Weight of each of the five landmarks in the alignment.
        pose: Scale of the turn of the head, 0 to 3; at 1 up to about 6 degrees of pitch and yaw.
        light: Scale of the light's random direction and strength, 0 to 2.
        scene: Who shares light, pose and background: all faces of a ``subject``, so that every pair is fit for prior
            masks, the eight of a ``take``, or nobody (``face``).
        jitter: Standard error of the landmarks that faces are aligned by, as a share of the distance between the eyes:
            a detector's, to make pairs as real ones are. The samples' landmarks stay exact.
        classes: 8, or 7 expressions: neutral faces are then no samples but references for prior masks, and are spared
            patches, blur and noise.
        intensity: Range of the expressions' intensity, within 0 to 1.2.
        occlude: Probability that a patch of one colour, a quarter to a half of the picture wide, lies on it.
        blur: Largest standard deviation of a picture's random blur, as a share of its side.
        noise: Largest standard deviation of a picture's random sensor noise, in grey levels of 255.
        reference: Where the landmarks lie in the frame, five (x, y) as shares of its side; ``Recipe``'s if None.

    Raises:
        InputError: No model, unknown split, or an option out of its range.
    """
    people = subjects_of("ICT FaceKit", split, subjects, takes)
    if seed < 0 or not 0 <= pose <= 3 or not 0 <= light <= 2 or not 0 <= jitter <= 0.2:
        raise InputError("Give a seed from 0, pose in [0, 3], light in [0, 2] and jitter in [0, 0.2], "
                         f"not {seed}, {pose}, {light} and {jitter}.")
    check_choice("ICT FaceKit", "number of classes", classes, CLASSES)
    check_choice("ICT FaceKit", "scene", scene, ("subject", "take", "face"))
    low, high = intensity
    if not 0 <= low <= high <= 1.2 or not 0 <= occlude <= 1 or not 0 <= blur <= 0.1 or not 0 <= noise <= 100:
        raise InputError("Give intensity as two rising numbers in [0, 1.2], occlude in [0, 1], blur in [0, 0.1] and "
                         f"noise in [0, 100], not {list(intensity)}, {occlude}, {blur} and {noise}.")
    frame = {} if reference is None else {"reference": reference}
    recipe = Recipe(detector="dataset", size=size, margin=margin, weights=tuple(weights), **frame)
    load_ict(root)  # its checks, now and not at the first picture
    look = _Look(str(root), seed, recipe, pose, light, scene, jitter, (low, high), occlude, blur, noise)
    shown = CLASSES[classes]

    def face(subject: int, expression: str, take: int) -> Sample:
        its = look if expression in shown else replace(look, occlude=0.0, blur=0.0, noise=0.0)
        return Sample(
            source=f"ict:seed={seed}/subject={subject}/{expression}/take={take}",
            picture=partial(its.picture, subject, expression, take),
            expression=expression,
            subject=f"{subject:04d}",
            sequence=expression,
            frame=take,
            landmarks=partial(its.landmarks, subject, expression, take),
        )

    everything = list(itertools.product(people, EXPRESSIONS, range(takes)))
    samples = tuple(face(*one) for one in everything if one[1] in shown)
    neutral = tuple(face(*one) for one in everything if one[1] not in shown)
    options = dict(subjects=subjects, takes=takes, size=size, seed=seed, margin=margin, weights=list(recipe.weights),
                   pose=pose, light=light, scene=scene, jitter=jitter, classes=classes, intensity=[low, high],
                   occlude=occlude, blur=blur, noise=noise, **frame)
    return FaceSet("ict", split, shown, samples, options, neutral, recipe)


@dataclass(frozen=True)
class _Look:
    """How faces are shown, by the options of ``read_ict``."""

    root: str
    seed: int
    recipe: Recipe
    pose: float
    light: float
    scene: str
    jitter: float
    intensity: tuple[float, float]
    occlude: float
    blur: float
    noise: float

    def picture(self, subject: int, expression: str, take: int) -> np.ndarray:
        rng = self._scene(subject, expression, take)
        seen, matrix = self._posed(rng, subject, expression, take)
        x, y = self.light * rng.uniform((-0.5, -0.35), (0.5, 0.35))
        strength = 1 + self.light * rng.uniform(-0.15, 0.15)
        ambient = 0.45 + 0.15 * self.light * rng.uniform(-1, 1)
        _, texture = _person(self.root, self.seed, subject)
        size = self.recipe.size
        picture = render(load_ict(self.root), seen, matrix, size, texture, _background(rng, size), (x, y - 0.4, 0.9),
                         ambient, strength)
        if not (self.occlude or self.blur or self.noise):
            return picture
        own = self._rng(subject, take, EXPRESSIONS.index(expression), 3)
        return _spoil(picture, own, self.occlude, self.blur, self.noise)

    def landmarks(self, subject: int, expression: str, take: int) -> np.ndarray:
        seen, matrix = self._posed(self._scene(subject, expression, take), subject, expression, take)
        points = five_of_68(seen[load_ict(self.root).landmarks, :2])
        return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)

    def _scene(self, subject: int, expression: str, take: int) -> np.random.Generator:
        """Source of what the faces of a scene share.

        NumPy takes no account of zeros at the end of a seed: a subject's first scene begins with the numbers that made
        its head, so that pose and light go with the person there, though never with the expression. It stays, as
        figures stand on these pictures.
        """
        own = {"subject": [0], "take": [take], "face": [take, EXPRESSIONS.index(expression)]}[self.scene]
        return self._rng(subject, *own)

    def _rng(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *numbers])

    def _posed(
            self,
            rng: np.random.Generator,
            subject: int,
            expression: str,
            take: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The head (V, 3), whose pose the scene draws, and what cuts its face out of the picture plane (2, 3)."""
        model, own = load_ict(self.root), (subject, take, EXPRESSIONS.index(expression))
        neutral, _ = _person(self.root, self.seed, subject)
        acting = self._rng(*own, 1)
        weights = expression_weights(expression, acting.uniform(*self.intensity), mirrored=acting.uniform() < 0.5)
        angles = self.pose * rng.normal(0, (0.04, 0.05, 0.03)).clip(-0.12, 0.12)
        seen = pose_head(model.move(neutral, weights), tuple(angles))
        points = five_of_68(seen[model.landmarks, :2].astype(np.float64))
        if self.jitter:
            errors = self._rng(*own, 2).standard_normal((5, 2))
            points += self.jitter * np.linalg.norm(points[1] - points[0]) * errors
        return seen, self.recipe.matrix(points)


@lru_cache(maxsize=32)
def _person(root: str, seed: int, subject: int) -> tuple[np.ndarray, np.ndarray]:
    """The neutral head (V, 3) and the texture of a subject."""
    model = load_ict(root)
    rng = np.random.default_rng([seed, subject])
    coefficients = IDENTITY_SPREAD * rng.standard_normal(len(model.identities))
    return model.person(coefficients), paint_face(model, rng)


def _spoil(picture: np.ndarray, rng: np.random.Generator, occlude: float, blur: float, noise: float) -> np.ndarray:
    """A picture as a bad camera and a hand or a scarf leave it."""
    size = len(picture)
    hidden = rng.uniform() < occlude
    centre, half, colour = rng.uniform(0.2, 0.8, 2), rng.uniform(0.12, 0.25, 2), rng.uniform(0, 255, 3)
    if hidden:
        (left, top), (right, bottom) = (np.round((centre + side * half) * size).astype(int).clip(0, size)
                                        for side in (-1, 1))
        picture[top:bottom, left:right] = colour
    sigma = rng.uniform(0, blur) * size
    if sigma > 0.1:  # a narrower one changes nothing
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    grain = rng.uniform(0, noise) * rng.standard_normal(picture.shape)
    return np.rint(picture + grain).clip(0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A soft two-dimensional gradient, RGB (size, size, 3)."""
    corners = rng.uniform(20, 220) + rng.normal(0, 15, (2, 2, 3))
    return cv2.resize(corners.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR).clip(0, 255)
