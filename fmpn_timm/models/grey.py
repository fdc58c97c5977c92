"""Faces as one grey channel."""

import torch

__all__ = ["to_grey"]


def to_grey(x: torch.Tensor, in_chans: int = 3) -> torch.Tensor:
    """ITU-R BT.601 luma of RGB faces; grey faces stay as they are.

    Args:
        x: Faces (B, in_chans, H, W).
        in_chans: 3 for RGB, 1 for grey; anything else in ``x`` is refused.

    Returns:
        Grey faces (B, 1, H, W) in the range of ``x``.
    """
    torch._assert(x.shape[1] == in_chans, "faces need the channels the model was created for (in_chans)")
    if in_chans == 1:
        return x
    return 0.299 * x[:, 0:1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:3]
