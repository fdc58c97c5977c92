"""Models: importing this registers them with timm."""

from .resnet_small import SmallResNet  # before fmpn: its default config is asked for there  # isort: skip
from .derl import DeRL, DeRLOutput
from .fmpn import FMPN, FMPNOutput
from .fusion import PriorFusion
from .grey import to_grey
from .mask_generator import MaskGenerator

__all__ = ["DeRL", "DeRLOutput", "FMPN", "FMPNOutput", "MaskGenerator", "PriorFusion", "SmallResNet", "to_grey"]
