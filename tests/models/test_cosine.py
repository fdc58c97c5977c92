"""Tests of the classifier by angles, alone and in FMPN."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from fmpn_timm.hub import save_model
from fmpn_timm.models import CosineLinear

CLASSES = ("neutral", "happiness", "fear")


def test_logits_are_scaled_cosines():
    torch.manual_seed(0)
    layer, x = CosineLinear(5, 3, scale=9.0), torch.randn(4, 5)
    expected = 9 * F.cosine_similarity(x[:, None], layer.weight[None], dim=2)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(100 * x), expected)
    assert layer.bias is None and layer(torch.zeros(1, 5)).abs().max() == 0


def fmpn(**kwargs) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("fmpn", backbone="test_resnet", generator_width=4, generator_blocks=1, num_classes=3,
                             cosine_head=True, **kwargs).eval()


@torch.inference_mode()
def test_fmpn_with_a_cosine_head(tmp_path):
    model, x = fmpn(), torch.rand(2, 3, 32, 32)
    assert isinstance(model.get_classifier(), CosineLinear)
    embeddings, mask = model.forward_embeddings(x)
    torch.testing.assert_close(model.get_classifier()(embeddings), model(x))
    torch.testing.assert_close(mask, model.motion_mask(x))
    save_model(model, tmp_path / "m", CLASSES, 32, 0.9)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).eval()
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
    headless = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True, num_classes=0).eval()
    torch.testing.assert_close(headless(x), embeddings)


@torch.inference_mode()
def test_fmpn_with_a_cosine_head_is_scripted():
    model, x = fmpn(), torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(torch.jit.script(model)(x), model(x))


def test_fmpn_keeps_its_cosine_head():
    model = fmpn(device="meta", dtype=torch.float64)
    model.reset_classifier(5)
    head = model.get_classifier()
    assert isinstance(head, CosineLinear) and head.weight.shape[0] == 5
    assert (head.weight.device.type, head.weight.dtype, head.training) == ("meta", torch.float64, False)
    model.reset_classifier(0)
    assert isinstance(model.get_classifier(), nn.Identity)


def test_backbone_whose_classifier_is_no_linear_layer():
    with pytest.raises(ValueError, match="cosine_head takes the place of one linear layer"):
        timm.create_model("fmpn", backbone="deit_tiny_distilled_patch16_224", cosine_head=True, device="meta")
