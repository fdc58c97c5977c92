"""``fmpn train``, ``crossval`` and ``demo``."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fmpn_timm.errors import InputError

from .common import Commands, guarded

__all__ = ["add_demo", "crossval", "crossval_parser", "parse_crossval", "train_main"]


def train_main(args: Sequence[str] | None = None, prog: str = "fmpn train") -> None:
    """Entry point of ``train.py`` and ``fmpn train``."""
    from accelerate import PartialState

    from fmpn_timm.training import parse_config, train
    from fmpn_timm.training.config import refuse_overridden

    def run() -> None:
        config = parse_config(args, prog)
        refuse_overridden(config, args)
        summary = train(config)
        if PartialState().is_main_process:
            _print_result(summary)

    guarded(run)


def _print_result(summary: dict) -> None:
    config, metrics = summary["config"], summary["metrics"]
    folder = Path(config["output"]) / config["name"]
    rule = f", {summary['rule']} rule" if summary["rule"] else ""
    print(
        f"{summary['arm']}: accuracy {100 * metrics['accuracy']:.2f} %, macro F1 {100 * metrics['macro_f1']:.2f} % "
        f"({config['dataset']} {summary['split']['reported on']}{rule}, n = {metrics['n']}, seed {summary['seed']})"
    )
    print(f"results, pictures and the model are in {folder}; load it with "
          f"timm.create_model('local-dir:{folder / 'model'}', pretrained=True)")


def crossval_parser(
        prog: str = "fmpn crossval",
        arms: Sequence[str] = ("cnn", "no_prior", "fmpn"),
) -> argparse.ArgumentParser:
    """The parser of the options that ``fmpn crossval`` has beside those of ``fmpn train``.

    Args:
        prog: Name of the command in messages.
        arms: Those that are meant where none are named.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [--config CONFIG] [--protocol P] [--folds 0-9] [--seeds 0,1,2] [--arms A,B] [--name NAME] "
              "[any option of fmpn train]",
        description="Cross-validate: train every arm with every seed on every fold of a protocol, and compare the "
                    "arms. Given again, it goes on where it was stopped. Start it several times, on one machine or on "
                    "many that see the same folder, and they share the runs; or give each other --folds.",
        epilog="Every option of fmpn train is taken too, and holds for all runs: fmpn train --help lists them. In "
               "--init, --teacher and --priors, {arm}, {seed} and {fold} stand for those of the run, and {runs} for "
               "the folder of all.",
        allow_abbrev=False,
    )
    parser.add_argument("--folds", metavar="0-9", help="folds, such as 0-4 or 0,2,5 (default: all of the protocol)")
    parser.add_argument("--seeds", metavar="0,1,2", help="seeds (default: --seed)")
    parser.add_argument("--arms", metavar="A,B", help=f"arms, the values of --arm (default: {','.join(arms)})")
    parser.add_argument("--name", help="name of the folder (default: the configuration's name, and -crossval)")
    parser.add_argument("--report", action="store_true", help="train nothing: report what is finished, and what is not")
    return parser


def parse_crossval(
        args: Sequence[str],
        prog: str = "fmpn crossval",
        arms: Sequence[str] = ("cnn", "no_prior", "fmpn"),
) -> argparse.Namespace:
    """Read the options of a cross-validation.

    Args:
        args: Arguments.
        prog: Name of the command in messages.
        arms: Those that are meant where none are named.

    Returns:
        ``config``, ``arms``, ``seeds``, ``folds`` (None for all), as ``cross_validate`` takes them, and ``report``
        (whether to train nothing).

    Raises:
        InputError: An option of a single run, or numbers that are none.
    """
    own, others = crossval_parser(prog, arms).parse_known_args(args)
    if any(a.split("=")[0] == "--arm" for a in others):
        raise InputError("--arm: cross-validation takes --arms.")
    from fmpn_timm.training import parse_config

    config = parse_config(others, prog)
    return argparse.Namespace(
        config=replace(config, name=own.name or f"{config.name}-crossval"),
        arms=tuple(arms) if own.arms is None else tuple(dict.fromkeys(filter(None, own.arms.split(",")))),
        seeds=(config.seed,) if own.seeds is None else _numbers(own.seeds, "--seeds"),
        folds=None if own.folds is None else _numbers(own.folds, "--folds"),
        report=own.report,
    )


def crossval(args: Sequence[str]) -> None:
    """What ``fmpn crossval`` does."""
    options = parse_crossval(args)
    from fmpn_timm.training.config import refuse_overridden
    from fmpn_timm.training.crossval import cross_validate, report

    for arm in options.arms:
        refuse_overridden(replace(options.config, arm=arm), args)
    folder = options.config.folder
    result = report(folder) if options.report else cross_validate(
        options.config, options.arms, options.seeds, options.folds
    )
    print(result["text"])
    print(f"\nfigures of each fold, tables and pictures are in {folder}")


def _numbers(text: str, option: str) -> tuple[int, ...]:
    """Numbers and ranges, such as ``0,2,5-7``."""
    numbers = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(first) > int(last or first):
            raise InputError(f"{option} {text}: give numbers and ranges, such as 0,2,5-7.")
        numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


def add_demo(commands: Commands) -> None:
    demo = commands.add_parser("demo", help="train the three arms on drawn faces and compare them, and predict")
    demo.add_argument("--output", default="runs", help="folder of all runs (default: runs)")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from fmpn_timm.inference.demo import predict_drawn
    from fmpn_timm.training.arms import compare_arms

    compare_arms(["--config", "drawn", "--output", options.output, "--seed", str(options.seed)])
    picture = Path(options.output) / "predicted.png"
    print(f"the model that comes with the package, trained on photos, on other drawn people ({picture}):")
    print(predict_drawn(picture, options.seed))
