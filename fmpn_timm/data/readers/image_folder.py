"""Image folder: ``<class>/*.png`` or ``<split>/<class>/*.png``, with an optional ``subjects.csv``.

Folder names are mapped to the canonical classes by a small alias table (``happy``, ``Angry``, ``FE`` ...).
``subjects.csv`` at the root has the columns ``image`` (path relative to the root) and ``subject``.
"""

import csv
import os
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PureWindowsPath

from fmpn_timm.data.classes import EXPRESSIONS, canonical
from fmpn_timm.data.samples import FaceSet, Sample, read_picture
from fmpn_timm.errors import InputError

from .layout import PICTURES, visible_folders

__all__ = ["class_folders", "is_class", "read_image_folder", "read_subjects", "split_folders"]


def read_image_folder(root: str | Path, split: str | None = None) -> FaceSet:
    """Read a folder of class folders.

    Args:
        root: The folder that holds the class folders, or the split folders.
        split: Name of the split folder; None (or ``all``) for class folders right under the root.

    Returns:
        The faces; its classes are those of all splits, in canonical order.

    Raises:
        InputError: No such folder, an unknown class name, no picture, or a bad ``subjects.csv``.
    """
    root = Path(root)
    split = None if split == "all" else split
    folder = root if split is None else root / split
    if not folder.is_dir():
        inside = visible_folders(root)
        holds = f" {root} holds: {', '.join(p.name for p in inside)}." if inside else ""
        mend = " It has no splits: read all of it (split all)." if any(map(is_class, inside)) else ""
        raise InputError(f"{folder} is not a folder.{holds}{mend}")
    expressions = {class_folder: _class_name(class_folder, split) for class_folder in visible_folders(folder)}
    subjects = read_subjects(root)
    samples = []
    for class_folder, expression in expressions.items():
        for path in _pictures(class_folder):
            subject = subjects.get(_composed(path.relative_to(root).as_posix()))
            samples.append(Sample(str(path), partial(read_picture, str(path)), expression, subject))
    if not samples:
        raise InputError(f"{folder} holds no picture in a class folder: expected {folder}/<expression>/*.png or *.jpg.")
    found = {s.expression for s in samples}
    if split is not None:  # a class may be absent from one split, and labels must not move because of it
        of_all = {c: _class_name(c, s.name) for s in split_folders(root) for c in visible_folders(s)}
        found |= {name for class_folder, name in of_all.items() if any(_pictures(class_folder))}
    return FaceSet("folder", split or "all", tuple(e for e in EXPRESSIONS if e in found), tuple(samples))


def _pictures(class_folder: Path) -> Iterator[Path]:
    """The pictures at any depth of a class folder, sorted, without hidden ones."""
    for path in sorted(class_folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(class_folder).parts)
        if path.suffix.lower() in PICTURES and not hidden:
            yield path


def is_class(folder: Path) -> bool:
    """Whether a folder has the name of a class."""
    try:
        return bool(canonical(folder.name))
    except InputError:
        return False


def split_folders(root: Path) -> list[Path]:
    """The folders that hold class folders; others, such as a prepared set, are not looked into."""
    return [folder for folder in visible_folders(root) if any(map(is_class, visible_folders(folder)))]


def class_folders(root: Path, split: str) -> list[Path]:
    """The class folders of a split, or right under the root (``all``)."""
    return visible_folders(root if split == "all" else root / split)


def read_subjects(root: Path) -> dict[str, str | None]:
    """Subjects by picture, a path relative to the root in composed letters, as ``subjects.csv`` there says.

    Returns:
        The subjects; none without the table.

    Raises:
        InputError: It is no UTF-8, lacks a column, gives a picture two subjects, or names one that is not there.
    """
    path = root / "subjects.csv"
    if not path.is_file():
        return {}
    subjects = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets put a byte-order mark in front
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            if not {"image", "subject"} <= set(reader.fieldnames):
                found = ", ".join(reader.fieldnames)
                raise InputError(f"{path}: expected the columns image, subject, found {found}. Name them so, with "
                                 "commas between, and a line such as train/happiness/1.png,anna for each picture.")
            for row in reader:
                image, subject = (_composed(row[column] or "").strip() for column in ("image", "subject"))
                image = PureWindowsPath(image).as_posix()  # without a leading ./, and "." for an empty cell
                if subjects.setdefault(image, subject or None) != (subject or None):
                    raise InputError(f"{path}: {image} has two subjects. Keep one line of it.")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not in UTF-8 ({error}). Save it so.") from error
    unknown = [image for image in subjects if image != "." and not os.path.isfile(f"{root}/{image}")]
    if any(not image.isascii() for image in unknown):
        there = {_composed(path.relative_to(root).as_posix()) for path in root.rglob("*") if path.is_file()}
        unknown = [image for image in unknown if image not in there]
    if unknown:
        raise InputError(f"{path}: {len(unknown)} of its {len(subjects)} lines name no picture that is there, first "
                         f"{unknown[0]}. Give paths relative to {root}, or take these lines out.")
    return subjects


def _composed(name: str) -> str:
    """A name with each accented letter as one character: file systems and archives may hold it as two."""
    return unicodedata.normalize("NFC", name)


def _class_name(folder: Path, split: str | None) -> str:
    try:
        return canonical(folder.name)
    except InputError as error:
        inside = visible_folders(folder) if split is None else []
        named, hint = ", ".join(p.name for p in inside[:8]), ""
        if any(map(is_class, inside)):
            hint = (f" If it is a split, name it: its folders are {named}. For folds put class folders right under "
                    f"{folder.parent}.")
        elif inside:
            hint = f" If it is a split, name its folders so: they are {named}."
        raise InputError(f"{folder}: {error}{hint}") from None
