"""Tests of the conversion of the authors' checkpoints."""

import json
import os
from argparse import Namespace
from pathlib import Path

import pytest
import timm
import torch

from benchmarks.reference import reference_fmpn
from benchmarks.trained import trained_reference, write_checkpoint
from fmpn_timm import cli, hub
from fmpn_timm.convert import BACKBONES, convert_checkpoint, load_checkpoint
from fmpn_timm.errors import InputError


@pytest.fixture(scope="module", params=["inception_v3", "resnet50", "densenet121"])
def converted(request, tmp_path_factory):
    """A reference network, and the folder the command made of its files."""
    folder = tmp_path_factory.mktemp(request.param)
    reference = trained_reference(request.param)
    files = write_checkpoint(reference, folder)
    options = [text for option, path in files.items() for text in (f"--{option}", path)]
    cli.main(["convert", *options, "--backbone", request.param, "--num-classes", "7", "--out", str(folder / "model")])
    yield Namespace(backbone=request.param, reference=reference, folder=folder / "model")
    for path in [*files.values(), folder / "model" / "model.safetensors"]:
        os.unlink(path)  # some hundred megabytes each time


def _assert_equal(converted: Namespace, size: int) -> None:
    model = timm.create_model(f"local-dir:{converted.folder}", pretrained=True).eval()
    x = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for ours, theirs in zip(model.forward_motion(x), converted.reference(x), strict=True):
            assert theirs.std() > 0.01  # values that could differ
            assert torch.allclose(ours, theirs, rtol=0, atol=1e-4)


def test_logits_masks_and_fused_faces_equal_the_authors(converted):
    _assert_equal(converted, 96)


@pytest.mark.parametrize("converted", ["inception_v3"], indirect=True)
def test_they_equal_at_the_size_of_the_paper(converted):
    _assert_equal(converted, 299)


@pytest.mark.slow
def test_they_equal_at_that_size_with_every_backbone(converted):
    _assert_equal(converted, 299)


