"""A coarse head in ICT FaceKit's layout, for tests: a curved sheet with two eyeballs and a few bumps for shapes."""

import json
from pathlib import Path

import numpy as np

from fmpn_timm.data.ict import EXPRESSION_WEIGHTS, expression_weights

#: Where the model's 68 landmarks lie on the frontal view, about.
EYE = np.array([(-4.5, 3.4), (-3.9, 3.9), (-2.8, 3.9), (-1.8, 3.3), (-2.7, 3.1), (-3.9, 3.1)])
LANDMARKS = np.concatenate([
    np.stack([np.linspace(-7.3, 7.3, 17), 3.7 - 11.2 * np.cos(np.linspace(-1.57, 1.57, 17))], 1),  # jaw
    np.stack([np.linspace(-5.8, -1.2, 5), np.full(5, 6.0)], 1),
    np.stack([np.linspace(1.2, 5.8, 5), np.full(5, 6.0)], 1),
    [(0, 3.7), (0, 2.6), (0, 1.6), (0, 0.4), (-1.2, -1.1), (-0.6, -1.1), (0, -1.2), (0.6, -1.1), (1.2, -1.1)],
    EYE,
    EYE[[3, 2, 1, 0, 5, 4]] * (-1, 1),
    [(-2.5, -3.5), (-1.7, -2.8), (-0.7, -2.4), (0, -2.5), (0.7, -2.4), (1.7, -2.8), (2.5, -3.5),
     (1.8, -4.1), (1, -4.3), (0, -4.4), (-1, -4.3), (-1.8, -4.1)],
    [(-2.2, -3.5), (-1, -3.3), (0, -3.3), (1, -3.3), (2.2, -3.5), (1, -3.4), (0, -3.4), (-1, -3.4)],
])
COLUMNS, ROWS = 31, 37


def write_head(root: Path) -> Path:
    """Write FaceXModel with three identities and every shape the expressions use; returns its folder."""
    folder = root / "FaceXModel"
    folder.mkdir(parents=True)
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(-9, 9, COLUMNS), np.linspace(-11, 13, ROWS)))
    face = np.stack([x, y, 12 - 0.08 * x**2 - 0.03 * y**2 + 2 * np.exp(-(x**2 + (y - 0.4) ** 2))], 1)
    eyes = [np.array([(side * 3.1 + dx, 3.5 + dy, 12.6) for dy in (-1, 1) for dx in (-1, 1)]) for side in (1, -1)]
    vertices = np.concatenate([face, *eyes, [(0, 0, 99), (1, 0, 99), (1, 1, 99), (0, 1, 99)]])
    corner = (np.arange(COLUMNS - 1) + COLUMNS * np.arange(ROWS - 1)[:, None]).ravel() + 1
    quads = np.stack([corner, corner + 1, corner + COLUMNS + 1, corner + COLUMNS], 1)
    ball = np.array([[1, 2, 4], [1, 4, 3]]) + len(face)
    parts = {"M_Face": quads, "M_ScleraLeft": ball, "M_ScleraRight": ball + 4,
             "M_EyeBlend": np.array([[9, 10, 11, 12]]) + len(face)}
    faces = "".join(
        f"usemtl {name}\n" + "".join("f " + " ".join(f"{v}/{v}" for v in corners) + "\n" for corners in part)
        for name, part in parts.items()
    )
    nearest = [int(((face[:, :2] - mark) ** 2).sum(1).argmin()) for mark in LANDMARKS]
    (folder / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": nearest}))

    def write(name: str, moved: np.ndarray) -> None:
        lines = "".join(f"v {a:.5f} {b:.5f} {c:.5f}\n" for a, b, c in moved)
        (folder / f"{name}.obj").write_text(f"# ICT FaceKit\nmtllib x.mtl\n{lines}vt 0 0\n{faces}")

    def bump(where: tuple[float, float], offset: tuple[float, float, float], width: float) -> np.ndarray:
        near = np.exp(-((vertices[:, :2] - where) ** 2).sum(1) / (2 * width**2))
        return vertices + near[:, None] * offset

    write("generic_neutral_mesh", vertices)
    for i in range(3):
        write(f"identity{i:03d}", bump((0, 5 * i - 5), (0, 0, 0.5), 4))
    for name in sorted({shape for e in EXPRESSION_WEIGHTS for shape in expression_weights(e)}):
        side = {"_L": 1, "_R": -1}.get(name[-2:], 0)
        places = {"brow": (3, 6), "eye": (3, 4), "cheek": (4, 1), "nose": (1, 0)}
        x, y = next((place for part, place in places.items() if name.startswith(part)), (1.8, -3.5))
        write(name, bump((side * x, y), (0, -0.8 if "Down" in name or "jaw" in name else 0.6, 0.2), 1.2))
    return folder
