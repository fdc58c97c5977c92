"""Tests of the figures of a classifier."""

import json

import pytest
import torch

from fmpn_timm.training.metrics import summarize, versions


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


def test_versions_name_what_decides_a_result():
    assert {"fmpn_timm", "torch", "torchvision", "timm", "accelerate", "python"} == set(versions())
