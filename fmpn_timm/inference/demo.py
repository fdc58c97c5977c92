"""What the demo ends with: faces the package draws, and what the small model that comes with it says of them."""

from pathlib import Path

import numpy as np

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.drawn import draw_face

from .draw import draw_prediction, write_picture
from .predictor import Predictor

__all__ = ["draw_people", "predict_drawn"]

COLUMNS = 4
SIDE = 320


def draw_people(seed: int = 0) -> np.ndarray:
    """A picture of eight drawn people, each with another expression, in the order of ``EXPRESSIONS`` row by row.

    Args:
        seed: Seed of the people.

    Returns:
        RGB uint8 (2 x 320, 4 x 320, 3).
    """
    quiet = dict(pose=0.3, noise=0.0, light=0.3, occlusion=0.0)
    faces = [draw_face(person, expression, size=SIDE, seed=seed, **quiet).image
             for person, expression in enumerate(EXPRESSIONS)]
    return np.vstack([np.hstack(faces[i:i + COLUMNS]) for i in range(0, len(faces), COLUMNS)])


def predict_drawn(path: str | Path, seed: int = 0) -> str:
    """Draw people, predict them with the default model, and write the picture with labels and motion masks.

    Args:
        path: Picture file to write.
        seed: Seed of the people.

    Returns:
        A line on each person: what was drawn and what the model says.
    """
    picture = draw_people(seed)
    prediction = Predictor()(picture)
    write_picture(draw_prediction(picture, prediction), path)
    said = {_cell(face.box): f"{face.label} ({100 * face.probability:.0f} %)" for face in prediction.faces}
    lines = (f"  drawn {name:10} predicted {said.get(i, 'no face found')}" for i, name in enumerate(EXPRESSIONS))
    return "\n".join(lines)


def _cell(box: np.ndarray) -> int:
    column, row = (box[:2] + box[2:]) / 2 // SIDE
    return int(row * COLUMNS + column)
