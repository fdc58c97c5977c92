"""Networks that teach: they see the faces that a student sees, and change nothing of themselves."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["Distillation", "Teacher"]


class Teacher(nn.Module):
    """A network that is called on faces that are normalised for another one.

    It is frozen, in evaluation mode always, and part of neither parameters nor state of the task that it serves, so
    that no checkpoint and no model holds it.

    Args:
        network: A timm model; its ``pretrained_cfg`` says how it wants its faces.
        student: The model whose faces these are.
        resize: Whether it sees them at its own size; else at the student's, unless it is built for one size.
    """

    def __init__(self, network: nn.Module, student: nn.Module, resize: bool = True):
        super().__init__()
        object.__setattr__(self, "network", network.requires_grad_(False).eval())  # not registered: see above
        cfg = network.pretrained_cfg
        self.size = tuple(cfg["input_size"][-2:]) if resize or cfg.get("fixed_input_size") else None
        for name, of in (("student", student.pretrained_cfg), ("own", cfg)):
            for key in ("mean", "std"):
                self.register_buffer(f"{name}_{key}", torch.tensor(of[key]).view(1, -1, 1, 1), persistent=False)

    def _apply(self, fn, *args: Any, **kwargs: Any) -> "Teacher":
        self.network._apply(fn, *args, **kwargs)  # to the same device
        return super()._apply(fn, *args, **kwargs)

    @torch.no_grad()
    def forward(self, faces: torch.Tensor) -> Any:
        """What the network says of faces (B, 3, H, W) that are normalised for the student."""
        pictures = faces * self.student_std + self.student_mean  # in [0, 1]
        if self.size is not None and pictures.shape[-2:] != self.size:
            pictures = resize(pictures, self.size)
        return self.network((pictures - self.own_mean) / self.own_std)


class Distillation(nn.Module):
    """Targets that follow teachers: ``(1 - weight) target + weight * mean of softmax(teacher's logits)``.

    Paper: `Distilling the Knowledge in a Neural Network` (Hinton, Vinyals, Dean, 2015) -
    https://arxiv.org/abs/1503.02531, at temperature 1, of one or several teachers, which see each face as it was
    augmented.

    Args:
        teachers: Classifiers of the student's classes, in its order.
        weight: Share of the target that is theirs, in [0, 1].
    """

    def __init__(self, teachers: Sequence[Teacher], weight: float = 0.5):
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        self.weight = weight

    @torch.no_grad()
    def forward(self, faces: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The new targets (B, K), float32, of faces (B, 3, H, W) and target distributions (B, K)."""
        said = torch.stack([teacher(faces).float().softmax(1) for teacher in self.teachers]).mean(0)
        return torch.lerp(target, said, self.weight)


def resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (B, C, H, W) at another size."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)
