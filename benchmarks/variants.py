"""What comparisons of several cross-validations share: which of them are asked for, and gains by fold."""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fmpn_timm.errors import InputError

__all__ = ["Key", "asked_for", "fold_gains", "without_folders"]

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
        raise InputError(f"{option}: unknown {', '.join(sorted(unknown))}; choose of {', '.join(known)}.")
    return names, others


def fold_gains(of: Mapping[Key, float], other: Mapping[Key, float], keys: Iterable[Key]) -> list[float]:
    """How much more accurate one is than another in each fold, the mean of the seeds, over the runs of these keys."""
    folds = defaultdict(list)
    for key in keys:
        folds[key[1]].append(of[key] - other[key])
    return [statistics.mean(gains) for _, gains in sorted(folds.items())]


def without_folders(text: str, folders: Mapping[str, str | Path | None]) -> str:
    """A text in which absolute folders, which are of this machine alone, are named ``{name}``; others stay.

    Args:
        text: The text, such as JSON.
        folders: Folders by name.
    """
    for name, folder in folders.items():
        if folder is not None and Path(folder).is_absolute():
            text = text.replace(str(folder).rstrip("/"), f"{{{name}}}")
    return text
