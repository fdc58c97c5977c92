"""Tests of model folders."""

import json

import pytest
import timm
import torch

from fmpn_timm import hub
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe

CLASSES = ("fear", "anger", "neutral")


@pytest.fixture
def model():
    torch.manual_seed(0)
    generator = dict(generator_width=4, generator_blocks=1)
    return timm.create_model("fmpn", backbone="test_resnet", num_classes=3, **generator).eval()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_round_trip_is_exact(model, tmp_path, memory_format):
    model = model.to(memory_format=memory_format)
    hub.save_model(model, tmp_path / "m", CLASSES, size=48, crop_pct=0.9, files={"results.json": {"n": 1}})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["config.json", "model.safetensors", "results.json"]
    loaded = hub.load_model(f"local-dir:{tmp_path / 'm'}").eval()
    x = torch.rand(2, 3, 48, 48)
    assert torch.equal(loaded(x), model.to(memory_format=torch.contiguous_format)(x))
    assert hub.class_names(loaded) == CLASSES
    cfg = loaded.pretrained_cfg
    assert tuple(cfg["input_size"]) == (3, 48, 48) and cfg["crop_pct"] == 0.9


def test_recipe_travels_with_the_model(model, tmp_path):
    recipe = Recipe(size=48, margin=0.1)
    hub.save_model(model, tmp_path / "m", CLASSES, 48, 1.0, recipe=recipe)
    hub.save_model(model, tmp_path / "none", CLASSES, 48, 1.0)
    assert hub.recipe_of(f"local-dir:{tmp_path / 'm'}") == recipe
    assert hub.recipe_of(f"local-dir:{tmp_path / 'none'}") is None and hub.recipe_of("fmpn_resnet18") is None
    assert timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).num_classes == 3  # timm does not mind it


def test_saving_again_replaces_the_folder(model, tmp_path):
    hub.save_model(model, tmp_path / "m", CLASSES, 48, 0.9, {"old.json": {}})
    hub.save_model(model, tmp_path / "m", CLASSES, 64, 0.9)
    assert not (tmp_path / "m" / "old.json").exists()
    assert json.loads((tmp_path / "m" / "config.json").read_text())["pretrained_cfg"]["input_size"] == [3, 64, 64]


def test_failed_save_leaves_the_folder_as_it_was(model, tmp_path, monkeypatch):
    hub.save_model(model, tmp_path / "m", CLASSES, 48, 0.9)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "save_for_hf", fail)
    with pytest.raises(OSError, match="No space"):
        hub.save_model(model, tmp_path / "m", CLASSES, 64, 0.9)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    hub.load_model(f"local-dir:{tmp_path / 'm'}")


def test_the_hub_out_of_reach_is_one_clear_error(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="nobody/nothing.*local-dir"):
        hub.load_model("hf-hub:nobody/nothing")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("local-dir:/nowhere", "/nowhere holds no config.json"),
        ("fmpn_resnet18", "fmpn_resnet18.*local-dir"),
        ("no_such_model", "no_such_model.*local-dir"),
    ],
)
def test_models_that_cannot_be_loaded(name, message):
    with pytest.raises(InputError, match=message):
        hub.load_model(name)
