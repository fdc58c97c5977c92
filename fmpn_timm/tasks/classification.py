"""What a plain classifier optimises, and what batches are."""

import torch
import torch.nn as nn
from timm.task import TrainingTask

from .losses import CrossEntropy
from .teacher import Distillation

__all__ = ["Batch", "ClassificationTask"]

#: A batch of ``FaceDataset``.
Batch = dict[str, torch.Tensor]


class ClassificationTask(TrainingTask):
    """A plain classifier: the baseline arm, and equation (4).

    Args:
        model: Any timm classifier.
        loss: A loss of ``tasks/losses.py``; cross entropy if None.
        distillation: What makes of the batch's targets those that are learnt; None to learn the batch's own.
    """

    def __init__(
            self,
            model: nn.Module,
            loss: nn.Module | None = None,
            distillation: Distillation | None = None,
    ):
        super().__init__(verbose=False)
        self.model = model
        self.loss = loss or CrossEntropy()
        self.distillation = distillation
        self.with_embeddings = type(self.loss) is not CrossEntropy

    def wanted(self, input: torch.Tensor, target: Batch) -> torch.Tensor:
        """The class distributions (B, K) to learn of a batch."""
        return target["target"] if self.distillation is None else self.distillation(input, target["target"])

    def class_loss(self, embeddings: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and logits (B, K) of embeddings (B, D), against target distributions (B, K)."""
        classifier = self.model.get_classifier()
        logits = classifier(embeddings)
        return self.loss(logits, embeddings, classifier.weight, target), logits

    def forward(self, input: torch.Tensor, target: Batch) -> dict[str, torch.Tensor]:
        """Loss and logits.

        Args:
            input: Faces (B, 3, H, W).
            target: A batch of ``FaceDataset``.
        """
        wanted = self.wanted(input, target)
        if not self.with_embeddings:
            logits = self.model(input)
            return {"loss": self.loss(logits, None, None, wanted), "output": logits}
        embeddings = self.model.forward_head(self.model.forward_features(input), pre_logits=True)
        loss, logits = self.class_loss(embeddings, wanted)
        return {"loss": loss, "output": logits}
