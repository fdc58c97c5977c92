"""Tests of FN2EN."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from fmpn_timm.models import FN2EN

from .base import ExportTests, ModelTests


class TestFN2EN(ModelTests, ExportTests):
    name = "fn2en"
    options = {"hidden_size": 8, "pools": 3}

    @pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
    @torch.inference_mode()
    def test_torchscript(self, tmp_path):
        model, x = self.lively(), self.faces()
        torch.jit.script(model).save(str(tmp_path / "model.pt"))
        torch.testing.assert_close(torch.jit.load(str(tmp_path / "model.pt"))(x), model(x), rtol=1e-5, atol=1e-5)


def test_published_sizes():
    model = timm.create_model("fn2en", device="meta").eval()
    assert isinstance(model, FN2EN) and sum(p.numel() for p in model.parameters()) == 10_598_023
    x = torch.empty(1, 3, 224, 224, device="meta")
    shapes = [tuple(m.shape[1:]) for m in model.forward_intermediates(x, intermediates_only=True)]
    assert shapes == [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7), (512, 7, 7)]
    assert model.hidden.in_features == 25088 and model.forward_features(x).shape == (1, 512, 7, 7)
    assert [i["reduction"] for i in model.feature_info] == [2, 4, 8, 16, 32, 32]
    assert [type(m) for m in model.trunk[5]] == [nn.Conv2d, nn.ReLU, nn.Identity]


def test_nothing_is_averaged_at_the_published_size():
    pool = timm.create_model("fn2en", device="meta").pool
    x = torch.rand(1, 2, 7, 7)
    assert torch.equal(pool(x), x)


@torch.inference_mode()
def test_network_is_its_layers():
    torch.manual_seed(0)
    model, faces = timm.create_model("fn2en", pools=3, hidden_size=8, drop_rate=1.0).eval(), torch.randn(2, 3, 48, 48)
    x = faces
    for n, block in enumerate(model.trunk):
        x = F.conv2d(x, block.conv.weight, block.conv.bias, padding=1 if n < 5 else 0).relu()
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True) if n < 3 else x
    embeddings = model.hidden(F.adaptive_avg_pool2d(x, 7).flatten(1)).relu()
    torch.testing.assert_close(model(faces), model.fc(embeddings))
    assert embeddings.any() and not model.train().forward_head(x, pre_logits=True).any()  # dropped


@pytest.mark.parametrize(("pools", "size", "map_size"), [(5, 48, 1), (3, 48, 6), (5, 112, 3), (4, 112, 7), (1, 9, 4)])
def test_any_size(pools, size, map_size):
    model = timm.create_model("fn2en", pools=pools, device="meta").eval()
    x = torch.empty(1, 3, size, size, device="meta")
    assert model.forward_features(x).shape[2:] == (map_size, map_size) and model(x).shape == (1, 7)


@pytest.mark.parametrize("pools", [0, 6])
def test_senseless_number_of_poolings(pools):
    with pytest.raises(ValueError, match=f"pools must be from 1 to 5, got {pools}"):
        timm.create_model("fn2en", pools=pools)


def test_fully_connected_layer_for_a_smaller_map():
    model = timm.create_model("fn2en", pools=3, grid=4, device="meta").eval()
    assert model.hidden.in_features == 512 * 4 * 4 and model(torch.empty(1, 3, 32, 32, device="meta")).shape == (1, 7)
    x = torch.rand(1, 2, 4, 4)
    assert torch.equal(model.pool(x), x)
    with pytest.raises(ValueError, match="grid must be at least 1, got 0"):
        timm.create_model("fn2en", grid=0)


def test_there_is_no_pooling_to_choose():
    with pytest.raises(ValueError, match="global_pool"):
        timm.create_model("fn2en", device="meta").reset_classifier(7, "avg")


@torch.inference_mode()
def test_signal_neither_dies_nor_explodes_at_the_start():
    torch.manual_seed(0)
    model = timm.create_model("fn2en").eval()
    maps = model.forward_intermediates(torch.randn(1, 3, 64, 64), intermediates_only=True)
    assert all(0.2 < m.std() < 5 for m in maps)
