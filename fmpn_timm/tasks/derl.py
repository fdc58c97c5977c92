"""What DeRL optimises: neutral faces in stage 1, five classifiers over the frozen generator in stage 2.

Paper: `Facial Expression Recognition by De-Expression Residue Learning` (Yang, Ciftci, Yin, CVPR 2018) -
https://openaccess.thecvf.com/content_cvpr_2018/html/Yang_Facial_Expression_Recognition_CVPR_2018_paper.html
The losses are the paper's; their weights are ours.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.task import TrainingTask

from fmpn_timm.models import DeRL, to_grey
from fmpn_timm.models.derl import Discriminator

from .classification import Batch, ClassificationTask

__all__ = ["DeexpressionTask", "ResidueTask", "neutral_error"]


class DeexpressionTask(TrainingTask):
    """Stage 1: a conditional GAN learns the same person's neutral face.

    With true neutral faces x0, ``L_D = -mean(log D(x, x0) + log(1 - D(x, G(x))))`` and
    ``L_G = mean(-log D(x, G(x)) + l1_weight * |x0 - G(x)|)``. One loss is the sum of both, and each part reaches only
    the network that it is for, so that one optimiser and one backward pass train the two.

    Args:
        model: The network whose generator learns; its other parts are left as they are.
        l1_weight: theta_1; faces are in [-1, 1] there.
        width: Channels of the discriminator's first layer.
    """

    def __init__(self, model: DeRL, l1_weight: float = 100.0, width: int = 64):
        super().__init__(verbose=False)
        self.model = model
        self.discriminator = Discriminator(width)
        self.l1_weight = l1_weight

    def forward(self, input: torch.Tensor, target: Batch) -> dict[str, torch.Tensor]:
        """Loss and its parts; ``output`` is the generated neutral faces (B, 1, H, W) in [0, 1].

        Args:
            input: Faces (B, in_chans, H, W) in [0, 1].
            target: A batch of ``FaceDataset`` with neutral faces.
        """
        output = self.model.neutral(input)
        face, neutral, generated = (
            2 * grey - 1
            for grey in (to_grey(input, self.model.in_chans), to_grey(target["neutral"], self.model.in_chans), output)
        )
        real, fake = self.discriminator(face, neutral), self.discriminator(face, generated.detach())
        discriminator_loss = _bce(real, 1.0) + _bce(fake, 0.0)
        judge = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        verdict = torch.func.functional_call(self.discriminator, judge, (face, generated))
        adversarial_loss = _bce(verdict, 1.0)
        l1_loss = F.l1_loss(generated.float(), neutral.float())
        return {
            "loss": discriminator_loss + adversarial_loss + self.l1_weight * l1_loss,
            "output": output,
            "discriminator_loss": discriminator_loss,
            "adversarial_loss": adversarial_loss,
            "l1_loss": l1_loss,
        }


def _bce(logits: torch.Tensor, truth: float) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, truth, dtype=torch.float32))


def neutral_error(model: DeRL, batch: Batch) -> torch.Tensor:
    """Mean absolute error (B,) of the generated neutral faces of a batch of ``FaceDataset``, in [0, 1]."""
    truth = to_grey(batch["neutral"], model.in_chans)
    return (model.neutral(batch["image"]).float() - truth).abs().mean((1, 2, 3))


class ResidueTask(ClassificationTask):
    """Stage 2: ``local_weight * (L_1 + ... + L_4) + class_weight * L_5``, over a generator that is frozen.

    The generator keeps its batch norm statistics too: it stays in evaluation mode while the task trains. Its weights
    stay as they are if the optimiser has no group for them.

    Args:
        model: The network.
        local_weight: lambda_1 to lambda_4, of the local classifiers.
        class_weight: lambda_5, of the combined head.
        loss: L_1 to L_5, of logits alone; cross entropy if None.
    """

    def __init__(
            self,
            model: DeRL,
            local_weight: float = 0.5,
            class_weight: float = 1.0,
            loss: nn.Module | None = None,
    ):
        super().__init__(model, loss)
        self.local_weight = local_weight
        self.class_weight = class_weight

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.model.generator.eval()
        return self

    def forward(self, input: torch.Tensor, target: Batch) -> dict[str, torch.Tensor]:
        """Loss and its parts, and the logits of the combined head."""
        output = self.model.forward_residue(input)
        class_loss = self.loss(output.logits, None, None, target["target"])
        local_loss = sum(self.loss(logits, None, None, target["target"]) for logits in output.local_logits.unbind(1))
        return {
            "loss": self.local_weight * local_loss + self.class_weight * class_loss,
            "output": output.logits,
            "class_loss": class_loss,
            "local_loss": local_loss,
        }
