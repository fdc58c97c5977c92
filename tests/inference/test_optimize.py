"""Tests of optimised models: they compute what the model computes, and leave it alone."""

import copy
import subprocess
import sys

import pytest
import timm
import torch
from torch import nn

import fmpn_timm  # noqa: F401 registers the models
from fmpn_timm.errors import InputError
from fmpn_timm.inference.optimize import SplitConv2d, WinogradConv2d, fold_batch_norms, optimize

FMPN = dict(backbone="test_resnet", generator_width=32, generator_blocks=1, fusion_init="face")
MODELS = {
    "fmpn": ("fmpn", FMPN, 32),
    "fmpn on a vision transformer": ("fmpn", {**FMPN, "backbone": "test_vit", "img_size": 32}, 32),
    "derl": ("derl", dict(img_size=32, width=4, local_width=8), 32),
    "derl_unet": ("derl_unet", dict(img_size=32, width=4, local_width=8), 32),
    "msca": ("msca", dict(backbone="test_resnet", branch_width=4, embed_dim=8), 32),
    "fn2en": ("fn2en", dict(pools=3, hidden_size=8), 32),
    "test_efficientnet": ("test_efficientnet", {}, 32),
    "resnet18_small": ("resnet18_small", dict(channels=(8, 8, 8, 8), num_classes=7), 32),
}
METHODS = {"fmpn": ("motion_mask", "forward_motion", "forward_embeddings"),
           "derl": ("neutral", "residue", "forward_residue")}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def case(request):
    """A model with statistics of its own in every batch norm, and faces for it."""
    name, options, size = request.param
    torch.manual_seed(0)
    model = timm.create_model(name, **options)
    return with_statistics(model, faces_of(size)), faces_of(size)


def faces_of(size, number=5):
    """Faces whose differences survive the pooling of an untrained network."""
    coarse = torch.rand(number, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)


def with_statistics(model, faces):
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.ones_(parameter)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    for _ in range(10):
        model(faces)
    return model.eval()


def leaves(output):
    return output if isinstance(output, tuple) else (output,)


