"""Models: importing this registers them with timm."""

from .resnet_small import SmallResNet  # before fmpn: its default config is asked for there  # isort: skip
from .basis_generator import BasisMaskGenerator
from .cosine import CosineLinear
from .derl import DeRL, DeRLOutput
from .fmpn import FMPN, FMPNOutput
from .fmpn_lite import fmpn_lite
from .fn2en import FN2EN
from .fusion import PriorFusion
from .grey import to_grey
from .lite_generator import LiteMaskGenerator, stride_for
from .mask_generator import MaskGenerator
from .msca import MSCA

__all__ = ["FMPN", "FN2EN", "MSCA", "BasisMaskGenerator", "CosineLinear", "DeRL", "DeRLOutput", "FMPNOutput",
           "LiteMaskGenerator", "MaskGenerator", "PriorFusion", "SmallResNet", "fmpn_lite", "stride_for", "to_grey"]
