"""Tests of what the benchmarks measure with."""

import pytest

from benchmarks.measure import peak_memory, reset_peak, summary


def test_ratios_are_of_the_same_round():
    found = summary({"slow": [2.0, 8.0, 4.0], "fast": [1.0, 2.0, 4.0]}, "slow", per=2)
    assert found["slow"] == {"ms": 2000, "faster": 1, "spread": [1, 1]}
    assert found["fast"] == {"ms": 1000, "faster": 2, "spread": [1, 4]}


@pytest.mark.parametrize("times", [1, 2])  # what was freed before must not hide what is taken after
def test_peak_is_what_was_held_in_between(times):
    for _ in range(times):
        before = reset_peak()
        if before is None:
            pytest.skip("the system does not tell")
        parts = [bytearray(b"1" * 2**16) for _ in range(800)]  # 50 MB
        del parts
        assert 45 < peak_memory(before) < 70
