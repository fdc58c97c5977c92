"""Tasks: one training objective per system, in the shape of ``timm.task.TrainingTask``."""

from .fmpn import ClassificationTask, FMPNTask, MaskTask, mask_error
from .fn2en import FeatureMatchTask
from .losses import LOSSES, CenterCosineLoss, CenterLoss, CosFace, CrossEntropy, create_loss, needs_cosines

__all__ = ["LOSSES", "CenterCosineLoss", "CenterLoss", "ClassificationTask", "CosFace", "CrossEntropy", "FMPNTask",
           "FeatureMatchTask", "MaskTask", "create_loss", "mask_error", "needs_cosines"]
