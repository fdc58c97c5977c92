"""Tests of the backbone for small pictures."""

import pytest
import timm
import torch

import fmpn_timm.models  # noqa: F401


def test_small_picture_is_not_shrunk_before_the_first_stage():
    model = timm.create_model("resnet18_small", num_classes=5).eval()
    x = torch.rand(2, 3, 48, 48)
    sizes = [f.shape[-1] for f in model.forward_intermediates(x, intermediates_only=True)]
    assert sizes == [24, 24, 12, 6, 3]
    assert sizes == [48 // info["reduction"] for info in model.feature_info]
    assert model(x).shape == (2, 5)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(5.2e6, rel=0.02)


def test_options_and_contract():
    model = timm.create_model("resnet18_small", layers=(1, 1, 1, 1), channels=(8, 8, 16, 16), in_chans=1).train()
    model(torch.rand(2, 1, 33, 41)).mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    features = timm.create_model("resnet18_small", features_only=True).eval()(torch.rand(1, 3, 48, 48))
    assert [f.shape[1] for f in features] == [32, 64, 128, 256, 256]
