"""Tests of the prior fusion net."""

import pytest
import torch
from torch import nn

from fmpn_timm.models import PriorFusion


class ReferenceFusion(nn.Module):
    """The authors' layer table."""

    def __init__(self, in_chans: int = 3):
        super().__init__()
        self.process_a = nn.Sequential(
            nn.Conv2d(in_chans, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU())
        self.process_b = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU())
        self.conv_block = nn.Sequential(
            nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.PReLU(),
            nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.PReLU(),
        )
        self.model_1 = nn.Conv2d(3, 3, 3, padding=1, bias=False)

    def forward(self, face, masked):
        x = self.process_a(face) + self.process_b(masked)
        return torch.sigmoid(self.model_1(x + self.conv_block(x)))


@torch.no_grad()
def lively(model: nn.Module) -> nn.Module:
    """Weights and statistics under which every layer moves the output: at the start faces come out grey."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.8, 1.2), (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2), (module.running_var, 0.8, 1.2),
            ):
                tensor.uniform_(low, high)
        elif isinstance(module, nn.PReLU):
            module.weight.uniform_(0.1, 0.4)
    return model


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    """Copy weights between two networks with the same layers under different names."""
    ours, theirs = source.state_dict(), target.state_dict()
    assert [v.shape for v in ours.values()] == [v.shape for v in theirs.values()]
    target.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))


def test_parameters_are_the_papers():
    assert sum(p.numel() for p in PriorFusion().parameters()) == 377


@pytest.mark.parametrize("in_chans", [3, 1])
@pytest.mark.parametrize("size", [(299, 299), (64, 64), (33, 50)])
@pytest.mark.parametrize("train", [False, True])
def test_fused_face_is_the_reference_layers(in_chans, size, train):
    fusion, reference = lively(PriorFusion(in_chans)).train(train), ReferenceFusion(in_chans).train(train)
    copy_in_order(fusion, reference)
    face, masked = torch.rand(2, in_chans, *size), torch.rand(2, 1, *size)
    with torch.no_grad():
        fused, expected = fusion(face, masked), reference(face, masked)
    assert fused.std() > 0.02
    torch.testing.assert_close(fused, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(33, 33), (50, 50), (75, 62), (1, 1)])
def test_fused_face_has_the_size_of_the_face_and_lies_in_0_1(size):
    fusion = lively(PriorFusion()).eval()
    with torch.inference_mode():
        fused = fusion(torch.rand(2, 3, *size), torch.rand(2, 1, *size))
    assert fused.shape == (2, 3, *size)
    assert fused.min() >= 0 and fused.max() <= 1 and fused.std() > 0


@pytest.mark.parametrize("changed", [0, 1])
def test_both_inputs_count(changed):
    fusion = lively(PriorFusion()).eval()
    inputs = [torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16)]
    with torch.inference_mode():
        before = fusion(*inputs)
        inputs[changed] = 1 - inputs[changed]
        after = fusion(*inputs)
    assert (before - after).abs().max() > 1e-3


def test_convolutions_start_xavier_normal_with_gain_002():
    torch.manual_seed(0)
    samples = []  # a single net has too few weights to tell
    for _ in range(200):
        fusion = PriorFusion()
        for conv in (m for m in fusion.modules() if isinstance(m, nn.Conv2d)):
            assert conv.bias is None
            std = 0.02 * (2 / (9 * (conv.in_channels + conv.out_channels))) ** 0.5
            samples.append(conv.weight.detach().flatten() / std)
    samples = torch.cat(samples)
    assert len(samples) == 200 * 351
    assert samples.std().item() == pytest.approx(1, rel=5 * (2 * len(samples)) ** -0.5)
    assert samples.mean().item() == pytest.approx(0, abs=5 * len(samples) ** -0.5)


def test_norms_start_from_n_1_002_and_zero():
    torch.manual_seed(0)
    norms = [m for _ in range(200) for m in PriorFusion().modules() if isinstance(m, nn.BatchNorm2d)]
    weights = torch.cat([m.weight.detach() for m in norms])
    assert len(weights) == 200 * 12
    assert weights.mean().item() == pytest.approx(1, abs=5 * 0.02 / len(weights) ** 0.5)
    assert weights.std().item() == pytest.approx(0.02, rel=5 * (2 * len(weights)) ** -0.5)
    assert not any(m.bias.any() for m in norms)


def test_each_prelu_has_one_parameter():
    prelus = [m for m in PriorFusion().modules() if isinstance(m, nn.PReLU)]
    assert len(prelus) == 2 and all(m.weight.numel() == 1 for m in prelus)


def test_autocast_keeps_the_precision_of_the_weights():
    torch.manual_seed(0)
    fusion = PriorFusion().eval()  # as initialised: values within thousandths of 0.5, which bf16 would merge
    face, masked = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        exact = fusion(face, masked)
        with torch.autocast("cpu", torch.bfloat16):
            fused = fusion(face, masked)
    assert fused.dtype == torch.float32
    signal = (exact - 0.5).abs().max()
    assert 0 < signal < 2e-3  # bf16's step at 0.5 is 2e-3 to 4e-3
    assert (fused - exact).abs().max() < 0.1 * signal
    assert fused.unique().numel() > 100


def test_bfloat16_weights_give_bfloat16_faces():
    fusion = PriorFusion().to(torch.bfloat16)
    assert fusion(torch.rand(2, 3, 8, 8).bfloat16(), torch.rand(2, 1, 8, 8).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("in_chans", [3, 1])
def test_started_as_face_the_fused_face_is_the_face(in_chans):
    torch.manual_seed(0)
    fusion = PriorFusion(in_chans, init="face")
    face = torch.rand(8, in_chans, 24, 24)
    fused = fusion(face, torch.zeros(8, 1, 24, 24))
    face = face.expand(-1, 3, -1, -1)
    for a, b in zip(face.unbind(1), fused.unbind(1), strict=True):
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.97
    assert fused.std() > 10 * PriorFusion(in_chans)(face[:, :in_chans], face[:, :1]).std()
    masked = torch.rand(8, 1, 24, 24)
    assert not torch.allclose(fusion(face[:, :in_chans], masked), fused)


def test_unknown_start_is_refused():
    with pytest.raises(ValueError, match="fusion_init must be paper or face, not 'zero'"):
        PriorFusion(init="zero")
