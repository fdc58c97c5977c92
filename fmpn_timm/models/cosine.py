"""A classifier by angles: its weights are the class centres."""

import torch
import torch.nn as nn
import torch.nn.functional as F

__all__ = ["CosineLinear"]

EPS = 1e-6  # float16 has no smaller one that is safe, and an embedding behind a ReLU may be all zero


class CosineLinear(nn.Linear):
    """``scale * cos`` of the angles between embeddings and class centres, as normalised softmax losses take them.

    The logits' argmax is the class of the nearest centre by angle.

    Args:
        in_features: Length D of an embedding.
        out_features: Number K of classes.
        scale: s, the largest logit; to give the right class a probability P it takes
            ``s >= (K - 1) / K * ln((K - 1) P / (1 - P))``, 5.47 for K = 7 and P = 0.99.
    """

    def __init__(self, in_features: int, out_features: int, scale: float = 16.0, device=None, dtype=None):
        super().__init__(in_features, out_features, bias=False, device=device, dtype=dtype)
        self.scale = scale
        self.eps = EPS  # TorchScript reads no global

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) in [-scale, scale] of embeddings (B, D)."""
        centres = F.normalize(self.weight, dim=-1, eps=self.eps)
        return self.scale * F.linear(F.normalize(x, dim=-1, eps=self.eps), centres)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, scale={self.scale}"
