"""Facial expression recognition for timm: importing this registers the models with ``timm.create_model``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import models  # registers the models with timm
from .version import __version__
from .zoo import weights_folder

if TYPE_CHECKING:
    from .inference import Predictor

__all__ = ["Predictor", "__version__"]

models._published.weights_folder = weights_folder


#: What needs no import of its own: ``fmpn_timm.inference.optimize(model)``.
SUBPACKAGES = ("data", "faces", "inference", "priors", "tasks", "training")


def __getattr__(name: str) -> Any:
    if name == "Predictor":  # what it needs is not loaded by those who want the models alone
        from .inference import Predictor

        return Predictor
    if name in SUBPACKAGES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:  # what a prompt completes
    return sorted({*globals(), *__all__, *SUBPACKAGES})
