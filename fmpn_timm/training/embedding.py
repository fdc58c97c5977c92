"""Embeddings of faces: as numbers, and as a map in two dimensions."""

from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from fmpn_timm.models import CosineLinear

from .config import TrainConfig
from .evaluation import gathered, joined
from .figures import draw_map

__all__ = ["angles", "draw_embeddings", "embed", "plane"]


@torch.inference_mode()
def embed(
        model: nn.Module,
        loader: DataLoader,
        accelerator: Accelerator,
        precision: str = "no",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and labels of all faces, each once, whatever the number of processes.

    Args:
        model: A timm classifier on the accelerator's device; it is set to evaluation mode.
        loader: Batches of a ``FaceDataset``, prepared by the accelerator.
        accelerator: Gathers over processes.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.

    Returns:
        Embeddings (N, D), as ``forward_head(pre_logits=True)`` gives them, and labels (N,), on the CPU; of the faces
        whose pictures are whole.
    """
    model.eval()

    def embeddings_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model.forward_head(model.forward_features(batch["image"]), pre_logits=True)

    embeddings, labels = joined(gathered(embeddings_of, loader, accelerator, precision))
    return embeddings[labels >= 0], labels[labels >= 0]


def angles(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """How compact and how far apart the classes are.

    Args:
        embeddings: Embeddings (N, D).
        labels: Labels (N,); at least two classes.

    Returns:
        Mean angle between an embedding and the mean direction of its class, and mean angle between the mean directions
        of two classes, in degrees.
    """
    unit = F.normalize(embeddings, dim=1)
    found, labels = labels.unique(return_inverse=True)
    means = F.normalize(torch.stack([unit[labels == k].mean(0) for k in range(len(found))]), dim=1)

    def degrees(cosines: torch.Tensor) -> float:
        return cosines.clamp(-1, 1).acos().mean().rad2deg().item()

    pairs = torch.triu_indices(len(found), len(found), offset=1)
    return degrees((unit * means[labels]).sum(1)), degrees((means @ means.T)[pairs[0], pairs[1]])


def plane(directions: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Principal components of directions in two dimensions.

    Args:
        directions: Vectors (N, D), of which the unit vectors are taken.
        others: Vectors (M, D) to lay into the same plane.

    Returns:
        Coordinates (N, 2) and (M, 2).
    """
    unit, others = F.normalize(directions, dim=1), F.normalize(others, dim=1)
    mean = unit.mean(0)
    axes = torch.linalg.svd(unit - mean, full_matrices=False).Vh[:2].T  # (D, 2)
    return (unit - mean) @ axes, (others - mean) @ axes


def draw_embeddings(
        model: nn.Module,
        loader: DataLoader,
        accelerator: Accelerator,
        classes: tuple[str, ...],
        of: str,
        config: TrainConfig,
) -> None:
    """Draw the embeddings of a split to ``embedding.png`` of the run's folder, with the class centres where they are.

    The centres are the classifier's weights where it classifies by angles, else the classes' mean directions.

    Args:
        model: The network, on the accelerator's device.
        loader: Batches of a ``FaceDataset``, prepared by the accelerator.
        accelerator: Gathers over processes; the main one draws.
        classes: Class names in the order of labels.
        of: What the faces are of.
        config: The run's configuration.
    """
    embeddings, labels = embed(model, loader, accelerator, config.precision)
    if not accelerator.is_main_process:
        return
    classifier = model.get_classifier()
    if isinstance(classifier, CosineLinear):
        centres = classifier.weight.detach().float().cpu()
    else:
        unit = F.normalize(embeddings, dim=1)
        centres = torch.stack([unit[labels == k].sum(0) for k in range(len(classes))])
    within, between = angles(embeddings, labels)
    title = f"{config.name}: {config.loss}, {of}\nto the class mean {within:.0f}°, between class means {between:.0f}°"
    points, centres = plane(embeddings, centres)
    draw_map(points, labels, centres, classes, title, Path(config.folder) / "embedding.png")
