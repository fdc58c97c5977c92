"""Pictures of a run: confusion matrix, faces with what the network makes of them, embeddings; and of folds."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from fmpn_timm.files import save_figure
from fmpn_timm.models import FMPN, DeRL, to_grey

from .metrics import Reliability

__all__ = ["draw_confusion", "draw_faces", "draw_folds", "draw_map", "draw_neutral", "draw_reliability"]


def draw_confusion(metrics: dict[str, Any], title: str, path: str | Path) -> None:
    """Draw a confusion matrix: rows are the true classes, colours their shares, numbers their counts."""
    confusion, classes = np.array(metrics["confusion"]), metrics["classes"]
    shares = confusion / confusion.sum(1, keepdims=True).clip(min=1)
    figure = Figure(figsize=(1.2 + 0.62 * len(classes), 1.4 + 0.58 * len(classes)), layout="tight")
    axis = figure.subplots()
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
    save_figure(figure, path, 120)


@torch.inference_mode()
def draw_faces(
        model: FMPN,
        batch: dict[str, torch.Tensor],
        labels: list[str],
        classes: tuple[str, ...],
        path: str | Path,
) -> None:
    """Draw faces with their motion masks: face, prior mask of its class, predicted mask, masked face, fused face.

    Args:
        model: The network, in evaluation mode.
        batch: A batch of ``FaceDataset``, with prior masks unless the arm has none.
        labels: True class of each face.
        classes: Class names of the logits.
        path: Picture file to write.
    """
    output = model.forward_motion(batch["image"].to(next(model.parameters()).device))
    faces, masks = batch["image"], output.motion_mask.float().cpu()
    fused = output.fused_face.float().cpu()  # its range is the network's own, so it is stretched to be seen
    low, high = fused.amin((1, 2, 3), keepdim=True), fused.amax((1, 2, 3), keepdim=True)
    rows = {"face": _rgb(faces)}
    if "mask" in batch:
        rows["prior mask"] = _heat(batch["mask"])
    rows["motion mask"] = _heat(masks)
    rows["face x mask"] = _rgb(faces * masks)
    rows["fused face"] = _rgb((fused - low) / (high - low + 1e-6))
    _draw_rows(rows, output.logits, labels, classes, path)


@torch.inference_mode()
def draw_neutral(
        model: DeRL,
        batch: dict[str, torch.Tensor],
        labels: list[str],
        classes: tuple[str, ...],
        path: str | Path,
) -> None:
    """Draw faces with their neutral faces: face, generated neutral face, true neutral face, residue.

    The residue is stretched, by one factor for the whole sheet, to be seen.

    Args:
        model: The network, in evaluation mode.
        batch: A batch of ``FaceDataset``, with neutral faces unless there are none.
        labels: True class of each face.
        classes: Class names of the logits.
        path: Picture file to write.
    """
    output = model.forward_residue(batch["image"].to(next(model.parameters()).device))
    faces, neutral = batch["image"], output.neutral.float().cpu()
    residue = (to_grey(faces) - neutral).abs()
    rows = {"face": _rgb(faces), "generated neutral": _rgb(neutral)}
    if "neutral" in batch:
        rows["true neutral"] = _rgb(to_grey(batch["neutral"]))
    rows["residue"] = _heat(residue / residue.max().clamp(min=1e-6))
    _draw_rows(rows, output.logits, labels, classes, path)


def _draw_rows(
        rows: dict[str, np.ndarray],
        logits: torch.Tensor,
        labels: list[str],
        classes: tuple[str, ...],
        path: str | Path,
) -> None:
    """Draw rows of pictures (B, H, W, 3), with what each face is and what it was taken for above its column."""
    probabilities, called = logits.float().softmax(1).max(1)
    size, gap = rows["face"].shape[1], 2
    step = size + gap
    canvas = np.ones((len(rows) * step - gap, len(labels) * step - gap, 3))
    for row, pictures in enumerate(rows.values()):
        for column, picture in enumerate(pictures):
            canvas[row * step : row * step + size, column * step : column * step + size] = picture
    figure = Figure(figsize=(1.3 * len(labels) + 0.9, 1.3 * len(rows) + 0.6), layout="tight")
    axis = figure.subplots()
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
    save_figure(figure, path, 110)


def draw_folds(accuracies: dict[str, list[tuple[int, float]]], title: str, path: str | Path) -> None:
    """Draw the accuracy of each run, fold by fold, a colour for each arm and a line for its mean over folds.

    Args:
        accuracies: By arm, fold and accuracy in [0, 1] of each run.
        title: What the folds are of.
        path: Picture file to write.
    """
    folds = sorted({fold for runs in accuracies.values() for fold, _ in runs})
    figure = Figure(figsize=(2.4 + 0.55 * len(folds), 3.4), layout="tight")
    axis = figure.subplots()
    for i, (arm, runs) in enumerate(accuracies.items()):
        beside = 0.5 * ((i + 0.5) / len(accuracies) - 0.5)  # arms of a fold stand side by side
        places = [folds.index(fold) + beside for fold, _ in runs]
        of_fold = [np.mean([a for f, a in runs if f == fold]) for fold in {f for f, _ in runs}]
        mean = 100 * np.mean(of_fold)
        style = dict(s=22, alpha=0.75, linewidths=0, color=f"C{i}", label=f"{arm}, mean {mean:.1f} %")
        axis.scatter(places, [100 * a for _, a in runs], **style)
        axis.axhline(mean, color=f"C{i}", linewidth=0.8, linestyle="--", alpha=0.7)
    axis.set_xticks(range(len(folds)), folds)
    axis.set_xlim(-0.6, len(folds) - 0.4)
    axis.set_xlabel("fold")
    axis.set_ylabel("accuracy, %")
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1)
    axis.grid(axis="y", linewidth=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, 120)


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
    colours = matplotlib.colormaps["tab10"](range(len(classes)))
    figure = Figure(figsize=(7.4, 5.6), layout="tight")
    axis = figure.subplots()
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
    save_figure(figure, path, 120)


def draw_reliability(bins: dict[str, Reliability], title: str, path: str | Path) -> None:
    """Draw accuracy against confidence, and under it how often each confidence occurs, a column for each entry.

    Args:
        bins: By what stands above the column, such as ``before``.
        title: What the faces are.
        path: Picture file to write.
    """
    shape = dict(sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
    figure = Figure(figsize=(3.1 * len(bins) + 0.5, 4.6), layout="tight")
    axes = figure.subplots(2, len(bins), **shape)
    for (upper, lower), (name, found) in zip(axes.T, bins.items(), strict=True):
        count, confidence, accuracy = (t.numpy() for t in (found.count, found.confidence, found.accuracy))
        width, filled = 1 / len(count), count > 0
        left = np.arange(len(count)) * width
        style = dict(width=width, align="edge", edgecolor="white", linewidth=0.5)
        upper.bar(left[filled], accuracy[filled], color="C0", label="accuracy", **style)
        upper.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle="--", label="as sure as right")
        upper.scatter(confidence[filled], accuracy[filled], s=14, color="C3", zorder=3,
                      label="at the mean confidence")
        upper.set_title(f"{name}: ECE {100 * found.ece:.1f} %", fontsize=9)
        lower.bar(left, count / count.sum(), color="C7", **style)
        lower.set_xlabel("confidence: probability of the predicted class", fontsize=8)
        for axis in (upper, lower):
            axis.set_xlim(0, 1)
            axis.tick_params(labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylim(0, 1.02)
    axes[0, 0].set_ylabel("share that is right", fontsize=8)
    axes[1, 0].set_ylabel("share of faces", fontsize=8)
    axes[0, 0].legend(fontsize=7, frameon=False, loc="upper left")
    figure.suptitle(title, fontsize=9)
    save_figure(figure, path, 120)


def _rgb(pictures: torch.Tensor) -> np.ndarray:
    """Pictures (B, 3 or 1, H, W) in [0, 1] as matplotlib takes them."""
    return pictures.float().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).clamp(0, 1).numpy()


def _heat(masks: torch.Tensor) -> np.ndarray:
    """Masks (B, 1, H, W) in [0, 1] as heat."""
    return matplotlib.colormaps["inferno"](masks[:, 0].numpy())[..., :3]
