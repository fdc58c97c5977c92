"""Ctrl-C between two batches."""

import signal
import sys
import threading

__all__ = ["Interrupt"]


class Interrupt:
    """While active, Ctrl-C waits for ``check``; a second one acts at once.

    Python raises KeyboardInterrupt wherever it happens to be, and drops it if that is a callback or a finaliser.
    """

    def __enter__(self) -> "Interrupt":
        self.asked = False
        self.previous = None
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self.previous = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)

    def _ask(self, signum: int, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nStopping after this batch; Ctrl-C again stops at once.", file=sys.stderr, flush=True)

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.asked:
            raise KeyboardInterrupt
