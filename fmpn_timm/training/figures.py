"""Pictures of a run: the confusion matrix, and faces with their masks."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from fmpn_timm.models import FMPN

__all__ = ["draw_confusion", "draw_faces"]


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
    rows = {
        "face": faces,
        "prior mask": priors,
        "motion mask": masks,
        "face x mask": faces.mean(1, keepdim=True) * masks,
        "fused face": output.fused_face.float().cpu(),
    }
    rows = {name: values for name, values in rows.items() if values is not None}
    inches = (1.35 * len(faces), 1.42 * len(rows) + 0.4)
    figure, axes = plt.subplots(len(rows), len(faces), figsize=inches, squeeze=False)
    for (name, values), line in zip(rows.items(), axes, strict=True):
        for axis, value in zip(line, values, strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            if "mask" in name and name != "face x mask":
                axis.imshow(value[0], cmap="inferno", vmin=0, vmax=1)
            elif name == "fused face":  # its range is the network's own, so it is stretched to be seen
                low, high = value.min(), value.max()
                axis.imshow(((value - low) / (high - low + 1e-6)).permute(1, 2, 0))
            else:
                axis.imshow(value.expand(3, -1, -1).permute(1, 2, 0).clamp(0, 1))
        line[0].set_ylabel(name, fontsize=8)
    for axis, label, k, p in zip(axes[0], labels, called.tolist(), probabilities.tolist(), strict=True):
        right = classes[k] == label
        called = "" if right else f"{classes[k]} "
        axis.set_title(f"{label}\n{called}{p:.2f}", fontsize=7, color="black" if right else "red")
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=110)
    plt.close(figure)
