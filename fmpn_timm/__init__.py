"""Facial expression recognition for timm: importing this registers the models with ``timm.create_model``."""

from . import models  # registers the models with timm
from .version import __version__
from .zoo import weights_folder

__all__ = ["__version__"]

models._published.weights_folder = weights_folder
