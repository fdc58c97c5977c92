"""Seeded drawn faces: the embedded data set of the package.

A face is drawn in *face units*: the origin lies between the eyes and the nose, x grows to the right of the picture,
y grows downwards, the chin of an average face is at y = 1 and its cheeks at x = +-0.7. What a subject looks like is
a ``_Person``, what the face does is an amount per FACS action unit, and ``_UNITS`` says which *channels* a unit drives:
displacements of features (face units at full activation), skin folds (``_FOLDS``) and soft relief (``_RELIEF``). Every
channel holds two values, one per side of the picture, so that one-sided expressions need no code of their own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np

from .classes import EXPRESSIONS

__all__ = ["ACTION_UNITS", "DrawnFace", "draw_face"]

#: Action units of each expression with their weights; those of contempt act on one side of the face only.
ACTION_UNITS: dict[str, dict[int, float]] = {
    "neutral": {},
    "happiness": {6: 0.9, 12: 1.0, 25: 0.6},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.8, 26: 1.0},
    "sadness": {1: 1.0, 4: 0.5, 15: 1.0, 17: 0.6},
    "anger": {4: 1.0, 5: 0.4, 7: 0.8, 23: 1.0, 24: 0.6},
    "disgust": {9: 1.0, 10: 1.0, 16: 0.6, 17: 0.4},
    "fear": {1: 0.9, 2: 0.6, 4: 0.6, 5: 1.0, 7: 0.4, 20: 1.0, 26: 0.45},
    "contempt": {12: 0.6, 14: 1.0},
}

_ONE_SIDED = frozenset({"contempt"})
_OPTIONAL = frozenset({17, 24, 25})

_UNITS: dict[int, dict[str, float]] = {
    1: {"brow_in": 0.15, "lid_up": 0.01, "forehead": 0.9},
    2: {"brow_out": 0.13, "lid_up": 0.01, "forehead": 0.3, "forehead_side": 0.9},
    4: {"brow_down": 0.08, "brow_together": 0.055, "lid_up": -0.015, "frown": 1.0},
    5: {"lid_up": 0.055},
    6: {"lid_low": 0.035, "lid_up": -0.008, "cheek": 1.0, "crow": 1.0},
    7: {"lid_low": 0.025, "lid_up": -0.02, "lid_bag": 0.9},
    9: {"nose_up": 0.05, "brow_down": 0.045, "lid_low": 0.025, "lid_up": -0.012, "bunny": 0.7, "nasolabial": 0.6},
    10: {"lip_up": 0.085, "nose_up": 0.015, "nasolabial": 0.7, "cheek": 0.3},
    12: {"corner_up": 0.11, "corner_out": 0.085, "nasolabial": 0.9, "cheek": 0.4, "thin": 0.15},
    14: {"corner_up": 0.035, "corner_out": 0.04, "dimple": 1.0, "thin": 0.15},
    15: {"corner_up": -0.085, "corner_out": 0.01, "mouth_droop": 0.65},
    16: {"lip_down": 0.055},
    17: {"chin_up": 0.045, "chin": 1.0},
    20: {"corner_out": 0.095, "corner_up": -0.03, "part": 0.035, "lip_down": 0.02, "stretch": 0.75, "thin": 0.25},
    23: {"thin": 0.45, "corner_out": -0.025, "press": 0.7},
    24: {"thin": 0.35, "chin_up": 0.01, "press": 0.6},
    25: {"part": 0.11, "lip_up": 0.02},
    26: {"jaw": 0.2, "corner_out": -0.05},
}

#: Creases, 3 or 4 control points each, on the right half of the picture; mirrored to the left one.
_FOLDS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "forehead": (
        ((0.0, -0.53), (0.14, -0.54), (0.27, -0.52)),
        ((0.0, -0.62), (0.14, -0.63), (0.3, -0.6)),
    ),
    "forehead_side": (
        ((0.27, -0.56), (0.4, -0.55), (0.52, -0.48)),
        ((0.25, -0.64), (0.37, -0.635), (0.5, -0.58)),
    ),
    "frown": (((0.06, -0.42), (0.045, -0.34), (0.055, -0.25)),),
    "crow": (
        ((0.5, -0.1), (0.56, -0.13), (0.6, -0.17)),
        ((0.5, -0.06), (0.57, -0.05), (0.62, -0.05)),
        ((0.2, 0.05), (0.32, 0.09), (0.45, 0.04)),
    ),
    "lid_bag": (((0.18, 0.02), (0.3, 0.055), (0.43, 0.01)),),
    "bunny": (
        ((0.025, -0.1), (0.065, -0.11), (0.11, -0.06)),
        ((0.04, -0.03), (0.08, -0.04), (0.13, 0.02)),
        ((0.05, 0.05), (0.085, 0.04), (0.125, 0.09)),
    ),
    "nasolabial": (((0.15, 0.2), (0.25, 0.31), (0.345, 0.46), (0.37, 0.6)),),
    "dimple": (((0.33, 0.46), (0.365, 0.54), (0.34, 0.62)),),
    "mouth_droop": (((0.29, 0.57), (0.34, 0.65), (0.35, 0.74)),),
    "chin": (((0.0, 0.73), (0.1, 0.745), (0.17, 0.79)),),
    "stretch": (((0.34, 0.42), (0.42, 0.54), (0.42, 0.68)),),
}

#: Soft bulges and hollows on the right half: x, y, widths along x and y (face units), lightening (relative).
_RELIEF: dict[str, tuple[tuple[float, float, float, float, float], ...]] = {
    "frown": ((0.09, -0.3, 0.07, 0.06, -0.16),),
    "cheek": ((0.4, 0.19, 0.13, 0.08, 0.12), (0.43, 0.36, 0.13, 0.06, -0.14), (0.32, 0.04, 0.12, 0.03, -0.1)),
    "bunny": ((0.1, 0.02, 0.06, 0.1, -0.14), (0.24, 0.2, 0.07, 0.07, 0.08)),
    "nasolabial": ((0.3, 0.44, 0.05, 0.1, -0.08),),
    "dimple": ((0.37, 0.54, 0.045, 0.06, -0.22), (0.45, 0.48, 0.07, 0.08, 0.1)),
    "mouth_droop": ((0.33, 0.64, 0.06, 0.06, -0.14),),
    "chin": ((0.0, 0.85, 0.12, 0.06, 0.08), (0.0, 0.74, 0.12, 0.03, -0.1)),
    "stretch": ((0.42, 0.55, 0.05, 0.1, -0.14), (0.25, 0.8, 0.1, 0.06, -0.07)),
    "press": ((0.0, 0.45, 0.13, 0.03, 0.06), (0.0, 0.65, 0.14, 0.035, -0.07)),
    "at_rest": (
        (0.29, -0.16, 0.14, 0.07, -0.1),
        (0.64, -0.1, 0.1, 0.4, -0.09),
        (0.1, 0.02, 0.035, 0.17, -0.07),
        (0.0, 0.05, 0.035, 0.2, 0.08),
        (0.0, 0.23, 0.05, 0.05, 0.1),
        (0.0, 0.34, 0.08, 0.025, -0.1),
        (0.4, 0.2, 0.16, 0.13, 0.05),
        (0.0, 0.7, 0.12, 0.03, -0.1),
        (0.0, 0.87, 0.12, 0.07, 0.05),
        (0.52, 0.72, 0.14, 0.16, -0.13),
        (0.0, -0.6, 0.3, 0.14, 0.05),
    ),
}

#: How deep the folds of the oldest faces are at rest.
_AGEING = {"nasolabial": 0.35, "crow": 0.35, "lid_bag": 0.35, "forehead": 0.35}

#: What differs between people, as factors or in face units, with its range.
_SHAPE: dict[str, tuple[float, float]] = {
    "width": (0.92, 1.08),
    "jaw": (0.84, 1.12),
    "chin": (0.94, 1.05),
    "eye_x": (0.285, 0.325),
    "eye_width": (0.135, 0.168),
    "eye_open": (0.06, 0.084),
    "eye_tilt": (-0.01, 0.025),
    "brow_y": (-0.355, -0.3),
    "brow_arch": (0.015, 0.06),
    "brow_thickness": (0.022, 0.05),
    "nose_width": (0.115, 0.16),
    "nose_y": (0.22, 0.27),
    "mouth_width": (0.22, 0.28),
    "lip_upper": (0.035, 0.07),
    "lip_lower": (0.05, 0.09),
    "hair_volume": (0.03, 0.16),
}

#: Standard deviation over people of how far each action unit is on (or, negative, off) in the resting face.
_REST_SPREAD = {1: 0.14, 2: 0.14, 4: 0.2, 5: 0.15, 7: 0.15, 10: 0.06, 12: 0.1, 15: 0.18, 17: 0.1, 23: 0.2}

_SKIN = ((250, 222, 202), (238, 200, 172), (222, 176, 142), (196, 144, 99), (156, 106, 76), (112, 74, 54), (76, 52, 42))
_HAIR = ((30, 24, 24), (48, 34, 28), (84, 56, 36), (124, 84, 48), (204, 168, 108), (150, 68, 36), (168, 164, 160))
_IRIS = ((62, 40, 28), (88, 56, 34), (104, 92, 50), (84, 116, 92), (92, 128, 160), (110, 122, 132))

_HAIRLINES: tuple[tuple[tuple[float, float], ...], ...] = (
    ((-0.69, -0.3), (-0.6, -0.62), (-0.3, -0.76), (0.0, -0.78), (0.3, -0.76), (0.6, -0.62), (0.69, -0.3)),
    ((-0.7, -0.2), (-0.64, -0.5), (-0.35, -0.66), (0.0, -0.67), (0.35, -0.66), (0.64, -0.5), (0.7, -0.2)),
    ((-0.7, -0.2), (-0.6, -0.52), (-0.36, -0.76), (-0.25, -0.84), (0.15, -0.7), (0.58, -0.54), (0.7, -0.2)),
    ((-0.7, -0.2), (-0.62, -0.56), (-0.25, -0.7), (0.2, -0.84), (0.36, -0.74), (0.6, -0.5), (0.7, -0.2)),
    ((-0.68, -0.3), (-0.54, -0.74), (-0.36, -0.86), (0.0, -0.76), (0.36, -0.86), (0.54, -0.74), (0.68, -0.3)),
)

_SIDES = ((0, -1.0), (1, 1.0))
_MIRROR = np.array([-1.0, 1.0])
_MOUTH_Y = 0.55
_TURN = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack((np.cos(_TURN), np.sin(_TURN)), 1)


@dataclass(frozen=True)
class DrawnFace:
    """A drawn face with its ground truth.

    Attributes:
        image: (size, size, 3) uint8, RGB.
        landmarks: (5, 2) float32, pixels (x, y), the centre of the top left pixel being (0, 0): the subject's right
            eye (left in the image), left eye, nose tip, right mouth corner, left mouth corner.
        subject: Number of the person.
        expression: One of ``EXPRESSIONS``.
    """

    image: np.ndarray
    landmarks: np.ndarray
    subject: int
    expression: str


class _Person(SimpleNamespace):
    """What a subject keeps from picture to picture: the ranges of ``_SHAPE`` drawn, and the attributes set below."""


def _person(seed: int, subject: int) -> _Person:
    rng = np.random.default_rng([seed, subject])
    u, normal = rng.uniform, rng.normal
    who = _Person(**{name: u(*bounds) for name, bounds in _SHAPE.items()})
    # The resting face is itself a trace of action units, which is what makes a stern neutral look like faint anger.
    who.rest = {unit: np.full(2, normal(0, spread)) for unit, spread in _REST_SPREAD.items()}
    who.manner = {unit: min(max(normal(1, 0.2), 0.5), 1.4) for unit in _UNITS}
    tone, who.age = u(), u() ** 1.5
    who.skin = np.clip(_ramp(_SKIN, tone) + normal(0, 3.5, 3), 0, 255)
    long_hair = u() < 0.45
    make_up = 16 * u() * long_hair
    who.lips = np.clip(who.skin * (0.86, 0.62, 0.64) + normal(0, 6, 3) + (10 + make_up, 0, 4), 0, 255)
    natural = rng.integers(0, 2 if tone > 0.5 else len(_HAIR) - 1)
    who.hair = np.clip(np.array(_HAIR[-1 if who.age > 0.75 else natural]) * u(0.8, 1.2), 0, 255)
    who.iris = np.array(_IRIS[rng.integers(0, 2 if tone > 0.45 else len(_IRIS))], float)
    who.cloth, who.wall = u(30, 220, 3), u(70, 225) + normal(0, 14, 3)
    who.hairline = np.array(_HAIRLINES[rng.integers(len(_HAIRLINES))]) if long_hair or u() < 0.85 else None
    who.hair_length = u(0.3, 1.2) if long_hair else 0.0
    who.beard = u(0.25, 0.85) if not long_hair and u() < 0.35 else 0.0
    who.glasses = u() < 0.13
    who.freckles = normal((0.0, 0.16), (0.3, 0.07), (24 if tone < 0.4 and u() < 0.25 else 0, 2))
    return who


def _ramp(colours: tuple[tuple[int, int, int], ...], position: float) -> np.ndarray:
    """Colour at ``position`` in [0, 1] along ``colours``."""
    at = np.linspace(0, 1, len(colours))
    return np.array([np.interp(position, at, channel) for channel in zip(*colours, strict=True)])


def _channels(activation: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    """Sum the action units into (2,) channel values, left and right half of the picture."""
    state = {name: np.zeros(2) for moves in _UNITS.values() for name in moves}
    for unit, amount in activation.items():
        for name, gain in _UNITS[unit].items():
            state[name] = state[name] + gain * amount
    return state


def _activation(
        person: _Person, expression: str, intensity: tuple[float, float], rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """Activate the units of ``expression`` on top of the resting face, each with its own strength and asymmetry."""
    strength = rng.uniform(*intensity)
    sides = np.eye(2)[rng.integers(2)] if expression in _ONE_SIDED else np.ones(2)
    activation = dict(person.rest)
    for unit, weight in ACTION_UNITS[expression].items():
        jitter = rng.uniform(0.0 if unit in _OPTIONAL else 0.65, 1.2) * rng.uniform(0.92, 1.08, 2)
        amount = weight * strength * person.manner[unit] * jitter * sides
        activation[unit] = activation.get(unit, np.zeros(2)) + amount
    return activation


def _spline(points: np.ndarray, *, closed: bool = False, per_segment: int = 8) -> np.ndarray:
    """Catmull-Rom curve through (n, 2) ``points``."""
    p = np.asarray(points, float)
    p = np.concatenate((p[-1:], p, p[:2]) if closed else (2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]))
    t = np.linspace(0, 1, per_segment, endpoint=False)[:, None, None]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    curve = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.transpose(1, 0, 2).reshape(-1, 2)
    return curve if closed else np.concatenate((curve, p[-2:-1]))


def _ribbon(curve: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Outline of a stroke along (n, 2) ``curve``; ``width`` may vary along it."""
    ends = curve[[0, *range(len(curve)), -1]]
    along = ends[2:] - ends[:-2]
    across = along[:, ::-1] * (-0.5, 0.5) / (np.hypot(*along.T)[:, None] + 1e-9)
    offset = across * (width if np.isscalar(width) else width[:, None])
    return np.concatenate((curve + offset, (curve - offset)[::-1]))


