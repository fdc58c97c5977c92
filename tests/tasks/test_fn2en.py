"""Tests of FN2EN's first stage."""

import pytest
import timm
import torch
from torch import nn

from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.transforms import eval_transform
from fmpn_timm.tasks import FeatureMatchTask


def student(**kwargs) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("fn2en", pools=3, hidden_size=8, **kwargs)


def teacher(name: str = "test_resnet", **kwargs) -> nn.Module:
    torch.manual_seed(1)
    return timm.create_model(name, features_only=True, **kwargs)


@pytest.fixture
def faces() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_loss_is_the_mean_distance_to_the_resampled_map(faces):
    task = FeatureMatchTask(student(), teacher(), index=1, power=2.0)
    result = task(faces, {})
    mean, std = (torch.tensor(task.teacher.network.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        wanted = task.teacher.network((faces / 2 + 0.5 - mean) / std)[1]
        got = task.adapt(task.model.forward_features(faces))
    assert wanted.shape[2:] == (8, 8) and got.shape == (2, wanted.shape[1], 4, 4)
    wanted = nn.functional.interpolate(wanted, (4, 4), mode="bilinear", antialias=True)
    torch.testing.assert_close(result["loss"], (got - wanted).square().mean())
    torch.testing.assert_close(task.error(task.model, {"image": faces}), (got - wanted).square().mean((1, 2, 3)))
    assert FeatureMatchTask(student(), teacher(), 1, power=1.0)(faces, {})["loss"] != result["loss"]


def test_no_convolution_where_channels_agree(faces):
    same = teacher("resnet18")  # 512 channels
    assert isinstance(FeatureMatchTask(student(), same).adapt, nn.Identity)
    assert FeatureMatchTask(student(), same, index=0).adapt.weight.shape == (64, 512, 1, 1)


def test_teacher_of_one_size_sees_faces_at_that_size(faces):
    vit = teacher("test_vit", img_size=48, pretrained_cfg_overlay={"input_size": (3, 48, 48)}, out_indices=(0,))
    task = FeatureMatchTask(student(), vit)
    sizes = []
    vit.register_forward_pre_hook(lambda module, args: sizes.append(tuple(args[0].shape)))
    assert task(faces, {})["output"].shape == (2, 64, 4, 4) and sizes == [(2, 3, 48, 48)]


def test_teacher_stays_as_it_is_and_is_saved_nowhere(faces):
    task = FeatureMatchTask(student(), teacher())
    before = {k: v.clone() for k, v in task.teacher.network.state_dict().items()}
    task.train()
    optimizer = torch.optim.SGD(task.parameters(), 0.1)
    task(faces, {})["loss"].backward()
    optimizer.step()
    assert not task.teacher.network.training
    assert all(torch.equal(v, before[k]) for k, v in task.teacher.network.state_dict().items())
    assert {name.split(".")[0] for name in task.state_dict()} == {"model", "adapt"}
    assert len(list(task.parameters())) == len(list(task.model.parameters())) + 1


def test_teacher_goes_where_the_task_goes():
    task = FeatureMatchTask(student(), teacher()).to("meta")
    assert {p.device.type for p in (*task.teacher.network.parameters(), *task.teacher.network.buffers())} == {"meta"}


def test_gradient_reaches_the_convolutions_alone(faces):
    task = FeatureMatchTask(student(), teacher())
    task(faces, {})["loss"].backward()
    reached = {n.split(".")[0] for n, p in task.model.named_parameters() if p.grad is not None}
    assert reached == {"trunk"} and task.adapt.weight.grad.any()


class ChannelsLastTeacher(nn.Module):
    """A teacher whose maps are (B, H, W, C), as those of some of timm's list-style features are."""

    output_fmt = "NHWC"

    def __init__(self, teacher: nn.Module):
        super().__init__()
        self.teacher, self.feature_info, self.pretrained_cfg = teacher, teacher.feature_info, teacher.pretrained_cfg

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [features.permute(0, 2, 3, 1) for features in self.teacher(x)]


def test_channels_last_teacher_is_the_same_teacher(faces):
    losses = []
    for wrap in (nn.Identity(), ChannelsLastTeacher):
        task = FeatureMatchTask(student(), wrap(teacher()))
        nn.init.ones_(task.adapt.weight)
        losses.append(task(faces, {})["loss"])
    torch.testing.assert_close(*losses)


def test_loss_is_float32_under_autocast(faces):
    with torch.autocast("cpu", torch.bfloat16):
        assert FeatureMatchTask(student(), teacher())(faces, {})["loss"].dtype == torch.float32


def test_stage_one_brings_features_nearer_the_teachers():
    """On faces of people that were not trained on, and nearer than the teacher's mean map is, which knows no face."""
    transform = eval_transform(32, 32, (0.5,) * 3, (0.5,) * 3)

    def batch(split: str) -> torch.Tensor:
        drawn = read_faces("drawn", None, split, subjects=12, takes=1, size=32)
        return torch.stack([item["image"] for item in FaceDataset(drawn, drawn.classes, transform)])

    train, held_out = batch("train"), batch("valid")
    network = teacher(out_indices=(0, 1)).train()
    for _ in range(10):
        network(train)  # its batch norms learn what faces are like
    task = FeatureMatchTask(student(), network)
    optimizer = torch.optim.Adam([*task.model.trunk.parameters(), *task.adapt.parameters()], 2e-3)
    with torch.no_grad():
        before = task.error(task.model, {"image": held_out}).mean().item()
        wanted = [task.features_of_teacher(faces, (4, 4)) for faces in (train, held_out)]
    mean_map = (wanted[1] - wanted[0].mean(0)).square().mean().item()
    for step in range(30):
        optimizer.zero_grad()
        task(train[step % 5 :: 5], {})["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        after = task.error(task.model, {"image": held_out}).mean().item()
    print(f"distance to the teacher on held-out faces: {before:.4f} -> {after:.4f}; of its mean map {mean_map:.4f}")
    assert after < 0.5 * before and after < 0.8 * mean_map
