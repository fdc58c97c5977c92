"""Transforms for training and evaluation: face and prior mask get the same crop, flip and rotation."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

__all__ = ["LoadSize", "eval_transform", "load_size_of", "model_transform", "train_transform"]

MIN_SIGMA = 0.1  # of a blur, pixels: changes nothing


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


class ResizeCropFlip(torch.nn.Module):
    """Resize, crop, and flip every second time, the same for all inputs.

    What ``v2.Resize``, a crop and ``v2.RandomHorizontalFlip`` do, to the bit and from the same random numbers; one
    after the other they spend more time on finding out what they are given than on pixels.

    Args:
        load_size: Height and width that are cropped from, in pixels.
        crop: The crop, a transform of torchvision's kind that says by ``make_params`` where it is.
    """

    def __init__(self, load_size: int, crop: v2.Transform):
        super().__init__()
        self.load_size = [load_size, load_size]
        self.crop = crop

    def forward(self, *pictures):
        moved = [_resized(picture, self.load_size) for picture in pictures]
        place = self.crop.make_params(moved)
        rows = slice(place["top"], place["top"] + place["height"])
        columns = slice(place["left"], place["left"] + place["width"])
        moved = [picture[..., rows, columns] for picture in moved]
        if torch.rand(1) < 0.5:
            moved = [picture.flip(-1) for picture in moved]
        moved = [tv_tensors.wrap(new, like=picture) for new, picture in zip(moved, pictures, strict=True)]
        return moved[0] if len(moved) == 1 else tuple(moved)


class LoadSize(torch.nn.Module):
    """Resize alone: what is left to do for each face where ``BatchAugment`` does the rest.

    Args:
        load_size: Height and width of the output in pixels.
    """

    def __init__(self, load_size: int):
        super().__init__()
        self.load_size = [load_size, load_size]

    def forward(self, *pictures):
        moved = tuple(tv_tensors.wrap(_resized(picture, self.load_size), like=picture) for picture in pictures)
        return moved[0] if len(moved) == 1 else moved


class ToFloat(torch.nn.Module):
    """Faces as float32, normalised; masks as they are.

    Args:
        mean: Channel means taken off, in [0, 1].
        std: Channel standard deviations divided by.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.mean, self.std = list(mean), list(std)
        self.normalizes = any(mean) or any(s != 1 for s in std)

    def forward(self, *pictures):
        done = tuple(p if isinstance(p, tv_tensors.Mask) else self._face(p) for p in pictures)
        return done[0] if len(done) == 1 else done

    def _face(self, picture: torch.Tensor) -> torch.Tensor:
        face = VF.to_dtype_image(picture.as_subclass(torch.Tensor), torch.float32, scale=True)
        return tv_tensors.Image(VF.normalize_image(face, self.mean, self.std) if self.normalizes else face)


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
        blur: float = 0.0,
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
        blur: Random Gaussian blur, sigma up to this share of ``size``, face only.

    Returns:
        A callable on the face alone, a ``tv_tensors.Image`` uint8 (3, H, W), or on the face and what must stay in
        place with it: a ``tv_tensors.Mask`` (1, H, W), a neutral face. Faces come back float32 (3, size, size).
    """
    crops = {"five": RandomFiveCrop, "random": v2.RandomCrop}
    steps = []
    if rotate or scale or shift:
        zoom = (1 - scale, 1 + scale)
        steps.append(LoadSize(load_size))
        steps.append(v2.RandomAffine(rotate, (shift, shift), zoom, interpolation=v2.InterpolationMode.BILINEAR))
    steps.append(ResizeCropFlip(load_size, crops[crop](size)))
    if jitter:
        steps.append(v2.ColorJitter(brightness=jitter, contrast=jitter))
    if blur:
        reach = min(math.ceil(3 * blur * size), size - 1)  # torchvision mirrors no more than the face
        steps.append(v2.GaussianBlur(2 * reach + 1, (MIN_SIGMA, max(blur * size, MIN_SIGMA))))
    steps.append(ToFloat(mean, std))
    if erase:
        steps.append(FaceOnly(v2.RandomErasing(erase, scale=(0.02, 0.2))))
    return v2.Compose(steps)


def eval_transform(size: int, load_size: int, mean: Sequence[float], std: Sequence[float]) -> v2.Transform:
    """Evaluation transform: resize and centre crop. Arguments as for ``train_transform``."""
    return v2.Compose([
        v2.Resize((load_size, load_size), antialias=True),
        v2.CenterCrop((size, size)),
        ToFloat(mean, std),
    ])


def load_size_of(cfg: dict[str, Any]) -> int:
    """The size in pixels that a model's ``pretrained_cfg`` has faces resized to, before the crop."""
    return round(cfg["input_size"][-1] / cfg["crop_pct"])


def model_transform(cfg: dict[str, Any]) -> v2.Transform:
    """The evaluation transform that a model's ``pretrained_cfg`` asks for."""
    return eval_transform(cfg["input_size"][-1], load_size_of(cfg), cfg["mean"], cfg["std"])


class FaceOnly(torch.nn.Module):
    """Apply a transform to the first input, the face, and hand the others through."""

    def __init__(self, transform: v2.Transform):
        super().__init__()
        self.transform = transform

    def forward(self, face, *others):
        face = self.transform(face)
        return (face, *others) if others else face


def _resized(picture: torch.Tensor, size: list[int]) -> torch.Tensor:
    pixels = picture.as_subclass(torch.Tensor)
    if list(pixels.shape[-2:]) == size:
        return pixels
    if isinstance(picture, tv_tensors.Mask):
        return VF.resize_mask(pixels, size)
    return VF.resize_image(pixels, size, antialias=True)
