"""Tests of the table of predictions."""

from functools import partial
from pathlib import Path

import pytest
import torch

from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from fmpn_timm.files import write_text
from fmpn_timm.training import predictions
from fmpn_timm.training.predictions import predictions_csv, read_predictions

CLASSES = ("happiness", "fear")


@pytest.fixture
def faces() -> FaceSet:
    samples = (Sample('/data/set/a, "b".png', None, "fear", "S1"), Sample("/data/set/c.png", None, "happiness"))
    return FaceSet("folder", "test", CLASSES, samples)


def test_what_is_written_is_read_again(faces, tmp_path):
    logits = torch.tensor([[1.0, 3.0], [0.0, 2.0]])
    path = tmp_path / "predictions.csv"
    path.write_text(predictions_csv(faces, logits, torch.tensor([1, 0]), CLASSES, "/data/set/"))
    said = read_predictions(path)
    assert said.classes == CLASSES and said.sources == ('a, "b".png', "c.png")
    assert said.subjects == ("S1", "c.png")  # nobody knows who the second is: it counts as someone of its own
    assert said.labels.tolist() == [1, 0] and said.predicted.tolist() == [1, 1]
    torch.testing.assert_close(said.probabilities, logits.softmax(1), rtol=1e-5, atol=0)


def test_sources_are_read_whatever_the_locale(tmp_path, monkeypatch):
    """That of Windows, say, which is not the UTF-8 of the file."""
    monkeypatch.setattr(predictions, "open", partial(open, encoding="ascii"), raising=False)
    faces = FaceSet("folder", "test", CLASSES, (Sample("Zoë.png", None, "fear"),))
    write_text(tmp_path / "predictions.csv", predictions_csv(faces, torch.zeros(1, 2), torch.tensor([1]), CLASSES))
    assert read_predictions(tmp_path / "predictions.csv").sources == ("Zoë.png",)


@pytest.mark.parametrize("root", ["./set", "set//", "set"])
def test_the_root_may_be_written_in_any_way(root):
    """Machines that share a cross-validation name the folder as they like."""
    sample = Sample(str(Path(root) / "a.png"), None, "fear")
    faces = FaceSet("folder", "test", CLASSES, (sample,))
    text = predictions_csv(faces, torch.zeros(1, 2), torch.tensor([1]), CLASSES, root)
    assert text.splitlines()[1].startswith("a.png,")


def test_predictions_in_another_order_are_refused(faces):
    with pytest.raises(RuntimeError, match="not in the order of the samples of folder test"):
        predictions_csv(faces, torch.zeros(2, 2), torch.tensor([0, 1]), CLASSES)


@pytest.mark.parametrize("text", [None, "", "a,b\n1,2\n", "source,subject,label,predicted,fear\nx,y,anger,fear,1\n"])
def test_a_file_that_is_no_such_table(tmp_path, text):
    path = tmp_path / "predictions.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="predictions.csv holds no predictions.*train it again"):
        read_predictions(path)
