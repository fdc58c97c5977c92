"""A tiny model and a detector that knows where the faces are."""

from pathlib import Path

import pytest
import timm
import torch

from fmpn_timm import hub
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.faces import DETECTORS, Recipe
from fmpn_timm.inference import Predictor
from tests.faces.marked import Marked

RECIPE = Recipe(size=40)


def save_tiny(folder: Path, recipe: Recipe | None = RECIPE, arch: str = "fmpn") -> str:
    """Save a model with random weights, for faces of 32 pixels cropped from 40; returns its name."""
    torch.manual_seed(0)
    options = {}
    if arch == "fmpn":  # whose fused face is that face; the authors' start is flat, and would tell no face from another
        options = dict(backbone="test_resnet", generator_width=4, generator_blocks=1, fusion_init="face")
    model = timm.create_model(arch, num_classes=8, **options)
    with torch.no_grad():
        for parameter in model.get_classifier().parameters():
            parameter.mul_(40)  # so that faces differ in what they are called
    hub.save_model(model, folder, EXPRESSIONS, size=32, crop_pct=0.8, recipe=recipe)
    return f"local-dir:{folder}"


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def predictor(model) -> Predictor:
    return Predictor(model, detector=Marked(), batch_size=4)


@pytest.fixture
def marked_detector(monkeypatch):
    """Let the marked faces be what the default detector finds."""
    monkeypatch.setitem(DETECTORS, "yunet", Marked)
