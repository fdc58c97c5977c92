"""Figures of a classifier, all from its confusion matrix; and the versions they were made with."""

import platform
from typing import Any

import accelerate
import timm
import torch
import torchvision
from torchmetrics.functional.classification import multiclass_confusion_matrix

import fmpn_timm

__all__ = ["summarize", "versions"]


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


def versions() -> dict[str, str]:
    """Versions of what decides a result."""
    return {
        "fmpn_timm": fmpn_timm.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "torchvision": torchvision.__version__.split("+")[0],
        "timm": timm.__version__,
        "accelerate": accelerate.__version__,
    }
