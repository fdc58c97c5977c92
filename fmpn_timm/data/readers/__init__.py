"""Readers: one file per data set, each a function from a root and a split to a ``FaceSet``."""

import inspect
from pathlib import Path
from typing import Any

from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError

from .affectnet import read_affectnet
from .drawn import read_drawn
from .fer2013 import read_fer2013
from .ferplus import read_ferplus
from .image_folder import read_image_folder
from .prepared import read_prepared
from .rafdb import read_rafdb
from .sfew import read_sfew

__all__ = ["READERS", "read_faces"]

READERS = {
    "affectnet": read_affectnet,
    "drawn": read_drawn,
    "fer2013": read_fer2013,
    "ferplus": read_ferplus,
    "folder": read_image_folder,
    "prepared": read_prepared,
    "rafdb": read_rafdb,
    "sfew": read_sfew,
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
    return reader(root, split, **options)
