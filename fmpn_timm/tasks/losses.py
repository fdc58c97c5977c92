"""What a classifier minimises: cross entropy, center loss, CosFace, the center cosine loss.

Each is a module called with ``(logits, embeddings, weights, target)`` and uses what it needs of them: logits (B, K),
embeddings f (B, D), the classifier's weights (K, D), whose rows c are the class centres, and targets (B, K), one-hot or
soft (each row sums to 1). Hats are unit vectors. With soft targets t every loss is the expected one: ``sum_k t_k``
times the loss if k were the class. All are means over the batch, computed in float32.
"""

from typing import Literal, get_args

import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F

__all__ = ["LOSSES", "CenterCosineLoss", "CenterLoss", "CosFace", "CrossEntropy", "LossName", "create_loss",
           "needs_cosines"]


class CrossEntropy(nn.Module):
    """``-sum_k t_k log softmax(logits)_k``.

    Args:
        label_smoothing: Share e of the target that is spread over all classes: t becomes ``(1 - e) t + e / K``.
    """

    def __init__(self, label_smoothing: float = 0.0):
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(
            self,
            logits: torch.Tensor,
            embeddings: torch.Tensor | None,
            weights: torch.Tensor | None,
            target: torch.Tensor,
    ) -> torch.Tensor:
        return F.cross_entropy(logits.float(), target, label_smoothing=self.label_smoothing)


class CenterLoss(CrossEntropy):
    """Cross entropy and ``weight / 2 * |f - c_y|^2``: embeddings of a class gather at its centre.

    Paper: `A Discriminative Feature Learning Approach for Deep Face Recognition` (Wen, Zhang, Li, Qiao, ECCV 2016),
    equation (5). The centres are the loss's own, not the classifier's weights, and start at 0. They follow the
    embeddings by the paper's rule rather than by a gradient (its algorithm 1), after each training batch:
    ``c_k -= rate * sum_i t_ik (c_k - f_i) / (1 + sum_i t_ik)``, the sums taken over all processes.

    Args:
        num_classes: Number K of classes.
        embed_dim: Length D of an embedding.
        weight: lambda of the paper, 0.003 there.
        rate: alpha of the paper, 0.5 there.
        label_smoothing: Of the cross entropy.
    """

    def __init__(
            self,
            num_classes: int,
            embed_dim: int,
            weight: float = 0.003,
            rate: float = 0.5,
            label_smoothing: float = 0.0,
    ):
        super().__init__(label_smoothing)
        self.weight = weight
        self.rate = rate
        self.register_buffer("centres", torch.zeros(num_classes, embed_dim))

    def forward(
            self,
            logits: torch.Tensor,
            embeddings: torch.Tensor,
            weights: torch.Tensor | None,
            target: torch.Tensor,
    ) -> torch.Tensor:
        embeddings = embeddings.float()
        distance = (embeddings[:, None] - self.centres).square().sum(-1)  # (B, K)
        loss = super().forward(logits, embeddings, weights, target)
        loss = loss + self.weight / 2 * (target * distance).sum(1).mean()
        if self.training:
            self._follow(embeddings.detach(), target)
        return loss

    @torch.no_grad()
    def _follow(self, embeddings: torch.Tensor, target: torch.Tensor) -> None:
        count = target.sum(0)[:, None]  # (K, 1)
        pull = count * self.centres - (target[:, :, None] * embeddings[:, None]).sum(0)  # (K, D)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(count)
            dist.all_reduce(pull)
        self.centres -= self.rate * pull / (1 + count)


