"""What tests of whole runs share: a run that guesses, one that is stopped, and a look at what each stage changes."""

import json

import pytest
import torch

from fmpn_timm.training import TrainConfig, loop, train
from fmpn_timm.training.data import folds_of
from fmpn_timm.training.metrics import summarize
from fmpn_timm.training.predictions import predictions_csv


def guess(config: TrainConfig, skill: float) -> None:
    """Write what cross-validation reads of the run of a fold, with guesses of which a share is right."""
    fold = folds_of(config).read(config.fold)
    classes = fold.test.classes
    labels = torch.tensor([classes.index(s.expression) for s in fold.test.samples])
    generator = torch.Generator().manual_seed(100 * config.seed + config.fold)
    wrong = torch.rand(len(labels), generator=generator) > skill
    logits = torch.nn.functional.one_hot((labels + wrong) % len(classes), len(classes)).float()
    config.folder.mkdir(parents=True)
    (config.folder / "predictions.csv").write_text(predictions_csv(fold.test, logits, labels, classes))
    (config.folder / "summary.json").write_text(json.dumps({
        "metrics": summarize(logits, labels, classes), "samples": {"train": 90, "valid": 10, "test": len(labels)},
        "best_epoch": 1, "training_seconds": 2, "parameters": 3, "versions": {},
    }))


def train_until(config: TrainConfig, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, and press Ctrl-C when so many epochs are done."""
    run_epoch, calls = loop.Run._run_epoch, []

    def interrupted(self, under_way, epoch):
        if len(calls) == epochs:
            raise KeyboardInterrupt
        calls.append(epoch)
        run_epoch(self, under_way, epoch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Run, "_run_epoch", interrupted)
        train(config)


def watch_stages(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """By stage, the parts of the model whose weights or buffers it changes; filled while a run trains."""
    changed, run_stage = {}, loop.Run.stage

    def stage(self, stage, *args):
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        run_stage(self, stage, *args)
        after = self.model.state_dict()
        changed[stage.name] = {k.split(".")[0] for k in after if not torch.equal(before[k], after[k])}

    monkeypatch.setattr(loop.Run, "stage", stage)
    return changed
