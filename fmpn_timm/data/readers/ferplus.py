"""FERPlus: FER2013's 48 x 48 grey web faces, each labelled by ten raters.

Labels: https://github.com/microsoft/FERPlus (MIT), `Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution` - https://arxiv.org/abs/1608.01041. Two layouts are read:

- ``FER2013{Train,Valid,Test}/*.png`` with a ``label.csv`` in each (picture, box, ten columns of votes), also in the
  folder ``data`` of a checkout of FERPlus;
- ``fer2013new.csv`` (usage, picture, ten columns of votes) beside ``fer2013.csv`` (pixels), row by row.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.samples import FaceSet, Sample, read_picture
from fmpn_timm.errors import InputError

from .fer2013 import FER2013_RECIPE, USAGES, find_table, grey_picture, pixels_of, table_rows
from .layout import check_choice, csv_rows, find_root, listed_files

__all__ = ["read_ferplus"]

SPLITS = ("train", "valid", "test")
RULES = ("majority", "argmax")
FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
VOTES = len(EXPRESSIONS) + 2  # the expressions, then "unknown" and "NF", not a face


def read_ferplus(root: str | Path, split: str = "train", rule: str = "majority") -> FaceSet:
    """Read one split of FERPlus.

    The rules, which decide which faces are kept and under which label:

    - ``majority``, the official one: votes given once are dropped, then the winner must hold over half of the rest;
      25,060 / 3,199 / 3,153 faces by the published counts, 25,045 / 3,191 of a copy with 28,558 and 3,579.
    - ``argmax``: the class with the most votes, the first of equals; 28,389 / 3,553 / 3,546 faces published, 28,385 /
      3,555 of that copy.

    Both drop faces whose winner is "unknown" or "NF". ``votes`` are the votes for the eight expressions without those
    given once (unless all were), as shares.

    Args:
        root: The folder that holds ``FER2013Train`` and its like, or ``fer2013new.csv``.
        split: ``train``, ``valid`` (PublicTest) or ``test`` (PrivateTest).
        rule: ``majority`` or ``argmax``.

    Raises:
        InputError: Wrong root, split, rule or columns, or pictures missing.
    """
    check_choice("FERPlus", "split", split, SPLITS)
    check_choice("FERPlus", "label rule", rule, RULES)
    root = find_root(root, "FERPlus", _holds, f"{FOLDERS[split]} or fer2013new.csv", "|".join(FOLDERS.values()))
    folder, in_checkout = root / FOLDERS[split], root / "data" / FOLDERS[split]
    has_votes = (root / "fer2013new.csv").is_file()
    if (folder / "label.csv").is_file():
        rows = _folder_rows(folder)
    elif (in_checkout / "label.csv").is_file() and not (has_votes and find_table(root)):
        rows = _folder_rows(in_checkout)
    elif has_votes:
        rows = _joined_rows(root, USAGES[split])
    else:
        found = ", ".join(name for name, of in FOLDERS.items() if (root / of / "label.csv").is_file())
        hint = f" Splits that are there: {found}." if found else ""
        mend = f"copy it from FERPlus's data/{folder.name}" if folder.is_dir() else "unpack it there"
        raise InputError(f"{folder / 'label.csv'} is missing: {mend}.{hint}")

    samples = []
    for source, picture, votes in rows:
        winner = _winner(votes, rule)
        if winner is not None:
            samples.append(Sample(source, picture, EXPRESSIONS[winner], votes=_shares(votes)))
    if not samples:
        raise InputError(f"{root}: no labelled face in split {split!r}. Unpack the archive again.")
    return FaceSet("ferplus", split, EXPRESSIONS, tuple(samples), {"rule": rule}, recipe=FER2013_RECIPE)


def _winner(votes: np.ndarray, rule: str) -> int | None:
    """Index of the winning expression, or None if there is none."""
    if rule == "majority":
        votes = np.where(votes > 1, votes, 0)
        if 2 * votes.max() <= votes.sum():
            return None
    winner = int(votes.argmax())
    return winner if winner < len(EXPRESSIONS) and votes[winner] > 0 else None


def _shares(votes: np.ndarray) -> tuple[float, ...]:
    votes = votes[: len(EXPRESSIONS)]
    repeated = np.where(votes > 1, votes, 0)
    votes = repeated if repeated.any() else votes
    return tuple((votes / votes.sum()).tolist())


def _folder_rows(folder: Path) -> Iterator[tuple[str, partial, np.ndarray]]:
    rows = list(_read_rows(folder / "label.csv"))
    names = [row[0] for row, _ in rows]
    files = listed_files(folder, names, folder / "label.csv", "Unpack the archive again.")
    for row, votes in rows:
        path = files[row[0]]
        yield path, partial(read_picture, path), votes


def _joined_rows(root: Path, usage: str) -> Iterator[tuple[str, partial, np.ndarray]]:
    pixels_file = find_table(root)
    if pixels_file is None:
        raise InputError(f"{root / 'fer2013.csv'} is missing: fer2013new.csv holds votes only. Put FER2013's file "
                         "beside it.")
    labels = list(_read_rows(root / "fer2013new.csv", header=True))
    faces = list(table_rows(pixels_file))
    if len(faces) != len(labels):
        raise InputError(
            f"{pixels_file} has {len(faces)} rows, fer2013new.csv {len(labels)}: they belong together row by row. "
            "Use both files unchanged."
        )
    for (row, votes), (number, (_, pixels, its_usage)) in zip(labels, faces, strict=True):
        if its_usage != row[0]:
            raise InputError(f"{pixels_file}, line {number}: its Usage is {its_usage}, and {row[0]} in fer2013new.csv: "
                             "they belong together row by row. Use both files unchanged.")
        if row[0] == usage and row[1]:  # FERPlus gives no name to pictures that show no face
            yield f"{pixels_file}:{row[1]}", partial(grey_picture, pixels_of(pixels, pixels_file, number)), votes


def _read_rows(path: Path, header: bool = False) -> Iterator[tuple[list[str], np.ndarray]]:
    """Rows of a label file: the two columns before the votes, and the votes (10,)."""
    rows = csv_rows(path)
    if header:
        next(rows, None)
    for number, row in rows:
        try:
            votes = np.array([int(v) for v in row[2:]])
        except ValueError:
            votes = np.array([])
        if votes.size != VOTES or (votes < 0).any():
            raise InputError(
                f"{path}, line {number}: expected 2 columns and then {VOTES} numbers of votes "
                f"({', '.join(EXPRESSIONS)}, unknown, NF), got {','.join(row)[:80]!r}. Use FERPlus's own file."
            )
        yield row[:2], votes


def _holds(folder: Path) -> bool:
    return (folder / "fer2013new.csv").is_file() or any((folder / name).is_dir() for name in FOLDERS.values())
