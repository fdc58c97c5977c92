"""Tests of averages of models."""

import pytest
import timm
import torch

from fmpn_timm import cli, hub
from fmpn_timm.average import average_models
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.files import write_json
from fmpn_timm.priors import MaskSet

CLASSES = ("neutral", "happiness", "fear")


def saved(folder, seed: int = 0, classes=CLASSES, size: int = 32, **options) -> str:
    torch.manual_seed(seed)
    options = {"backbone": "test_resnet", "generator_width": 4, "generator_blocks": 1, **options}
    model = timm.create_model("fmpn", num_classes=len(classes), **options)
    hub.save_model(model, folder, classes, 32, 0.9, recipe=Recipe(size=size))
    config = hub.read_config(folder / "config.json")
    write_json(folder / "config.json", {**config, "temperature": 2.0})
    MaskSet(torch.rand(len(classes), 8, 8), classes).save(folder / "priors.safetensors")
    return f"local-dir:{folder}"


def test_a_mean_can_be_published(tmp_path):
    names = [saved(tmp_path / str(seed), seed) for seed in range(2)]
    cli.main(["average", *names, "--out", str(tmp_path / "mean")])
    cli.main(["publish", str(tmp_path / "mean"), "--repo-id", "me/mean", "--dry-run", "--out", str(tmp_path / "pub")])
    assert (tmp_path / "pub" / "README.md").is_file()


def test_weights_are_the_mean_and_the_rest_is_the_first_ones(tmp_path, capsys):
    names = [saved(tmp_path / str(seed), seed) for seed in range(3)]
    cli.main(["average", *names, "--out", str(tmp_path / "mean")])
    assert "the mean of 3 models" in capsys.readouterr().out
    mean, *models = (hub.load_model(name) for name in (f"local-dir:{tmp_path / 'mean'}", *names))
    states = [model.state_dict() for model in models]
    for name, value in mean.state_dict().items():
        expected = torch.stack([state[name].float() for state in states]).mean(0)
        torch.testing.assert_close(value.float(), expected, msg=name)
    cfg = mean.pretrained_cfg
    assert cfg["label_names"] == list(CLASSES) and cfg["input_size"] == (3, 32, 32) and cfg["crop_pct"] == 0.9
    assert hub.recipe_of(str(tmp_path / "mean")) == Recipe(size=32) and hub.temperature_of(str(tmp_path / "mean")) == 1
    for folder in ("0", "mean"):
        assert MaskSet.load(tmp_path / folder / "priors.safetensors").classes == CLASSES


def test_where_the_data_come_from_goes_along(tmp_path):
    names = [saved(tmp_path / str(seed), seed) for seed in range(2)]
    write_json(tmp_path / "0" / "results.json", {"data": {"dataset": "ferplus"}, "metrics": {"accuracy": 1.0}})
    average_models(names, tmp_path / "mean")
    assert hub.results_of(str(tmp_path / "mean")) == {"data": {"dataset": "ferplus"}}
    with pytest.raises(InputError, match="is one of the models: give another name"):
        average_models(names, tmp_path / "1")
    assert (tmp_path / "1" / "priors.safetensors").is_file()


@pytest.mark.parametrize("key", ["input_size", "backbone_mean"])
def test_models_of_another_kind_are_not_averaged(tmp_path, key):
    names = [saved(tmp_path / str(seed), seed) for seed in range(2)]
    config = hub.read_config(tmp_path / "1" / "config.json")
    of, value = ("pretrained_cfg", [3, 48, 48]) if key == "input_size" else ("model_args", [0.4] * 3)
    config[of][key] = value
    write_json(tmp_path / "1" / "config.json", config)
    with pytest.raises(InputError, match="differs from .* in its (input_size|normalisation): average models of one"):
        average_models(names, tmp_path / "mean")


def test_models_that_have_no_mean(tmp_path):
    first = saved(tmp_path / "first")
    others = {
        "another architecture or size": saved(tmp_path / "wide", generator_width=8),
        "other classes": saved(tmp_path / "classes", classes=("neutral", "happiness", "anger")),
        "cut in another way": saved(tmp_path / "recipe", size=48),
    }
    for message, other in others.items():
        with pytest.raises(InputError, match=message):
            average_models([first, other], tmp_path / "out")
    with pytest.raises(InputError, match="two models or more"):
        average_models([first], tmp_path / "out")
    with pytest.raises(InputError, match="no model folder"):
        average_models([first, first], tmp_path)
    assert not (tmp_path / "out").exists()
