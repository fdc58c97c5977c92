"""Tests of the example that runs an exported model without this package. It needs YuNet and the London pictures."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
from torchvision import tv_tensors

from fmpn_timm import hub
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.transforms import eval_transform
from fmpn_timm.faces import FaceAligner, Recipe, create_detector
from fmpn_timm.files import write_json
from tests.real import YUNET, first_photos, needs_photos, needs_yunet

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/onnx_opencv.py"
GREY = {"color": "grey"}

ALONE = """
import runpy, sys
for name in ("torch", "torchvision", "timm", "fmpn_timm"):
    sys.modules[name] = None  # an import of it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def example() -> dict:
    pytest.importorskip("onnxruntime")
    return runpy.run_path(str(EXAMPLE))


@needs_yunet
@needs_photos
@torch.inference_mode()
def test_example_says_what_the_package_says(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from fmpn_timm.inference.export import export

    torch.manual_seed(0)
    recipe = Recipe(size=48, margin=0.1)
    model = timm.create_model("test_resnet", num_classes=8)
    model(torch.rand(8, 3, 32, 32))
    torch.nn.init.normal_(model.get_classifier().weight, std=3)  # untrained, but of some opinion
    hub.save_model(model, tmp_path / "m", EXPRESSIONS, 32, 0.9, recipe=recipe)
    config = hub.read_config(tmp_path / "m" / "config.json")
    write_json(tmp_path / "m" / "config.json", {**config, "temperature": 2.0})
    name, picture = f"local-dir:{tmp_path / 'm'}", first_photos(1, 400)[0]
    export(name, tmp_path / "m.onnx")
    cv2.imwrite(str(tmp_path / "p.png"), picture[:, :, ::-1])

    command = [sys.executable, "-c", ALONE, EXAMPLE, tmp_path / "m.onnx", YUNET, tmp_path / "p.png"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    label, *rows = text.splitlines()
    said = {row.split()[0]: float(row.split()[1]) for row in rows}

    face, = FaceAligner(recipe, create_detector("yunet", path=YUNET))([picture])[0]
    model, cfg = hub.load_model(name).eval(), hub.load_model(name).pretrained_cfg
    transform = eval_transform(32, 36, cfg["mean"], cfg["std"])
    x = transform(tv_tensors.Image(torch.from_numpy(face.image).permute(2, 0, 1)))[None]
    expected = dict(zip(EXPRESSIONS, (model(x)[0] / 2).softmax(0).tolist(), strict=True))
    assert label == max(expected, key=expected.get) and 0.2 < expected[label] < 0.99
    assert said == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("side", [400, 60])
@pytest.mark.parametrize("interpolation", ["area", "linear", "cubic"])
def test_faces_are_cut_as_the_recipe_cuts_them(example, side, interpolation):
    generator = np.random.default_rng(0)
    picture = cv2.resize(generator.integers(0, 256, (12, 12, 3), np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    landmarks = np.array([(0.35, 0.4), (0.62, 0.38), (0.5, 0.55), (0.4, 0.7), (0.6, 0.68)]) * side
    recipe = Recipe(size=48, margin=0.2, weights=(1, 1, 0, 2, 2), interpolation=interpolation)
    ours = recipe.align(picture, landmarks)
    theirs = example["cut"](picture[:, :, ::-1].copy(), landmarks, recipe.as_dict())
    assert np.abs(ours.astype(int) - theirs).max() <= 1 and ours.std() > 20
    grey = example["cut"](picture[:, :, ::-1].copy(), landmarks, recipe.as_dict() | GREY).astype(int)
    assert np.ptp(grey, axis=2).max() == 0
    assert np.abs(grey[:, :, 0] - ours @ (0.299, 0.587, 0.114)).max() <= 1.5


@pytest.mark.parametrize(("cut", "load_size", "size"), [(48, 36, 32), (48, 64, 64), (48, 72, 64), (48, 48, 48),
                                                       (47, 33, 28)])
def test_faces_are_resized_as_in_evaluation(example, cut, load_size, size):
    face = np.random.default_rng(0).integers(0, 256, (cut, cut, 3), np.uint8)
    transform = eval_transform(size, load_size, (0, 0, 0), (1, 1, 1))
    expected = transform(tv_tensors.Image(torch.from_numpy(face).permute(2, 0, 1)))
    ours = example["fit"](face, load_size, size).transpose(2, 0, 1) / 255
    difference = np.abs(ours - expected.numpy())
    assert difference.max() < 2.5 / 255 and (difference > 0.5 / 255).mean() < 0.12  # halves may go either way


@needs_yunet
def test_picture_without_a_face_and_no_picture_are_one_line(tmp_path, example, monkeypatch):
    class Session:
        def __init__(self, *args, **kwargs):
            self.custom_metadata_map = {"fmpn_timm.json": json.dumps({})}

        def get_modelmeta(self):
            return self

    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    for file, message in (("empty.png", "no face found"), ("text.png", "no picture that OpenCV can read")):
        with pytest.raises(SystemExit, match=message):
            example["main"]("m.onnx", str(YUNET), str(tmp_path / file))
