"""Tests of the configuration."""

import dataclasses
import typing

import pytest

from fmpn_timm.tasks import LOSSES
from fmpn_timm.training.config import CONFIGS, TrainConfig, config_names, parse_config


@pytest.mark.parametrize("name", ["drawn", "ferplus", "fn2en", "msca", "paper"])
def test_configurations_of_the_package_parse(name):
    assert name in config_names()
    assert parse_config(["--config", name]).name == name


def test_default_is_the_drawn_faces():
    assert parse_config([]) == parse_config(["--config", "drawn"])


def test_command_line_overrides_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nlr: 0.5\ndata_options: {rule: argmax}\nmask_box: [0, 0.1, 1, 1]\n")
    config = parse_config([f"--config={path}", "--lr", "0.25", "--arm", "cnn"])
    assert (config.name, config.lr, config.arm) == ("mine", 0.25, "cnn")
    assert config.data_options == {"rule": "argmax"} and tuple(config.mask_box) == (0, 0.1, 1, 1)


def test_the_papers_recipe():
    config = parse_config(["--config", "paper"])
    stage1 = (config.mask_epochs, config.mask_lr, config.mask_batch_size)
    stage2 = (config.epochs, config.lr, config.generator_lr, config.batch_size, config.mask_weight, config.class_weight)
    assert stage1 == (300, 1e-4, 32) and stage2 == (200, 1e-4, 1e-5, 16, 0.1, 1.0)
    assert (config.optimizer, config.beta1, config.schedule) == ("adam", 0.5, "linear")
    assert (config.backbone, config.size, config.load_size, config.crop) == ("inception_v3", 299, 320, "five")
    assert (config.generator, config.generator_width, config.generator_blocks) == ("paper", None, None)


@pytest.mark.parametrize("args", [["--wings", "2"], ["--arm", "leg"], ["--lr", "fast"], ["--config", "nowhere"]])
def test_bad_options_are_refused(args, capsys):
    with pytest.raises(SystemExit):
        parse_config(args)
    assert args[0].lstrip("-") in capsys.readouterr().err


def test_losses_are_those_there_are():
    assert typing.get_args(typing.get_type_hints(TrainConfig)["loss"]) == LOSSES


def test_every_key_of_the_shipped_files_is_a_field():
    fields = {f.name for f in dataclasses.fields(TrainConfig)}
    for path in CONFIGS.glob("*.yaml"):
        keys = {line.split(":")[0] for line in path.read_text().splitlines() if line and line[0].isalpha()}
        assert keys <= fields
