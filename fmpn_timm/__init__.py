"""Facial expression recognition for timm: importing this registers the models with ``timm.create_model``."""

from . import models  # noqa: F401  registers the models with timm
from .version import __version__

__all__ = ["__version__"]
