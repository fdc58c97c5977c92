"""Prior fusion net (PFN): a weighted sum of the face and the face seen through its motion mask.

Paper: `Facial Motion Prior Networks for Facial Expression Recognition` - https://arxiv.org/abs/1902.08788,
equation (3). Reimplementation of the authors' layers; 377 parameters.
"""

import torch
import torch.nn as nn

from .mask_generator import ResidualBlock, init_weights

__all__ = ["PriorFusion"]


class PriorFusion(nn.Module):
    """Fuse a face with its masked grey face into a three-channel face.

    Args:
        in_chans: Channels of the face, 3 for RGB or 1 for grey.
    """

    def __init__(self, in_chans: int = 3, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        self.face = nn.Sequential(
            nn.Conv2d(in_chans, 3, 3, padding=1, bias=False, **dd),
            nn.BatchNorm2d(3, **dd),
            nn.ReLU(inplace=True),
        )
        self.masked = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1, bias=False, **dd),
            nn.BatchNorm2d(3, **dd),
            nn.ReLU(inplace=True),
        )
        self.block = ResidualBlock(3, **dd)
        self.head = nn.Conv2d(3, 3, 3, padding=1, bias=False, **dd)
        self.apply(init_weights)

    def forward(self, face: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        """Fuse.

        Args:
            face: Faces (B, in_chans, H, W) in [0, 1].
            masked: Grey faces times their motion masks (B, 1, H, W) in [0, 1].

        Returns:
            Fused faces (B, 3, H, W) in [0, 1].
        """
        x = self.face(face) + self.masked(masked)
        # The initialisation leaves the fused face within a few thousandths of 0.5. bf16 cannot tell those values
        # apart, so under autocast the sigmoid is taken in the precision of the weights.
        return self.head(self.block(x)).to(self.head.weight.dtype).sigmoid()
