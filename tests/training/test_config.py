"""Tests of the configuration."""

import dataclasses
import json

import pytest

from fmpn_timm.errors import InputError
from fmpn_timm.training import train
from fmpn_timm.training.config import CONFIGS, TrainConfig, config_names, parse_config, refuse_overridden


@pytest.mark.parametrize("name", config_names())
def test_configurations_of_the_package_parse(name):
    assert isinstance(parse_config(["--config", name]), TrainConfig)


def test_an_unknown_key_of_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("wings: 2\n")
    with pytest.raises(SystemExit):
        parse_config(["--config", "drawn", "--config", str(tmp_path / "mine.yaml")])
    err = capsys.readouterr().err
    assert "wings" in err and "mine.yaml: " in err


@pytest.mark.parametrize("text", ["", "a: [", "epochs: three"])
def test_a_bad_file_is_named(text, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SystemExit):
        parse_config(["--config", str(tmp_path / "mine.yaml"), "--lr", "1"])
    assert f"{tmp_path}/mine.yaml: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_config(["--lr", "fast"])
    assert "yaml" not in capsys.readouterr().err


def test_default_is_the_drawn_faces():
    assert parse_config([]) == parse_config(["--config", "drawn"])


def test_command_line_overrides_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nlr: 0.5\ndata_options: {rule: argmax}\nmask_box: [0, 0.1, 1, 1]\n")
    config = parse_config([f"--config={path}", "--lr", "0.25", "--arm", "cnn"])
    assert (config.name, config.lr, config.arm) == ("mine", 0.25, "cnn")
    assert config.data_options == {"rule": "argmax"} and tuple(config.mask_box) == (0, 0.1, 1, 1)
    for named in ([f"--config={path}"], ["--config", str(path)]):  # wherever the file is named
        assert parse_config(["--lr", "0.25", *named, "--arm", "cnn"]) == config


@pytest.mark.parametrize(("options", "expected"), [
    ([], {"subjects": 60, "takes": 3, "size": 72}),
    (["--data_options.size", "48"], {"subjects": 60, "takes": 3, "size": 48}),
    (["--dataset", "folder"], {}),
    (["--dataset", "prepared", "--data_options.fold", "0"], {"fold": 0}),
    (["--dataset", "ict", "--data_options.size", "72"], {"size": 72}),  # as in the file, but typed
    (["--dataset", "ict", "--data-options={size: 72}", "--data_options.takes=3"], {"size": 72, "takes": 3}),
])
def test_reader_options_of_a_file_are_for_its_own_data_set(options, expected):
    assert parse_config(["--config", "derl", *options]).data_options == expected


@pytest.mark.parametrize(("splits", "options", "expected"), [
    ((), [], ("all", None, None)),  # class folders right under the root
    (("train", "test"), [], ("train", None, "test")),
    (("train", "valid", "test"), [], ("train", "valid", "test")),
    (("train",), ["--test_split", "test"], ("train", None, "test")),  # what was asked for is not dropped: reading tells
    (("train",), ["--config", "drawn"], ("train", "valid", "test")),  # nor what a file was named for
])
def test_without_a_file_splits_that_the_data_has_not_are_left_out(splits, options, expected, tmp_path):
    for folder in [tmp_path / split / "happiness" for split in splits or ("",)]:
        folder.mkdir(parents=True)
    config = parse_config(["--dataset", "folder", "--root", str(tmp_path), *options])
    assert (config.train_split, config.valid_split, config.test_split) == expected


def test_options_may_be_typed_with_hyphens():
    config = parse_config(["--mask-epochs", "2", "--mask-lr=0.5", "--name", "a--b-c", "--data-options.size", "48"])
    assert (config.mask_epochs, config.mask_lr, config.name, config.data_options["size"]) == (2, 0.5, "a--b-c", 48)


def test_help_says_what_each_option_is(capsys):
    with pytest.raises(SystemExit):
        parse_config(["--help"])
    assert "Seed of weights, data order and augmentation." in " ".join(capsys.readouterr().out.split())


def test_the_papers_recipe():
    config = parse_config(["--config", "paper"])
    stage1 = (config.mask_epochs, config.mask_lr, config.mask_batch_size)
    stage2 = (config.epochs, config.lr, config.generator_lr, config.batch_size, config.mask_weight, config.class_weight)
    assert stage1 == (300, 1e-4, 32) and stage2 == (200, 1e-4, 1e-5, 16, 0.1, 1.0)
    assert (config.optimizer, config.beta1, config.schedule) == ("adam", 0.5, "linear")
    assert (config.backbone, config.size, config.load_size, config.crop) == ("inception_v3", 299, 320, "five")
    assert (config.generator, config.generator_width, config.generator_blocks) == ("paper", None, None)


