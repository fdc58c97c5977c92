"""Tests of what processes that share work say of each other; what takes several is in tests/faults."""

import pytest
import torch

from fmpn_timm.errors import InputError
from fmpn_timm.launched import lost_process, place, wait


def test_a_lost_process_is_told_from_other_errors():
    assert lost_process(RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:34216"))
    assert lost_process(torch.distributed.DistBackendError("NCCL error"))
    assert not lost_process(RuntimeError("shape mismatch"))


def test_one_process_waits_for_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert place() == (0, 1) and wait(1) is None


def test_waiting_for_a_lost_process_says_so(monkeypatch):
    def barrier(message):
        raise RuntimeError(message)

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(torch.distributed, "barrier", lambda: barrier("Connection closed by peer [127.0.0.1]:1"))
    with pytest.raises(InputError, match="Process 1 has lost another process"):
        wait(2)
    monkeypatch.setattr(torch.distributed, "barrier", lambda: barrier("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        wait(2)
