"""Tasks: one training objective per system, in the shape of ``timm.task.TrainingTask``."""

from .classification import ClassificationTask
from .derl import DeexpressionTask, ResidueTask, neutral_error
from .fmpn import FMPNTask, MaskTask, mask_error
from .fn2en import FeatureMatchTask
from .losses import LOSSES, CenterCosineLoss, CenterLoss, CosFace, CrossEntropy, create_loss, needs_cosines
from .teacher import Distillation, Teacher

__all__ = [
    "LOSSES", "CenterCosineLoss", "CenterLoss", "ClassificationTask", "CosFace", "CrossEntropy", "DeexpressionTask",
    "Distillation", "FMPNTask", "FeatureMatchTask", "MaskTask", "ResidueTask", "Teacher", "create_loss", "mask_error",
    "needs_cosines", "neutral_error",
]
