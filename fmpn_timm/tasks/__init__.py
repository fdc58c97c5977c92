"""Tasks: one training objective per system, in the shape of ``timm.task.TrainingTask``."""

from .fmpn import ClassificationTask, FMPNTask, MaskTask, mask_error

__all__ = ["ClassificationTask", "FMPNTask", "MaskTask", "mask_error"]