class CosFace(nn.Module):
    """``-log(e^{s (cos_y - m)} / (e^{s (cos_y - m)} + sum_{j != y} e^{s cos_j}))`` with ``cos_k = f^ . c^_k``.

    Paper: `CosFace: Large Margin Cosine Loss for Deep Face Recognition` (Wang et al., CVPR 2018) -
    https://arxiv.org/abs/1801.09414, equation (4). For the right class to reach a probability P without margin, s must
    be at least ``(K - 1) / K * ln((K - 1) P / (1 - P))``: 5.47 for K = 7 and P = 0.99.

    Args:
        scale: s; that of the classifier, so that its logits give the probabilities that are trained.
        margin: m, taken off the cosine of the right class.
        label_smoothing: Share of the target that is spread over all classes.
    """

    def __init__(self, scale: float = 16.0, margin: float = 0.2, label_smoothing: float = 0.0):
        super().__init__()
        self.scale = scale
        self.margin = margin
        self.label_smoothing = label_smoothing

    def forward(
            self,
            logits: torch.Tensor | None,
            embeddings: torch.Tensor,
            weights: torch.Tensor,
            target: torch.Tensor,
    ) -> torch.Tensor:
        return self.of_cosines(cosines(embeddings, weights), target)

    def of_cosines(self, cos: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of cosines (B, K)."""
        number = cos.shape[1]
        own = torch.eye(number, device=cos.device)
        if_class = self.scale * (cos[:, None] - self.margin * own)  # (B, K, K): row k holds the logits if k were right
        losses = -if_class.log_softmax(-1).diagonal(dim1=1, dim2=2)  # (B, K)
        target = (1 - self.label_smoothing) * target + self.label_smoothing / number
        return (target * losses).sum(1).mean()


class CenterCosineLoss(CosFace):
    """CosFace, a pull of each embedding to its class centre, and a push of the centres away from each other.

    ``CosFace + pull * mean_i(1 - f^_i . c^_{y_i}) + push * mean_{j != k} max(0, c^_j . c^_k + 1 / (K - 1))``

    The last term is zero when no two centres are nearer than those of a regular simplex, the farthest apart that K unit
    vectors can be. Reconstruction from the abstract of the multiscale network of Wen et al., 2024: the name, the aim
    and the kinship with large-margin cosine are theirs, the equation is ours.

    Args:
        scale: s of CosFace.
        margin: m of CosFace.
        pull: lambda_c.
        push: lambda_s.
        label_smoothing: Of CosFace; the pull takes the targets as they are.
    """

    def __init__(
            self,
            scale: float = 16.0,
            margin: float = 0.2,
            pull: float = 0.5,
            push: float = 1.0,
            label_smoothing: float = 0.0,
    ):
        super().__init__(scale, margin, label_smoothing)
        self.pull = pull
        self.push = push

    def forward(
            self,
            logits: torch.Tensor | None,
            embeddings: torch.Tensor,
            weights: torch.Tensor,
            target: torch.Tensor,
    ) -> torch.Tensor:
        cos = cosines(embeddings, weights)
        compactness = (target * (1 - cos)).sum(1).mean()
        return self.of_cosines(cos, target) + self.pull * compactness + self.push * separation(weights)


def cosines(embeddings: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cosines (B, K) of the angles between embeddings (B, D) and class centres (K, D), in float32 always."""
    with torch.autocast(embeddings.device.type, enabled=False):
        return F.normalize(embeddings.float(), dim=-1) @ F.normalize(weights.float(), dim=-1).T


def separation(weights: torch.Tensor) -> torch.Tensor:
    """``mean_{j != k} max(0, c^_j . c^_k + 1 / (K - 1))`` of class centres (K, D), K at least 2."""
    number = len(weights)
    excess = (cosines(weights, weights) + 1 / (number - 1)).clamp(min=0)
    return (excess.sum() - excess.diagonal().sum()) / (number * (number - 1))


#: Names of the losses, as a configuration gives them.
LossName = Literal["cross_entropy", "center", "cosface", "center_cosine"]
LOSSES = get_args(LossName)


def needs_cosines(name: str) -> bool:
    """Whether the loss of this name trains angles, so that the model must classify by angles (``CosineLinear``) too."""
    return name in ("cosface", "center_cosine")


def create_loss(name: str, classifier: nn.Linear, label_smoothing: float = 0.0) -> nn.Module:
    """The loss of a name in ``LOSSES`` for a classifier; for those of angles it must be a ``CosineLinear``."""
    if name == "cross_entropy":
        return CrossEntropy(label_smoothing)
    if name == "center":
        return CenterLoss(classifier.out_features, classifier.in_features, label_smoothing=label_smoothing)
    loss = {"cosface": CosFace, "center_cosine": CenterCosineLoss}[name]
    return loss(classifier.scale, label_smoothing=label_smoothing)
