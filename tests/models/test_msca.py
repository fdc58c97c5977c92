"""Tests of the multiscale network with channel self-attention."""

import json

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from fmpn_timm.hub import save_model
from fmpn_timm.models import MSCA, CosineLinear
from fmpn_timm.models.msca import ChannelAttention, ScaleBranch

from .base import ExportTests, ModelTests

NAMES = ("resnet18", "resnet18_small", "resnet50", "convnext_tiny", "mobilenetv3_large_100")
SMALL = {"branch_width": 4, "embed_dim": 8}
create_model = timm.create_model  # a test replaces timm's


class MSCATests(ModelTests):
    name = "msca"


class TestOnResNet(MSCATests, ExportTests):
    options = {"backbone": "test_resnet", **SMALL}


class TestOnMobileNet(MSCATests):
    options = {"backbone": "test_efficientnet", **SMALL}


class TestOnViT(MSCATests):
    options = {"backbone": "test_vit", "img_size": 32, **SMALL}


class TestOnSwin(MSCATests, ExportTests):
    """Its maps have the channels last."""

    size = 56
    options = {
        "backbone": "swin_tiny_patch4_window7_224", "img_size": 56,
        "backbone_kwargs": dict(embed_dim=16, depths=(1, 1), num_heads=(2, 2)), **SMALL,
    }


@pytest.mark.parametrize("name", NAMES)
def test_registered(name):
    model = create_model(f"msca_{name}", device="meta").eval()
    assert isinstance(model, MSCA) and len(model.branches) == 4
    cfg, backbone = model.pretrained_cfg, timm.get_pretrained_cfg(name)
    assert (cfg["input_size"], cfg["mean"], cfg["std"]) == (backbone.input_size, backbone.mean, backbone.std)
    x = torch.empty(2, *cfg["input_size"], device="meta")
    assert model(x).shape == (2, 7) and model.forward_features(x).shape == (2, 256, 7, 7)
    assert model.attention.qkv.in_channels == 512
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()
    assert model.get_submodule(cfg["first_conv"]).in_channels == 3
    assert type(model.backbone) is type(create_model(name, device="meta"))


def test_list():
    assert set(timm.list_models("msca*", module="msca")) == {"msca", *(f"msca_{name}" for name in NAMES)}


def test_generic_name_takes_the_config_of_its_backbone():
    assert create_model("msca", backbone="test_vit", device="meta").pretrained_cfg["input_size"] == (3, 160, 160)


def test_timms_own_scripts_have_the_config_of_the_backbone():
    """They hand on the registry's whole config, with what the command line changes of it."""
    cfg = dict(timm.get_pretrained_cfg("msca").to_dict(), crop_pct=0.5)
    model = create_model("msca", backbone="test_vit", device="meta", pretrained_cfg=cfg)
    assert model.pretrained_cfg["input_size"] == (3, 160, 160) and model.pretrained_cfg["crop_pct"] == 0.5
    assert model.pretrained_cfg["mean"] == timm.get_pretrained_cfg("test_vit").mean


def test_a_rebuilt_backbone_survives_a_round_trip(tmp_path):
    small = dict(embed_dim=12, depths=(1, 1), num_heads=(1, 1))
    model = create_model("msca", backbone="swin_tiny_patch4_window7_224", img_size=56, backbone_kwargs=small, **SMALL)
    model.eval().set_input_size((64, 64), window_size=(4, 4))
    save_model(model, tmp_path / "model", tuple("abcdefg"), 64, 1.0)
    face = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()(face), model(face))


@pytest.mark.parametrize("backbone", ["resnet181", "msca", "msca_resnet18", "fmpn", ""])
def test_backbone_that_is_none_is_refused(backbone):
    with pytest.raises(ValueError, match="Unknown backbone"):
        create_model("msca", backbone=backbone)


# Its parts


@torch.inference_mode()
def test_attention_is_its_equation():
    torch.manual_seed(0)
    attention, x = ChannelAttention(5), torch.randn(2, 5, 3, 4)
    q, k, v = (F.conv2d(x, w).flatten(2) for w in attention.qkv.weight.chunk(3))
    assert torch.equal(attention(x), x) and attention.tau.item() == 10  # gamma starts at 0
    attention.gamma.fill_(0.7)
    attention.tau.fill_(3.0)
    a = torch.stack([torch.stack([torch.stack([3 * F.cosine_similarity(q[n, i], k[n, j], dim=0) for j in range(5)])
                                  for i in range(5)]) for n in range(2)]).softmax(-1)
    torch.testing.assert_close(attention(x), x + 0.7 * (a @ v).view(x.shape))


