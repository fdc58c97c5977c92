"""Augmentation of whole batches on the device that trains, in place of one face after the other where they are loaded;
and faces mixed with one another, which takes a batch wherever it was augmented.

Crop, flip, turn, zoom and shift are one resampling. What is drawn for a face follows from its seed alone, as in
``FaceDataset``; the numbers are not those that ``train_transform`` would draw, and masks are resampled smoothly where
that one takes the nearest value.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from .transforms import MIN_SIGMA

__all__ = ["DRAWS", "BatchAugment", "BatchMix"]

#: Random numbers that a face needs, in this order.
NAMES = ("turn", "zoom", "across", "down", "left", "top", "flip", "brightness", "contrast", "order", "erase", "area",
         "ratio", "erased_left", "erased_top", "blur")
DRAWS = len(NAMES)

AREA, RATIO = (0.02, 0.2), (0.3, 3.3)  # of what is erased: share of the face, height by width, as torchvision has it
LUMA = (0.2989, 0.587, 0.114)  # as torchvision weighs colours for the mean that contrast is about


class BatchAugment(nn.Module):
    """The training transform of ``train_transform``, on batches.

    Args:
        size: Height and width of the output in pixels.
        mean: Channel means taken off, in [0, 1].
        std: Channel standard deviations divided by.
        crop: This and the rest as for ``train_transform``.
    """

    def __init__(
            self,
            size: int,
            mean: Sequence[float],
            std: Sequence[float],
            crop: str = "five",
            rotate: float = 0.0,
            scale: float = 0.0,
            shift: float = 0.0,
            jitter: float = 0.0,
            erase: float = 0.0,
            blur: float = 0.0,
    ):
        super().__init__()
        self.size, self.crop = size, crop
        self.rotate, self.scale, self.shift, self.jitter, self.erase = rotate, scale, shift, jitter, erase
        self.blur = blur
        for name, values in (("mean", mean), ("std", std), ("luma", LUMA)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Augment.

        Args:
            batch: ``image`` and perhaps ``neutral``, uint8 (B, 3, H, W), perhaps ``mask``, float32 (B, 1, H, W), and
                ``draws``, float32 (B, DRAWS) in [0, 1); the rest is handed through. H and W are the same.

        Returns:
            The batch, its pictures float32 (B, C, size, size); faces are normalised.
        """
        batch = dict(batch)
        draws = dict(zip(NAMES, batch.pop("draws").unbind(1), strict=True))
        grid = self._grid(draws, batch["image"].shape[-1])
        for name in ("image", "neutral", "mask"):
            if name not in batch:
                continue
            moved = F.grid_sample(batch[name].float(), grid, align_corners=False)
            if name != "mask":
                moved = (self._blurred(self._lit(moved / 255, draws), draws) - self.mean) / self.std
            batch[name] = self._erased(moved, draws) if name == "image" and self.erase else moved
        return batch

    def _grid(self, draws: dict[str, torch.Tensor], side: int) -> torch.Tensor:
        """Where each pixel of the output comes from (B, size, size, 2), as ``grid_sample`` takes it."""
        place = torch.arange(self.size, device=draws["flip"].device, dtype=torch.float32).expand(len(draws["flip"]), -1)
        flipped = (draws["flip"] < 0.5)[:, None]
        left, top = self._corner(draws, side - self.size)
        centre = (side - 1) / 2
        x = torch.where(flipped, self.size - 1 - place, place) + left[:, None] - centre  # (B, size)
        y = place + top[:, None] - centre
        x = x - side * self.shift * _signed(draws["across"])[:, None]
        y = y - side * self.shift * _signed(draws["down"])[:, None]
        zoom = 1 + self.scale * _signed(draws["zoom"])
        angle = math.radians(self.rotate) * _signed(draws["turn"])
        cos, sin = ((f(angle) / zoom)[:, None, None] for f in (torch.cos, torch.sin))
        x, y = x[:, None, :], y[:, :, None]
        source = torch.stack((cos * x + sin * y, cos * y - sin * x), dim=3) + centre
        return (2 * source + 1) / side - 1

    def _corner(self, draws: dict[str, torch.Tensor], room: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Left and top (B,) of the crop."""
        if self.crop == "random":
            return tuple((draws[name] * (room + 1)).floor() for name in ("left", "top"))
        which = (5 * draws["left"]).floor()  # four corners and the centre
        left, top = room * (which % 2), room * (which // 2 % 2)
        return tuple(torch.where(which == 4, float(room // 2), corner) for corner in (left, top))

    def _lit(self, faces: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        if not self.jitter:
            return faces
        brightness, contrast = ((1 + self.jitter * _signed(draws[name])).clamp(min=0).view(-1, 1, 1, 1)
                                for name in ("brightness", "contrast"))
        first = (draws["order"] < 0.5).view(-1, 1, 1, 1)
        faces = (faces * torch.where(first, brightness, 1.0)).clamp(max=1)
        mean = (faces * self.luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        faces = (contrast * faces + (1 - contrast) * mean).clamp(0, 1)
        return (faces * torch.where(first, 1.0, brightness)).clamp(max=1)

    def _blurred(self, faces: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Gaussian blur, rows and columns each as a product with a matrix; weights that lie outside go to the rest."""
        if not self.blur:
            return faces
        place = torch.arange(self.size, device=faces.device, dtype=torch.float32)
        sigma = (self.blur * self.size * draws["blur"]).clamp(min=MIN_SIGMA).view(-1, 1, 1, 1)
        weights = (-((place[:, None] - place) / sigma).square() / 2).softmax(-1)  # (B, 1, size, size)
        return weights @ faces @ weights.mT

    def _erased(self, faces: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """A rectangle of the mean colour, zero when normalised."""
        area = (AREA[0] + (AREA[1] - AREA[0]) * draws["area"]) * self.size ** 2
        low, high = (math.log(ratio) for ratio in RATIO)
        ratio = torch.exp(low + (high - low) * draws["ratio"])
        place = torch.arange(self.size, device=faces.device)
        inside = []
        for length, name in (((area * ratio).sqrt(), "erased_top"), ((area / ratio).sqrt(), "erased_left")):
            length = length.round().clamp(1, self.size - 1)
            first = (draws[name] * (self.size - length + 1)).floor()
            inside.append((place >= first[:, None]) & (place < (first + length)[:, None]))
        inside = inside[0][:, :, None] & inside[1][:, None, :] & (draws["erase"] < self.erase)[:, None, None]
        return faces.masked_fill(inside[:, None], 0)


class BatchMix(nn.Module):
    """Mixes each face of a batch with another: mixup, CutMix, or one of the two by the toss of a coin for each batch.

    Papers: `mixup: Beyond Empirical Risk Minimization` - https://arxiv.org/abs/1710.09412, and `CutMix: Regularization
    Strategy to Train Strong Classifiers with Localizable Features` - https://arxiv.org/abs/1905.04899. The prior mask
    of a mixed face is mixed alike. Draws from the global generator of torch.

    Args:
        mixup: Alpha of the Beta distribution that mixup's share is drawn from; 0 for no mixup.
        cutmix: The same for CutMix.
    """

    def __init__(self, mixup: float = 0.0, cutmix: float = 0.0):
        super().__init__()
        self.mix = v2.RandomChoice([
            transform(alpha=alpha, labels_getter=lambda inputs: inputs[-1])
            for transform, alpha in ((v2.MixUp, mixup), (v2.CutMix, cutmix)) if alpha
        ])

    @torch.no_grad()
    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Mix.

        Args:
            batch: ``image`` (B, C, H, W), ``target`` (B, K), class distributions, and perhaps ``mask`` (B, 1, H, W);
                the rest is handed through.

        Returns:
            The batch, these three mixed.
        """
        names = [name for name in ("image", "mask") if name in batch]
        *mixed, target = self.mix(*(tv_tensors.Image(batch[name]) for name in names), batch["target"])
        pictures = dict(zip(names, (picture.as_subclass(torch.Tensor) for picture in mixed), strict=True))
        return batch | pictures | {"target": target}


def _signed(draw: torch.Tensor) -> torch.Tensor:
    """From [0, 1) to [-1, 1)."""
    return 2 * draw - 1
