"""Facial-motion mask generator (FMG): a grey face in, a mask of where it moved out.

Paper: `Facial Motion Prior Networks for Facial Expression Recognition` - https://arxiv.org/abs/1902.08788,
section II. Reimplementation: layers and initialisation of the authors' implementation, any input size.
"""

from typing import List

import torch
import torch.nn as nn
from timm.models import checkpoint

__all__ = ["MaskGenerator", "ResidualBlock", "init_weights"]


def init_weights(module: nn.Module) -> None:
    """Xavier-normal convolutions with gain 0.02, batch norm weights from N(1, 0.02) (the authors' initialisation)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_normal_(module.weight, gain=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class ResidualBlock(nn.Module):
    """``x + (conv3x3, BN, PReLU) twice``; each PReLU has one parameter."""

    def __init__(self, channels: int, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, **dd)
        self.norm1 = nn.BatchNorm2d(channels, **dd)
        self.act1 = nn.PReLU(**dd)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, **dd)
        self.norm2 = nn.BatchNorm2d(channels, **dd)
        self.act2 = nn.PReLU(**dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x
        x = self.act1(self.norm1(self.conv1(x)))
        x = self.act2(self.norm2(self.conv2(x)))
        return shortcut + x


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        padding = (kernel_size - stride) // 2
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=False, **dd)
        self.norm = nn.BatchNorm2d(channels, **dd)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x)))


class UpBlock(nn.Module):
    """Transposed convolution to a given size, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, channels, 4, stride=2, padding=1, bias=False, **dd)
        self.norm = nn.BatchNorm2d(channels, **dd)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor, size: List[int]) -> torch.Tensor:
        # The output padding (0 or 1) follows from the size: the authors' `size % 2`, level by level.
        return self.act(self.norm(self.conv(x, output_size=size)))


class MaskGenerator(nn.Module):
    """Facial-motion mask generator: two strided convolutions, residual blocks, two transposed convolutions.

    At the authors' width and depth it has 6.04 M parameters and takes 37.96 GMAC for a 299 x 299 face.

    Args:
        width: Channels at full resolution; the residual blocks have four times as many.
        blocks: Number of residual blocks at a quarter of the resolution.
    """

    def __init__(self, width: int = 64, blocks: int = 4, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        self.grad_checkpointing = False
        if width < 1 or blocks < 1:
            raise ValueError(f"generator_width and generator_blocks must be at least 1, got {width} and {blocks}.")
        self.stem = ConvBlock(1, width, 7, stride=1, **dd)
        self.down1 = ConvBlock(width, width * 2, 4, stride=2, **dd)
        self.down2 = ConvBlock(width * 2, width * 4, 4, stride=2, **dd)
        self.blocks = nn.Sequential(*[ResidualBlock(width * 4, **dd) for _ in range(blocks)])
        self.up1 = UpBlock(width * 4, width * 2, **dd)
        self.up2 = UpBlock(width * 2, width, **dd)
        self.head = nn.Conv2d(width, 1, 7, padding=3, bias=False, **dd)
        self.apply(init_weights)

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        """Predict the motion mask.

        Args:
            grey: Grey faces (B, 1, H, W) in [0, 1], H and W at least 4.

        Returns:
            Motion masks (B, 1, H, W) in [0, 1].
        """
        size = grey.shape[-2:]
        if self.grad_checkpointing and not torch.jit.is_scripting():
            x = checkpoint(self._shrink, grey)
            x = checkpoint(self._transform, x)
            return checkpoint(self._enlarge, x, size)
        return self._enlarge(self._transform(self._shrink(grey)), size)

    def _shrink(self, grey: torch.Tensor) -> torch.Tensor:
        return self.down1(self.stem(grey))  # (B, 2 width, H/2, W/2)

    def _transform(self, x: torch.Tensor) -> torch.Tensor:
        blocks = self.blocks(self.down2(x))  # (B, 4 width, H/4, W/4)
        return self.up1(blocks, x.shape[-2:])  # (B, 2 width, H/2, W/2)

    def _enlarge(self, x: torch.Tensor, size: List[int]) -> torch.Tensor:
        return self.head(self.up2(x, size)).sigmoid()
