"""What FN2EN's first stage optimises: its feature maps are to be those of a face network.

Paper: `FaceNet2ExpNet` - https://arxiv.org/abs/1609.06591: the features g(I) of the expression net are drawn from
``exp(-|g(I) - G(I)|_p^p)`` around those of the face net G, so the loss is ``|g(I) - G(I)|_p^p``. The second stage is
plain classification (``ClassificationTask``), without this term.
"""

import torch
import torch.nn as nn
from timm.task import TrainingTask

from .classification import Batch
from .teacher import Teacher, resize

__all__ = ["FeatureMatchTask"]


class FeatureMatchTask(TrainingTask):
    """Stage 1: ``|g(I) - G(I)|_p^p``, as a mean over the elements, so that it does not depend on the maps' sizes.

    The teacher (``Teacher``) sees the faces with its own normalisation, and where it is built for one input size, at
    that size. Its map is brought to the size of the student's by interpolation; where their channels differ, a 1 x 1
    convolution that is learnt with the student, and not part of it, brings the student's to the teacher's number.

    Args:
        model: The student; its ``forward_features`` learns.
        teacher: A timm model created with ``features_only=True``.
        index: Which of the teacher's maps it is; the last by default.
        power: p.
    """

    def __init__(self, model: nn.Module, teacher: nn.Module, index: int = -1, power: float = 2.0):
        super().__init__(verbose=False)
        self.model = model
        self.index = index
        self.power = power
        self.teacher = Teacher(teacher, model, resize=False)
        self.channels_last = str(getattr(teacher, "output_fmt", "NCHW")).endswith("NHWC")
        channels = teacher.feature_info.channels()[index]
        same = channels == model.num_features
        self.adapt = nn.Identity() if same else nn.Conv2d(model.num_features, channels, 1, bias=False)

    def forward(self, input: torch.Tensor, target: Batch) -> dict[str, torch.Tensor]:
        """The loss; ``output`` is the student's map in the teacher's channels.

        Args:
            input: Faces (B, 3, H, W), normalised for the student.
            target: Ignored: this stage knows no labels.
        """
        difference, output = self._difference(self.model, input)
        return {"loss": difference.mean(), "output": output}

    def error(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The distance (B,) of each face of a batch of ``FaceDataset``, of the evaluated student."""
        return self._difference(model, batch["image"])[0].mean((1, 2, 3))

    @torch.no_grad()
    def features_of_teacher(self, faces: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """G(I) at a size, (B, C, *size), of faces (B, 3, H, W) that are normalised for the student."""
        features = self.teacher(faces)[self.index].float()
        if self.channels_last:
            features = features.permute(0, 3, 1, 2)
        return resize(features, size)

    def _difference(self, model: nn.Module, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.adapt(model.forward_features(faces))  # (B, C, H, W)
        wanted = self.features_of_teacher(faces, features.shape[-2:])
        return (features.float() - wanted).abs() ** self.power, features
