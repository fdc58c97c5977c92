"""Facial expression recognition for timm: importing this registers the models with ``timm.create_model``."""

from typing import TYPE_CHECKING, Any

from . import models  # registers the models with timm
from .version import __version__
from .zoo import weights_folder

if TYPE_CHECKING:
    from .inference import Predictor

__all__ = ["Predictor", "__version__"]

models._published.weights_folder = weights_folder


def __getattr__(name: str) -> Any:
    if name == "Predictor":  # what it needs is not loaded by those who want the models alone
        from .inference import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
