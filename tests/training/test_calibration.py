"""Tests of calibration: the temperature, what it is kept in, and what it changes."""

import json

import pytest
import timm
import torch

from fmpn_timm import cli, hub
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.readers import read_faces
from fmpn_timm.errors import InputError
from fmpn_timm.publish import publish
from fmpn_timm.training import calibration
from fmpn_timm.training.calibration import coverage, fit_temperature
from fmpn_timm.training.evaluation import Answers
from fmpn_timm.training.metrics import calibration_figures


def honest(n: int, classes: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels that come true as often as the logits say."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, classes, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_temperature_undoes_a_factor_of_the_logits(factor):
    logits, labels = honest(8000)
    temperature = fit_temperature(factor * logits, labels)
    assert temperature == pytest.approx(factor, rel=0.04)
    best, *others = (calibration_figures(factor * logits, labels, t * temperature)["nll"] for t in (1, 0.9, 1.1))
    assert best < min(others)
    assert calibration_figures(factor * logits, labels, temperature)["ece"] < 0.02


def test_faces_that_fit_no_temperature_are_refused():
    logits, labels = honest(50)
    for answers in (logits.argmax(1), logits.argmin(1)):
        with pytest.raises(InputError, match="These 50 faces fit no temperature.*Take more faces"):
            fit_temperature(logits, answers)


def test_coverage():
    logits = torch.tensor([[0.55, 0.45], [0.25, 0.75], [0.05, 0.95], [0.65, 0.35]]).log()
    rows = coverage(logits, torch.tensor([1, 1, 1, 0]), thresholds=(0.5, 0.6, 0.9, 0.99))
    assert [row["coverage"] for row in rows] == [1.0, 0.75, 0.25, 0.0]
    assert [row["accuracy"] for row in rows] == [0.75, 1.0, 1.0, None]
    warmer = coverage(2 * logits, torch.tensor([1, 1, 1, 0]), temperature=2.0, thresholds=(0.5, 0.6, 0.9, 0.99))
    assert warmer == rows


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=8)
    hub.save_model(model, tmp_path / "m", EXPRESSIONS, 32, 0.9, files={"results.json": {"n": 1}})
    return tmp_path / "m"


@pytest.fixture
def answers(monkeypatch):
    """An untrained network says nothing of faces: these answers stand for its own."""
    logits, labels = honest(4000)
    found = Answers(3 * logits, labels, EXPRESSIONS, {}, [], [""] * len(labels))
    monkeypatch.setattr(calibration, "answer", lambda *args, **options: found)


def test_answers_are_given_as_the_caller_says(monkeypatch):
    logits, labels = honest(400)
    seen = []

    def answer(*args, **options):
        seen.append((*args, options))
        return Answers(logits, labels, EXPRESSIONS, {}, [], [""] * len(labels))

    monkeypatch.setattr(calibration, "answer", answer)
    faces = read_faces("drawn", None, "valid", subjects=5, takes=1)
    assert calibration.calibrate("model", faces, flip=True, precision="bf16")["flip"] is True
    assert seen == [("model", faces, True, {"precision": "bf16"})]


COMMAND = ["--dataset", "drawn", "--option", "subjects=5", "--option", "takes=1"]


def test_command_keeps_the_temperature_in_the_folder(folder, answers, capsys, tmp_path):
    before = json.loads((folder / "config.json").read_text())
    cli.main(["calibrate", str(folder), *COMMAND, "--json", "--picture", str(tmp_path / "r.png")])
    result = json.loads(capsys.readouterr().out)
    assert result["temperature"] == pytest.approx(3, rel=0.05) and result["ece_after"] < 0.03 < result["ece_before"]
    assert result["nll_after"] < result["nll_before"] and result["n"] == 4000 and result["split"] == "valid"
    assert [row["probability"] for row in result["coverage"]] == [0.5, 0.6, 0.7, 0.8, 0.9]
    logits, labels = honest(4000)
    assert result["coverage"] == coverage(3 * logits, labels, result["temperature"])
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((folder / "config.json").read_text())
    added = {key: config.pop(key) for key in ("temperature", "calibration")}
    assert config == before and result["kept"] == str(folder / "config.json")
    assert added["temperature"] == result["temperature"] == hub.temperature_of(f"local-dir:{folder}")
    assert added["calibration"] == {key: result[key] for key in calibration.PROVENANCE}
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "results.json"]

    cli.main(["evaluate", f"local-dir:{folder}", *COMMAND, "--split", "test", "--json"])
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["temperature"] == result["temperature"] and 0 <= evaluated["ece"] <= 1 and evaluated["nll"] > 0


def test_command_says_that_other_models_keep_nothing(folder, answers, capsys, monkeypatch):
    name, model = "hf-hub:someone/a-model", hub.load_model(f"local-dir:{folder}")
    monkeypatch.setattr(hub, "load_model", lambda name: model)
    monkeypatch.setattr(hub, "recipe_of", lambda name: None)
    cli.main(["calibrate", name, *COMMAND])
    text = capsys.readouterr().out
    assert "temperature 2.9738" in text and "kept nowhere" in text and "copy of the model's folder" in text
    assert "temperature" not in json.loads((folder / "config.json").read_text())


def test_figures_depend_on_the_temperature_and_the_classes_do_not(folder, capsys):
    accuracies, nlls = set(), set()
    for temperature in (1.0, 0.05):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "temperature": temperature}))
        cli.main(["evaluate", f"local-dir:{folder}", *COMMAND, "--split", "test", "--json"])
        result = json.loads(capsys.readouterr().out)
        accuracies.add(result["accuracy"])
        nlls.add(result["nll"])
    assert len(accuracies) == 1 and len(nlls) == 2


@pytest.mark.parametrize("temperature", [0, -1.5, "2", True, None, float("inf"), float("nan")])
def test_temperature_that_is_none_is_refused(folder, temperature):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "temperature": temperature}))
    with pytest.raises(InputError, match="must be a positive number: run fmpn calibrate"):
        hub.temperature_of(f"local-dir:{folder}")


def test_temperature_survives_publishing(folder, answers, tmp_path):
    def kept_in(folder) -> dict:
        config = hub.read_config(folder / "config.json")
        return {key: config[key] for key in ("temperature", "calibration") if key in config}

    name = f"local-dir:{folder}"
    assert hub.temperature_of(name) == 1.0 and kept_in(folder) == {} and hub.temperature_of("resnet18") == 1.0
    cli.main(["calibrate", name, *COMMAND])
    kept = kept_in(folder)
    assert set(kept) == {"temperature", "calibration"}

    (folder / "results.json").unlink()
    publish(folder, "someone/a-model", dry_run=True, out=tmp_path / "out")
    assert kept_in(tmp_path / "out") == kept
    card = (tmp_path / "out" / "README.md").read_text()
    assert "## Calibration" in card and f"(model(faces) / {kept['temperature']:g}).softmax(1)" in card
    assert f"to {100 * kept['calibration']['ece_after']:.1f} %" in card


def test_folder_that_cannot_be_written(folder, answers, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    before = (folder / "config.json").read_text()
    monkeypatch.setattr(calibration, "write_json", full)
    with pytest.raises(SystemExit, match="config.json cannot be written .No space left"):
        cli.main(["calibrate", str(folder), *COMMAND])
    assert (folder / "config.json").read_text() == before
