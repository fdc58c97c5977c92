"""Tests of the figures of a classifier."""

import json
import math
import platform

import pytest
import timm
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from fmpn_timm.training.metrics import calibration_figures, intervals, reliability, summarize, versions
from fmpn_timm.version import __version__


def test_figures_of_a_small_confusion():
    #           true a a a b b c; called a a b b c c
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    logits = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1, 2, 2]), 4).float()
    result = summarize(logits, labels, ("a", "b", "c", "absent"))
    assert result["confusion"] == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert result["accuracy"] == pytest.approx(4 / 6, abs=1e-4) and result["n"] == 6
    assert result["per_class"]["a"] == {"n": 3, "recall": 0.6667, "precision": 1.0, "f1": 0.8}
    assert result["per_class"]["b"] == {"n": 2, "recall": 0.5, "precision": 0.5, "f1": 0.5}
    assert result["per_class"]["absent"] == {"n": 0, "recall": None, "precision": None, "f1": None}
    assert result["macro_f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3, abs=1e-4)
    json.dumps(result)


def test_intervals_are_of_who_was_tested():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (400,), generator=generator)
    logits = torch.nn.functional.one_hot(labels, 4) + 0.6 * torch.randn(400, 4, generator=generator)
    alone = intervals(logits, labels, ("a", "b", "c", "d"), [str(i) for i in range(400)])
    accuracy = float((logits.argmax(1) == labels).float().mean())
    half = 1.96 * math.sqrt(accuracy * (1 - accuracy) / 400)
    assert alone["accuracy_interval"] == pytest.approx([accuracy - half, accuracy + half], abs=0.01)
    macro_f1 = summarize(logits, labels, ("a", "b", "c", "d"))["macro_f1"]
    low, high = alone["macro_f1_interval"]
    assert low < macro_f1 < high and high - low == pytest.approx(2 * half, rel=0.2)
    four_times = [str(i % 400) for i in range(1600)]  # pictures of one subject say the same
    again = intervals(logits.repeat(4, 1), labels.repeat(4), ("a", "b", "c", "d"), four_times)
    assert again["accuracy_interval"] == pytest.approx(alone["accuracy_interval"], abs=0.01)
    json.dumps(again)
    nothing = {"accuracy_interval": None, "macro_f1_interval": None}  # one subject says nothing of others
    assert intervals(logits, labels, ("a", "b", "c", "d"), ["she"] * 400) == nothing


def test_macro_f1_is_of_the_classes_that_occur():
    called, true = torch.tensor([0, 1] * 20), torch.zeros(40, dtype=torch.long)
    found = intervals(torch.eye(2)[called], true, ("a", "never there"), [str(i) for i in range(40)])
    low, high = found["macro_f1_interval"]
    assert low < 2 / 3 < high  # precision 1, recall one half


def test_versions_name_what_decides_a_result():
    found = versions()
    assert found["fmpn_timm"] == __version__ and found["timm"] == timm.__version__
    assert torch.__version__.startswith(found["torch"]) and found["python"] == platform.python_version()


def test_calibration_error():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3000, 8, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    for temperature in (0.5, 1.0, 3.0):
        probabilities = (logits / temperature).softmax(1)
        expected = multiclass_calibration_error(probabilities, labels, num_classes=8, n_bins=15)
        assert reliability(logits, labels, temperature).ece == pytest.approx(float(expected), abs=1e-4)
    sure = torch.tensor([[0.0, 50.0]] * 4)  # all in the last bin, three of four right
    found = reliability(sure, torch.tensor([1, 1, 1, 0]))
    assert found.ece == pytest.approx(0.25) and found.count.tolist() == [0] * 14 + [4]


def test_calibration_figures_of_a_coin():
    figures = calibration_figures(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]))
    assert figures == {"ece": 0.0, "nll": round(math.log(2), 4)}
