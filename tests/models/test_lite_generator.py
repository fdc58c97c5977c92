"""Tests of the mask generators of our own: shapes, cost, what they can learn, and the names that use them."""

import json
import math

import pytest
import timm
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from fmpn_timm.models import FMPN, BasisMaskGenerator, LiteMaskGenerator, MaskGenerator
from fmpn_timm.models.lite_generator import SeparableBlock, stride_for
from tests.models.test_fmpn import BACKBONES, faces

KINDS = {"lite": LiteMaskGenerator, "basis": BasisMaskGenerator}


def gmacs(model: torch.nn.Module, *shape: int) -> float:
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops() / 2e9


@pytest.fixture(params=KINDS)
def kind(request) -> type:
    return KINDS[request.param]


@pytest.mark.parametrize("size", [(64, 64), (50, 67), (299, 299)])
@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_mask_has_the_face_s_size_and_range(kind, size, stride):
    mask = kind(4, 1, stride)(torch.rand(2, 1, *size))
    assert mask.shape == (2, 1, *size) and mask.min() >= 0 and mask.max() <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_mask_has_the_face_s_type(kind, dtype):
    assert kind(4, 1, 2).to(dtype)(torch.rand(2, 1, 32, 32, dtype=dtype)).dtype == dtype


@torch.no_grad()
def test_lite_mask_is_its_layers():
    def enlarged(x, to):
        return F.interpolate(x, to.shape[2:], mode="bilinear", align_corners=False)

    torch.manual_seed(0)
    lite, grey = LiteMaskGenerator(4, 1, 2), torch.rand(4, 1, 32, 32)
    torch.nn.init.normal_(lite.head.weight)
    for _ in range(20):
        lite(grey)  # batch norm statistics
    high, middle, low = lite.eval().encoder(grey)
    low = low + lite.context(F.adaptive_avg_pool2d(low, 1))
    middle = middle + enlarged(lite.up_low(low), middle)
    high = high + enlarged(lite.up_middle(middle), high)
    mask = enlarged(lite.head(lite.refine(high)), grey).sigmoid()
    assert mask.std() > 0.01
    torch.testing.assert_close(lite(grey), mask)


@torch.no_grad()
@pytest.mark.parametrize("train", [False, True])
def test_separable_block_is_its_layers(train):
    torch.manual_seed(0)
    block, x = SeparableBlock(4, 4).train(train), torch.randn(2, 4, 9, 9)
    expected = x + block.pointwise(block.norm(F.conv2d(x, block.depthwise.weight, padding=2, groups=4)))
    torch.testing.assert_close(block(x), expected)


def test_the_small_model_takes_each_generator():
    for generator in ("paper", "lite", "basis"):
        model = timm.create_model("fmpn_lite_resnet18_small", generator=generator, generator_width=4)
        assert model(torch.rand(1, 3, 48, 48)).shape == (1, 7)
    eight = timm.create_model("fmpn_lite_resnet18_small", generator="basis", generator_width=4, num_classes=8)
    assert len(eight.mask_generator.masks) == 8  # one of each class


def test_it_costs_less_than_a_five_hundredth_of_the_paper_s(kind):
    assert gmacs(kind(device="meta"), 1, 299, 299) < gmacs(MaskGenerator(device="meta"), 1, 299, 299) / 500


