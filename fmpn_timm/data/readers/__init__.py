"""Readers: one file per data set, each a function from a root and a split to a ``FaceSet``."""

import inspect
import sys
from pathlib import Path
from typing import Any

from fmpn_timm.data.prepare import read_info
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError

from .affectnet import read_affectnet
from .bp4d import read_bp4d
from .bu3dfe import read_bu3dfe
from .bu4dfe import read_bu4dfe
from .ckplus import read_ckplus
from .drawn import read_drawn
from .fer2013 import read_fer2013
from .ferplus import read_ferplus
from .ict import read_ict
from .image_folder import class_folders, is_class, read_image_folder, split_folders
from .jaffe import read_jaffe
from .mmi import read_mmi
from .oulu_casia import read_oulu_casia
from .prepared import read_prepared
from .rafdb import read_rafdb
from .sfew import read_sfew
from .tfd import read_tfd

__all__ = ["READERS", "has_split", "learning_split", "read_faces", "splits_of"]

READERS = {
    "affectnet": read_affectnet,
    "bp4d": read_bp4d,
    "bu3dfe": read_bu3dfe,
    "bu4dfe": read_bu4dfe,
    "ckplus": read_ckplus,
    "drawn": read_drawn,
    "fer2013": read_fer2013,
    "ferplus": read_ferplus,
    "folder": read_image_folder,
    "ict": read_ict,
    "jaffe": read_jaffe,
    "mmi": read_mmi,
    "oulu_casia": read_oulu_casia,
    "prepared": read_prepared,
    "rafdb": read_rafdb,
    "sfew": read_sfew,
    "tfd": read_tfd,
}


def read_faces(dataset: str, root: str | Path | None = None, split: str = "train", **options: Any) -> FaceSet:
    """Read a split of a data set by name.

    Args:
        dataset: A name in ``READERS``.
        root: Where the data set lies; the drawn faces need none.
        split: Name of the split.
        options: What the reader takes beside (``rule`` for FERPlus, ``subjects`` for drawn faces, ...).

    Raises:
        InputError: Unknown data set or option, no root, or what the reader says of the data.
    """
    if dataset not in READERS:
        raise InputError(f"Unknown data set {dataset!r}: choose one of {', '.join(READERS)}.")
    if root is None and dataset != "drawn":
        raise InputError(f"Where is {dataset}? Give its folder with --root.")
    reader = READERS[dataset]
    try:
        inspect.signature(reader).bind(root, split, **options)
    except TypeError as error:
        raise InputError(f"{dataset}: {error}. It takes {inspect.signature(reader)}.") from None
    try:
        return reader(root, split, **options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:  # an option of another type, such as a word where a number is wanted
        raise InputError(f"{dataset}: {error}. Check its options: {options}.") from error


def splits_of(dataset: str, root: str | Path | None = None) -> tuple[str, ...]:
    """The splits of a data set, ``all`` left out where it has parts.

    A reader says them by a constant ``SPLITS`` in its module, by the default of its parameter ``split`` where it has
    none; an image folder says them by its folders, a prepared set by its list.

    Args:
        dataset: A name in ``READERS``.
        root: Where the data set lies; image folders need it.
    """
    if dataset == "folder":
        return _splits_of_folder(Path(root))
    if dataset == "prepared" and root is not None and (Path(root) / "prepared.json").is_file():
        return tuple(read_info(Path(root))["splits"])
    reader = READERS[dataset]
    default = inspect.signature(reader).parameters["split"].default
    splits = tuple(getattr(sys.modules[reader.__module__], "SPLITS", (default,)))
    parts = tuple(s for s in splits if s != "all")
    return parts or splits


def has_split(dataset: str, root: str | Path | None, split: str) -> bool:
    """Whether a data set has a split; yes where only reading it can tell."""
    return _untold(dataset, root) or split in splits_of(dataset, root)


def learning_split(dataset: str, root: str | Path | None) -> str:
    """The split of a data set to learn from: ``train``, or ``all`` of what has no splits."""
    return "train" if _untold(dataset, root) or splits_of(dataset, root) != ("all",) else "all"


def _untold(dataset: str, root: str | Path | None) -> bool:
    """Whether there is nothing to ask for splits; reading it says what is amiss."""
    return dataset not in READERS or (root is None and dataset != "drawn")


def _splits_of_folder(root: Path) -> tuple[str, ...]:
    """Folders that hold class folders, unless there are class folders right under the root."""
    if any(map(is_class, class_folders(root, "all"))):
        return ("all",)
    return tuple(folder.name for folder in split_folders(root)) or ("all",)
