"""Run a model over faces, and evaluate it on a data set."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.data.transforms import model_transform
from fmpn_timm.errors import InputError
from fmpn_timm.hub import class_names
from fmpn_timm.models import FMPN
from fmpn_timm.priors import MaskSet, draw_sheet

from .metrics import calibration_figures, intervals, summarize, versions
from .processes import create_accelerator

__all__ = ["Answers", "answer", "evaluate", "gathered", "joined", "leave_out_broken", "mean_masks", "predict"]

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(accelerator: Accelerator, precision: str) -> torch.autocast:
    """Autocast to a precision whatever the accelerator trains in, which one process cannot change."""
    return torch.autocast(accelerator.device.type, DTYPES[precision], enabled=precision != "no")


@torch.inference_mode()
def predict(
        model: nn.Module,
        loader: DataLoader,
        accelerator: Accelerator,
        flip: bool = False,
        progress: bool = True,
        channels_last: bool = False,
        precision: str = "no",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of all faces, each once, whatever the number of processes.

    Args:
        model: A classifier on the accelerator's device; it is set to evaluation mode.
        loader: Batches of a ``FaceDataset``, prepared by the accelerator.
        accelerator: Gathers over processes.
        flip: Average the logits of each face and its mirror image.
        progress: Show a progress bar on stderr.
        channels_last: Use the channels-last memory format.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.

    Returns:
        Logits (N, K) and labels (N,), on the CPU, in the order of the data set. The label of a face that another stands
        in for, since its picture is broken, is -1.
    """
    model.eval()

    def logits_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        faces = batch["image"]
        if channels_last:
            faces = faces.contiguous(memory_format=torch.channels_last)
        logits = model(faces)
        return (logits + model(faces.flip(-1))) / 2 if flip else logits

    show = progress and accelerator.is_main_process
    loader = tqdm(loader, desc="evaluate", unit="batch", disable=None if show else True, leave=False)
    return joined(gathered(logits_of, loader, accelerator, precision))


