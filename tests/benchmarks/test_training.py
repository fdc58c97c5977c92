"""Test of the training benchmark: both loops optimise the same."""

import torch
from torch import nn

from benchmarks.training import ReferenceTask
from fmpn_timm.tasks import FMPNTask


class Fixed(nn.Module):
    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.tensor([[1.0, 2.0]]), torch.full((1, 1, 2, 2), 0.3), faces

    forward_motion = forward


def test_the_plain_loop_has_the_loss_of_the_package():
    faces, batch = torch.rand(1, 3, 2, 2), {"target": torch.tensor([[0.0, 1.0]]), "mask": torch.ones(1, 1, 2, 2)}
    plain, ours = (task(Fixed())(faces, batch)["loss"] for task in (ReferenceTask, FMPNTask))
    assert plain > 0.3
    torch.testing.assert_close(plain, ours)
