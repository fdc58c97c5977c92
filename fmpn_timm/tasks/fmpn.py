"""What FMPN optimises: the mask alone in stage 1, mask and class together in stage 2.

Paper: `Facial Motion Prior Networks for Facial Expression Recognition` - https://arxiv.org/abs/1902.08788,
equations (2), (4) and (5).
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.task import TrainingTask

from fmpn_timm.models import FMPN

from .classification import Batch, ClassificationTask
from .teacher import Distillation

__all__ = ["FMPNTask", "MaskTask", "mask_error"]


class MaskTask(TrainingTask):
    """Stage 1: the mask generator alone, equation (2).

    Args:
        model: The network whose generator learns; its other parts are left as they are.
    """

    def __init__(self, model: FMPN):
        super().__init__(verbose=False)
        self.model = model

    def forward(self, input: torch.Tensor, target: Batch) -> dict[str, torch.Tensor]:
        """Mean squared error of the masks; ``output`` is the masks (B, 1, H, W)."""
        mask = self.model.motion_mask(input)
        return {"loss": F.mse_loss(mask.float(), target["mask"]), "output": mask}


def mask_error(model: FMPN, batch: Batch) -> torch.Tensor:
    """Mean squared error (B,) of the masks of a batch of ``FaceDataset``."""
    return (model.motion_mask(batch["image"]).float() - batch["mask"]).square().mean((1, 2, 3))


class FMPNTask(ClassificationTask):
    """Stage 2: ``mask_weight * L_M + class_weight * L_C``, equation (5).

    Args:
        model: The network.
        mask_weight: lambda_1; with 0 this is the arm without the prior, and batches need no masks.
        class_weight: lambda_2.
        loss: L_C, a loss of ``tasks/losses.py``; cross entropy if None.
        distillation: As for ``ClassificationTask``.
    """

    def __init__(
            self,
            model: FMPN,
            mask_weight: float = 0.1,
            class_weight: float = 1.0,
            loss: nn.Module | None = None,
            distillation: Distillation | None = None,
    ):
        super().__init__(model, loss=loss, distillation=distillation)
        self.mask_weight = mask_weight
        self.class_weight = class_weight

    def forward(self, input: torch.Tensor, target: Batch) -> dict[str, torch.Tensor]:
        """Loss and its parts, and logits."""
        wanted = self.wanted(input, target)
        if self.with_embeddings:
            embeddings, mask = self.model.forward_embeddings(input)
            class_loss, logits = self.class_loss(embeddings, wanted)
        else:
            logits, mask, _ = self.model.forward_motion(input)
            class_loss = self.loss(logits, None, None, wanted)
        result = {"loss": self.class_weight * class_loss, "output": logits, "class_loss": class_loss}
        if self.mask_weight:
            mask_loss = F.mse_loss(mask.float(), target["mask"])
            result["loss"] = result["loss"] + self.mask_weight * mask_loss
            result["mask_loss"] = mask_loss
        return result
