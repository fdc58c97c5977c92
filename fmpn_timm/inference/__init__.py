"""Inference: pictures in, expressions with their probabilities, quality and motion masks out."""

from .optimize import optimize
from .predictor import DEFAULT_MODEL, Predictor
from .results import FacePrediction, PicturePrediction, Quality

__all__ = ["DEFAULT_MODEL", "FacePrediction", "PicturePrediction", "Predictor", "Quality", "optimize"]