def test_attention_wakes_up():
    """gamma is 0 at the start, and its gradient is not."""
    attention = ChannelAttention(5)
    attention(torch.randn(2, 5, 3, 4)).square().sum().backward()
    assert attention.gamma.grad.abs() > 0 and not attention.qkv.weight.grad.any()


@torch.inference_mode()
def test_branch_is_its_equation():
    torch.manual_seed(0)
    branch, x = ScaleBranch(3, 4, grid=2).eval(), torch.randn(2, 3, 8, 8)
    total = sum(F.conv2d(x, conv.weight, padding=d, dilation=d) for d, conv in enumerate(branch.convs, 1))
    expected = F.adaptive_avg_pool2d(branch.proj(branch.norm(total).relu()), 2)
    torch.testing.assert_close(branch(x), expected)


@torch.inference_mode()
def test_class_is_that_of_the_nearest_centre():
    torch.manual_seed(0)
    model, x = create_model("msca", backbone="test_resnet", **SMALL).eval(), torch.randn(6, 3, 32, 32)
    embeddings = model.forward_head(model.forward_features(x), pre_logits=True)
    classifier = model.get_classifier()
    assert isinstance(classifier, CosineLinear) and classifier.scale == 16
    angles = F.cosine_similarity(embeddings[:, None], classifier.weight[None], dim=2).acos()
    assert torch.equal(model(x).argmax(1), angles.argmin(1))
    assert model(x).abs().max() <= 16


# Arguments


def test_sizes_can_be_chosen():
    model = create_model("msca", backbone="test_resnet", stages=2, branch_width=6, embed_dim=10, grid=3, scale=30.0)
    assert len(model.branches) == 2 and model.attention.gamma.shape == (1,)
    assert model.eval().forward_features(torch.rand(1, 3, 64, 64)).shape == (1, 10, 3, 3)
    assert model.get_classifier().scale == 30 and model.get_classifier().in_features == 10


def test_embeddings_are_dropped_in_training_alone():
    model, x = create_model("msca", backbone="test_resnet", drop_rate=1.0, **SMALL), torch.rand(2, 3, 64, 64)
    assert not model.forward_head(model.forward_features(x), pre_logits=True).any()
    assert model.eval().forward_head(model.forward_features(x), pre_logits=True).any()


@torch.inference_mode()
def test_pooling_can_be_changed():
    model, x = create_model("msca", backbone="test_resnet", **SMALL).eval(), torch.rand(2, 3, 32, 32)
    features = model.forward_features(x)
    model.reset_classifier(0, "catavgmax")
    torch.testing.assert_close(model(x), torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1))
    assert model.head_hidden_size == 16
    model.reset_classifier(4)
    assert model(x).shape == (2, 4)
    model.reset_classifier(0, "")
    assert model(x).shape == features.shape


@pytest.mark.parametrize("asked", [True, False])
def test_request_for_the_backbones_weights_does_not_travel(monkeypatch, tmp_path, asked):
    requests = []

    def create(name, *args, pretrained=False, **kwargs):
        requests.append((name, pretrained))
        return create_model(name, *args, pretrained=False, **kwargs)

    monkeypatch.setattr("fmpn_timm.models.msca.timm.create_model", create)
    model = create_model("msca", backbone="test_resnet", pretrained_backbone=asked, **SMALL)
    assert requests == [("test_resnet", asked)]
    save_model(model, tmp_path / "m", ("neutral",) * 7, 32, 0.9)
    assert "pretrained_backbone" not in (tmp_path / "m/config.json").read_text()
    edited = json.loads((tmp_path / "m/config.json").read_text())
    edited["model_args"]["pretrained_backbone"] = True
    (tmp_path / "m/config.json").write_text(json.dumps(edited))
    requests.clear()
    create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True)
    assert requests == [("test_resnet", False)]


@torch.inference_mode()
def test_size_changed_in_place_is_saved(tmp_path):
    model = create_model("msca", backbone="test_vit3", img_size=32, **SMALL).eval()
    model.set_input_size(64)
    save_model(model, tmp_path / "m", ("neutral",) * 7, 64, 0.9)
    loaded = create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).eval()
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(loaded(x), model(x))
    assert create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True, img_size=96).eval()(
        torch.rand(1, 3, 96, 96)).shape == (1, 7)


def test_starts_with_a_signal():
    model = create_model("msca", backbone="test_resnet", **SMALL)
    assert all(isinstance(m, nn.BatchNorm2d) or m.weight.std() > 0.01 for m in model.branches.modules()
               if hasattr(m, "weight"))
