"""What several commands share: how they end, options of readers, names in help."""

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from fmpn_timm.errors import InputError

__all__ = ["FLIP", "MODEL", "Commands", "IntermixedParser", "guarded", "picture_name", "read_options"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

#: The arguments of an option ``--flip``.
FLIP = dict(action=argparse.BooleanOptionalAction, default=True,
            help="average each face and its mirror image (default)")
#: What a model's name may be.
MODEL = "a timm name with weights, hf-hub:owner/name or a folder"


class IntermixedParser(argparse.ArgumentParser):
    """Takes options between positional arguments too, of which argparse otherwise loses those after an optional one.

    The parsers of its commands are of this kind, too.
    """

    _within = False  # of the method that does it, which calls the plain one in turn

    def parse_known_args(self, args=None, namespace=None):
        if self._within or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False


def guarded(run: Callable[[], None]) -> None:
    """Print bad input, a full disk and an interruption as one line."""
    if sys.stdout is None:  # it was closed
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        run()
        sys.stdout.flush()
    except InputError as error:
        # One that was raised in a data-loading process comes with that process's traceback.
        sys.exit(f"error: {str(error).rsplit('InputError: ', 1)[-1].strip()}")
    except OSError as error:
        from fmpn_timm.files import FULL

        if error.filename is None:  # not about somebody's file
            if error.errno not in (errno.EPIPE, *FULL):
                raise
            # or what stdout holds would be tried again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if error.errno == errno.EPIPE:  # whoever read it has seen enough
                sys.exit(1)
        where = "" if error.filename is None else f"{error.filename}: "
        mend = "Make room" if error.errno in FULL else "Give another path, or see to who may use this one"
        sys.exit(f"error: {where}{(error.strerror or str(error)).lower()}. {mend}, then run it again.")
    except KeyboardInterrupt as interrupt:
        print(f"\nInterrupted. {interrupt}", file=sys.stderr)
        sys.exit(130)


#: What readers and the doctor are told otherwise.
RESERVED = ("name", "dataset", "root", "split", "splits", "decode", "progress", "threads")


def picture_name(name: str) -> str:
    """The name of a picture to draw; what cannot be drawn is told before the work begins."""
    if Path(name).suffix.lower() not in (".png", ".jpg", ".jpeg", ".svg", ".pdf"):
        raise argparse.ArgumentTypeError(f"{name}: give a picture's name, such as {Path(name).stem or 'picture'}.png")
    return name


def read_options(pairs: Sequence[str]) -> dict:
    """``KEY=VALUE`` arguments; values are JSON where they can be, else text."""
    options = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise InputError(f"--option {pair}: give KEY=VALUE.")
        if key in RESERVED:
            raise InputError(f"--option {pair}: {key} is no option of a reader.")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options
