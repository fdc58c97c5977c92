"""Tests of how processes find each other; what takes several is in tests/faults."""

import pytest
import torch

from fmpn_timm.errors import InputError
from fmpn_timm.training.processes import create_accelerator, lost_process


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


def test_a_lost_process_is_told_from_other_errors():
    assert lost_process(RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:34216"))
    assert lost_process(torch.distributed.DistBackendError("NCCL error"))
    assert not lost_process(RuntimeError("shape mismatch"))
