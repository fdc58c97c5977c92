"""Ctrl-C and SIGTERM between two updates."""

import signal
import sys
import threading
import time

__all__ = ["Interrupt", "ignore_signals"]

#: A Ctrl-C reaches a process twice, from the terminal and from its launcher; what follows later is a second one.
SECONDS = 1.0


class Interrupt:
    """While active, Ctrl-C and SIGTERM are noted; a second Ctrl-C acts at once.

    Python raises KeyboardInterrupt wherever it happens to be, and drops it if that is a callback or a finaliser; and
    SIGTERM, which clusters send to a job that they are about to take away, ends it without a word.

    Args:
        step: What is finished first, in words.

    Attributes:
        asked: The signal that asked to stop, 0 if none has.
    """

    def __init__(self, step: str = "update"):
        self.step = step
        self.asked = 0

    def __enter__(self) -> "Interrupt":
        self.asked = 0
        self.since = 0.0
        self.previous = {}
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame) -> None:
        if number == signal.SIGINT == self.asked:
            if time.monotonic() - self.since > SECONDS:
                raise KeyboardInterrupt
            return
        if not self.asked:
            again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            name = signal.Signals(number).name
            print(f"\n{name}: stopping after this {self.step}{again}.", file=sys.stderr, flush=True)
        self.asked, self.since = int(number), time.monotonic()


def ignore_signals(worker: int = 0) -> None:
    """Leave Ctrl-C and SIGTERM, which reach all processes of a job, to the one that this process loads data for."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