def gathered(
        of: Callable[[dict[str, torch.Tensor]], torch.Tensor],
        loader: Iterable[dict[str, torch.Tensor]],
        accelerator: Accelerator,
        precision: str = "no",
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """What a function says of each batch, with its labels, from all processes.

    Args:
        of: From a batch of ``FaceDataset`` to a tensor (B, ...).
        loader: Batches, prepared by the accelerator.
        accelerator: Gathers over processes.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.

    Yields:
        That tensor, float32, and labels (B,), on the CPU; -1 where another face stands in for a broken picture.
    """
    for batch in loader:
        with autocast(accelerator, precision):
            said = of(batch)
        labels = batch["label"].where(~batch["broken"], -1)
        said, labels = accelerator.gather_for_metrics((said.float(), labels))
        yield said.cpu(), labels.cpu()


def joined(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """What ``gathered`` gives, as one tensor of each."""
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


@torch.inference_mode()
def mean_masks(
        model: FMPN,
        loader: DataLoader,
        accelerator: Accelerator,
        classes: tuple[str, ...],
        of: str,
        precision: str = "no",
) -> MaskSet:
    """Mean motion mask of the faces of each class: what the generator has made of the prior masks.

    Args:
        model: The network, on the accelerator's device.
        loader: Batches of a ``FaceDataset``, prepared by the accelerator.
        accelerator: Gathers over processes.
        classes: Class names in the order of labels.
        of: What the faces are of, for the record.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.
    """
    model.eval()
    total, count = 0, torch.zeros(len(classes))
    for masks, labels in gathered(lambda batch: model.motion_mask(batch["image"]), loader, accelerator, precision):
        member = nn.functional.one_hot(labels + 1, len(classes) + 1).T[1:].float()  # (K, B)
        total = total + torch.einsum("kb,bhw->khw", member, masks[:, 0])
        count += member.sum(1)
    means = total / count.clamp(min=1)[:, None, None]
    found = tuple(name for name, n in zip(classes, count, strict=True) if n)
    return MaskSet(means.clamp(0, 1), classes, data=f"mean motion masks, {of}").select(found)


def leave_out_broken(
        faces: FaceSet, logits: torch.Tensor, labels: torch.Tensor, max_broken: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Leave faces with broken pictures out of what ``predict`` or ``gathered`` gave.

    Args:
        faces: The faces it was run on.
        logits: Their logits (N, K), or what else was said of them (N, ...).
        labels: Their labels (N,), -1 for the broken ones.
        max_broken: Largest share of them that may be broken.

    Returns:
        Logits and labels of the others, and the sources of the broken ones.

    Raises:
        InputError: More are broken than may be; the message counts and lists them. Or what was said of a whole one is
            infinite or no number: argmax would make a class of that.
    """
    broken = [faces.samples[i].source for i in torch.nonzero(labels < 0)[:, 0].tolist()]
    if len(broken) > max_broken * len(faces):
        listed = ", ".join(broken[:20]) + (f" and {len(broken) - 20} more" if len(broken) > 20 else "")
        raise InputError(
            f"{len(broken)} of {len(faces)} pictures of {faces.dataset} {faces.split} are broken or missing: {listed}. "
            "Fetch them again, or remove them and their labels: figures without them would be of another set."
        )
    finite = logits.isfinite().reshape(len(labels), -1).all(1)
    lost = [faces.samples[i].source for i in torch.nonzero((labels >= 0) & ~finite)[:, 0].tolist()]
    if lost:
        raise InputError(
            f"The model says infinite numbers, or none, of {len(lost)} of the {len(faces)} faces of {faces.dataset} "
            f"{faces.split}, the first is {lost[0]}. Use --precision no, or weights that are whole."
        )
    return logits[labels >= 0], labels[labels >= 0], broken


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of a face set.

    Attributes:
        logits: (N, K), of the faces whose pictures are whole.
        labels: (N,), their classes: the one hard label of each, also where raters' votes are known.
        classes: K class names.
        left_out: Samples by class that were left out, since the model does not know the class.
        broken: Sources of the broken pictures.
        subjects: Whose each face is, N names; the face's source where nobody knows.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]
    left_out: dict[str, int]
    broken: list[str]
    subjects: list[str]


def answer(
        model: nn.Module,
        faces: FaceSet,
        flip: bool = False,
        shared_classes: bool = False,
        batch_size: int = 64,
        workers: int = 0,
        precision: str = "no",
        masks_path: str | Path | None = None,
        max_broken: float = 0.0,
) -> Answers:
    """Run a trained model over a face set, with the model's own preprocessing and class order.

    Args:
        model: A timm model whose config has ``label_names``.
        faces: The samples.
        flip: Average the logits of each face and its mirror image.
        shared_classes: Leave out samples of classes that the model does not know.
        batch_size: Faces of a batch.
        workers: Processes that load data.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.
        masks_path: Picture file to draw the mean motion mask of each class to, for FMPN models.
        max_broken: Largest share of the samples whose pictures may be broken; they are left out and listed.

    Raises:
        InputError: More pictures are broken than may be, the data has classes the model does not know, the model has
            no class names or no masks to draw, what it says of a face is no finite number, or an option is out of
            range.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"--batch-size {batch_size} --workers {workers}: give at least 1 face and 0 processes.")
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
    if masks_path is not None and not isinstance(model, FMPN):
        raise InputError(f"{type(model).__name__} has no motion masks: leave --masks out, or give an FMPN model.")
    accelerator = create_accelerator()
    dataset = FaceDataset(faces, classes, model_transform(model.pretrained_cfg), stand_in=True)
    loader = accelerator.prepare(DataLoader(dataset, batch_size=batch_size, num_workers=workers))
    logits, labels = predict(model.to(accelerator.device), loader, accelerator, flip, precision=precision)
    subjects = [s.subject or s.source for s, label in zip(faces.samples, labels.tolist(), strict=True) if label >= 0]
    logits, labels, broken = leave_out_broken(faces, logits, labels, max_broken)
    if masks_path is not None:
        of = f"{faces.dataset} {faces.split}"
        masks = mean_masks(model, loader, accelerator, classes, of, precision)
        if accelerator.is_main_process:
            draw_sheet(masks, masks_path)
    return Answers(logits, labels, classes, unknown, broken, subjects)


def evaluate(
        model: nn.Module,
        faces: FaceSet,
        flip: bool = False,
        temperature: float = 1.0,
        **options: Any,
) -> dict[str, Any]:
    """Evaluate a trained model on a face set.

    Args:
        model: A timm model whose config has ``label_names``.
        faces: The samples.
        flip: Average the logits of each face and its mirror image.
        temperature: What the logits are divided by (``hub.temperature_of``); of the figures only the calibration's
            depend on it.
        options: Further arguments of ``answer``.

    Returns:
        The figures of ``summarize``, ``intervals`` and ``calibration_figures``, and what they are of: ``dataset``,
        ``split``, ``rule``, ``temperature``, ``options``, ``flip``, ``left_out`` (samples by class), ``broken``
        (sources of the broken pictures), ``versions``.

    Raises:
        InputError: As ``answer``.
    """
    answers = answer(model, faces, flip, **options)
    return {
        "dataset": faces.dataset,
        "split": faces.split,
        "rule": faces.options.get("rule"),
        **summarize(answers.logits, answers.labels, answers.classes),
        **intervals(answers.logits, answers.labels, answers.classes, answers.subjects),
        **calibration_figures(answers.logits, answers.labels, temperature),
        "temperature": temperature,
        "options": faces.options,
        "flip": flip,
        "left_out": answers.left_out,
        "broken": answers.broken,
        "versions": versions(),
    }
