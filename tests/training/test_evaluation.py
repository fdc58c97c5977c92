"""Tests of evaluation."""

import dataclasses

import pytest
import timm
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.transforms import model_transform
from fmpn_timm.errors import InputError
from fmpn_timm.training.evaluation import evaluate, leave_out_broken, mean_masks

CLASSES = ["contempt", "happiness", "neutral", "surprise", "sadness", "anger", "disgust", "fear"]


class Oracle(torch.nn.Module):
    """Knows which expression comes next, since it is handed the faces in order."""

    def __init__(self, expressions: list[str], label_names: list[str]):
        super().__init__()
        self.pretrained_cfg = dict(input_size=(3, 32, 32), crop_pct=0.9, mean=(0,) * 3, std=(1,) * 3)
        self.pretrained_cfg["label_names"] = label_names
        self.answers = iter(expressions)
        self.label_names, self.num_classes = label_names, len(label_names)

    def forward(self, x):
        assert x.shape[1:] == (3, 32, 32) and x.min() >= 0 and x.max() <= 1
        index = torch.tensor([self.label_names.index(next(self.answers)) for _ in x])
        return torch.nn.functional.one_hot(index, len(self.label_names)).float()


@pytest.fixture
def faces():
    return read_faces("drawn", None, "test", subjects=5, takes=1, size=32)


def test_classes_are_matched_by_name_not_by_index(faces):
    result = evaluate(Oracle([s.expression for s in faces.samples], CLASSES), faces, batch_size=3)
    assert result["accuracy"] == 1.0 and result["n"] == len(faces) == 8
    assert result["classes"] == CLASSES and result["split"] == "test" and result["flip"] is False


def test_unknown_classes_are_refused_or_left_out(faces):
    known = [name for name in CLASSES if name not in ("contempt", "neutral")]
    with pytest.raises(InputError, match="samples of neutral, contempt.*--shared-classes"):
        evaluate(Oracle([], known), faces)
    answers = [s.expression for s in faces.samples if s.expression in known]
    result = evaluate(Oracle(answers, known), faces, shared_classes=True)
    assert result["accuracy"] == 1.0 and result["left_out"] == {"neutral": 1, "contempt": 1} and result["n"] == 6


def test_model_without_class_names_is_refused(faces):
    with pytest.raises(InputError, match="label_names"):
        evaluate(timm.create_model("test_resnet", num_classes=8), faces)


def test_flip_averages_both_directions(faces):
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=8).eval()
    model.pretrained_cfg = dict(model.pretrained_cfg, input_size=(3, 32, 32), label_names=CLASSES)
    seen = []
    model.register_forward_hook(lambda m, i, o: seen.append(i[0]))
    evaluate(model, faces, flip=True)
    torch.testing.assert_close(seen[0].flip(-1), seen[1])


def test_broken_pictures_are_counted_and_listed_and_never_vanish(faces):
    def broken():
        raise InputError("broken picture")

    samples = tuple(dataclasses.replace(s, picture=broken) if i in (1, 6) else s for i, s in enumerate(faces.samples))
    more = tuple(dataclasses.replace(s, source=f"again {s.source}") for s in faces.samples)  # whole ones of each class
    some = dataclasses.replace(faces, samples=samples + more)
    answers = [s.expression for s in some.samples]
    sources = [samples[1].source, samples[6].source]
    with pytest.raises(InputError, match=f"2 of 16 pictures .*{sources[0]}, {sources[1]}"):
        evaluate(Oracle(answers, CLASSES), some, batch_size=3)
    result = evaluate(Oracle(answers, CLASSES), some, batch_size=3, max_broken=0.2)
    assert result["n"] == 14 and result["accuracy"] == 1.0 and result["broken"] == sources


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
def test_what_is_no_number_is_no_answer(faces, lost):
    model = Oracle([s.expression for s in faces.samples], CLASSES)
    model.register_forward_hook(lambda m, i, o: o.index_fill(0, torch.tensor([2]), lost))
    with pytest.raises(InputError, match=f"1 of the 8 faces of drawn test.*{faces.samples[2].source}.*--precision no"):
        evaluate(model, faces, batch_size=8)
    labels = torch.tensor([0, -1])
    logits = torch.tensor([[1.0, 0.0], [lost, 0.0]])  # of a picture that is broken anyway
    two = dataclasses.replace(faces, samples=faces.samples[:2])
    assert len(leave_out_broken(two, logits, labels, max_broken=0.5)[0]) == 1


def test_intervals_are_over_subjects(faces):
    twice = tuple(dataclasses.replace(s, source=f"again {s.source}") for s in faces.samples)
    faces = dataclasses.replace(faces, samples=tuple(
        dataclasses.replace(s, subject=name) for part, name in ((faces.samples, "she"), (twice, "he")) for s in part))
    answers = [s.expression for s in twice] + ["fear"] * len(twice)  # of him one in eight is right
    result = evaluate(Oracle(answers, CLASSES), faces)
    assert result["accuracy_interval"] == [0.125, 1.0]  # of two people, one or the other is drawn twice
    alone = dataclasses.replace(faces, samples=tuple(dataclasses.replace(s, subject=None) for s in faces.samples))
    low, high = evaluate(Oracle(answers, CLASSES), alone)["accuracy_interval"]
    assert 0.125 < low < high < 1


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_model_computes_in_the_precision_asked_for(faces, precision):
    model = timm.create_model("test_resnet", num_classes=8).eval()
    model.pretrained_cfg = dict(model.pretrained_cfg, input_size=(3, 32, 32), label_names=CLASSES)
    seen = set()
    model.get_classifier().register_forward_hook(lambda m, i, o: seen.add(o.dtype))
    evaluate(model, faces, precision=precision)
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float32}


class Numbered(torch.nn.Module):
    """Its masks say how many faces it has seen."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def motion_mask(self, x):
        self.seen += len(x)
        return (torch.arange(self.seen - len(x), self.seen) / 100).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def test_mean_masks_are_of_the_whole_faces_of_each_class(faces):
    def broken():
        raise InputError("broken picture")

    more = tuple(dataclasses.replace(s, source=f"again {s.source}") for s in faces.samples)
    samples = tuple(dataclasses.replace(s, picture=broken) if i == 1 else s for i, s in enumerate(faces.samples + more))
    known = [s for s in samples if s.expression != "fear"]
    some = dataclasses.replace(faces, samples=tuple(known))
    transform = model_transform(dict(input_size=(3, 32, 32), crop_pct=0.9, mean=(0,) * 3, std=(1,) * 3))
    loader = DataLoader(FaceDataset(some, tuple(CLASSES), transform, stand_in=True), batch_size=3)
    found = mean_masks(Numbered(), loader, Accelerator(cpu=True), tuple(CLASSES), "drawn")
    assert found.classes == tuple(name for name in CLASSES if name != "fear")
    for name, mask in zip(found.classes, found.masks, strict=True):
        places = [i for i, s in enumerate(known) if s.expression == name and s is not samples[1]]
        torch.testing.assert_close(mask, torch.full((4, 4), sum(places) / len(places) / 100))
