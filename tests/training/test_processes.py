"""Tests of how processes find each other; what takes several is in tests/faults."""

import pytest

from fmpn_timm.errors import InputError
from fmpn_timm.training.processes import create_accelerator


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_sharded_models_are_refused(monkeypatch, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(InputError, match=f"{name} .*--multi_gpu"):
        create_accelerator()


def test_a_launcher_that_starts_one_process_only_is_told_of(monkeypatch, capsys):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert create_accelerator().num_processes == 1
    assert "torchrun --nproc_per_node" in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "false")
    with pytest.raises(InputError, match="2 processes on a machine with 1 GPU: .*ACCELERATE_USE_CPU=true"):
        create_accelerator()


def test_runs_of_one_process_have_each_their_own_precision():
    assert [create_accelerator(mixed_precision=p).mixed_precision for p in ("no", "bf16", "no")] == ["no", "bf16", "no"]
