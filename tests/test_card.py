"""Tests of the model card."""

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from timm.models import _registry

from fmpn_timm.card import model_card, training_command
from fmpn_timm.data.readers.fer2013 import FER2013_RECIPE
from fmpn_timm.files import portable
from fmpn_timm.training import parse_config
from fmpn_timm.training.config import INDIFFERENT

CLASSES = ("neutral", "happiness", "fear")
CONFIG = {
    "architecture": "fmpn_resnet18",
    "label_names": list(CLASSES),
    "model_args": {"generator_width": 8, "backbone_kwargs": {"layers": [1, 1]}},
    "priors": {"name": "ckplus", "data": "CK+, mean of ten folds"},
    "pretrained_cfg": {"input_size": [3, 64, 64], "crop_pct": 64 / 72, "mean": [0.0] * 3, "std": [1.0] * 3},
}


def summary_of(folder: Path) -> dict[str, Any]:
    """What a run in a folder writes, with all the paths it may hold."""
    config = parse_config(["--config", "drawn", "--output", str(folder.parent), "--root", str(folder / "data"),
                           "--init", f"local-dir:{folder / 'earlier' / 'model'}", "--epochs", "3"])
    row = {"n": 8, "recall": 0.625, "precision": None, "f1": 0.5}
    return {
        "data": {"dataset": "drawn", "subjects": 60},
        "rule": None,
        "split": {"train": "train", "selected on": "valid", "reported on": "test"},
        "samples": {"train": 288, "valid": 96, "test": 8},
        "seed": 3,
        "arm": "fmpn",
        "best_epoch": 2,
        "metrics": {"accuracy": 0.625, "macro_f1": 0.5, "n": 8, "per_class": {name: row for name in CLASSES},
                    "confusion": [[1, 0, 0]] * 3, "classes": list(CLASSES)},
        "versions": {"fmpn_timm": "0.1.0", "timm": "1.0.31"},
        "config": dataclasses.asdict(config),
    }


def card(summary: dict | None = None, config: dict = CONFIG, **options: Any) -> ModelCard:
    files = ("confusion.png", "mean_masks.png", "priors.png", "priors.safetensors")
    return ModelCard(model_card("someone/a-model", config, summary or {}, files, **options))


def test_metadata_as_the_hub_reads_it(tmp_path):
    summary = summary_of(tmp_path)
    summary["config"]["init"] = None
    data = card(summary).data
    assert (data.library_name, data.pipeline_tag, data.license) == ("timm", "image-classification", "mit")
    assert data.datasets == ["drawn"] and "facial-expression-recognition" in data.tags
    accuracy, f1 = data.eval_results
    assert (accuracy.metric_type, accuracy.metric_value, accuracy.dataset_split) == ("accuracy", 0.625, "test")
    assert (f1.metric_type, f1.metric_value, f1.dataset_args) == ("f1", 0.5, {"subjects": 60})


@pytest.mark.parametrize(
    ("dataset", "options", "license", "name", "says"),
    [
        ("drawn", {}, "other", "terms-of-the-training-data", "the weights of another run (`--init`), whose terms hold"),
        ("ferplus", {}, "other", "research-only", "no clear licence"),
        ("ckplus", {}, "other", "research-only", "non-commercial research"),
        ("folder", {}, "other", "terms-of-the-training-data", "terms of the data"),
        ("folder", {"license": "cc-by-4.0"}, "cc-by-4.0", None, "terms of the data"),
    ],
)
def test_licence_follows_the_data(tmp_path, dataset, options, license, name, says):
    summary = summary_of(tmp_path)
    summary["data"]["dataset"] = dataset
    written = card(summary, **options)
    assert written.data.license == license and written.data.license_name == name and says in written.text


