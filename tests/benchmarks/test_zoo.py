"""Tests of the side-by-side of all systems."""

import json
from pathlib import Path

import pytest
import timm

from benchmarks.zoo import ARMS, compare_systems, faces_per_second
from fmpn_timm.errors import InputError
from fmpn_timm.hub import save_model
from fmpn_timm.training import TrainConfig, crossval
from tests.data.readers.ckplus import write_ckplus
from tests.training.runs import guess

DRAWN = ["--data_options", "{subjects: 10, takes: 1, size: 36}", "--folds", "0-1"]


@pytest.fixture
def without_pairs(monkeypatch):
    """Runs guess in place of training, and DeRL's cannot."""

    def train(config: TrainConfig) -> None:
        if config.arm == "derl":
            raise InputError(f"{config.folder} has no pairs.")
        guess(config, 0.5)
        model = timm.create_model("test_resnet", num_classes=2)
        save_model(model, config.folder / "model", ("anger", "fear"), 32, 1.0)
        (config.folder / "summary.csv").write_text("stage,epoch\nfirst,1\nfirst,2\nsecond,1\n")

    monkeypatch.setattr(crossval, "train", train)


def test_systems_and_their_costs_in_one_table(without_pairs, tmp_path, capsys):
    args = [*DRAWN, "--name", "zoo-crossval", "--output", str(tmp_path / "runs"), "--arms"]
    found = compare_systems([*args, "cnn,derl,msca"], tmp_path)
    assert found["arms"].keys() == found["costs"].keys() == {"cnn", "msca"}
    assert set(found["not_run"]) == {"derl"} and "has no pairs" in found["not_run"]["derl"]
    assert "DeRL is left out" in capsys.readouterr().err
    cost = found["costs"]["msca"]
    assert cost["stages"] == {"first": 2, "second": 1} and cost["training_seconds"] == 2
    assert cost["parameters"] > 1e5 and 0 < cost["gmacs"] < 1 and cost["images_per_second"] > 0
    text, stored = ((tmp_path / f"zoo.{suffix}").read_text() for suffix in ("md", "json"))
    assert "| MSCA | first: 2, second: 1 | 2 |" in text and "DeRL was not trained, or not to the end" in text
    assert "| MSCA | rafdb | - | 89.63 |" in text and str(tmp_path) not in text + stored
    assert json.loads(stored)["not_run"]["derl"].endswith(": {runs}/derl/seed0-fold0 has no pairs.")
    assert json.loads(stored)["comparisons"][0]["shared_runs"] == 2
    assert compare_systems([*args, "cnn", "--report"], tmp_path)["arms"].keys() == {"cnn", "msca"}  # nothing is lost


def test_none_that_can_be_trained_is_an_error(without_pairs, tmp_path):
    with pytest.raises(InputError, match="has no pairs"):
        compare_systems([*DRAWN, "--output", str(tmp_path / "runs"), "--arms", "derl"], tmp_path)
    assert not list(tmp_path.glob("*.md"))


def test_speed_is_of_each_models_own_size():
    small, large = (timm.create_model("test_resnet", pretrained_cfg_overlay={"input_size": (3, size, size)}).eval()
                    for size in (32, 128))
    seen = []
    for model in (small, large):
        model.register_forward_pre_hook(lambda model, args: seen.append(args[0].shape))
    speeds = faces_per_second({"small": small, "large": large}, batch=4, rounds=1)
    assert seen == [(4, 3, 32, 32), (4, 3, 128, 128)] * 2 and min(speeds["small"], speeds["large"]) > 0


@pytest.mark.slow
def test_all_systems_train_on_ck_by_the_same_command(tmp_path):
    sequences = [(f"S{n:03d}", f"{code:03d}", 4, code) for n in range(12) for code in range(1, 8)]
    root: Path = write_ckplus(tmp_path / "ckplus", sequences=sequences)
    small = {"backbone": "test_resnet", "generator_width": 4, "generator_blocks": 1, "size": 32, "load_size": 36,
             "epochs": 1, "mask_epochs": 1, "batch_size": 16, "mask_batch_size": 16, "lr": 1e-3, "cache": "true",
             "progress": "false", "pretrained_backbone": "false", "name": "zoo-ckplus", "output": tmp_path / "runs"}
    found = compare_systems([
        "--config", "paper", "--config", "zoo_ict", "--dataset", "ckplus", "--root", str(root), "--protocol", "fmpn",
        "--folds", "0", *(f"--{option}={value}" for option, value in small.items())], tmp_path)
    assert found["not_run"] == {} and found["missing"] == [] and set(found["arms"]) == set(ARMS)
    assert {arm: list(cost["stages"]) for arm, cost in found["costs"].items()} == {
        "cnn": ["joint"], "fmpn": ["mask", "joint"], "derl": ["neutral", "residue"], "fn2en": ["features", "joint"],
        "msca": ["joint"]}
    text = (tmp_path / "zoo-ckplus.md").read_text()
    assert "| IACNN | image | 95.37 | - |" in text and str(tmp_path) not in text
