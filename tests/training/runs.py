"""What tests of whole runs share: a run that is stopped, and a look at what each stage changes."""

import pytest
import torch

from fmpn_timm.training import TrainConfig, loop, train


def train_until(config: TrainConfig, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, and press Ctrl-C when so many epochs are done."""
    run_epoch, calls = loop.Run._epoch, []

    def interrupted(self, *args):
        if len(calls) == epochs:
            raise KeyboardInterrupt
        calls.append(args[0])
        return run_epoch(self, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Run, "_epoch", interrupted)
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
