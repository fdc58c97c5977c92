"""Tests of Ctrl-C and SIGTERM."""

import signal

import pytest

from fmpn_timm import interrupt as module
from fmpn_timm.interrupt import Interrupt, ignore_signals


def test_first_is_noted_and_second_acts_at_once(capsys, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", -1)
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert interrupt.asked == 0
        signal.raise_signal(signal.SIGINT)
        assert "SIGINT: stopping after this update; Ctrl-C again" in capsys.readouterr().err
        assert interrupt.asked == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_one_ctrl_c_that_comes_twice_is_one():
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked == signal.SIGINT


def test_sigterm_is_noted_however_often_it_comes(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.asked == signal.SIGTERM and capsys.readouterr().err.count("SIGTERM") == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_loaders_leave_signals_to_the_process_they_load_for():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        ignore_signals()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
