"""Run a model over faces, and evaluate it on a data set."""

from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.data.transforms import eval_transform
from fmpn_timm.errors import InputError
from fmpn_timm.hub import class_names

from .metrics import summarize, versions

__all__ = ["evaluate", "predict"]


@torch.inference_mode()
def predict(
        model: nn.Module,
        loader: DataLoader,
        accelerator: Accelerator,
        flip: bool = False,
        progress: bool = True,
        channels_last: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of all faces, each once, whatever the number of processes.

    Args:
        model: A classifier on the accelerator's device; it is set to evaluation mode.
        loader: Batches of a ``FaceDataset``, prepared by the accelerator.
        accelerator: Gathers over processes, and sets the precision.
        flip: Average the logits of each face and its mirror image.
        progress: Show a progress bar on stderr.
        channels_last: Use the channels-last memory format.

    Returns:
        Logits (N, K) and labels (N,), on the CPU.
    """
    model.eval()
    logits, labels = [], []
    show = progress and accelerator.is_main_process
    for batch in tqdm(loader, desc="evaluate", unit="batch", disable=None if show else True, leave=False):
        faces = batch["image"]
        if channels_last:
            faces = faces.contiguous(memory_format=torch.channels_last)
        with accelerator.autocast():
            output = model(faces)
            if flip:
                output = (output + model(faces.flip(-1))) / 2
        output, label = accelerator.gather_for_metrics((output.float(), batch["label"]))
        logits.append(output.cpu())
        labels.append(label.cpu())
    return torch.cat(logits), torch.cat(labels)


def evaluate(
        model: nn.Module,
        faces: FaceSet,
        flip: bool = False,
        shared_classes: bool = False,
        batch_size: int = 64,
        workers: int = 0,
        precision: str = "no",
) -> dict[str, Any]:
    """Evaluate a trained model on a face set, with the model's own preprocessing and class order.

    Args:
        model: A timm model whose config has ``label_names``.
        faces: The samples.
        flip: Average the logits of each face and its mirror image.
        shared_classes: Leave out samples of classes that the model does not know.
        batch_size: Faces of a batch.
        workers: Processes that load data.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.

    Returns:
        The figures of ``summarize``, and what they are of: ``dataset``, ``split``, ``rule``, ``options``, ``flip``,
        ``left_out`` (samples by class), ``versions``.

    Raises:
        InputError: The data has classes the model does not know, or the model has no class names.
    """
    classes = class_names(model)
    unknown = {name: n for name, n in faces.per_class().items() if n and name not in classes}
    if unknown and not shared_classes:
        raise InputError(
            f"{faces.dataset} {faces.split} has samples of {', '.join(unknown)}, but the model knows only "
            f"{', '.join(classes)}. Leave those samples out with --shared-classes."
        )
    faces = faces.where(lambda s: s.expression in classes)
    if not len(faces):
        raise InputError(f"{faces.dataset} {faces.split} has no sample of a class that the model knows.")
    accelerator = Accelerator(mixed_precision=precision)
    cfg = model.pretrained_cfg
    size = cfg["input_size"][-1]
    transform = eval_transform(size, round(size / cfg["crop_pct"]), cfg["mean"], cfg["std"])
    loader = DataLoader(FaceDataset(faces, classes, transform), batch_size=batch_size, num_workers=workers)
    logits, labels = predict(model.to(accelerator.device), accelerator.prepare(loader), accelerator, flip)
    return {
        "dataset": faces.dataset,
        "split": faces.split,
        "rule": faces.options.get("rule"),
        **summarize(logits, labels, classes),
        "options": faces.options,
        "flip": flip,
        "left_out": unknown,
        "versions": versions(),
    }
