"""Pictures of a run: the confusion matrix, faces with their masks, and embeddings on a plane."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from fmpn_timm.models import FMPN

__all__ = ["draw_confusion", "draw_faces", "draw_map"]


def _pyplot():
    matplotlib.use("Agg", force=False)
    import matplotlib.pyplot as plt

    return plt


def draw_confusion(metrics: dict[str, Any], title: str, path: str | Path) -> None:
    """Draw a confusion matrix: rows are the true classes, colours their shares, numbers their counts."""
    plt = _pyplot()
    confusion, classes = np.array(metrics["confusion"]), metrics["classes"]
    shares = confusion / confusion.sum(1, keepdims=True).clip(min=1)
    figure, axis = plt.subplots(figsize=(1.2 + 0.62 * len(classes), 1.4 + 0.58 * len(classes)))
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            share = shares[row, column]
            style = dict(ha="center", va="center", fontsize=7, color="white" if share > 0.5 else "black")
            axis.text(column, row, f"{share:.2f}\n{count}", **style)
    axis.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axis.set_yticks(range(len(classes)), classes)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    scores = f"accuracy {100 * metrics['accuracy']:.1f} %, macro F1 {100 * metrics['macro_f1']:.1f} %"
    axis.set_title(f"{title}\n{scores}, n = {metrics['n']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


@torch.inference_mode()
def draw_faces(
        model: FMPN,
        faces: torch.Tensor,
        labels: list[str],
        classes: tuple[str, ...],
        priors: torch.Tensor | None,
        path: str | Path,
) -> None:
    """Draw faces with their motion masks: face, prior mask of its class, predicted mask, masked face, fused face.

    Args:
        model: The network, in evaluation mode.
        faces: Faces (B, 3, H, W) in [0, 1].
        labels: True class of each face.
        classes: Class names of the logits.
        priors: Prior mask of each face (B, 1, H, W) in [0, 1], or None for an arm without.
        path: Picture file to write.
    """
    plt = _pyplot()
    output = model.forward_motion(faces.to(next(model.parameters()).device))
    probabilities, called = output.logits.float().softmax(1).max(1)
    masks = output.motion_mask.float().cpu()
    faces = faces.float().cpu()
    fused = output.fused_face.float().cpu()  # its range is the network's own, so it is stretched to be seen
    low, high = fused.amin((1, 2, 3), keepdim=True), fused.amax((1, 2, 3), keepdim=True)
    rows = {"face": _rgb(faces)}
    if priors is not None:
        rows["prior mask"] = _heat(priors)
    rows["motion mask"] = _heat(masks)
    rows["face x mask"] = _rgb(faces * masks)
    rows["fused face"] = _rgb((fused - low) / (high - low + 1e-6))

    size, gap = faces.shape[-1], 2
    step = size + gap
    canvas = np.ones((len(rows) * step - gap, len(faces) * step - gap, 3))
    for row, pictures in enumerate(rows.values()):
        for column, picture in enumerate(pictures):
            canvas[row * step : row * step + size, column * step : column * step + size] = picture
    figure, axis = plt.subplots(figsize=(1.3 * len(faces) + 0.9, 1.3 * len(rows) + 0.6))
    axis.imshow(canvas)
    axis.set_yticks([row * step + size / 2 for row in range(len(rows))], rows, fontsize=8)
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    for column, (label, k, p) in enumerate(zip(labels, called.tolist(), probabilities.tolist(), strict=True)):
        right = classes[k] == label
        text = f"{label}\n{'' if right else classes[k] + ' '}{p:.2f}"
        style = dict(ha="center", va="bottom", fontsize=7, color="black" if right else "red")
        axis.text(column * step + size / 2, -gap, text, **style)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_map(
        points: torch.Tensor,
        labels: torch.Tensor,
        centres: torch.Tensor,
        classes: tuple[str, ...],
        title: str,
        path: str | Path,
) -> None:
    """Draw points coloured by class, and the class centres as stars.

    Args:
        points: Coordinates (N, 2).
        labels: True class (N,) of each point.
        centres: Coordinates (K, 2) of the class centres.
        classes: Class names in the order of labels.
        title: Above the picture.
        path: Picture file to write.
    """
    plt = _pyplot()
    colours = matplotlib.colormaps["tab10"](range(len(classes)))
    figure, axis = plt.subplots(figsize=(7.4, 5.6))
    for k, (name, colour) in enumerate(zip(classes, colours, strict=True)):
        of_class = points[labels == k]
        style = dict(s=9, alpha=0.6, linewidths=0, label=f"{name} ({len(of_class)})")
        axis.scatter(*of_class.T.tolist(), color=colour, **style)
        axis.scatter(*centres[k].tolist(), s=150, marker="*", color=colour, edgecolors="black", zorder=3)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_xlabel("first principal component")
    axis.set_ylabel("second")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, markerscale=2,
                title="stars: class centres", title_fontsize=8)
    axis.set_title(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _rgb(pictures: torch.Tensor) -> np.ndarray:
    """Pictures (B, 3, H, W) in [0, 1] as matplotlib takes them."""
    return pictures.permute(0, 2, 3, 1).clamp(0, 1).numpy()


def _heat(masks: torch.Tensor) -> np.ndarray:
    """Masks (B, 1, H, W) in [0, 1] as heat."""
    return matplotlib.colormaps["inferno"](masks[:, 0].numpy())[..., :3]
