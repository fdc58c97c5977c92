"""Tests of what people do with a model before deployment: memory format, compile, export, ONNX, TorchScript."""

import copy

import pytest
import timm
import torch
from torch import nn

import fmpn_timm.models  # noqa: F401
from tests.models.base import run_onnx

# A plain CNN, a mobile one and two transformers, each with a small input.
BACKBONES = {
    "test_resnet": {},
    "mobilenetv3_small_050": {},
    "test_vit": {"img_size": 64},
    "swin_tiny_patch4_window7_224": {
        "img_size": 56, "backbone_kwargs": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]},
    },
}


def create(backbone: str) -> nn.Module:
    """A small model whose logits depend on the face by far more than the tolerances below."""
    torch.manual_seed(0)
    kwargs = BACKBONES[backbone]
    model = timm.create_model("fmpn", backbone=backbone, generator_width=4, generator_blocks=1, **kwargs)
    for module in (*model.mask_generator.modules(), *model.fusion.modules()):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight)
    nn.init.normal_(model.get_classifier().weight)
    model(faces(backbone, 4))  # batch norm statistics of the backbone, in train mode
    return model.eval()


def faces(backbone: str, batch: int) -> torch.Tensor:
    size = BACKBONES[backbone].get("img_size", 64)
    generator = torch.Generator().manual_seed(batch)
    coarse = torch.rand(batch, 3, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(backbone) -> nn.Module:
    return create(backbone)


@torch.inference_mode()
def test_logits_depend_on_the_face(model, backbone):
    """Else the comparisons below could not fail."""
    logits = model(faces(backbone, 3))
    assert (logits[0] - logits[1]).abs().max() > 0.01


class WithMask(nn.Module):
    """What a user exports who wants the mask as well."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.model.forward_motion(x)
        return out.logits, out.motion_mask


@torch.inference_mode()
def test_channels_last_equals_contiguous(model, backbone):
    x = faces(backbone, 2)
    channels_last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert channels_last.mask_generator.down1.conv.weight.is_contiguous(memory_format=torch.channels_last)
    for ours, expected in zip(
        channels_last.forward_motion(x.contiguous(memory_format=torch.channels_last)),
        model.forward_motion(x),
        strict=True,
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_graph_capture_has_no_breaks(model, backbone):
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(faces(backbone, 2)), model(faces(backbone, 2)), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_compiled_equals_eager():
    torch.compiler.reset()
    model, x = create("test_resnet"), faces("test_resnet", 2)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model)(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_compiled_gradients_equal_eager():
    torch.compiler.reset()
    model, x = create("test_vit").train(), faces("test_vit", 2)
    twin = copy.deepcopy(model)
    model(x).logsumexp(1).sum().backward()
    torch.compile(twin)(x).logsumexp(1).sum().backward()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        scale = ours.grad.abs().max().item()
        torch.testing.assert_close(
            theirs.grad, ours.grad, rtol=1e-2, atol=1e-3 * max(scale, 1e-3), msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])  # the others go through it to ONNX
@torch.inference_mode()
def test_exported_program_survives_a_file_at_any_batch_size(backbone, tmp_path):
    model = create(backbone)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (faces(backbone, 2),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for batch in (1, 2, 5):
        torch.testing.assert_close(loaded(faces(backbone, batch)), model(faces(backbone, batch)), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_onnx_equals_eager_at_any_batch_size(model, backbone, tmp_path):
    session = run_onnx(model, faces(backbone, 2), ["logits"], tmp_path / "model.onnx")
    assert [i.name for i in session.get_inputs()] == ["face"]
    for batch in (1, 2, 5):
        x = faces(backbone, batch)
        (logits,) = session.run(None, {"face": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(x), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_onnx_of_logits_and_mask_equals_eager(tmp_path):
    wrapped = WithMask(create("test_resnet")).eval()
    session = run_onnx(wrapped, faces("test_resnet", 2), ["logits", "motion_mask"], tmp_path / "model.onnx")
    assert [o.name for o in session.get_outputs()] == ["logits", "motion_mask"]
    for batch in (1, 3):
        x = faces("test_resnet", batch)
        logits, mask = session.run(None, {"face": x.numpy()})
        expected_logits, expected_mask = wrapped(x)
        assert mask.shape == (batch, 1, 64, 64) and expected_mask.std() > 0.01
        torch.testing.assert_close(torch.from_numpy(logits), expected_logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.from_numpy(mask), expected_mask, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@torch.inference_mode()
def test_torchscript_survives_a_file(model, backbone, tmp_path):
    torch.jit.script(model).save(str(tmp_path / "model.pt"))
    scripted = torch.jit.load(str(tmp_path / "model.pt"))
    x = faces(backbone, 2)
    torch.testing.assert_close(scripted(x), model(x), rtol=1e-5, atol=1e-5)