@torch.no_grad()
def test_outputs_are_the_models_own(case):
    model, faces = case
    before = copy.deepcopy(model.state_dict())
    fast = optimize(model, "float32", compile=False)
    assert (model(faces)[0] - model(faces)[1]).abs().max() > 1e-3  # else the comparisons could not fail
    for method in ("__call__", *METHODS.get(type(model).__name__.lower(), ())):
        expected, output = getattr(model, method)(faces), getattr(fast, method)(faces)
        assert type(output) is type(expected)
        for theirs, ours in zip(leaves(expected), leaves(output), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@torch.no_grad()
def test_passes_join_to_the_batch(case):
    model, faces = case
    fast = optimize(model, "float32", compile=False, faces_per_pass=2)
    for number in (5, 4, 1):
        torch.testing.assert_close(fast(faces[:number]), model(faces[:number]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("faces_per_pass,sizes", [(2, [2, 2, 1]), (None, [3, 2])])
def test_a_pass_takes_no_more_faces_than_asked(faces_per_pass, sizes, monkeypatch):
    seen = []

    class Counting(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x

    monkeypatch.setattr(sys.modules[optimize.__module__], "PASS_PIXELS", 3 * 8 * 8)
    fast = optimize(Counting(), "float32", compile=False, faces_per_pass=faces_per_pass)
    assert fast(torch.rand(5, 3, 8, 8)).shape == (5, 3, 8, 8) and seen == sizes


@torch.no_grad()
def test_convolutions_are_replaced_where_that_is_equal_and_exact_enough():
    options = [{}, {"dilation": 2, "padding": 2}, {"stride": 2}, {"padding_mode": "reflect"}]
    model = nn.Sequential(*(nn.Conv2d(128, 128, 3, **{"padding": 1, **of}) for of in options))
    fast = optimize(model, "float32", compile=False)
    assert [type(m) for m in fast.model] == [WinogradConv2d, nn.Conv2d, nn.Conv2d, nn.Conv2d]
    faces = torch.rand(1, 128, 32, 32)
    torch.testing.assert_close(fast(faces), model(faces), rtol=1e-4, atol=1e-4)
    # the transforms of bf16 would lose too much
    assert [type(m) for m in optimize(model, "bf16", compile=False).model] == [nn.Conv2d] * 4


@torch.no_grad()
def test_bf16_is_near_and_comes_back_as_float32(case):
    model, faces = case
    fast, expected = optimize(model, "bf16", compile=False)(faces), model(faces)
    assert fast.dtype == torch.float32
    assert (fast - expected).abs().max() < 0.1 * expected.abs().max()
    assert not torch.equal(fast, optimize(model, "float32", compile=False)(faces))


@torch.no_grad()
def test_bf16_does_not_flatten_the_fused_face():
    """The authors' start puts it within thousandths of 0.5, where bf16 has steps of 0.004."""
    torch.manual_seed(0)
    model = timm.create_model("fmpn", **{**FMPN, "fusion_init": "paper"}).eval()
    faces = torch.rand(2, 3, 32, 32)
    fused = model.forward_motion(faces).fused_face
    fast = optimize(model, "bf16", compile=False).forward_motion(faces).fused_face
    assert (fast - fused).abs().max() < 0.1 * (fused - fused.mean()).abs().max()


@torch.no_grad()
@pytest.mark.parametrize("mean,numbers", [((0.5, 0.5, 0.5), 1), ((0.5, 0.5, 0.4), 3)])
def test_a_normalisation_that_all_channels_share_is_one_number(mean, numbers):
    model = timm.create_model("fmpn", **FMPN, backbone_mean=mean, backbone_std=(0.25, 0.25, 0.25)).eval()
    fast = optimize(model, "float32", compile=False)
    assert fast.backbone_mean.numel() == numbers and fast.backbone_std.numel() == 1 and model.backbone_std.numel() == 3
    faces = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(fast(faces), model(faces), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name,options,left", [
    ("fmpn", FMPN, 0),
    ("derl", dict(img_size=32, width=4, local_width=8), 0),
    ("test_efficientnet", {}, 0),
    ("msca", dict(backbone="test_resnet", branch_width=4, embed_dim=8), 4),  # behind a sum of three convolutions
])
def test_every_batch_norm_behind_a_convolution_is_folded(name, options, left):
    model = timm.create_model(name, **options).eval()
    before = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert fold_batch_norms(model) == before - left
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == left


class Twice(nn.Module):
    """Convolutions that must not be folded: one is read twice, one called twice, one standardises its weights, and one
    is called by its second name."""

    def __init__(self):
        super().__init__()
        self.read, self.called = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.standardised = timm.layers.StdConv2d(3, 3, 1)
        self.first_name = self.second_name = nn.Conv2d(3, 3, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3) for _ in range(4)])

    def forward(self, x):
        x = self.read(x)
        x = x + self.norms[0](x)
        x = self.called(self.norms[1](self.called(x)))
        return self.norms[3](self.second_name(self.norms[2](self.standardised(x))))


def test_what_cannot_be_folded_stays():
    assert fold_batch_norms(Twice().eval()) == 0


@torch.no_grad()
@pytest.mark.parametrize("height,width,padding,bias", [(32, 33, 1, False), (34, 35, 0, True)])
def test_winograd_is_the_convolution(height, width, padding, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 5, 3, padding=padding, bias=bias).double()
    x = torch.randn(2, 6, height, width, dtype=torch.float64)
    fast = WinogradConv2d(conv)
    torch.testing.assert_close(fast(x), conv(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(fast(x[:, :, :5, :5]), conv(x[:, :, :5, :5]))  # too small for tiles
    torch.testing.assert_close(WinogradConv2d(conv.float())(x.float()), conv(x.float()), rtol=0, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("kernel,padding,bias", [(7, 3, False), ((5, 7), (0, 2), True)])
def test_a_split_convolution_is_the_convolution(kernel, padding, bias):
    torch.manual_seed(0)
    conv, x = nn.Conv2d(16, 1, kernel, padding=padding, bias=bias), torch.randn(2, 16, 9, 11)
    torch.testing.assert_close(SplitConv2d(conv)(x), conv(x), rtol=0, atol=1e-5)


def test_it_is_for_inference_and_looks_like_the_model():
    model = timm.create_model("fmpn", **FMPN)
    fast = optimize(model, "float32", compile=False).train()
    assert model.training and not any(m.training for m in fast.modules())
    assert fast.num_classes == 7 and fast.pretrained_cfg == model.pretrained_cfg
    assert not hasattr(fast, "forward_residue") and not fast(torch.rand(1, 3, 32, 32)).requires_grad


@pytest.mark.parametrize("options,message", [
    (dict(precision="int3"), "int3"), (dict(precision="fp16"), "GPU"), (dict(faces_per_pass=0), "faces_per_pass"),
])
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        optimize(nn.Conv2d(3, 3, 1), **options)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("precision,tolerance", [("float32", 1e-4), ("bf16", 0.1)])
def test_compiled_for_any_batch(precision, tolerance):
    torch.manual_seed(0)
    model = timm.create_model("fmpn", **FMPN)
    model = with_statistics(model, faces_of(32))
    fast = optimize(model, precision)
    for number in (2, 3, 5, 1):
        faces = faces_of(32, number)
        for theirs, ours in zip(model.forward_motion(faces), fast.forward_motion(faces), strict=True):
            assert ours.dtype == torch.float32
            torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * max(theirs.abs().max().item(), 1))


def test_it_needs_no_import_of_its_own():
    command = "import fmpn_timm; print(fmpn_timm.inference.optimize.__name__, fmpn_timm.priors.MaskSet.__name__)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["optimize", "MaskSet"]
