"""Tests of the study of when the prior helps."""

import json

import pytest

from benchmarks import study
from fmpn_timm.errors import InputError
from fmpn_timm.training import TrainConfig, crossval
from tests.training.runs import guess

DRAWN = ["--data_options", "{subjects: 10, takes: 1, size: 24}", "--folds", "0-2", "--seeds", "0,1", "--name", "few"]


@pytest.fixture
def trained(monkeypatch) -> list[TrainConfig]:
    """Runs guess in place of training; FMPN guesses best, with half of the subjects best of all."""
    configs = []

    def train(config: TrainConfig) -> None:
        configs.append(config)
        guess(config, {"cnn": 0.4, "no_prior": 0.5, "fmpn": 0.9 if config.train_fraction == 0.5 else 0.7}[config.arm])

    monkeypatch.setattr(crossval, "train", train)
    variants = (study.Variant("half", "half", ("--train_fraction", "0.5", "--epochs", "4")), study.Variant("all"))
    weights = (study.Variant("10", "lambda-10", ("--mask_weight", "10"), ("fmpn",)),)
    monkeypatch.setattr(study, "STUDIES", {"subjects": variants, "lambda_1": weights})
    return configs


def test_one_thing_varies_at_a_time_and_gains_are_paired(trained, tmp_path):
    args = [*DRAWN, "--output", str(tmp_path / "runs")]
    found = study.study(args, tmp_path / "study")
    assert [(row["varied"], row["value"], row["runs"]) for row in found["rows"]] == [
        ("nothing", "as in the command", 6), ("subjects", "half", 6), ("subjects", "all", 6), ("lambda_1", "10", 6)]
    whole, half, base, weight = found["rows"]
    assert {**whole, "varied": "subjects", "value": "all"} == base
    assert {c.train_fraction for c in trained if c.epochs == 4} == {0.5} and len(trained) == 18 + 18 + 6
    for row in found["rows"]:
        gain = row["fmpn - cnn"]
        assert gain["mean"] == pytest.approx(row["fmpn"] - row["cnn"]) and gain["interval"][0] < gain["mean"]
    assert half["fmpn"] > base["fmpn"] and weight["cnn"] == base["cnn"]  # the weight of L_M is FMPN's alone
    text = (tmp_path / "study.md").read_text()
    assert f"| lambda_1 | 10 | 6 | {100 * weight['cnn']:.1f} |" in text
    assert (tmp_path / "study.png").stat().st_size > 5000
    assert str(tmp_path) not in (tmp_path / "study.json").read_text()

    before = len(trained)
    again = study.study([*args, "--report"], tmp_path / "study")
    assert len(trained) == before and again["rows"] == found["rows"]
    assert json.loads((tmp_path / "study.json").read_text())["rows"] == json.loads(json.dumps(found["rows"]))


def test_variants_are_trained_one_by_one(trained, tmp_path):
    args = [*DRAWN, "--output", str(tmp_path / "runs"), "--variants"]
    with pytest.raises(InputError, match="unknown third; choose from base, half, lambda-10"):
        study.study([*args, "third"], tmp_path / "study")
    with pytest.raises(InputError, match="name base in --variants"):
        study.study([*args, "half"], tmp_path / "study")
    found = study.study([*args, "base"], tmp_path / "study")
    assert [row["value"] for row in found["rows"]] == ["as in the command", "half", "all"]
    few = [*args, "base"]
    few[few.index("0-2")] = "0-5"  # more folds of the base alone
    whole, half, base = study.study(few, tmp_path / "study")["rows"]
    assert (whole["runs"], half["runs"], base["runs"]) == (12, 6, 6)


def test_a_report_says_what_is_not_there_yet(trained, tmp_path):
    args = [*DRAWN, "--output", str(tmp_path / "runs")]
    config = study.parse_crossval(args, "study", study.ARMS)
    name = "few-study-base"
    crossval.cross_validate(study.replace(config.config, name=name), ["cnn"], (0,), (0, 1))
    found = study.study([*args, "--report"], tmp_path / "study")
    assert [(row["value"], row["runs"], row["fmpn"]) for row in found["rows"]] == [("as in the command", 0, None)]