def test_gradients_reach_every_parameter(kind):
    torch.manual_seed(0)
    generator = kind(4, 1, 2)
    if kind is BasisMaskGenerator:
        generator.set_masks(torch.rand(7, 32, 32))
        for head in (generator.geometry, generator.correction):
            torch.nn.init.normal_(head.weight, std=0.1)
    generator(torch.rand(2, 1, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


def test_gradient_checkpointing_changes_no_gradients(kind):
    torch.manual_seed(0)
    generator, grey, gradients = kind(4, 1, 2), torch.rand(2, 1, 32, 32), []
    calls = []
    generator.encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    for generator.grad_checkpointing in (False, True):
        generator.zero_grad()
        generator(grey).square().sum().backward()
        gradients.append([p.grad.clone() for p in generator.parameters()])
    assert len(calls) == 3  # again for the backward pass
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("training,dtype", [(True, torch.float32), (False, torch.bfloat16)])
def test_under_autocast_depthwise_convolutions_are_trained_in_float32(kind, training, dtype):
    generator, seen = kind(4, 1, 2).train(training), set()
    for block in (m for m in generator.modules() if hasattr(m, "depthwise")):  # what the convolution gives
        block.norm.register_forward_pre_hook(lambda module, inputs: seen.add(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        mask = generator(torch.rand(2, 1, 32, 32))
    mask.sum().backward()
    assert seen == {dtype} and all(p.grad.isfinite().all() for p in generator.parameters())


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_sizes_below_one_are_refused(kind, sizes):
    with pytest.raises(ValueError, match="at least 1"):
        kind(*sizes)


# Mixture of prior masks


@pytest.fixture
def basis() -> BasisMaskGenerator:
    torch.manual_seed(0)
    generator = BasisMaskGenerator(4, 1, 2, masks=2, size=16, rank=2).eval()
    left = torch.zeros(16, 16)
    left[:, :8] = 1
    generator.set_masks(torch.stack([left, 1 - left]))
    return generator


def certain(generator: BasisMaskGenerator, k: int) -> None:
    """Let the mixture be one prior mask."""
    last = generator.mixture[-1]
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(20 * torch.nn.functional.one_hot(torch.tensor(k), 2))


@torch.no_grad()
def test_it_starts_with_the_mixture_itself(basis):
    certain(basis, 1)
    mask = basis(torch.rand(1, 1, 16, 16))[0, 0]
    assert mask[:, :7].max() < 0.03 and mask[:, 9:].min() > 0.97


@torch.no_grad()
def test_geometry_moves_the_mask(basis):
    certain(basis, 1)
    grey = torch.rand(1, 1, 16, 16)
    there = basis(grey)[0, 0]
    basis.geometry.bias[2] = 0.5  # a quarter of the width: the sampling grid spans -1 to 1
    mask = basis(grey)[0, 0]
    assert mask[:, :3].max() < 0.03 and mask[:, 5:11].min() > 0.97
    assert mask[:, 13:].max() < 0.03  # nothing moves in from beyond
    for turn, expected in ((math.pi / 2, there.rot90()), (math.pi, there.rot90(2))):
        basis.geometry.bias.copy_(torch.tensor([0.0, turn, 0.0, 0.0]))
        torch.testing.assert_close(basis(grey)[0, 0], expected, rtol=0, atol=1e-3)
    basis.geometry.bias.copy_(torch.tensor([math.log(2), 0.0, 0.0, 0.0]))  # seen from twice as far
    mask = basis(grey)[0, 0]
    assert mask[5:11, 9:11].min() > 0.97 and mask[:, 13:].max() < 0.03 and mask[:3].max() < 0.03


@torch.no_grad()
def test_correction_is_added_to_the_logits_of_the_mask(basis):
    basis.mixture[-1].weight.zero_()
    basis.mixture[-1].bias.zero_()  # 0.5 all over
    basis.maps[0], basis.maps[1] = 1.0, -3.0
    basis.correction.bias.copy_(torch.tensor([2.0, 0.5]))
    expected = torch.tensor(2.0 - 1.5).sigmoid().expand(16, 16)
    torch.testing.assert_close(basis(torch.rand(1, 1, 16, 16))[0, 0], expected)


def test_masks_are_made_smaller_without_aliasing(basis):
    chequered = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    basis.set_masks(chequered.expand(2, 64, 64))
    torch.testing.assert_close(basis.masks, torch.full((2, 16, 16), 0.5), rtol=0, atol=0.01)


def test_masks_are_saved_with_the_weights(basis):
    again = BasisMaskGenerator(4, 1, 2, masks=2, size=16, rank=2)
    again.load_state_dict(basis.state_dict())
    torch.testing.assert_close(again.masks, basis.masks)


def test_masks_of_another_number_are_refused(basis):
    with pytest.raises(ValueError, match="3 prior masks for a mask generator that mixes 2"):
        basis.set_masks(torch.rand(3, 8, 8))


def test_an_empty_basis_is_refused():
    with pytest.raises(ValueError, match="at least one mask"):
        BasisMaskGenerator(masks=0)


# In FMPN


def test_unknown_generator_is_refused():
    with pytest.raises(ValueError, match="Unknown generator 'big': choose one of paper, lite, basis"):
        timm.create_model("fmpn", backbone="test_resnet", generator="big")


def test_timm_lists_a_lite_model_for_every_backbone():
    assert set(timm.list_models("fmpn_lite*")) == {"fmpn_lite", *(f"fmpn_lite_{name}" for name in BACKBONES)}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_named_model_costs_little_more_than_its_backbone(backbone):
    model = timm.create_model(f"fmpn_lite_{backbone}", device="meta")
    shape = model.pretrained_cfg["input_size"]
    assert isinstance(model, FMPN) and isinstance(model.mask_generator, LiteMaskGenerator)
    # at 224 the fusion net alone takes 0.017 GMAC, a third of MobileNetV3 small
    most = {"efficientnet_b0": 1.08, "mobilenetv3_large_100": 1.13, "mobilenetv3_small_100": 1.5}.get(backbone, 1.03)
    assert gmacs(model, *shape) < most * gmacs(timm.create_model(backbone, device="meta"), *shape)


@pytest.mark.parametrize("generator", KINDS)
def test_model_is_saved_and_loaded_with_its_generator(generator, tmp_path):
    from fmpn_timm.hub import save_model

    torch.manual_seed(0)
    kwargs = dict(generator_kwargs={"stride": 2}, num_classes=3)
    model = timm.create_model("fmpn", backbone="test_resnet", generator=generator, generator_width=4, **kwargs).eval()
    if generator == "basis":
        model.mask_generator.set_masks(torch.rand(3, 8, 8))  # one of each class
    save_model(model, tmp_path, ("neutral", "happiness", "fear"), 64, 0.9)
    args = json.loads((tmp_path / "config.json").read_text())["model_args"]  # whatever becomes the default
    assert args["generator"] == generator and args["generator_kwargs"]["stride"] == 2
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = faces()
    with torch.no_grad():
        for ours, theirs in zip(model.forward_motion(x), again.forward_motion(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("generator", KINDS)
def test_model_is_scripted(generator):
    model = timm.create_model("fmpn", backbone="test_resnet", generator=generator, generator_width=4).eval()
    x = faces(48)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(model)(x), model(x))


@pytest.mark.parametrize("name", ["fmpn_lite_resnet18_small", "fmpn_resnet18_small", "fmpn_lite"])
@pytest.mark.parametrize("generator", KINDS)
def test_small_faces_are_seen_at_half_their_size(name, generator):
    other = dict(backbone="resnet18_small") if name == "fmpn_lite" else {}
    model = timm.create_model(name, generator=generator, **other)
    assert model.mask_generator.encoder.stem[0].stride == (2, 2)
    assert timm.create_model("fmpn_resnet18", generator=generator).mask_generator.encoder.stem[0].stride == (8, 8)
    own = timm.create_model("fmpn_resnet18", generator=generator, generator_kwargs={"stride": 4})
    assert own.mask_generator.encoder.stem[0].stride == (4, 4)


@pytest.mark.parametrize("size, stride", [(32, 2), (99, 2), (100, 4), (199, 4), (200, 8), (299, 8)])
def test_the_mask_is_predicted_on_some_16_to_50_cells(size, stride):
    assert stride_for(size) == stride and 16 <= size / stride <= 50
