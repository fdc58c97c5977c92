"""Tests of the reference network: the published layers, and the package's paper network equals it."""

import pytest
import torch
from torchvision.models import inception_v3

from benchmarks.reference import reference_fmpn
from benchmarks.trained import trained_reference, write_checkpoint
from fmpn_timm.convert import load_checkpoint


@pytest.fixture(scope="module")
def on_meta():
    """The paper's network without values: names and shapes cost nothing."""
    with torch.device("meta"):
        return reference_fmpn().eval()


@pytest.fixture(scope="module")
def trained():
    return trained_reference("inception_v3")


def test_parts_have_the_published_size_and_names(on_meta):
    def parameters(module):
        return sum(p.numel() for p in module.parameters())

    assert round(parameters(on_meta.fmg) / 1e6, 2) == 6.04 and parameters(on_meta.pfn) == 377
    fmg, pfn, cn = (getattr(on_meta, part).state_dict() for part in ("fmg", "pfn", "cn"))
    shapes = {name: tuple(tensor.shape) for name, tensor in {**fmg, **pfn}.items()}
    assert shapes["feature_extractor.0.weight"] == (64, 1, 7, 7)
    assert shapes["feature_extractor.12.conv_block.5.weight"] == (1,)
    assert shapes["feature_extractor.16.weight"] == (128, 64, 4, 4)
    assert shapes["res_top.0.weight"] == (1, 64, 7, 7)
    assert shapes["process_b.0.weight"] == (3, 1, 3, 3)
    assert shapes["model.1.weight"] == (3, 3, 3, 3)
    convolutions = [name for name, shape in shapes.items() if len(shape) == 4]
    assert len(convolutions) == 14 + 5 and not any(name.replace("weight", "bias") in shapes for name in convolutions)
    assert cn["fc.weight"].shape == (7, 2048) and not any(name.startswith("AuxLogits") for name in cn)


@pytest.mark.parametrize("size", [(299, 299), (98, 101), (102, 103)])
def test_masks_and_fused_faces_have_the_size_of_the_face(on_meta, size):
    logits, mask, fused = on_meta(torch.empty(1, 3, *size, device="meta"))
    assert logits.shape == (1, 7) and mask.shape == (1, 1, *size) and fused.shape == (1, 3, *size)


def test_inception_normalises_the_fused_face_as_torchvision_does(trained):
    with torch.device("meta"):
        plain = inception_v3(weights=None, num_classes=7, aux_logits=False, transform_input=False, init_weights=False)
    plain.load_state_dict(trained.cn.state_dict(), assign=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        logits, _, fused = trained(torch.rand(1, 3, 96, 96))
        assert torch.allclose(plain.eval()(fused * std / 0.5 + (mean - 0.5) / 0.5), logits, rtol=0, atol=1e-4)
        assert not torch.allclose(plain(fused), logits, rtol=0, atol=1e-2)


def test_the_paper_network_of_the_package_equals_it(trained, tmp_path):
    model = load_checkpoint(**write_checkpoint(trained, tmp_path))
    x = torch.rand(2, 3, 96, 98)
    with torch.no_grad():
        for ours, theirs in zip(model.forward_motion(x), trained(x), strict=True):
            assert ours.std() > 0.01  # values that could differ
            assert torch.allclose(ours, theirs, rtol=0, atol=1e-4)