def test_the_folder_says_what_the_model_is(converted):
    assert sorted(path.name for path in converted.folder.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((converted.folder / "config.json").read_text())
    assert config["architecture"] == f"fmpn_{converted.backbone}" and config["recipe"] is None
    assert config["label_names"] == ["anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"]
    assert config["pretrained_cfg"]["input_size"] == [3, 299, 299]
    assert config["pretrained_cfg"]["crop_pct"] == pytest.approx(299 / 320)
    assert "device" not in config["model_args"]


@pytest.fixture
def light(tmp_path):
    """The authors' files with ones for weights: right names and shapes, and small, as each tensor is one number."""

    def write(backbone: str = "resnet50", num_classes: int = 7) -> dict[str, Path]:
        with torch.device("meta"):
            reference = reference_fmpn(backbone, num_classes)
        files = {}
        for option in ("fmg", "pfn", "cn"):
            state = getattr(reference, option).state_dict().items()
            files[option] = tmp_path / f"{option}-{backbone}-{num_classes}.pth"
            torch.save({name: torch.ones((), dtype=t.dtype).expand(t.shape) for name, t in state}, files[option])
        return files

    return write


def _rewrite(path: Path, change, **options) -> Path:
    state = change(torch.load(path, weights_only=True))
    torch.save(state, path, **options)
    return path


def test_other_ways_a_checkpoint_was_saved(light):
    """DataParallel's prefix, an auxiliary classifier, no counted batches, the file format of PyTorch before 1.6."""
    files = light("inception_v3")
    auxiliary = {"AuxLogits.conv0.conv.weight": torch.ones(128, 768, 1, 1)}
    _rewrite(files["cn"], lambda state: {f"module.{k}": v for k, v in {**state, **auxiliary}.items()})
    _rewrite(files["fmg"], lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
             _use_new_zipfile_serialization=False)
    model = load_checkpoint(**files)
    assert model.mask_generator.stem.norm.num_batches_tracked == 0 and not model.training
    assert all((tensor == 1).all() for name, tensor in model.state_dict().items() if "num_batches" not in name)


def test_class_names(light, tmp_path):
    six = convert_checkpoint(**light(num_classes=6), out=tmp_path / "m", backbone="resnet50", num_classes=6)
    assert six == ("anger", "disgust", "fear", "happiness", "sadness", "surprise")  # MMI's
    named = dict(backbone="resnet50", num_classes=2, out=tmp_path / "m")
    assert convert_checkpoint(**light(num_classes=2), **named, classes=["happy", "Neutral"]) == ("happiness", "neutral")
    assert hub.class_names(hub.load_model(f"local-dir:{tmp_path / 'm'}")) == ("happiness", "neutral")  # replaced
    for classes in (None, ["fear"], ["fear", "afraid"], ["fear", "hunger"]):
        with pytest.raises(InputError, match="--classes|hunger"):
            convert_checkpoint(**light(num_classes=2), **named, classes=classes)


class Arbitrary:
    """What a pickle may hold beside weights."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: {"fmg": f["pfn"], "pfn": f["fmg"]}, r"--fmg .*pfn.*prior fusion net: give the file as --pfn"),
        (lambda f: {"pfn": f["cn"]}, r"--pfn .*cn.*classifier: give the file as --cn"),
        (lambda f: {"cn": f["fmg"]}, r"--cn .*fmg.*mask generator: give the file as --fmg"),
        (lambda f: {"backbone": "densenet121"}, r"--cn .*has no classifier.*resnet50.*--backbone resnet50"),
        (lambda f: {"backbone": "resnet152"}, r"--cn .*has no layer.*--backbone resnet50"),
        (lambda f: {"backbone": "vgg16"}, r"--backbone vgg16: .*inception_v3, resnet50"),
        (lambda f: {"num_classes": 6}, r"--cn .*It has 7 classes: give --num-classes 7"),
        (lambda f: {"num_classes": 0, "classes": []}, r"--num-classes 0"),
        (lambda f: {"size": 320, "load_size": 299}, r"--size 320 and --load-size 299"),
        (lambda f: {"pfn": f["pfn"].with_name("none.pth")}, r"--pfn .*none.pth: there is no such file"),
        (lambda f: os.truncate(f["fmg"], f["fmg"].stat().st_size // 2), r"--fmg .*cannot be read: it is damaged"),
        (lambda f: os.truncate(f["pfn"], 0), r"--pfn .*cannot be read"),
        (lambda f: torch.save(Arbitrary(), f["cn"]), r"--cn .*cannot be read: .*more than weights"),
        (lambda f: torch.save([torch.ones(1)], f["cn"]), r"--cn .*no plain state dict"),
        (lambda f: torch.save({"state_dict": {}}, f["cn"]), r"--cn .*no plain state dict"),
        (lambda f: _rewrite(f["pfn"], lambda s: {**s, "model.2.weight": torch.ones(1)}) and None,
         r"--pfn .*has model.2.weight, which the prior fusion net has not\. Give the prior fusion net as"),
        (lambda f: _rewrite(f["fmg"], lambda s: {**s, "res_top.0.weight": torch.ones(1, 32, 7, 7)}) and None,
         r"--fmg .*res_top.0.weight has the shape \(1, 32, 7, 7\) instead of \(1, 64, 7, 7\)"),
    ],
)
def test_bad_input_is_one_error_and_leaves_no_folder(light, tmp_path, change, message):
    options = {**light(), "backbone": "resnet50", "out": tmp_path / "model"}
    options.update(change(options) or {})
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message) as error:
        convert_checkpoint(**options)
    assert "\n" not in str(error.value) and sorted(tmp_path.iterdir()) == before


def test_only_a_model_folder_is_replaced(light, tmp_path):
    files, out = light(), tmp_path / "kept"
    out.mkdir()
    (out / "config.json").write_text("{}")
    (out / "thesis.tex").write_text("years of work")
    for taken in (out, out / "thesis.tex"):
        with pytest.raises(InputError, match="is there already and is no model folder"):
            convert_checkpoint(**files, backbone="resnet50", out=taken)
    with pytest.raises(InputError, match="--out .* cannot be written"):
        convert_checkpoint(**files, backbone="resnet50", out=out / "thesis.tex" / "model")
    assert (out / "thesis.tex").read_text() == "years of work"


def test_the_command_prints_one_line(light, capsys, tmp_path):
    files = light()
    options = [text for option, path in files.items() for text in (f"--{option}", str(path))]
    with pytest.raises(SystemExit, match="^error: .*It has 7 classes") as exit:
        cli.main(["convert", *options, "--backbone", "resnet50", "--num-classes", "6", "--out", str(tmp_path / "m")])
    assert "\n" not in str(exit.value.code)
    cli.main(["convert", *options, "--backbone", "resnet50", "--out", str(tmp_path / "m")])
    assert "classes anger, contempt" in capsys.readouterr().out


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_of_the_authors_has_torchvision_names(light, backbone):
    load_checkpoint(**light(backbone), backbone=backbone)
