"""Models: importing this registers them with timm."""

from .resnet_small import SmallResNet  # before fmpn: its default config is asked for there  # isort: skip
from .fmpn import FMPN, FMPNOutput
from .fusion import PriorFusion
from .mask_generator import MaskGenerator

__all__ = ["FMPN", "FMPNOutput", "MaskGenerator", "PriorFusion", "SmallResNet"]
