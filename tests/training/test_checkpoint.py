"""Tests of checkpoints."""

import json
import shutil

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from fmpn_timm.errors import InputError
from fmpn_timm.training.checkpoint import Checkpoints


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    accelerator = Accelerator(cpu=True)
    model = nn.Linear(3, 2)
    accelerator.prepare(model, torch.optim.Adam(model.parameters()))
    return Checkpoints(tmp_path / "checkpoints", accelerator)


def save(checkpoints: Checkpoints, done: int, batches: int = 0, best: int = 0, value: float = 0.0) -> None:
    module = nn.Linear(3, 2)
    nn.init.constant_(module.weight, value)
    checkpoints.save({"done": done, "batches": batches, "best": best}, module)


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_the_last_two_and_their_best_are_kept(checkpoints):
    assert checkpoints.last() is None
    for done, batches, best in ((1, 0, 0), (2, 0, 2), (2, 10, 2), (2, 20, 2), (3, 0, 2), (4, 0, 4)):
        save(checkpoints, done, batches, best)
    assert names(checkpoints) == ["epoch-0002", "epoch-0003", "epoch-0004"]
    assert checkpoints.last() == checkpoints.path(4)
    save(checkpoints, 4, 10, 4)
    assert names(checkpoints) == ["epoch-0004", "epoch-0004-000010"]
    assert checkpoints.last() == checkpoints.path(4, 10) and checkpoints.state(checkpoints.last())["batches"] == 10


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.bin", "evaluated.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_noticed_and_said_and_the_one_before_taken(checkpoints, capsys, file, damage):
    save(checkpoints, 1, best=1, value=1.0)
    save(checkpoints, 2, best=1, value=2.0)
    path = checkpoints.path(2) / file
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if damage == "flip" else b""))
    assert checkpoints.last() == checkpoints.path(1)
    said = capsys.readouterr().err
    assert f"{checkpoints.path(2)} is damaged ({file}" in said and "Trying epoch-0001" in said
    assert names(checkpoints) == ["damaged-epoch-0002", "epoch-0001"]
    module = nn.Linear(3, 2)
    checkpoints.load_best(1, module)
    assert (module.weight == 1).all()
    save(checkpoints, 2)
    assert checkpoints.last() == checkpoints.path(2) and not capsys.readouterr().err


def test_a_checkpoint_of_the_same_place_is_replaced(checkpoints):
    for value in (1.0, 2.0):
        save(checkpoints, 1, value=value)
    module = nn.Linear(3, 2)
    checkpoints.load_evaluated(checkpoints.last(), module)
    assert names(checkpoints) == ["epoch-0001"] and (module.weight == 2).all()


def test_nothing_whole_is_said(checkpoints, capsys):
    save(checkpoints, 1)
    (checkpoints.path(1) / "manifest.json").write_text("{")
    assert checkpoints.last() is None and "starting afresh" in capsys.readouterr().err


def test_what_a_killed_process_left_is_removed(checkpoints):
    save(checkpoints, 1)
    shutil.copytree(checkpoints.path(1), checkpoints.folder / ".epoch-0002.partial")
    assert checkpoints.last() == checkpoints.path(1) and names(checkpoints) == ["epoch-0001"]


def test_a_damaged_best_is_never_reported_on(checkpoints):
    save(checkpoints, 1, best=1)
    path = checkpoints.path(1) / "evaluated.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(InputError, match="epoch-0001, the best epoch, is damaged .*evaluated.safetensors"):
        checkpoints.load_best(1, nn.Linear(3, 2))


def test_a_write_that_fails_leaves_those_before(checkpoints, monkeypatch):
    save(checkpoints, 1)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.accelerator, "save_state", fail)
    with pytest.raises(InputError, match="epoch-0002: .*No space left.*epoch-0001 is whole.*--resume auto"):
        save(checkpoints, 2)
    assert names(checkpoints) == ["epoch-0001"]
    assert json.loads((checkpoints.path(1) / "state.json").read_text())["done"] == 1
