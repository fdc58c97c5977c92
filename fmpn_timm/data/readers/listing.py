"""What readers share: listing pictures without stray files, and saying which ones a label file names in vain."""

import os
from collections.abc import Collection
from pathlib import Path

from fmpn_timm.errors import InputError

from .image_folder import PICTURES

__all__ = ["folders_in", "pictures_in", "refuse_missing"]


def pictures_in(folder: Path) -> list[str]:
    """Sorted names of the picture files right in a folder, dotfiles left out; one scan, no look at single files."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries]
    return sorted(n for n in names if not n.startswith(".") and os.path.splitext(n)[1].lower() in PICTURES)


def folders_in(folder: Path) -> list[Path]:
    """Sorted folders right in a folder, hidden ones left out; none if it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def refuse_missing(missing: Collection[str], of: int, labels: Path, folder: Path, mend: str) -> None:
    """Refuse pictures that a label file names and a folder lacks.

    Raises:
        InputError: There are some; the message counts them and names the first five.
    """
    if missing:
        first = ", ".join(sorted(missing)[:5]) + (", ..." if len(missing) > 5 else "")
        raise InputError(f"{folder}: {len(missing)} of the {of} pictures of {labels} are missing ({first}). {mend}")
