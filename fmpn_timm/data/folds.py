"""The folds that data are cut into: those of a protocol, those a set was prepared with, or one of its own splits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fmpn_timm.errors import InputError

from .prepare import read_info
from .protocols import PROTOCOLS, Fold, get_protocol
from .readers import READERS, has_split, read_faces, splits_of
from .readers.prepared import prepared_folds
from .samples import FaceSet

__all__ = ["Folds", "Splits", "find_folds", "read_splits"]

#: Names of the splits to train, select and test on; None to select on a part of the first, or to test on none.
Splits = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class Folds:
    """Folds, to be read one by one.

    Attributes:
        dataset: The data set, also where it was prepared.
        protocol: Its protocol; None for a prepared set that fits none, and for a data set's own splits.
        numbers: Numbers of the folds, ascending; 0 alone for a data set's own splits.
        read: Gives a fold by its number.
    """

    dataset: str
    protocol: str | None
    numbers: tuple[int, ...]
    read: Callable[[int], Fold]

    @property
    def of(self) -> str:
        return f"protocol {self.protocol} of {self.dataset}" if self.protocol else f"the data of {self.dataset}"

    @property
    def span(self) -> str:
        return f"{self.numbers[0]} to {self.numbers[-1]}"


def find_folds(
        dataset: str,
        root: str | Path | None = None,
        protocol: str | None = None,
        options: Mapping[str, Any] | None = None,
        splits: Splits | None = None,
) -> Folds:
    """The folds of a data set's protocol, or of a prepared set.

    Args:
        dataset: A name in ``READERS``.
        root: Where the data lie.
        protocol: Name of the protocol; the data set's first if None.
        options: Reader options.
        splits: Stand for the one fold, number 0, of a data set without protocols, such as RAF-DB, of a folder with
            splits, and of a prepared set without folds.

    Raises:
        InputError: The data set has no protocol and no splits are given, or the prepared set has no folds.
    """
    options = dict(options or {})
    own = partial(read_splits, dataset, root, splits, options)
    raw = dataset in READERS and dataset != "prepared"
    if raw and splits and not protocol and (dataset not in PROTOCOLS or _is_split_folder(dataset, root)):
        return Folds(dataset, None, (0,), lambda n: own())
    if dataset != "prepared":
        found = get_protocol(dataset, protocol)
        folds = found.cut(found.read(root, **options))
        return Folds(dataset, found.name, tuple(folds), folds.__getitem__)
    if protocol is not None:
        raise InputError(f"--protocol {protocol}: a prepared set has the folds it was prepared with; leave the option "
                         "out.")
    if root is None:
        raise InputError("Where is the prepared set? Give its folder with --root.")
    sides = prepared_folds(root)
    if not sides and splits:
        fold = own()
        return Folds(fold.train.dataset, None, (0,), lambda n: fold)
    if not sides:
        protocols = PROTOCOLS.get(read_info(Path(root))["dataset"], ())
        mend = f"Prepare it anew with --protocol {' or '.join(protocols)}; to" if protocols else "To"
        raise InputError(f"{root} was prepared without folds. {mend} train on its splits, name one to report on with "
                         "--test_split.")
    if options:
        raise InputError(f"A prepared set with folds takes no reader options: leave out {', '.join(options)}.")
    folds = {n: _prepared_fold(n, *of_fold) for n, of_fold in sides.items()}
    faces = folds[min(folds)].train
    subjects = {s.subject for fold in folds.values() for s in fold.test.samples}
    fits = (p.name for p in PROTOCOLS.get(faces.dataset, {}).values()
            if p.classes in ((), faces.classes) and all(faces.options.get(k) == v for k, v in p.options.items())
            and len(folds) == (p.number or len(subjects)))
    return Folds(faces.dataset, next(fits, None), tuple(folds), folds.__getitem__)


def _is_split_folder(dataset: str, root: str | Path | None) -> bool:
    """Whether these are pictures of one's own in folders of splits, such as ``train`` and ``test``."""
    return dataset == "folder" and root is not None and splits_of(dataset, root) != ("all",)


def read_splits(dataset: str, root: str | Path | None, splits: Splits, options: Mapping[str, Any]) -> Fold:
    """Splits of a data set as one fold.

    Args:
        dataset: A name in ``READERS``.
        root: Where the data lie.
        splits: Their names.
        options: Reader options.

    Raises:
        InputError: What the reader says of the data; of a split that is not there, also which of the three it is.
    """
    faces = []
    for part, split in zip(("train", "valid", "test"), splits, strict=True):
        try:
            faces.append(read_faces(dataset, root, split, **options) if split else None)
        except InputError as error:
            if has_split(dataset, root, split):
                raise
            raise InputError(f"--{part}_split {split}: {error}") from error
    train, valid, test = faces
    return Fold(train, test, valid)


def _prepared_fold(n: int, train: FaceSet, test: FaceSet) -> Fold:
    # Neutral references are of no fold in a prepared set: those of the tested subjects are nothing to learn from.
    tested = {s.subject for s in test.samples} - {None}
    neutral = tuple(s for s in train.neutral if s.subject not in tested)
    return Fold(replace(train, split=f"fold {n} train", neutral=neutral), replace(test, split=f"fold {n} test"))
