"""What a model said of each sample of a split, as a CSV file."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import torch

from fmpn_timm.data.samples import FaceSet, relative_source
from fmpn_timm.errors import InputError

__all__ = ["Predictions", "predictions_csv", "read_predictions"]

COLUMNS = ["source", "subject", "label", "predicted"]


@dataclass(frozen=True)
class Predictions:
    """The predictions of a split, in the order of its samples.

    Attributes:
        classes: K class names.
        sources: Name of each of the N samples, relative to the root of the data set.
        subjects: Who each shows; its source where nobody knows.
        labels: True classes (N,), int64.
        predicted: Predicted classes (N,), int64.
        probabilities: (N, K), float32, rows sum to 1.
    """

    classes: tuple[str, ...]
    sources: tuple[str, ...]
    subjects: tuple[str, ...]
    labels: torch.Tensor
    predicted: torch.Tensor
    probabilities: torch.Tensor


def predictions_csv(
        faces: FaceSet,
        logits: torch.Tensor,
        labels: torch.Tensor,
        classes: tuple[str, ...],
        root: str | None = None,
) -> str:
    """The text of a CSV file: ``source, subject, label, predicted`` and a probability for each class.

    Args:
        faces: The N samples.
        logits: (N, K), in the order of the samples.
        labels: (N,), the true classes, in the order of the samples.
        classes: K class names.
        root: Folder of the data set; sources are written relative to it.
    """
    if [classes[k] for k in labels.tolist()] != [s.expression for s in faces.samples]:
        raise RuntimeError(f"The predictions are not in the order of the samples of {faces.dataset} {faces.split}.")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *classes])
    rows = zip(faces.samples, logits.argmax(1).tolist(), logits.softmax(1).tolist(), strict=True)
    for sample, predicted, probabilities in rows:
        writer.writerow([relative_source(sample.source, root), sample.subject, sample.expression, classes[predicted],
                         *(f"{p:.6g}" for p in probabilities)])
    return text.getvalue()


def read_predictions(path: str | Path) -> Predictions:
    """Read what ``predictions_csv`` wrote.

    Raises:
        InputError: The file is missing or is no such table.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        classes = tuple(header[len(COLUMNS):])
        if header[:len(COLUMNS)] != COLUMNS or not rows:
            raise ValueError("its columns are others")
        return Predictions(
            classes,
            sources=tuple(row[0] for row in rows),
            subjects=tuple(row[1] or row[0] for row in rows),
            labels=torch.tensor([classes.index(row[2]) for row in rows]),
            predicted=torch.tensor([classes.index(row[3]) for row in rows]),
            probabilities=torch.tensor([[float(p) for p in row[len(COLUMNS):]] for row in rows]),
        )
    except (OSError, ValueError, IndexError) as error:
        mend = "Remove the run's folder and train it again."
        raise InputError(f"{path} holds no predictions ({error}). {mend}") from None
