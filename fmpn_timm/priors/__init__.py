"""Prior masks: build, import, load, save, show."""

from .build import build_masks, equalize, import_masks
from .masks import MaskSet, list_assets
from .pairs import LIMITS, PairLimits
from .sheet import draw_sheet

__all__ = ["LIMITS", "MaskSet", "PairLimits", "build_masks", "draw_sheet", "equalize", "import_masks", "list_assets"]
