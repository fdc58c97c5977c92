"""Faces as a picture to look at: one row for each expression."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fmpn_timm.files import save_figure

__all__ = ["draw_contact_sheet"]


def draw_contact_sheet(examples: dict[str, list[np.ndarray]], path: str | Path, title: str = "") -> None:
    """Draw faces into a picture file.

    Args:
        examples: Faces of each class, RGB uint8 (H, W, 3).
        path: Picture file to write.
        title: Heading.
    """
    examples = {name: faces for name, faces in examples.items() if faces}
    columns = max((len(faces) for faces in examples.values()), default=1)
    figure = Figure(figsize=(1.1 * columns + 1.2, 1.1 * len(examples) + 0.5))
    axes = figure.subplots(len(examples), columns, squeeze=False)
    for row, (name, faces) in zip(axes, examples.items(), strict=True):
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        for axis, face in zip(row, faces, strict=False):
            axis.imshow(face)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title, fontsize=10)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    save_figure(figure, path)
