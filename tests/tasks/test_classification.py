"""Tests of the plain classifier's objective."""

import timm
import torch
import torch.nn.functional as F

from fmpn_timm.tasks import ClassificationTask, CrossEntropy


def test_labels_are_smoothed():
    torch.manual_seed(0)
    model, faces = timm.create_model("test_resnet", num_classes=3).eval(), torch.rand(4, 3, 32, 32)
    target = F.one_hot(torch.tensor([0, 1, 2, 0]), 3).float()
    result = ClassificationTask(model, CrossEntropy(0.3))(faces, {"target": target})
    smooth = 0.7 * target + 0.1
    expected = -(smooth * model(faces).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(result["loss"], expected)
