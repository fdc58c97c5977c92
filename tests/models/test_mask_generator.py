"""Tests of the mask generator: sizes, initialisation, and the layers of the paper's authors stated again."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fmpn_timm.models import MaskGenerator


class ReferenceBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.PReLU(),
        )

    def forward(self, x):
        return x + self.conv_block(x)


def reference_generator(width: int, size: int) -> nn.Sequential:
    """The authors' layer table, built for one input size (299, or one that can be halved twice)."""
    odd = size % 2
    feature_extractor = nn.Sequential(
        nn.Conv2d(1, width, 7, stride=1, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(4 * width), nn.ReLU(),
        *[ReferenceBlock(4 * width) for _ in range(4)],
        nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1, output_padding=odd, bias=False),
        nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, output_padding=odd, bias=False),
        nn.BatchNorm2d(width), nn.ReLU(),
    )
    res_top = nn.Conv2d(width, 1, 7, padding=3, bias=False)
    return nn.Sequential(feature_extractor, res_top, nn.Sigmoid())


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    """Copy weights between two networks with the same layers under different names."""
    ours, theirs = source.state_dict(), target.state_dict()
    assert [v.shape for v in ours.values()] == [v.shape for v in theirs.values()]
    target.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))


@torch.no_grad()
def lively(model: nn.Module) -> nn.Module:
    """Weights and statistics under which every layer moves the output: at the start masks are 0.5 all over."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
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


def test_parameters_are_the_papers():
    assert sum(p.numel() for p in MaskGenerator(device="meta").parameters()) == 6_040_968


def test_multiplications_are_the_papers():
    generator = MaskGenerator(device="meta")
    with FlopCounterMode(display=False) as counter:
        generator(torch.empty(1, 1, 299, 299, device="meta"))
    assert counter.get_total_flops() / 2 / 1e9 == pytest.approx(37.96, abs=0.005)


@pytest.fixture(scope="module")
def fresh() -> MaskGenerator:
    torch.manual_seed(0)
    return MaskGenerator()


def test_convolutions_start_xavier_normal_with_gain_002(fresh):
    convs = {n: m for n, m in fresh.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))}
    assert len(convs) == 3 + 2 * 4 + 2 + 1
    for name, conv in convs.items():
        weight = conv.weight.detach()
        area = weight.shape[2] * weight.shape[3]
        expected = 0.02 * (2 / (area * (conv.in_channels + conv.out_channels))) ** 0.5
        error = (2 * weight.numel()) ** -0.5  # standard error of a standard deviation, relative
        assert weight.std().item() == pytest.approx(expected, rel=5 * error), name
        assert abs(weight.mean().item()) < 5 * expected / weight.numel() ** 0.5, name
        tails = (weight.abs() > 2 * expected).double().mean().item()  # normal, not uniform: 4.55 %
        assert tails == pytest.approx(0.0455, abs=5 * (0.0455 / weight.numel()) ** 0.5), name


def test_convolutions_have_no_bias(fresh):
    assert all(m.bias is None for m in fresh.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)))


def test_norms_start_from_n_1_002_and_zero(fresh):
    norms = [m for m in fresh.modules() if isinstance(m, nn.BatchNorm2d)]
    weights = torch.cat([m.weight.detach() for m in norms])
    assert len(norms) == 3 + 2 * 4 + 2
    assert weights.mean().item() == pytest.approx(1, abs=5 * 0.02 / len(weights) ** 0.5)
    assert weights.std().item() == pytest.approx(0.02, rel=5 * (2 * len(weights)) ** -0.5)
    assert not any(m.bias.any() for m in norms)


def test_each_prelu_has_one_parameter(fresh):
    prelus = [m for m in fresh.modules() if isinstance(m, nn.PReLU)]
    assert len(prelus) == 8
    assert all(m.weight.numel() == 1 and m.weight.item() == 0.25 for m in prelus)


@pytest.mark.parametrize("size", [299, 64])
def test_mask_is_the_reference_layers(size):
    generator, reference = lively(MaskGenerator(width=4)).eval(), reference_generator(4, size).eval()
    copy_in_order(generator, reference)
    grey = torch.rand(1, 1, size, size)
    with torch.inference_mode():
        mask, expected = generator(grey), reference(grey)
    assert mask.std() > 0.02  # a constant mask would equal anything
    torch.testing.assert_close(mask, expected, rtol=0, atol=1e-6)


def test_mask_and_statistics_are_the_reference_layers_in_training():
    generator, reference = lively(MaskGenerator(width=4)).train(), reference_generator(4, 32).train()
    copy_in_order(generator, reference)
    grey = torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(generator(grey), reference(grey), rtol=0, atol=1e-6)
    for (name, ours), theirs in zip(generator.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("size", [(33, 33), (50, 50), (75, 62), (62, 75), (34, 37), (32, 64), (4, 4), (5, 7), (4, 61)])
def test_mask_has_exactly_the_size_of_the_face(size):
    generator = lively(MaskGenerator(width=4, blocks=1)).eval()
    with torch.inference_mode():
        mask = generator(torch.rand(2, 1, *size))
    assert mask.shape == (2, 1, *size)
    assert mask.min() >= 0 and mask.max() <= 1 and mask.std() > 0


def test_fresh_mask_is_undecided(fresh):
    with torch.inference_mode():
        mask = fresh.eval()(torch.rand(1, 1, 32, 32))
    torch.testing.assert_close(mask, torch.full_like(mask, 0.5), rtol=0, atol=0.05)


def test_extreme_faces_give_masks_between_0_and_1():
    generator = lively(MaskGenerator(width=4, blocks=1)).eval()
    with torch.inference_mode():
        masks = generator(torch.stack([torch.zeros(1, 24, 24), torch.ones(1, 24, 24), torch.full((1, 24, 24), 1e4)]))
    assert masks.isfinite().all() and masks.min() >= 0 and masks.max() <= 1


def test_width_and_blocks_count():
    generator = MaskGenerator(width=8, blocks=2)
    assert generator.stem.conv.out_channels == generator.head.in_channels == 8
    assert [block.conv1.in_channels for block in generator.blocks] == [32, 32]


@pytest.mark.parametrize("sizes", [{"width": 0}, {"blocks": 0}, {"width": -4}])
def test_senseless_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="generator_width and generator_blocks must be at least 1"):
        MaskGenerator(**sizes)
