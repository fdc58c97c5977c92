"""Transforms for training and evaluation: face and prior mask get the same crop, flip and rotation."""

from collections.abc import Sequence
from typing import Any

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

__all__ = ["eval_transform", "model_transform", "train_transform"]


class RandomFiveCrop(v2.Transform):
    """One of the four corner crops or the centre crop, the same for all inputs (the paper's augmentation).

    Args:
        size: Height and width of the crop in pixels.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def make_params(self, flat_inputs: list) -> dict[str, int]:
        height, width = v2.query_size(flat_inputs)
        bottom, right = height - self.size, width - self.size
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
        top, left = corners[int(torch.randint(len(corners), ()))]
        return dict(top=top, left=left, height=self.size, width=self.size)

    def transform(self, inpt, params: dict[str, int]):
        return self._call_kernel(VF.crop, inpt, **params)


def train_transform(
        size: int,
        load_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        crop: str = "five",
        rotate: float = 0.0,
        scale: float = 0.0,
        shift: float = 0.0,
        jitter: float = 0.0,
        erase: float = 0.0,
) -> v2.Transform:
    """Training transform of a face and, if given, its mask.

    Args:
        size: Height and width of the output in pixels.
        load_size: Height and width that are cropped from.
        mean: Channel means taken off, in [0, 1].
        std: Channel standard deviations divided by.
        crop: ``five`` (corners and centre, the paper's) or ``random``.
        rotate: Random rotation up to this many degrees.
        scale: Random zoom up to this share.
        shift: Random shift up to this share of the picture.
        jitter: Random brightness and contrast up to this share, face only.
        erase: Probability of erasing a rectangle, face only.

    Returns:
        A callable on the face alone, a ``tv_tensors.Image`` uint8 (3, H, W), or on the face and what must stay in
        place with it: a ``tv_tensors.Mask`` (1, H, W), a neutral face. Faces come back float32 (3, size, size).
    """
    crops = {"five": RandomFiveCrop, "random": v2.RandomCrop}
    steps = [v2.Resize((load_size, load_size), antialias=True)]
    if rotate or scale or shift:
        zoom = (1 - scale, 1 + scale)
        steps.append(v2.RandomAffine(rotate, (shift, shift), zoom, interpolation=v2.InterpolationMode.BILINEAR))
    steps += [crops[crop](size), v2.RandomHorizontalFlip()]
    if jitter:
        steps.append(v2.ColorJitter(brightness=jitter, contrast=jitter))
    steps.append(_to_float(mean, std))
    if erase:
        steps.append(FaceOnly(v2.RandomErasing(erase, scale=(0.02, 0.2))))
    return v2.Compose(steps)


def eval_transform(size: int, load_size: int, mean: Sequence[float], std: Sequence[float]) -> v2.Transform:
    """Evaluation transform: resize and centre crop. Arguments as for ``train_transform``."""
    return v2.Compose([
        v2.Resize((load_size, load_size), antialias=True),
        v2.CenterCrop((size, size)),
        _to_float(mean, std),
    ])


def model_transform(cfg: dict[str, Any]) -> v2.Transform:
    """The evaluation transform that a model's ``pretrained_cfg`` asks for."""
    size = cfg["input_size"][-1]
    return eval_transform(size, round(size / cfg["crop_pct"]), cfg["mean"], cfg["std"])


class FaceOnly(torch.nn.Module):
    """Apply a transform to the first input, the face, and hand the others through."""

    def __init__(self, transform: v2.Transform):
        super().__init__()
        self.transform = transform

    def forward(self, face, *others):
        face = self.transform(face)
        return (face, *others) if others else face


def _to_float(mean: Sequence[float], std: Sequence[float]) -> v2.Transform:
    steps = [v2.ToDtype(torch.float32, scale=True)]
    if any(mean) or any(s != 1 for s in std):
        steps.append(v2.Normalize(list(mean), list(std)))
    return v2.Compose(steps)
