"""Mask sets as pictures."""

import textwrap
from pathlib import Path

from matplotlib.figure import Figure

from fmpn_timm.files import save_figure

from .masks import MaskSet

__all__ = ["draw_sheet"]


def draw_sheet(masks: MaskSet, path: str | Path) -> None:
    """Draw the masks of a set side by side, with their names and pairs, into a picture file.

    Raises:
        InputError: Pictures of that kind (by the file's suffix) cannot be written.
    """
    columns = min(len(masks.classes), 4)
    rows = -(-len(masks.classes) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.7 * rows + 0.5), layout="tight")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, name, mask in zip(axes.flat, masks.classes, masks.masks, strict=False):
        axis.imshow(mask.numpy(), cmap="inferno", vmin=0, vmax=1)
        pairs = masks.pairs.get(name)
        axis.set_title(name if pairs is None else f"{name} ({pairs} pairs)", fontsize=10)
    title = f"{masks.data}, {masks.masks.shape[2]} x {masks.masks.shape[1]}"
    figure.suptitle(textwrap.fill(title, 28 * columns), fontsize=10)
    save_figure(figure, path)