def test_licence_follows_all_data(tmp_path):
    """Also those that stand beside the data set the run is named after."""
    summary = summary_of(tmp_path)
    summary["config"]["init"] = None
    for also, license, names in ((["ict"], "mit", ["drawn", "ict"]), (["ict", "ferplus"], "other",
                                                                     ["drawn", "ict", "ferplus"])):
        summary["data"]["also"] = [{"dataset": name, "split": "train", "samples": 3200} for name in also]
        written = card(summary)
        assert written.data.license == license and written.data.datasets == names
    assert "FER2013's" in written.text and "The weights are MIT" not in written.text
    assert "beside it people rendered with ICT FaceKit (3,200 faces), and beside it FERPlus (3,200" in written.text
    assert written.data.license_name == "research-only"


def test_one_licence_is_said(tmp_path):
    summary = summary_of(tmp_path)
    assert "The weights are MIT" not in card(summary).text  # of other weights, whose terms hold
    summary["config"]["init"] = None
    for license, said in ((None, "The weights are MIT."), ("cc-by-nc-4.0", "The weights are cc-by-nc-4.0.")):
        written = card(summary, license=license)
        assert said in written.text and written.text.count("The weights are") == 1
        assert written.data.license == (license or "mit")


def test_a_mask_is_called_free_only_where_that_is_known(tmp_path):
    config, summary = {k: v for k, v in CONFIG.items() if k != "priors"}, summary_of(tmp_path)
    summary["config"]["init"] = None
    assert "no prior" in card({**summary, "arm": "no_prior"}, config).text
    assert "no prior" not in card({}, config).text


def test_a_teacher_is_named_and_its_terms_hold(tmp_path):
    summary = summary_of(tmp_path)
    summary["config"].update(init=None, teacher="fmpn_lite_resnet18_small.ferplus,local-dir:/home/me/other")
    written = card(summary)
    assert "Probabilities are not calibrated." in written.text
    assert "calibrated on the data" in card(summary, {**CONFIG, "temperature": 0.7}).text
    said = "It is taught by `fmpn_lite_resnet18_small.ferplus` and the weights of another run (`--teacher`)"
    assert f"{said}.\n" in written.text and f"{said}, whose terms hold too." in written.text
    assert written.data.license == "other" and "/home/me" not in written.text
    assert "--teacher fmpn_lite_resnet18_small.ferplus,local-dir:FOLDER" in written.text


def test_the_command_of_an_arm_leaves_out_what_its_configuration_says():
    config = parse_config(["--config", "ferplus_inception", "--arm", "cnn", "--root", "faces"]).of_arm("cnn")
    assert training_command(dataclasses.asdict(config)) == "fmpn train --config ferplus_inception --root DIR --arm cnn"
    longer = training_command({**dataclasses.asdict(config), "epochs": 15})
    assert "--per_arm '{}'" in longer and "--epochs 15" in longer
    again = parse_config(shlex.split(longer)[2:])
    assert again.of_arm("cnn").epochs == 15 and again.of_arm("cnn").lr == config.lr


def test_faces_that_the_data_set_cropped_roughly_are_not_said_to_be_aligned(tmp_path):
    config, summary = {**CONFIG, "recipe": FER2013_RECIPE.as_dict()}, summary_of(tmp_path)
    summary["data"]["dataset"] = "ferplus"
    text = card(summary, config=config).text
    assert "cropped roughly, not aligned" in text and "Faces were found" not in text
    summary["data"]["dataset"] = "folder"  # whose faces were cut as a model of FERPlus expects them
    written = card(summary, config=config)
    assert "cropped roughly" not in written.text and "Faces were found by the detector" in written.text
    assert "trained on a folder of pictures" in written.text and "folder" not in (written.data.datasets or [])
    assert "The weights are MIT" not in written.text


def test_body_says_what_it_must(tmp_path):
    summary = summary_of(tmp_path)
    text = card(summary).text
    for words in ("reimplementation", "62.50 %", "macro F1 **50.00 %**", "n = 8", "one seed (3)",
                  "| fear | 8 | 0.625 |", "(confusion.png)", "(priors.png)", "(mean_masks.png)", "import fmpn_timm",
                  "not emotions", "agreed",
                  "Do not decide about people", "## Licence", "@inproceedings{chen2019fmpn", "timm | 1.0.31",
                  'timm.create_model("hf-hub:someone/a-model"', "`ckplus` (CK+, mean of ten folds)",
                  "`generator_width=8`", "resized to 72 pixels, cropped to 64"):
        assert re.sub(r"\s+", " ", words) in re.sub(r"\s+", " ", text), words
    assert str(tmp_path) not in text and training_command(summary["config"]) in text


