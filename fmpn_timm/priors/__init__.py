"""Prior masks: build, import, load, save, compare, show."""

from .build import build_masks, equalize, import_masks
from .compare import MaskComparison, compare_masks
from .masks import MaskSet, list_assets
from .pairs import LIMITS, PairLimits
from .sheet import draw_sheet
from .warp import build_masks_from_neutral

__all__ = [
    "LIMITS",
    "MaskComparison",
    "MaskSet",
    "PairLimits",
    "build_masks",
    "build_masks_from_neutral",
    "compare_masks",
    "draw_sheet",
    "equalize",
    "import_masks",
    "list_assets",
]
