"""Facial expression recognition for timm: importing this registers the models with ``timm.create_model``."""

from . import models  # noqa: F401  registers the models with timm

__version__ = "0.1.0"
