"""Tests of networks that teach."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from fmpn_timm.tasks import ClassificationTask, Distillation, FMPNTask, Teacher, create_loss


def classifier(seed: int = 0, **kwargs) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model("test_resnet", num_classes=3, **kwargs).eval()


@pytest.fixture
def student() -> nn.Module:
    """Takes faces in [0, 1], as a teacher of ImageNet's mean does not."""
    return classifier(2, pretrained_cfg_overlay={"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)})


@pytest.fixture
def faces() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def says(network: nn.Module, pictures: torch.Tensor, size: int) -> torch.Tensor:
    """What a teacher is to say of pictures in [0, 1]."""
    pictures = F.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(network.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        return network((pictures - mean) / std)


@pytest.mark.parametrize(("resize", "size"), [(True, 48), (False, 32)])
def test_teacher_sees_faces_as_it_wants_them(student, faces, resize, size):
    network = classifier(pretrained_cfg_overlay={"input_size": (3, 48, 48)})
    got = Teacher(network, student, resize)(faces)
    torch.testing.assert_close(got, says(network, faces, size))
    assert not got.requires_grad


def test_the_students_normalisation_is_undone(faces):
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.5, 0.2)
    student = classifier(2, pretrained_cfg_overlay={"mean": mean, "std": std})
    network = classifier(pretrained_cfg_overlay={"input_size": (3, 32, 32)})
    normalised = (faces - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    torch.testing.assert_close(Teacher(network, student)(normalised), says(network, faces, 32), rtol=1e-4, atol=1e-4)


def test_targets_are_mixed_with_the_mean_of_the_teachers(student, faces):
    networks = [classifier(seed, pretrained_cfg_overlay={"input_size": (3, 32, 32)}) for seed in (0, 1)]
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    got = Distillation([Teacher(n, student) for n in networks], weight=0.25)(faces, target)
    mean = sum(says(n, faces, 32).softmax(1) for n in networks) / 2
    torch.testing.assert_close(got, 0.75 * target + 0.25 * mean)
    torch.testing.assert_close(got.sum(1), torch.ones(2))


def test_teacher_stays_as_it_is_and_is_part_of_nothing(student, faces):
    network = classifier()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    task = ClassificationTask(student, distillation=Distillation([Teacher(network, student)], 0.5)).train()
    optimizer = torch.optim.SGD(task.parameters(), 0.1)
    task(faces, {"target": torch.eye(3)[:2]})["loss"].backward()
    optimizer.step()
    assert not network.training and all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert {name.split(".")[0] for name in task.state_dict()} == {"model"}
    assert len(list(task.parameters())) == len(list(student.parameters()))
    task.to("meta")
    assert {p.device.type for p in (*network.parameters(), *network.buffers())} == {"meta"}


@pytest.mark.parametrize("loss", ["cross_entropy", "center"])
@pytest.mark.parametrize("arm", ["cnn", "fmpn"])
def test_loss_is_that_of_the_mixed_targets(faces, arm, loss):
    torch.manual_seed(4)
    if arm == "cnn":
        model, kind, options = classifier(5), ClassificationTask, {}
    else:
        model = timm.create_model("fmpn_lite", backbone="test_resnet", num_classes=3).eval()
        kind, options = FMPNTask, {"mask_weight": 0.0}
    options["loss"] = create_loss(loss, model.get_classifier()).eval()
    distillation = Distillation([Teacher(classifier(), model)], 0.5)
    target = {"target": torch.eye(3)[:2]}
    taught = kind(model, distillation=distillation, **options)(faces, target)["loss"]
    mixed = kind(model, **options)(faces, {"target": distillation(faces, target["target"])})["loss"]
    torch.testing.assert_close(taught, mixed)
    assert not torch.allclose(taught, kind(model, **options)(faces, target)["loss"])
