"""Tasks: one training objective per system, in the shape of ``timm.task.TrainingTask``."""

from .derl import DeexpressionTask, ResidueTask, neutral_error
from .fmpn import ClassificationTask, FMPNTask, MaskTask, mask_error

__all__ = [
    "ClassificationTask", "DeexpressionTask", "FMPNTask", "MaskTask", "ResidueTask", "mask_error", "neutral_error",
]
