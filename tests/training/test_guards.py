"""Tests of the guards."""

import pytest
import torch

from fmpn_timm.training.guards import LossGuard, out_of_memory


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_no_number_is_wrong_at_once(bad):
    assert LossGuard().wrong(bad)


def test_an_explosion_is_wrong_once_there_is_something_to_judge_by():
    guard = LossGuard()
    assert not guard.wrong(1e6)  # the first may be anything
    for loss in (2.0, 1.9, 2.1, 1.7, 30.0, 1.6, 1.5, 1.6, 1.4):
        assert not guard.wrong(loss)
    assert guard.wrong(1e5) and guard.wrong(1e5)  # and it does not get used to it
    assert not guard.wrong(1e3)


def test_a_hard_face_after_a_perfect_fit_is_no_explosion():
    guard = LossGuard()
    assert not any(guard.wrong(1e-7) for _ in range(50))
    assert not guard.wrong(20.0)


def test_out_of_memory_is_known_by_type_and_by_word():
    with pytest.raises((RuntimeError, MemoryError)) as error:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert out_of_memory(error.value)
    assert out_of_memory(MemoryError()) and out_of_memory(torch.OutOfMemoryError("Tried to allocate 2 GiB"))
    assert not out_of_memory(RuntimeError("shape mismatch")) and not out_of_memory(ValueError("out of memory"))
