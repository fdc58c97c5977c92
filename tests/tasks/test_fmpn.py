"""Tests of FMPN's objectives."""

import pytest
import timm
import torch
import torch.nn.functional as F

from fmpn_timm.tasks import FMPNTask, MaskTask, create_loss, mask_error


@pytest.fixture
def model():
    torch.manual_seed(0)
    return timm.create_model("fmpn", backbone="test_resnet", generator_width=4, generator_blocks=1, num_classes=3)


@pytest.fixture
def batch():
    torch.manual_seed(1)
    target = torch.rand(4, 3).softmax(1)
    return {"image": torch.rand(4, 3, 32, 32), "target": target, "mask": torch.rand(4, 1, 32, 32)}


def test_mask_task_is_equation_2(model, batch):
    result = MaskTask(model)(batch["image"], batch)
    torch.testing.assert_close(result["loss"], ((result["output"] - batch["mask"]) ** 2).mean())


def test_mask_error_is_equation_2_of_each_face(model, batch):
    model.eval()
    expected = ((model.motion_mask(batch["image"]) - batch["mask"]) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(mask_error(model, batch), expected)


def test_mask_task_reaches_the_generator_alone(model, batch):
    MaskTask(model)(batch["image"], batch)["loss"].backward()
    with_gradient = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {"mask_generator"}


@pytest.mark.parametrize(("given", "weights"), [((), (0.1, 1.0)), ((2.0, 0.5), (2.0, 0.5))])
def test_joint_task_is_equation_5(model, batch, given, weights):
    model.eval()
    mask_weight, class_weight = weights
    result = FMPNTask(model, *given)(batch["image"], batch)
    output = model.forward_motion(batch["image"])
    mask_loss = F.mse_loss(output.motion_mask, batch["mask"])
    class_loss = -(batch["target"] * output.logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(result["loss"], mask_weight * mask_loss + class_weight * class_loss)
    torch.testing.assert_close(result["mask_loss"], mask_loss)
    torch.testing.assert_close(result["class_loss"], class_loss)


def test_a_loss_of_angles_takes_the_place_of_cross_entropy(batch):
    torch.manual_seed(0)
    model = timm.create_model("fmpn", backbone="test_resnet", generator_width=4, generator_blocks=1, num_classes=3,
                              fusion_init="face", cosine_head=True).eval()
    loss = create_loss("center_cosine", model.get_classifier())
    result = FMPNTask(model, 2.0, 0.5, loss=loss)(batch["image"], batch)
    embeddings = model.forward_head(model.forward_features(batch["image"]), pre_logits=True)
    class_loss = loss(None, embeddings, model.get_classifier().weight, batch["target"])
    expected = 2.0 * F.mse_loss(model.motion_mask(batch["image"]), batch["mask"]) + 0.5 * class_loss
    parameters = list(model.parameters())
    torch.testing.assert_close(result["loss"], expected)
    torch.testing.assert_close(torch.autograd.grad(result["loss"], parameters),
                               torch.autograd.grad(expected, parameters), rtol=1e-3, atol=1e-5)


def test_without_the_prior_no_mask_is_needed(model, batch):
    del batch["mask"]
    result = FMPNTask(model, mask_weight=0.0)(batch["image"], batch)
    assert "mask_loss" not in result and result["loss"].isfinite()


def test_losses_are_float32_under_autocast(model, batch):
    with torch.autocast("cpu", torch.bfloat16):
        result = FMPNTask(model)(batch["image"], batch)
    assert result["loss"].dtype == result["mask_loss"].dtype == torch.float32
