"""Models: importing this registers them with timm."""

from .fmpn import FMPN, FMPNOutput
from .fusion import PriorFusion
from .mask_generator import MaskGenerator

__all__ = ["FMPN", "FMPNOutput", "MaskGenerator", "PriorFusion"]
