"""The pictures that a run ends with, by what its network is."""

import dataclasses
from collections.abc import Callable
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from fmpn_timm.data.samples import FaceSet
from fmpn_timm.models import FMPN, MSCA, DeRL
from fmpn_timm.priors import draw_sheet

from .config import TrainConfig
from .embedding import draw_embeddings
from .evaluation import mean_masks
from .figures import draw_confusion, draw_faces, draw_neutral

__all__ = ["draw_pictures"]


def draw_pictures(
        model: nn.Module,
        faces: FaceSet,
        classes: tuple[str, ...],
        metrics: dict[str, Any],
        loader: Callable[..., DataLoader],
        accelerator: Accelerator,
        config: TrainConfig,
) -> None:
    """Draw ``confusion.png``, and of FMPN ``masks.png`` and ``mean_masks.png``, of DeRL ``neutral.png``, of MSCA
    ``embedding.png``.

    Args:
        model: The network, on the accelerator's device, in evaluation mode.
        faces: The split that is reported on.
        classes: Class names in the order of the logits.
        metrics: What ``summarize`` says of it.
        loader: From faces to batches of them, not prepared; takes ``batch_size``, ``with_mask`` and ``with_neutral``.
        accelerator: Gathers over processes. All of them call this; the main one draws.
        config: The run's configuration.
    """
    folder, main = config.folder, accelerator.is_main_process
    of = f"{faces.dataset} {faces.split}, seed {config.seed}"
    if main:
        draw_confusion(metrics, f"{config.name}: {config.arm}, {of}", folder / "confusion.png")
    if isinstance(model, MSCA):
        draw_embeddings(model, accelerator.prepare(loader(faces)), accelerator, classes, of, config)
    if isinstance(model, FMPN):
        masks = mean_masks(model, accelerator.prepare(loader(faces)), accelerator, classes, of, config.precision)
        if main:
            draw_sheet(masks, folder / "mean_masks.png")
            some = _some_of_each(faces, classes)
            batch = next(iter(loader(some, batch_size=len(some), with_mask=True)))
            draw_faces(model, batch, [s.expression for s in some.samples], classes, folder / "masks.png")
    if isinstance(model, DeRL) and main:
        paired = len(faces.paired()) > 0
        some = _some_of_each(faces.paired() if paired else faces, classes)
        batch = next(iter(loader(some, batch_size=len(some), with_neutral=paired)))
        draw_neutral(model, batch, [s.expression for s in some.samples], classes, folder / "neutral.png")


def _some_of_each(faces: FaceSet, classes: tuple[str, ...]) -> FaceSet:
    """Two faces of each class, evenly spread over the split."""
    chosen = []
    for name in classes:
        of_class = [s for s in faces.samples if s.expression == name]
        chosen += of_class[:: max(len(of_class) // 2, 1)][:2]
    return dataclasses.replace(faces, samples=tuple(chosen))
