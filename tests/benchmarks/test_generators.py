"""Tests of the comparison of mask generators."""

import pytest

from benchmarks import generators
from fmpn_timm.errors import InputError
from fmpn_timm.training import TrainConfig, crossval
from tests.training.runs import guess

DRAWN = ["--data_options", "{subjects: 10, takes: 1, size: 24}", "--folds", "0-2", "--seeds", "0,1", "--name", "few"]
ERRORS = {"lite": 0.04, "lite-half": 0.06, "basis": 0.05, "paper": 0.03}


@pytest.fixture
def trained(monkeypatch) -> list[TrainConfig]:
    """Runs guess in place of training; the paper's generator guesses best and has the best masks."""
    configs = []

    def train(config: TrainConfig) -> None:
        configs.append(config)
        skills = {"lite": 0.7, "lite-half": 0.6, "basis": 0.5, "paper": 0.9}
        generator = "lite-half" if config.model_kwargs else config.generator
        guess(config, 0.3 if config.arm == "cnn" else skills[generator])
        errors = "" if config.arm == "cnn" else f"mask,1,0.9\nmask,2,{ERRORS[generator]}\n"
        (config.folder / "summary.csv").write_text(f"stage,epoch,valid_loss\n{errors}joint,1,\n")

    monkeypatch.setattr(crossval, "train", train)
    monkeypatch.setattr(generators, "load_model", lambda name: _Model())
    monkeypatch.setattr(generators, "model_size", lambda model, size: {"parameters": 3000, "gmacs": 0.5})
    return configs


class _Model:
    pretrained_cfg = {"input_size": (3, 24, 24)}

    def eval(self):
        return self


def test_generators_are_compared_with_the_papers_at_their_own_sizes(trained, tmp_path):
    args = [*DRAWN, "--output", str(tmp_path / "runs")]
    found = generators.compare_generators([*args, "--generator_width", "4"], tmp_path)
    assert len(trained) == 2 * 3 * 5 and all(c.generator_width is None for c in trained)
    assert {c.model_kwargs["generator_kwargs"]["stride"] for c in trained if c.model_kwargs} == {4}  # 2 otherwise
    rows = {row["generator"]: row for row in found["rows"]}
    assert list(rows) == ["backbone alone", "lite", "lite-half", "basis", "paper"]
    assert set(rows["paper"]["gain"]) == {"backbone alone"} and "mask_error" not in rows["backbone alone"]
    for name, error in ERRORS.items():
        assert rows[name]["mask_error"] == pytest.approx([error, error])  # the last of stage 1, by seed
    lite, paper = rows["lite"], rows["paper"]
    gained = [a - b for a, b in zip(lite["accuracy"], paper["accuracy"], strict=True)]
    gain = lite["gain"]["paper"]
    assert gain["by_seed"] == pytest.approx(gained) and max(gained) < 0 and gain["runs"] == 6
    assert gain["interval"][0] < sum(gained) / 2 < gain["interval"][1]
    assert min(lite["gain"]["backbone alone"]["by_seed"]) > 0
    text = (tmp_path / "few-generators.md").read_text()
    assert "| paper | 6 | 0.00 | 0.500 | 0.0300 (0.0300, 0.0300) |" in text

    more = generators.compare_generators([*args, "--generators", "lite", "--seeds", "2"], tmp_path)
    lite = next(row for row in more["rows"] if row["generator"] == "lite")
    assert lite["runs"] == 9 and lite["gain"]["paper"]["by_seed"] == pytest.approx(gained)  # of what both have
    assert "; on 6 of the runs |" in (tmp_path / "few-generators.md").read_text()


def test_a_report_trains_nothing(trained, tmp_path):
    args = [*DRAWN, "--output", str(tmp_path / "runs")]
    found = generators.compare_generators(args, tmp_path)
    again = generators.compare_generators([*args, "--report"], tmp_path)
    assert len(trained) == 30 and again["rows"] == found["rows"]


def test_generators_are_trained_one_by_one(trained, tmp_path):
    args = [*DRAWN, "--output", str(tmp_path / "runs")]
    with pytest.raises(InputError, match="unknown small; choose from lite, lite-half, basis, paper"):
        generators.compare_generators([*args, "--generators", "small"], tmp_path)
    with pytest.raises(InputError, match="leave --report out"):
        generators.compare_generators([*args, "--report"], tmp_path)
    found = generators.compare_generators([*args, "--generators", "basis"], tmp_path)
    assert [row["generator"] for row in found["rows"]] == ["basis"] and found["rows"][0]["runs"] == 6
