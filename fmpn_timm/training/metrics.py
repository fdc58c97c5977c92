"""Figures of a classifier, from its confusion matrix and its probabilities; and the versions they were made with."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import accelerate
import numpy as np
import timm
import torch
import torchvision
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_confusion_matrix

from fmpn_timm.version import __version__

from .bootstrap import clustered_bootstrap

__all__ = ["Reliability", "calibration_figures", "intervals", "reliability", "summarize", "versions"]

BINS = 15  # as in Guo, Pleiss, Sun, Weinberger, `On Calibration of Modern Neural Networks`, ICML 2017


def summarize(logits: torch.Tensor, labels: torch.Tensor, classes: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy, macro F1, and recall, precision and F1 of each class.

    Args:
        logits: (N, K).
        labels: (N,) in [0, K).
        classes: K class names.

    Returns:
        A JSON-serialisable dict: ``accuracy`` (pooled over all samples) and ``macro_f1`` (unweighted mean over the
        classes that occur) in [0, 1], ``n``, ``per_class`` by name, ``confusion`` (rows are true classes), ``classes``.
    """
    confusion = multiclass_confusion_matrix(logits.argmax(1), labels, num_classes=len(classes))
    hits, true, called = confusion.diag(), confusion.sum(1), confusion.sum(0)
    f1 = 2 * hits / (true + called).clamp(min=1)
    per_class = {
        name: {
            "n": int(true[k]),
            "recall": round(float(hits[k] / true[k]), 4) if true[k] else None,
            "precision": round(float(hits[k] / called[k]), 4) if called[k] else None,
            "f1": round(float(f1[k]), 4) if true[k] else None,
        }
        for k, name in enumerate(classes)
    }
    return {
        "accuracy": round(float(hits.sum() / max(len(labels), 1)), 4),
        "macro_f1": round(float(f1[true > 0].mean()), 4) if len(labels) else 0.0,
        "n": len(labels),
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "classes": list(classes),
    }


def intervals(
        logits: torch.Tensor,
        labels: torch.Tensor,
        classes: tuple[str, ...],
        subjects: Sequence[str],
) -> dict[str, list[float] | None]:
    """How much accuracy and macro F1 hang on who was tested, by ``clustered_bootstrap``, 1,000 times.

    Args:
        logits: (N, K).
        labels: (N,) in [0, K).
        classes: K class names.
        subjects: Whose each sample is; where nobody knows, a name of its own for each.

    Returns:
        ``accuracy_interval`` and ``macro_f1_interval``, ends in [0, 1]; None for fewer than two subjects.
    """
    size = len(classes)
    cells = F.one_hot(labels * size + logits.argmax(1), size * size).numpy()  # of the confusion matrix

    def figures(counts: np.ndarray) -> tuple[float, float]:
        confusion = counts.reshape(size, size)
        hits, true, called = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        f1 = 2 * hits[true > 0] / (true + called)[true > 0]
        return hits.sum() / confusion.sum(), f1.mean()

    ends = clustered_bootstrap(cells, subjects, figures, resamples=1000)
    accuracy, macro_f1 = np.round(ends, 4).tolist() if ends else (None, None)
    return {"accuracy_interval": accuracy, "macro_f1_interval": macro_f1}


@dataclass(frozen=True)
class Reliability:
    """Accuracy against confidence, in 15 bins of equal width over [0, 1].

    Attributes:
        count: Samples of each bin (15,).
        confidence: Mean probability of the predicted class in each bin (15,); 0 in empty bins.
        accuracy: Share of right predictions in each bin (15,); 0 in empty bins.
    """

    count: torch.Tensor
    confidence: torch.Tensor
    accuracy: torch.Tensor

    @property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]: |accuracy - confidence|, mean over the samples."""
        gaps = (self.accuracy - self.confidence).abs() * self.count
        return float(gaps.sum() / self.count.sum().clamp(min=1))


def reliability(logits: torch.Tensor, labels: torch.Tensor, temperature: float = 1.0) -> Reliability:
    """Confidence and accuracy of a classifier by bins of its confidence.

    Args:
        logits: (N, K).
        labels: (N,) in [0, K).
        temperature: What the logits are divided by.
    """
    confidence, predicted = (logits.double() / temperature).softmax(1).max(1)
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    count = torch.bincount(bins, minlength=BINS).double()
    sums = (torch.bincount(bins, of.double(), minlength=BINS) for of in (confidence, predicted == labels))
    return Reliability(count, *(of / count.clamp(min=1) for of in sums))


def calibration_figures(logits: torch.Tensor, labels: torch.Tensor, temperature: float = 1.0) -> dict[str, float]:
    """How far probabilities can be believed: ``ece`` in [0, 1] (15 bins), ``nll`` in nats, mean over the samples.

    Arguments as for ``reliability``.
    """
    nll = F.cross_entropy(logits.double() / temperature, labels)
    return {"ece": round(reliability(logits, labels, temperature).ece, 4), "nll": round(float(nll), 4)}


def versions() -> dict[str, str]:
    """Versions of what decides a result."""
    return {
        "fmpn_timm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "torchvision": torchvision.__version__.split("+")[0],
        "timm": timm.__version__,
        "accelerate": accelerate.__version__,
    }
