"""The paper's network in plain PyTorch: the authors' layers under the authors' state-dict names.

Paper: `Facial Motion Prior Networks for Facial Expression Recognition` - https://arxiv.org/abs/1902.08788

What the package is measured against: its values by the tests, its speed by the benchmarks beside this file. Written in
the plainest way, and nothing in it is meant to be fast. Weights start as PyTorch's layers do, not as the authors' did.
"""

from typing import NamedTuple

import torch
import torchvision.models
from torch import nn

__all__ = ["BACKBONES", "ReferenceFMPN", "ReferenceOutput", "reference_fmpn"]

#: Classifiers of the authors' code, torchvision's.
BACKBONES = ("inception_v3", "resnet50", "resnet152", "densenet121")


class ReferenceOutput(NamedTuple):
    """What the reference computes for B faces."""

    logits: torch.Tensor  # (B, num_classes)
    motion_mask: torch.Tensor  # (B, 1, H, W) in [0, 1]
    fused_face: torch.Tensor  # (B, 3, H, W) in [0, 1]


def reference_fmpn(backbone: str = "inception_v3", num_classes: int = 7) -> "ReferenceFMPN":
    """The network of the paper.

    Args:
        backbone: One of ``BACKBONES``; the paper's is the first.
        num_classes: Number of expressions.
    """
    return ReferenceFMPN(backbone, num_classes)


class ReferenceFMPN(nn.Module):
    """Equation (3) with a classifier behind it; ``fmg``, ``pfn`` and ``cn`` are the parts the authors save."""

    def __init__(self, backbone: str, num_classes: int):
        super().__init__()
        self.fmg = FacialMotionMaskGenerator()
        self.pfn = PriorFusionNet()
        # torchvision alone knows these two: the authors have no auxiliary classifier, and leave it to the network to
        # turn [0, 1] into what Inception expects. Their other classifiers get [0, 1] as it is.
        options = dict(aux_logits=False, transform_input=True, init_weights=False) if backbone == "inception_v3" else {}
        self.cn = getattr(torchvision.models, backbone)(weights=None, num_classes=num_classes, **options)

    def forward(self, x: torch.Tensor) -> ReferenceOutput:
        """All outputs of one pass.

        Args:
            x: RGB faces (B, 3, H, W) in [0, 1].
        """
        red, green, blue = x.split(1, dim=1)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        mask = self.fmg(grey)
        fused = self.pfn(x, grey * mask)
        return ReferenceOutput(self.cn(fused), mask, fused)


class FacialMotionMaskGenerator(nn.Module):
    """FMG: grey faces (B, 1, H, W) to motion masks of the same shape."""

    def __init__(self):
        super().__init__()
        self.feature_extractor = nn.Sequential(
            nn.Conv2d(1, 64, 7, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(True),
            nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(True),
            nn.Conv2d(128, 256, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(True),
            ResidualBlock(256),
            ResidualBlock(256),
            ResidualBlock(256),
            ResidualBlock(256),
            nn.ConvTranspose2d(256, 128, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(True),
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(True),
        )
        self.res_top = nn.Sequential(nn.Conv2d(64, 1, 7, padding=3, bias=False), nn.Sigmoid())

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        # The authors pad both levels by their one size % 2, which gives 299 back for 299 but not 98 for 98. Taken of
        # the size each level must give back, it is the same wherever theirs works, and works for every size.
        height, width = grey.shape[-2:]
        self.feature_extractor[13].output_padding = (height // 2 % 2, width // 2 % 2)
        self.feature_extractor[16].output_padding = (height % 2, width % 2)
        return self.res_top(self.feature_extractor(grey))


class ResidualBlock(nn.Module):
    """``x + conv_block(x)``; each PReLU has one parameter."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


class PriorFusionNet(nn.Module):
    """PFN: RGB faces (B, 3, H, W) and masked grey faces (B, 1, H, W) to fused faces (B, 3, H, W)."""

    def __init__(self):
        super().__init__()
        self.process_a = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(True))
        self.process_b = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(True))
        self.model = nn.Sequential(ResidualBlock(3), nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Sigmoid())

    def forward(self, face: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        return self.model(self.process_a(face) + self.process_b(masked))
