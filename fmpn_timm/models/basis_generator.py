"""A motion mask generator that mixes prior masks.

Ours. ``L_M`` has one target per class, so the mask that minimises it is the mixture of the prior masks under the
classes' probabilities given the face. This generator predicts just that, where the masks lie in the face (a
similarity: crops, pose), and a low-rank correction.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.models import checkpoint

from .lite_generator import LiteEncoder

__all__ = ["BasisMaskGenerator"]


class BasisMaskGenerator(nn.Module):
    """Mixture of prior masks, moved to where the face is, and corrected.

    Until ``set_masks`` is called, the masks it mixes are 0.5 all over; they are a buffer, saved with the weights.

    Args:
        width: Channels at the highest resolution the encoder works at.
        blocks: Residual blocks at the encoder's lowest resolution.
        stride: The encoder's highest resolution is that of the face divided by this, see ``stride_for``.
        masks: Number of prior masks.
        size: Height and width of the prior masks in pixels.
        rank: Number of maps that the correction is made of; 0 for none.
    """

    def __init__(
            self,
            width: int = 24,
            blocks: int = 3,
            stride: int = 8,
            masks: int = 7,
            size: int = 64,
            rank: int = 8,
            device=None,
            dtype=None,
    ):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        if masks < 1 or size < 4 or rank < 0:
            raise ValueError(f"A basis needs at least one mask of 4 pixels and no negative rank, not masks={masks}, "
                             f"size={size}, rank={rank}.")
        self.grad_checkpointing = False
        self.encoder = LiteEncoder(width, blocks, stride, **dd)
        channels = 4 * width
        self.mixture = nn.Sequential(
            nn.Linear(channels, 2 * channels, **dd),
            nn.ReLU(inplace=True),
            nn.Linear(2 * channels, masks, **dd),
        )
        self.geometry = nn.Linear(channels, 4, **dd)  # log scale, rotation, shift in x and in y
        self.correction = nn.Linear(channels, rank, **dd)
        self.maps = nn.Parameter(torch.empty(rank, size // 4, size // 4, **dd))
        self.register_buffer("masks", torch.full((masks, size, size), 0.5, **dd))
        for head in (self.geometry, self.correction):  # starts as the mixture itself
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        nn.init.normal_(self.maps, std=0.5)

    @torch.jit.ignore
    def set_masks(self, masks: torch.Tensor) -> None:
        """Take prior masks (K, H, W) in [0, 1], resized to those it has.

        Raises:
            ValueError: There are more or fewer of them than it mixes.
        """
        if len(masks) != len(self.masks):
            raise ValueError(f"{len(masks)} prior masks for a mask generator that mixes {len(self.masks)}.")
        size = self.masks.shape[-2:]
        resized = F.interpolate(masks[:, None].float(), size=size, mode="bilinear", antialias=True)[:, 0]
        self.masks.copy_(resized.clamp(0, 1))

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
        features = self.encoder(grey)[2].mean((2, 3))  # (B, 4 width)
        shares = self.mixture(features).softmax(1)  # (B, K)
        mask = (shares @ self.masks.flatten(1)).unflatten(1, self.masks.shape[-2:]).unsqueeze(1)  # (B, 1, S, S)
        mask = _move(mask, self.geometry(features))
        correction = (self.correction(features) @ self.maps.flatten(1)).unflatten(1, self.maps.shape[-2:]).unsqueeze(1)
        correction = F.interpolate(correction, size=mask.shape[-2:], mode="bilinear", align_corners=False)
        mask = (torch.logit(mask.float(), eps=0.02) + correction).sigmoid().to(grey.dtype)
        return F.interpolate(mask, size=grey.shape[-2:], mode="bilinear", align_corners=False)


def _move(masks: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
    """Scale, turn and shift masks (B, 1, S, S) by a similarity each (B, 4); zeros leave them as they are."""
    scale, angle = geometry[:, 0].exp(), geometry[:, 1]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack([cos, -sin, geometry[:, 2], sin, cos, geometry[:, 3]], 1).view(-1, 2, 3).to(masks.dtype)
    grid = F.affine_grid(theta, masks.shape, align_corners=False)
    return F.grid_sample(masks, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
