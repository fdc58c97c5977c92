"""Tests of the pictures of a run."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from timm import create_model

from fmpn_timm.data.sheet import draw_contact_sheet
from fmpn_timm.priors import MaskSet, draw_sheet
from fmpn_timm.training.figures import draw_confusion, draw_faces, draw_folds, draw_map

CLASSES = ("neutral", "fear")
METRICS = {"confusion": [[3, 1], [0, 4]], "classes": CLASSES, "accuracy": 0.875, "macro_f1": 0.87, "n": 8}
DRAWN = {
    "confusion": lambda path: draw_confusion(METRICS, "run", path),
    "folds": lambda path: draw_folds({"fmpn": [(0, 0.5), (1, 0.7)]}, "run", path),
    "map": lambda path: draw_map(torch.rand(4, 2), torch.tensor([0, 0, 1, 1]), torch.rand(2, 2), CLASSES, "run", path),
    "masks": lambda path: draw_sheet(MaskSet(torch.rand(2, 8, 8), CLASSES), path),
    "faces": lambda path: draw_contact_sheet({"fear": [np.zeros((8, 8, 3), np.uint8)]}, path),
}


@pytest.mark.parametrize("name", DRAWN)
def test_drawing_leaves_the_users_figures_and_backend_alone(name, tmp_path):
    """Such as those of a notebook."""
    backend, figures = matplotlib.rcParams["backend"], plt.get_fignums()
    plt.switch_backend("svg")
    try:
        DRAWN[name](tmp_path / "picture.png")
        assert matplotlib.rcParams["backend"] == "svg" and plt.get_fignums() == figures
    finally:
        plt.switch_backend(backend)
    assert (tmp_path / "picture.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["confusion", "faces in rows"])
def test_no_letter_is_cut_off(name, tmp_path):
    """Titles and labels are wider than a picture of few classes."""
    path = tmp_path / "picture.png"
    if name == "confusion":
        draw_confusion(METRICS, "a name of a run: fmpn, folder test, seed 0", path)
    else:
        model = create_model("fmpn_lite_resnet18_small", num_classes=2).eval()
        draw_faces(model, {"image": torch.rand(2, 3, 32, 32)}, list(CLASSES), CLASSES, path)
    picture = np.array(Image.open(path).convert("L"))
    edges = (picture[0], picture[-1], picture[:, 0], picture[:, -1])
    assert all((edge == 255).all() for edge in edges)
