"""Inference: pictures and videos in, expressions with their probabilities, quality and motion masks out."""

from .neutral import compare_with_neutral
from .optimize import optimize
from .predictor import DEFAULT_MODEL, Predictor
from .results import Comparison, FacePrediction, PicturePrediction, Quality
from .watch import watch

__all__ = ["DEFAULT_MODEL", "Comparison", "FacePrediction", "PicturePrediction", "Predictor", "Quality",
           "compare_with_neutral", "optimize", "watch"]
