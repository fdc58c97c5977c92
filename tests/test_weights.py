"""Tests of the model that comes with the package."""

import hashlib
import socket

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import fmpn_timm  # noqa: F401 registers the models
from fmpn_timm import zoo
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.faces import create_detector
from fmpn_timm.inference import DEFAULT_MODEL, Predictor
from fmpn_timm.inference.demo import COLUMNS, SIDE, draw_people
from fmpn_timm.inference.pictures import lit_up
from tests.faces.marked import Marked, marked


@pytest.fixture
def offline(monkeypatch):
    def refused(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def test_it_is_small_and_the_same_as_what_is_published():
    packaged, published = (place / DEFAULT_MODEL for place in (zoo.PACKAGED, zoo.CHECKOUT))
    assert sum(path.stat().st_size for path in packaged.iterdir()) < 12e6
    provenance = {"README.md", "results.json", "priors.safetensors"}  # whose data, and under what terms
    assert {path.name for path in packaged.iterdir()} == {"config.json", "model.safetensors", *provenance}
    for name in (path.name for path in packaged.iterdir()):
        hashes = {hashlib.sha256((folder / name).read_bytes()).digest() for folder in (packaged, published)}
        assert len(hashes) == 1, name


def test_timm_loads_it_without_a_network(offline, monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "CHECKOUT", tmp_path)  # as after pip install
    for name in (DEFAULT_MODEL, DEFAULT_MODEL.partition(".")[0]):
        model = timm.create_model(name, pretrained=True).eval()
        assert model.pretrained_cfg["label_names"] == list(EXPRESSIONS)
        with torch.no_grad():
            assert model(torch.rand(1, 3, 48, 48)).shape == (1, len(EXPRESSIONS))


@torch.inference_mode()
def test_timms_own_transform_feeds_it_as_the_predictor_does():
    """What docs/models.md tells those who want the network alone."""
    predictor = Predictor(DEFAULT_MODEL, detector=Marked(), flip=False)
    noise = np.random.default_rng(0).integers(0, 12, (100, 140, 3), dtype=np.uint8) * (1, 0, 1)
    picture = marked((20, 30, 50)) + noise.astype(np.uint8)
    face, = predictor(picture).faces
    assert (face.face == face.face[..., :1]).all()  # grey
    model = timm.create_model(DEFAULT_MODEL, pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    lit = Image.fromarray(lit_up(face.face))  # as the predictor shows it to the model
    probabilities = (model(transform(lit)[None]) / predictor.temperature).softmax(1)[0]
    torch.testing.assert_close(probabilities, torch.tensor(list(face.probabilities.values())), rtol=0, atol=1e-4)


def test_timms_own_scripts_load_it(offline, monkeypatch, tmp_path):
    """They resolve a name into the registry's whole config first, with what the command line changes of it."""
    monkeypatch.setattr(zoo, "CHECKOUT", tmp_path)
    name = DEFAULT_MODEL.partition(".")[0]
    whole = timm.get_pretrained_cfg(name)
    for cfg in (whole, whole.to_dict(), dict(whole.to_dict(), crop_pct=0.5)):
        model = timm.create_model(name, pretrained=True, pretrained_cfg=cfg).eval()
        with torch.no_grad():
            assert model(torch.rand(1, 3, 48, 48)).shape == (1, len(EXPRESSIONS))
    assert model.pretrained_cfg["crop_pct"] == 0.5
    resolve = getattr(timm.models, "resolve_model_input_args", None)  # of newer ones
    if resolve is not None:
        timm.create_model(pretrained=True, **resolve(name, {}))


def test_it_recognises_drawn_expressions_without_a_network(offline):
    # it has seen no drawing, and which are hard is no test; MTCNN, for YuNet's file may not be there
    prediction = Predictor(detector=create_detector("mtcnn"))(draw_people())
    said = {}
    for face in prediction.faces:
        column, row = (face.box[:2] + face.box[2:]) / 2 // SIDE
        said[EXPRESSIONS[int(row * COLUMNS + column)]] = face.label
        assert face.motion_mask.max() > 0
    assert len(said) >= 6
    assert said["happiness"] == "happiness" and said["surprise"] == "surprise"