def test_options_of_an_arm_stand_above_the_others():
    config = parse_config(["--lr", "0.5", "--per_arm", "{derl: {lr: 0.25, size: 32}}"])
    assert (config.of_arm("cnn").lr, config.of_arm("derl").lr, config.of_arm("derl").size) == (0.5, 0.25, 32)
    assert config.of_arm("derl").arm == "derl" and "per_arm" in config.decisive()
    assert "per_arm" not in config.of_arm("derl").decisive()  # so that runs from before it was there can go on


def test_what_was_typed_is_not_silently_overridden():
    args = ["--config", "ferplus_inception", "--arm", "cnn", "--epochs", "2"]
    with pytest.raises(InputError, match=r"its own --epochs \(13\) for --arm cnn.*--per_arm '\{\}'"):
        refuse_overridden(parse_config(args), args)
    for fine in ([*args[:4], "--epochs=13"], [*args, "--per_arm", "{}"], [*args[:2], "--epochs", "2"]):
        refuse_overridden(parse_config(fine), fine)


def test_a_run_takes_the_options_of_its_arm(tmp_path):
    config = TrainConfig(output=str(tmp_path), arm="cnn", per_arm={"cnn": {"batch_size": 3, "accumulate": 2}})
    with pytest.raises(InputError, match="--batch_size 3 must be a multiple of --accumulate 2"):
        train(config)


@pytest.mark.parametrize("base", ["ict_hard", "ferplus", "paper"])
def test_configurations_of_the_whole_zoo_stand_on_another(base):
    zoo = f"zoo_{base.removesuffix('_hard')}"
    alone, config = parse_config(["--config", base]), parse_config(["--config", base, "--config", zoo])
    assert config.name == zoo.replace("_", "-") and list(config.per_arm) == ["derl", "fn2en", "msca"]
    assert dataclasses.replace(config, name=alone.name).of_arm("fmpn") == alone.of_arm("fmpn")
    if base != "paper":  # the same budget
        assert all(config.of_arm(arm).epochs == alone.epochs for arm in config.per_arm)


@pytest.mark.parametrize("system", ["derl", "fn2en", "msca"])
def test_recipes_of_the_paper_zoo_are_the_systems_own(system):
    config = parse_config(["--config", "paper", "--config", "zoo_paper"]).of_arm(system)
    text = (CONFIGS / f"{system}.yaml").read_text()
    fields = {line.split(":")[0] for line in text.splitlines() if line and line[0].isalpha()}
    if system == "derl":  # its file is for drawn faces
        fields -= {"dataset", "data_options", "train_split", "valid_split", "test_split", "cache", "epochs",
                   "mask_epochs"}
    own = parse_config(["--config", system])
    for field in fields - {"name"}:
        assert getattr(config, field) == getattr(own, field), field


@pytest.mark.parametrize(
    ("own", "word"), [("{leg: {lr: 1}}", "leg"), ("{derl: {wings: 2}}", "wings"), ("{derl: {lr: fast}}", "fast")]
)
def test_bad_options_of_an_arm_are_refused(own, word, capsys):
    with pytest.raises(SystemExit):
        parse_config(["--per_arm", own])
    assert word in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [
    ("seed", -1), ("seed", 2**32), ("workers", -1), ("mask_epochs", -1), ("epochs", -1), ("batch_size", 0),
    ("accumulate", 0), ("lr", -1), ("lr", float("nan")), ("clip", -1), ("ema", 1.5), ("rotate", -5), ("mixup", -1),
    ("label_smoothing", 2), ("teacher_weight", -0.1), ("valid_fraction", 0), ("train_fraction", 0),
])
def test_numbers_out_of_range_are_refused(name, value, capsys):
    with pytest.raises(InputError, match=f"--{name}: {value} does not conform"):
        TrainConfig(**{name: value})
    for args in ([f"--{name}={value}"], [f"--per_arm={{cnn: {{{name}: {json.dumps(value)}}}}}"]):
        with pytest.raises(SystemExit):
            parse_config(args)
        assert name in capsys.readouterr().err


def test_numbers_are_plain():
    """Torch opens no checkpoint with others, and rates and betas are in those of the optimiser."""
    config = parse_config(["--generator_width", "8"])
    assert {type(value) for value in (config.epochs, config.generator_width, config.seed)} == {int}
    assert {type(value) for value in (config.lr, config.beta1, config.ema)} == {float}


@pytest.mark.parametrize("args", [
    ["--wings", "2"], ["--epoch", "2"], ["--arm", "leg"], ["--lr", "fast"], ["--config", "nowhere"],
])
def test_bad_options_are_refused(args, capsys):
    with pytest.raises(SystemExit):
        parse_config(args)
    err = capsys.readouterr().err
    assert args[0].lstrip("-") in err and len(err) < 500