def _ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    return _CIRCLE * (rx, ry) + (x, y)


def _crease(curve: tuple[tuple[float, float], ...], side: float = 1.0) -> np.ndarray:
    """Outline, (50, 2), of a tapered stroke through 3 or 4 points."""
    spine = _spline(np.array(curve) * (side, 1), per_segment=24 // (len(curve) - 1))
    return _ribbon(spine, 0.035 * np.sin(np.linspace(0.3, np.pi - 0.3, len(spine))))


_CREASE_NAMES = [(name, index) for name, curves in _FOLDS.items() for _ in curves for index, _ in _SIDES]
_CREASES = np.array([_crease(curve, side) for curves in _FOLDS.values() for curve in curves for _, side in _SIDES])
_STRANDS = np.array([_crease(((x, -1.01), (x * 1.3, -0.94), (x * 1.5, -0.86))) for x in np.linspace(-0.3, 0.3, 7)])
_BLOB_NAMES = [name for name, blobs in _RELIEF.items() for _ in blobs]
_BLOBS = np.array([blob for blobs in _RELIEF.values() for blob in blobs]).repeat(2, 0)
_BLOBS[::2, 0] *= -1
# Blobs on the midline are mirrored onto themselves, hence counted twice.
_BLOBS[_BLOBS[:, 0] == 0, 4] /= 2


@dataclass
class _Canvas:
    """A supersampled picture that is painted in face units."""

    size: int
    samples: int
    roll: float
    yaw: float
    shift: np.ndarray
    scale: float

    def __post_init__(self) -> None:
        self.image = np.empty((self.size * self.samples,) * 2 + (3,), np.uint8)

    @property
    def unit(self) -> float:
        """Pixels per face unit."""
        return 0.405 * self.scale * self.size

    def project(self, points: np.ndarray) -> np.ndarray:
        """Face units to picture coordinates, the picture spanning [0, size]."""
        x, y = points.T
        skull = np.sqrt(np.maximum(1 - (x / 0.85) ** 2 - (y / 1.2) ** 2, 0))
        nose = np.exp((x * x + (y - 0.2) ** 2) / -0.02)
        x = x * math.cos(self.yaw) + (0.6 * skull + 0.3 * nose) * math.sin(self.yaw)
        cos, sin = self.unit * math.cos(self.roll), self.unit * math.sin(self.roll)
        return np.array((cos * x - sin * y, sin * x + cos * y)).T + (np.array((0.5, 0.51)) + self.shift) * self.size

    def stamp(self, corners: np.ndarray, colour: np.ndarray | float, on: np.ndarray) -> None:
        """Fill the polygon ``corners`` (n, 2), in picture coordinates, on an array of the canvas' height and width."""
        # Four fractional bits, measured from pixel centres, which is where OpenCV has its integers.
        fixed = np.rint((corners * self.samples - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(on, [fixed], (np.ones(3) * colour).tolist(), cv2.LINE_8, 4)

    def fill(self, points: np.ndarray, colour: np.ndarray | float) -> None:
        """Fill the polygon ``points`` (n, 2), in face units, on the picture."""
        self.stamp(self.project(points), colour, self.image)

    def mask(self, points: np.ndarray) -> np.ndarray:
        mask = np.zeros(self.image.shape[:2], np.uint8)
        self.stamp(self.project(points), 255, mask)
        return mask

    def inside(self, points: np.ndarray, paint: Callable[[], None]) -> None:
        """Run ``paint``, keeping what it paints inside the polygon ``points`` only."""
        before = self.image.copy()
        paint()
        self.image = cv2.copyTo(self.image, self.mask(points), before)


@dataclass(frozen=True)
class _Face:
    """A person making an expression, ready to be painted."""

    person: _Person
    state: dict[str, np.ndarray]

    @property
    def jaw(self) -> float:
        return float(max(self.state["jaw"].mean(), 0))

    def corners(self) -> np.ndarray:
        """Mouth corners, (2, 2)."""
        x = _MIRROR * (self.person.mouth_width + self.state["corner_out"])
        return np.stack((x, _MOUTH_Y - self.state["corner_up"] + 0.45 * self.jaw), 1)

    def carry(self, points: np.ndarray) -> np.ndarray:
        """Move skin points along with the jaw and the mouth corners."""
        p = np.array(points, float)
        fall = np.clip((p[:, 1] - 0.25) / 0.6, 0, 1)
        moved = p + np.stack((np.zeros(len(p)), 0.75 * self.jaw * fall * fall * (3 - 2 * fall)), 1)
        rest = np.stack((_MIRROR * self.person.mouth_width, np.full(2, _MOUTH_Y)), 1)
        pull = self.corners() - rest - (0, 0.45 * self.jaw)
        near = np.exp(-((p[:, None] - rest) ** 2).sum(2) / (2 * 0.13**2))
        return moved + 0.7 * near @ pull

    def outline(self) -> np.ndarray:
        who = self.person
        half = np.array([(0, -1), (0.4, -0.94), (0.64, -0.6), (0.7, -0.15), (0.66, 0.25), (0.52, 0.67), (0.24, 0.95)])
        half[:, 0] *= who.width * np.where(half[:, 1] > 0.5, who.jaw, 1)
        bottom = (0, who.chin - 0.3 * self.state["chin_up"].mean())
        return _spline(self.carry(np.concatenate((half, [bottom], half[:0:-1] * (-1, 1)))), closed=True)


def _paint_body(canvas: _Canvas, face: _Face) -> None:
    who = face.person
    if who.hair_length:
        low, wide = who.hair_length, 0.8 + who.hair_volume
        back = np.array([(0, -1.1), (wide, -0.5), (wide + 0.04, low - 0.4), (wide, low - 0.1), (wide * 0.8, low)])
        canvas.fill(_spline(np.concatenate((back, back[:0:-1] * (-1, 1))), closed=True), who.hair * 0.75)
    canvas.fill(np.array([(-0.38, 0.5), (0.38, 0.5), (0.42, 1.5), (-0.42, 1.5)]), who.skin * 0.72)
    shoulder = np.array([(0, 1.2), (0.42, 1.1), (0.9, 1.22), (1.7, 1.8)])
    canvas.fill(_spline(np.concatenate((shoulder[::-1], shoulder[1:] * (-1, 1)))), who.cloth)
    for _, side in _SIDES:
        canvas.fill(_ellipse(side * 0.71 * who.width, 0.03, 0.08, 0.17), who.skin * 0.84)


def _paint_skin(canvas: _Canvas, face: _Face) -> None:
    """Skin with its relief and folds: what makes a moving muscle visible away from the features."""
    who, state = face.person, face.state
    outline = face.outline()
    canvas.fill(outline, who.skin)

    amount = {name: np.clip(value, 0, 1.2) for name, value in state.items()} | {"at_rest": np.ones(2)}
    sides = np.array([amount[name] for name in _BLOB_NAMES]).ravel()
    centre = canvas.project(face.carry(_BLOBS[:, :2]))
    # Axis-aligned Gaussians separate, so that all of them are one matrix product.
    offset = (np.arange(canvas.size) + 0.5 - centre[..., None]) / (canvas.unit * _BLOBS[:, 2:4, None])
    x, y = np.exp(offset.astype(np.float32) ** 2 / -2).transpose(1, 0, 2)
    relief = cv2.resize(y.T @ (x * np.float32(_BLOBS[:, 4:] * sides[:, None])), canvas.image.shape[:2])

    creases = np.zeros(canvas.image.shape[:2], np.uint8)
    ridges = canvas.project(face.carry(_CREASES.reshape(-1, 2))).reshape(_CREASES.shape)
    for (name, index), ridge in zip(_CREASE_NAMES, ridges, strict=True):
        depth = amount[name][index] + _AGEING.get(name, 0) * who.age
        if depth > 0.02:
            canvas.stamp(ridge, min(depth, 1.2) * 200, creases)
    creases = cv2.GaussianBlur(creases, (0, 0), 0.013 * canvas.unit * canvas.samples)
    factor = 1 + relief - creases.astype(np.float32) * (0.45 / 255)
    shaded = cv2.multiply(canvas.image, cv2.merge([factor, factor, factor]), dtype=cv2.CV_8U)
    canvas.image = cv2.copyTo(shaded, canvas.mask(outline), canvas.image)


def _paint_eye(canvas: _Canvas, face: _Face, index: int, side: float, gaze: np.ndarray) -> None:
    who, state = face.person, face.state
    t = np.linspace(-1, 1, 21)
    x = side * (who.eye_x + who.eye_width * t)
    line = -0.06 - who.eye_tilt * t
    opening = max(who.eye_open + state["lid_up"][index], 0.012)
    upper = line - opening * (1 - np.abs(t) ** 2.4)
    lower = np.maximum(line + (0.05 - state["lid_low"][index]) * (1 - t**2), upper + 0.012 * (1 - t**2))
    lid, rim = np.stack((x, upper), 1), np.stack((x, lower), 1)
    centre = np.array([side * who.eye_x, -0.075]) + gaze

    def ball() -> None:
        canvas.fill(_ellipse(side * who.eye_x, -0.06, 0.3, 0.3), np.array((240, 236, 232)))
        canvas.fill(_ellipse(*centre, 0.068, 0.068), who.iris * 0.6)
        canvas.fill(_ellipse(*centre, 0.058, 0.058), who.iris)
        canvas.fill(_ellipse(*centre, 0.03, 0.03), 14)
        canvas.fill(_ellipse(*(centre - 0.022), 0.014, 0.014), 250)
        canvas.fill(_ribbon(lid, 0.04), np.array((150, 140, 136)))

    canvas.inside(np.concatenate((lid, rim[::-1])), ball)
    canvas.fill(_ribbon(rim, 0.012), who.skin * 0.62)
    canvas.fill(_ribbon(lid, 0.02 + 0.014 * (t + 1) / 2), who.skin * 0.12 + 12)
    crease = np.stack((x, line - 0.045 - 0.75 * opening * (1 - t**2)), 1)[2:-1]
    canvas.fill(_ribbon(crease, 0.014), who.skin * 0.68)


def _paint_brow(canvas: _Canvas, face: _Face, index: int, side: float) -> None:
    who, state = face.person, face.state
    s = np.linspace(0, 1, 17)
    x = 0.13 - state["brow_together"][index] + (who.eye_x + 0.07 + state["brow_together"][index]) * s
    lift = state["brow_in"][index] * (1 - s) ** 1.3 + state["brow_out"][index] * np.sin(np.pi * s**0.75 / 1.5) ** 1.2
    drop = state["brow_down"][index] * (1.25 - 0.75 * s)
    y = who.brow_y - who.brow_arch * np.sin(np.pi * s**1.3) + 0.02 * s - lift + drop
    # The skull holds the skin: brows can rise and sink only so far.
    y = -0.35 + 0.24 * np.tanh((y + 0.35) / 0.24)
    thickness = who.brow_thickness * 2 * (0.75 + 0.5 * s - 1.05 * s**2.5)
    canvas.fill(_ribbon(np.stack((side * x, y), 1), thickness), who.hair * 0.6 + who.skin * 0.12)


def _paint_nose(canvas: _Canvas, face: _Face) -> None:
    who = face.person
    for index, side in _SIDES:
        lift = face.state["nose_up"][index]
        y, w = who.nose_y - lift, who.nose_width * (1 + 1.8 * max(lift, 0))
        wing = _spline(np.array([(0.8 * w, y - 0.075), (1.12 * w, y), (1.02 * w, y + 0.055), (0.75 * w, y + 0.06)]))
        canvas.fill(_ribbon(wing * (side, 1), 0.02 * np.sin(np.linspace(0.4, 2.8, len(wing)))), who.skin * 0.6)
        canvas.fill(_ellipse(side * 0.5 * w, y + 0.06, 0.3 * w, 0.02), who.skin * 0.36)


def _paint_beard(canvas: _Canvas, face: _Face) -> None:
    who = face.person
    if not who.beard:
        return
    sides = [(0.63 * who.width, 0.15), (0.55, 0.36), (0.36, 0.4), (0.0, 0.385)]
    top = face.carry(np.array([(-x, y) for x, y in sides[:-1]] + sides[::-1]))
    chin = _spline(np.array([(0.75, 0.6), (0.45, 1.2), (0.0, 1.3), (-0.45, 1.2), (-0.75, 0.6)]))
    mask = cv2.copyTo(canvas.mask(np.concatenate((top, chin))), canvas.mask(face.outline()))
    blur = cv2.GaussianBlur(mask, (0, 0), 0.02 * canvas.unit * canvas.samples)
    alpha = cv2.merge([blur] * 3).astype(np.float32) * (who.beard / 255)
    canvas.image = (canvas.image + alpha * (who.hair.astype(np.float32) - canvas.image)).astype(np.uint8)


def _paint_mouth(canvas: _Canvas, face: _Face) -> None:
    who, state = face.person, face.state
    t = np.linspace(-1, 1, 41)
    bulge = 1 - t**2
    (x0, y0), (x1, y1) = face.corners()
    x = np.where(t < 0, -x0, x1) * t
    middle = _MOUTH_Y + 0.012 - 0.8 * state["chin_up"].mean() - 0.25 * np.clip(state["corner_up"].mean(), -0.1, 0)
    corner = np.where(t < 0, y0, y1)
    line = middle + (corner - middle) * np.abs(t) ** 1.8
    lift = np.maximum(np.interp(t, (-1, 1), state["lip_up"]), -0.02) * (1 + 0.6 * np.abs(t)) * bulge
    part = max(state["part"].mean() + state["lip_down"].mean(), 0)
    inner_upper = line - lift - 0.2 * part * bulge
    inner_lower = np.maximum(line + (0.85 * part + 1.25 * face.jaw) * bulge**0.8, inner_upper + 0.008)
    inner_lower -= 0.35 * lift * (part < 0.02)
    thin = np.clip(1 - state["thin"].mean(), 0.25, 1.3)
    bow = (1 - np.abs(t) ** 1.9) * (1 - 0.25 * np.exp(-((t / 0.13) ** 2)))
    outer_upper = inner_upper - who.lip_upper * thin * bow
    outer_lower = inner_lower + who.lip_lower * thin * (1 - np.abs(t) ** 2.6)

    def band(top: np.ndarray | float, bottom: np.ndarray | float) -> np.ndarray:
        edges = [np.stack((x, np.broadcast_to(y, t.shape)), 1) for y in (top, bottom)]
        return np.concatenate((edges[0], edges[1][::-1]))

    def inside() -> None:
        # Upper teeth hang from the skull and lower ones ride on the jaw, so the lips alone decide what is seen.
        fall = 1.2 * face.jaw
        canvas.fill(band(0.2, 1.2), np.array((58, 20, 22)))
        canvas.fill(_ellipse(0, _MOUTH_Y + 0.13 + fall, 0.15, 0.08), np.array((168, 84, 84)))
        canvas.fill(band(_MOUTH_Y + 0.055 + fall, _MOUTH_Y + 0.16 + fall) * (0.8, 1), np.array((214, 206, 194)))
        canvas.fill(band(0.2, _MOUTH_Y + 0.05 - 0.03 * t**2), np.array((240, 235, 226)))

    canvas.fill(band(outer_upper, line), who.lips * 0.9)
    canvas.fill(band(line, outer_lower), who.lips)
    shine = (inner_lower + outer_lower)[12:-12] / 2
    canvas.fill(_ribbon(np.stack((x[12:-12], shine), 1), 0.2 * who.lip_lower * thin), who.lips * 0.85 + 34)
    canvas.inside(band(inner_upper, inner_lower), inside)
    for edge in (inner_upper, inner_lower):
        canvas.fill(_ribbon(np.stack((x, edge), 1), 0.014), who.lips * 0.4)


def _paint_hair(canvas: _Canvas, face: _Face) -> None:
    who = face.person
    if who.hairline is None:
        return
    v = who.hair_volume
    top = [(0.71 + v / 2, -0.05), (0.73 + v, -0.45), (0.5 + 0.9 * v, -0.88 - v / 2), (0.0, -1.06 - v)]
    top += [(-x, y) for x, y in top[-2::-1]]
    cap = np.concatenate((_spline(who.hairline), _spline(np.array(top))))
    canvas.fill(cap * (who.width, 1), who.hair)
    for strand in canvas.project(_STRANDS.reshape(-1, 2)).reshape(_STRANDS.shape):
        canvas.stamp(strand, who.hair * 1.12 + 8, canvas.image)


def _paint_glasses(canvas: _Canvas, face: _Face) -> None:
    if not face.person.glasses:
        return
    rings = [_ellipse(side * face.person.eye_x, -0.05, 0.215, 0.17) for side in _MIRROR]
    bars = [((-0.51, -0.09), (-0.7, -0.12)), ((-0.1, -0.07), (0, -0.095), (0.1, -0.07)), ((0.51, -0.09), (0.7, -0.12))]
    for wire in [np.concatenate((ring, ring[:1])) for ring in rings] + [np.array(bar) for bar in bars]:
        canvas.fill(_ribbon(wire, 0.028), 34)


def _occlude(canvas: _Canvas, person: _Person, rng: np.random.Generator) -> None:
    """Cover part of the face with a plain patch, sunglasses, a scarf or a hand."""
    colour = rng.uniform(20, 235, 3)
    x, y = rng.uniform((-0.45, -0.4), (0.45, 0.75))
    w, h = rng.uniform(0.18, 0.38, 2)
    box = np.array([(-w, -h), (w, -h), (w, h), (-w, h)]) + (x, y)
    shades = [_ellipse(side * 0.31, -0.06, 0.25, 0.2) for side in _MIRROR]
    bridge = _ribbon(np.array([(-0.72, -0.13), (0.0, -0.12), (0.72, -0.13)]), 0.05)
    edge = rng.uniform(0.25, 0.5)
    scarf = np.array([(-0.85, edge - 0.1), (0.0, edge + 0.05), (0.85, edge - 0.1), (0.95, 1.6), (-0.95, 1.6)])
    palm = np.copysign(0.62, x), y + 0.35
    reach = [((0, 0.1 * i - 0.2), (np.copysign(0.62 - 0.09 * i, -x), 0.15 * i - 0.36)) for i in range(4)]
    hand = [_ellipse(*palm, 0.27, 0.3), *(_ribbon(_spline(np.array(finger) + palm), 0.13) for finger in reach)]
    kinds = (([box], colour), ([*shades, bridge], np.full(3, 24.0)), ([scarf], colour), (hand, person.skin * 0.92))
    shapes, paint = kinds[rng.integers(len(kinds))]
    for shape in shapes:
        canvas.fill(shape, paint)
        canvas.fill(_ribbon(np.concatenate((shape, shape[:1])), 0.02), paint * 0.75)


def _photograph(image: np.ndarray, light: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Light the downsampled picture from some direction and pass it through a camera."""
    size = image.shape[0]
    angle, slope, gain = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35), rng.uniform(-0.3, 0.12)
    cast = rng.uniform(-0.06, 0.06, 3)
    blur, grain = rng.uniform(0, 1) ** 2, rng.uniform(1, 9)
    across = np.linspace(-1, 1, size)
    plane = slope * (np.cos(angle) * across[None] + np.sin(angle) * across[:, None])
    photo = image * (1 + light * (plane[..., None] + gain + cast)).clip(0.1).astype(np.float32)
    if noise:
        photo = cv2.GaussianBlur(photo, (0, 0), max(noise * blur * size / 96, 0.05))
        photo += noise * grain * rng.standard_normal(photo.shape, np.float32)
    return np.rint(photo).clip(0, 255).astype(np.uint8)


def draw_face(
        subject: int,
        expression: str = "neutral",
        *,
        take: int = 0,
        size: int = 96,
        seed: int = 0,
        intensity: float | tuple[float, float] = (0.6, 1.0),
        pose: float = 1.0,
        noise: float = 1.0,
        occlusion: float = 0.0,
        light: float = 1.0,
) -> DrawnFace:
    """Draw one face; on one installation, the same arguments give the same bits.

    The looks of a person depend on ``seed`` and ``subject`` only. ``take``, together with ``expression``, selects
    everything else. With ``pose``, ``noise``, ``light`` and ``occlusion`` at 0, a subject's neutral and expressive
    pictures differ only by what the action units move.

    Args:
        subject: Number of the person, >= 0.
        expression: One of ``EXPRESSIONS``.
        take: Number of the picture of this subject with this expression, >= 0.
        size: Height and width of the picture in pixels, >= 16.
        seed: Number of the population the subjects come from, >= 0.
        intensity: Strength of the expression in [0, 1], or the (low, high) range it is drawn from. Neutral ignores it.
        pose: Scale of head rotation, shift, size and gaze, in [0, 2]; 0 is frontal and centred.
        noise: Scale of blur and sensor noise, in [0, 2]; 0 is clean.
        occlusion: Probability, in [0, 1], that something covers part of the face.
        light: Scale of the light's slope, gain and tint and of the background's, in [0, 2]; 0 is flat standard light.

    Returns:
        The picture with its landmarks and labels.

    Raises:
        ValueError: If ``expression`` is unknown or a number is out of its range.
    """
    if expression not in EXPRESSIONS:
        raise ValueError(f"unknown expression {expression!r}; choose from {', '.join(EXPRESSIONS)}")
    low, high = (intensity, intensity) if np.ndim(intensity) == 0 else intensity
    if not 0 <= low <= high <= 1:
        raise ValueError(f"intensity must be a number in [0, 1] or an ascending range within it, not {intensity!r}")
    least = {"subject": (subject, 0), "take": (take, 0), "seed": (seed, 0), "size": (size, 16)}
    for name, (value, bound) in least.items():
        if value < bound:
            raise ValueError(f"{name} must be at least {bound}, not {value!r}")
    most = {"pose": (pose, 2), "noise": (noise, 2), "light": (light, 2), "occlusion": (occlusion, 1)}
    for name, (value, bound) in most.items():
        if not 0 <= value <= bound:
            raise ValueError(f"{name} must be in [0, {bound}], not {value!r}")

    person = _person(seed, subject)
    rng = np.random.default_rng([seed, subject, EXPRESSIONS.index(expression), take])
    # One stream per nuisance, so that changing one option leaves the others as they were.
    acting, posing, covering, lighting = rng.spawn(4)
    face = _Face(person, _channels(_activation(person, expression, (low, high), acting)))
    roll, yaw, dx, dy, zoom = pose * posing.uniform(-1, 1, 5) * (0.13, 0.22, 0.03, 0.025, 0.06)
    gaze = pose * posing.normal(0, (0.014, 0.008))
    canvas = _Canvas(size, 3 if size <= 128 else 2, roll, yaw, np.array([dx, dy]), 1 + zoom)

    canvas.image[:] = np.clip(person.wall + light * lighting.normal(0, 25, 3), 0, 255).astype(np.uint8)
    _paint_body(canvas, face)
    _paint_skin(canvas, face)
    _paint_beard(canvas, face)
    for freckle in person.freckles:
        canvas.fill(_ellipse(*freckle, 0.011, 0.011), person.skin * 0.78)
    _paint_nose(canvas, face)
    _paint_mouth(canvas, face)
    for index, side in _SIDES:
        _paint_eye(canvas, face, index, side, gaze)
        _paint_brow(canvas, face, index, side)
    _paint_hair(canvas, face)
    _paint_glasses(canvas, face)
    if covering.uniform() < occlusion:
        _occlude(canvas, person, covering)

    right, left = face.corners()
    nose = (0, person.nose_y - face.state["nose_up"].mean())
    eyes = [(side * person.eye_x, -0.07) for side in _MIRROR]
    landmarks = canvas.project(np.array([*eyes, nose, right, left])) - 0.5
    small = cv2.resize(canvas.image, (size, size), interpolation=cv2.INTER_AREA)
    return DrawnFace(_photograph(small, light, noise, lighting), landmarks.astype(np.float32), subject, expression)
