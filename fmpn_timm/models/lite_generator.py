"""A motion mask generator that costs next to nothing: low resolution, separable convolutions, an upsampled mask.

Ours. Prior masks are smooth and the published ones 70 to 81 pixels wide, so a mask of some 20 to 50 pixels is predicted
and enlarged; and as the best mask of a face is the mixture of prior masks under the classes'
probabilities (``L_M`` has one target per class), the network sees the whole face: three resolutions and the mean of the
last one's features.
"""

from typing import List, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.models import checkpoint

__all__ = ["LiteEncoder", "LiteMaskGenerator", "stride_for"]


def stride_for(size: int) -> int:
    """The stride of a ``LiteEncoder`` for faces of some size: 24 x 24 of 48 pixels, 28 x 28 of 224, 37 x 37 of 299.

    Args:
        size: Height and width of the faces in pixels.
    """
    return 2 if size < 100 else 4 if size < 200 else 8


@torch.fx.wrap  # it cannot follow what depends on the device
def convolve_in_training(
        x: torch.Tensor,
        weight: torch.Tensor,
        stride: Tuple[int, int],
        padding: Tuple[int, int],
        groups: int,
) -> torch.Tensor:
    """A convolution to be trained: on a CPU in the precision of its weights.

    There bf16 makes a depthwise convolution no faster, and with its gradient two to nine times as slow as float32.
    """
    if x.device.type == "cpu":
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x.to(weight.dtype), weight, None, stride, padding, 1, groups)
    return F.conv2d(x, weight, None, stride, padding, 1, groups)


class ConvNorm(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int = 1, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__(
            nn.Conv2d(in_channels, channels, kernel_size, stride, (kernel_size - 1) // 2, bias=False, **dd),
            nn.BatchNorm2d(channels, **dd),
            nn.ReLU(inplace=True),
        )


class SeparableBlock(nn.Module):
    """Depthwise 5 x 5 and pointwise convolution; with a shortcut where the shape stays."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        self.shortcut = stride == 1 and in_channels == channels
        self.depthwise = nn.Conv2d(in_channels, in_channels, 5, stride, 2, groups=in_channels, bias=False, **dd)
        self.norm = nn.BatchNorm2d(in_channels, **dd)
        self.pointwise = ConvNorm(in_channels, channels, 1, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv = self.depthwise
        y = convolve_in_training(x, conv.weight, conv.stride, conv.padding, conv.groups) if self.training else conv(x)
        y = self.pointwise(self.norm(y))
        return x + y if self.shortcut else y


class LiteEncoder(nn.Module):
    """Features of a grey face at three low resolutions.

    Args:
        width: Channels at the highest of them; each lower one has twice as many.
        blocks: Residual blocks at the lowest.
        stride: The highest resolution is that of the face divided by this.
    """

    def __init__(self, width: int, blocks: int, stride: int, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        if width < 1 or blocks < 1 or stride < 1:
            raise ValueError(f"Width, blocks and stride of a mask generator must be at least 1, not {width}, {blocks} "
                             f"and {stride}.")
        self.stem = ConvNorm(1, width, 2 * stride - 1, stride, **dd)
        self.high = SeparableBlock(width, width, **dd)
        self.middle = nn.Sequential(
            SeparableBlock(width, 2 * width, 2, **dd),
            SeparableBlock(2 * width, 2 * width, **dd),
        )
        self.low = nn.Sequential(
            SeparableBlock(2 * width, 4 * width, 2, **dd),
            *[SeparableBlock(4 * width, 4 * width, **dd) for _ in range(blocks)],
        )

    def forward(self, grey: torch.Tensor) -> List[torch.Tensor]:
        """Three feature maps, the finest first.

        Args:
            grey: Grey faces (B, 1, H, W) in [0, 1].
        """
        high = self.high(self.stem(grey))  # (B, width, H/s, W/s)
        middle = self.middle(high)  # (B, 2 width, H/2s, W/2s)
        return [high, middle, self.low(middle)]  # (B, 4 width, H/4s, W/4s)


class LiteMaskGenerator(nn.Module):
    """Mask generator of some 0.07 M parameters and 0.02 GMAC for a 299 x 299 face (the paper's: 6.04 M and 37.96).

    Args:
        width: Channels at the highest resolution it works at.
        blocks: Residual blocks at the lowest resolution.
        stride: The highest resolution it works at is that of the face divided by this, see ``stride_for``.
    """

    def __init__(self, width: int = 24, blocks: int = 3, stride: int = 8, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        self.grad_checkpointing = False
        self.encoder = LiteEncoder(width, blocks, stride, **dd)
        self.context = nn.Conv2d(4 * width, 4 * width, 1, **dd)
        self.up_low = ConvNorm(4 * width, 2 * width, 1, **dd)
        self.up_middle = ConvNorm(2 * width, width, 1, **dd)
        self.refine = SeparableBlock(width, width, **dd)
        self.head = nn.Conv2d(width, 1, 3, padding=1, **dd)

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        """Predict the motion mask.

        Args:
            grey: Grey faces (B, 1, H, W) in [0, 1].

        Returns:
            Motion masks (B, 1, H, W) in [0, 1].
        """
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint(self._predict, grey)
        return self._predict(grey)

    def _predict(self, grey: torch.Tensor) -> torch.Tensor:
        high, middle, low = self.encoder(grey)
        low = low + self.context(low.mean((2, 3), keepdim=True))
        middle = middle + _enlarge(self.up_low(low), middle)
        high = high + _enlarge(self.up_middle(middle), high)
        return _enlarge(self.head(self.refine(high)), grey).sigmoid()


def _enlarge(x: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=to.shape[-2:], mode="bilinear", align_corners=False)