def test_a_model_of_unknown_training_has_a_card_too():
    config = {**CONFIG, "architecture": "resnet18", "pretrained_cfg": {**CONFIG["pretrained_cfg"], "mean": [0.5] * 3}}
    written = card(config=config)
    assert written.data.eval_results is None and "## Training" not in written.text and "## Figures" not in written.text
    assert "forward_motion" not in written.text and "less the mean" in written.text
    assert "another detector" not in written.text


@pytest.mark.parametrize(
    "args",
    [
        ["--config", "drawn"],
        ["--config", "ferplus", "--epochs", "6", "--lr", "1e-3", "--mask_box", "null", "--soft_labels", "false"],
        ["--config", "paper", "--dataset", "folder", "--data_options", '{"rule": "a b"}', "--priors", "ckplus"],
    ],
)
def test_command_makes_the_same_configuration(args):
    config = dataclasses.asdict(parse_config(args))
    words = shlex.split(training_command(config))
    assert words[:4] == ["fmpn", "train", "--config", args[1]]
    again = dataclasses.asdict(parse_config(words[2:]))
    assert {k: v for k, v in again.items() if k not in INDIFFERENT} == {
        k: v for k, v in config.items() if k not in INDIFFERENT}


@pytest.mark.parametrize(
    ("architecture", "says", "cites"),
    [
        ("fmpn_resnet18", "backbone `resnet18` decides", "chen2019fmpn"),
        ("derl_unet", "DeRL.*reimplementation", "yang2018derl"),
        ("fn2en", "FaceNet2ExpNet.*reimplementation", "ding2017fn2en"),
        ("msca_resnet50", "backbone `resnet50`.*reconstruction", "wen2024multiscale"),
        ("resnet18", "timm model `resnet18`", None),
    ],
)
def test_system_is_named_and_cited(architecture, says, cites):
    text = card(config={**CONFIG, "architecture": architecture}).text
    assert re.search(says, text, re.DOTALL)
    assert (f"{{{cites}," in text) if cites else ("bibtex" not in text)


@pytest.mark.parametrize(("architecture", "backbone", "own"), [
    ("fmpn", "mine", True), ("mine", None, True), ("fmpn", "resnet18.a1_in1k", False), ("resnet18", None, False),
])
def test_a_backbone_of_ones_own_is_to_be_registered(architecture, backbone, own, monkeypatch):
    monkeypatch.setitem(_registry._model_entrypoints, "mine", card)
    text = card(config={**CONFIG, "architecture": architecture, "model_args": {"backbone": backbone}}).text
    assert ("`mine` does not come with timm" in text) == own


def test_command_has_no_path_of_this_machine(tmp_path):
    config = dataclasses.asdict(parse_config(
        ["--config", "ferplus", "--root", str(tmp_path), "--priors", str(tmp_path / "mine.safetensors"),
         "--init", f"local-dir:{tmp_path / 'backbone' / 'model'}", "--data_options",
         json.dumps({"labels": f"{tmp_path}/x.csv"})]
    ))
    command = training_command(config)
    assert str(tmp_path) not in command and "--root DIR" in command and "--priors priors.safetensors" in command
    assert "--init local-dir:runs/backbone/model" in command and "x.csv" in command


def test_portable():
    value = {"a": ["/home/me/x.csv", "~/y", "C:\\\\z\\\\w.csv", "a/b", 1, None], "b": "local-dir:/home/me/weights"}
    assert portable(value) == {"a": ["x.csv", "y", "w.csv", "a/b", 1, None], "b": "local-dir:FOLDER"}
    assert json.dumps(portable(value))
