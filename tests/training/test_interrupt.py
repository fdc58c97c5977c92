"""Tests of Ctrl-C."""

import signal

import pytest

from fmpn_timm.training.interrupt import Interrupt


def test_first_waits_for_the_check_and_second_acts_at_once(capsys):
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        interrupt.check()
        signal.raise_signal(signal.SIGINT)
        assert "Stopping after this batch" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
