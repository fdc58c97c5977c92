"""What comparisons of several cross-validations share: which of them are asked for, and gains by fold."""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fmpn_timm.errors import InputError

__all__ = ["Key", "asked_for", "fold_gains", "without_root"]

Key = tuple[int, int]  # seed and fold


def asked_for(args: Sequence[str], option: str, known: Iterable[str], prog: str) -> tuple[list[str], list[str]]:
    """The names that an option of a comparison takes, all if it is left out, and the other arguments.

    Raises:
        InputError: A name is unknown.
    """
    known = list(known)
    parser = argparse.ArgumentParser(prog, add_help=False, allow_abbrev=False)
    parser.add_argument(option, dest="names", default=",".join(known))
    own, others = parser.parse_known_args(args)
    names = own.names.split(",")
    if unknown := set(names) - set(known):
        raise InputError(f"{option}: unknown {', '.join(sorted(unknown))}; choose from {', '.join(known)}.")
    return names, others


def fold_gains(of: Mapping[Key, float], other: Mapping[Key, float], keys: Iterable[Key]) -> list[float]:
    """How much more accurate one is than another in each fold, the mean of the seeds, over the runs of these keys."""
    folds = defaultdict(list)
    for key in keys:
        folds[key[1]].append(of[key] - other[key])
    return [statistics.mean(gains) for _, gains in sorted(folds.items())]


def without_root(text: str, root: str | Path | None) -> str:
    """A text such as JSON in which the data's folder is named ``{root}``, if it is absolute: of this machine alone."""
    if root is None or not Path(root).is_absolute():
        return text
    return text.replace(str(root).rstrip("/"), "{root}")
