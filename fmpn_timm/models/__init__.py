"""Models: importing this registers them with timm."""

from .resnet_small import SmallResNet  # before fmpn: its default config is asked for there  # isort: skip
from .cosine import CosineLinear
from .derl import DeRL, DeRLOutput
from .fmpn import FMPN, FMPNOutput
from .fn2en import FN2EN
from .fusion import PriorFusion
from .grey import to_grey
from .mask_generator import MaskGenerator
from .msca import MSCA

__all__ = ["FMPN", "FN2EN", "MSCA", "CosineLinear", "DeRL", "DeRLOutput", "FMPNOutput", "MaskGenerator", "PriorFusion",
           "SmallResNet", "to_grey"]
