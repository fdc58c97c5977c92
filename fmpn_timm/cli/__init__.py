"""The ``fmpn`` command, and what ``train.py`` runs."""

import argparse
import sys
from collections.abc import Sequence

from fmpn_timm.version import __version__

from .common import IntermixedParser, guarded
from .data import add_data
from .evaluate import add_calibrate, add_evaluate
from .models import add_average, add_convert, add_export, add_fetch, add_models, add_publish
from .predict import add_app, add_predict
from .priors import add_priors
from .training import add_demo, crossval, crossval_parser, parse_crossval, train_main

__all__ = ["command_parser", "crossval_parser", "main", "parse_crossval", "train_main"]


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the ``fmpn`` command."""
    args = list(sys.argv[1:] if args is None else args)
    if args[:1] == ["train"]:  # its options are the fields of the configuration
        return train_main(args[1:], prog="fmpn train")
    if args[:1] == ["crossval"]:  # and these beside its own
        return guarded(lambda: crossval(args[1:]))
    options = command_parser().parse_args(args)
    guarded(lambda: options.run(options))


def command_parser() -> argparse.ArgumentParser:
    """The parser of the ``fmpn`` command."""
    parser = IntermixedParser(prog="fmpn", description="Facial expression recognition for timm.")
    parser.add_argument("--version", action="version", version=f"fmpn-timm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("train", help="train a model; fmpn train --help lists the options")
    commands.add_parser("crossval", help="train all folds of a protocol and test the arms against each other; "
                                         "fmpn crossval --help lists the options")
    for add in (
            add_demo, add_predict, add_app, add_evaluate, add_calibrate, add_export, add_convert, add_models,
            add_average, add_fetch, add_publish, add_data, add_priors,
    ):
        add(commands)
    return parser
