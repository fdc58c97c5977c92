"""What the readers of owners' folders share: walking them, choosing options, and saying which root was meant."""

import csv
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fmpn_timm.data.classes import EXPRESSIONS, canonical
from fmpn_timm.data.samples import FaceSet, Sample, read_picture
from fmpn_timm.errors import InputError

__all__ = [
    "PICTURES", "WrongRoot", "around", "check_choice", "check_count", "class_samples", "csv_rows", "expression_of",
    "find_root", "first_folder", "frame_number", "frames_of", "listed_files", "make_face_set", "picture_sample",
    "pictures_in", "refuse_missing", "sequence_samples", "visible_files", "visible_folders",
]

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
ARCHIVES = (".7z", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip")
LEVELS = {1: "one level", 2: "two levels", 3: "three levels"}
T = TypeVar("T")


class WrongRoot(InputError):
    """The root is some levels above or below the folder that was given."""


def check_choice(name: str, what: str, value: Any, choices: Iterable[Any]) -> None:
    """Refuse an option that is none of the choices; ``name`` is the data set's, ``what`` the option's."""
    choices = tuple(choices)
    if not any(value == c and type(value) is type(c) for c in choices):
        raise InputError(f"{name} has no {what} {value!r}: choose one of {', '.join(map(str, choices))}.")


def check_count(name: str, what: str, value: Any) -> None:
    """Refuse what is no whole number of at least one."""
    if type(value) is not int or value < 1:
        raise InputError(f"{name}: {what} must be a whole number of at least 1, got {value!r}.")


def find_root(root: str | Path, name: str, holds: Callable[[Path], bool], expected: str, inner: str = "") -> Path:
    """The root, if it is that of the data set; else say where the root is.

    Args:
        root: What the user gave.
        name: Name of the data set, for messages.
        holds: Whether a folder is the data set's root.
        expected: What the root holds, for messages.
        inner: Regular expression of the names of folders inside the root, to know one that was given in its place.

    Raises:
        WrongRoot: The folder is one or more levels too high or too low.
        InputError: It is missing, or not that data set.
    """
    root = Path(root)
    if root.is_file() and root.suffix.lower() in ARCHIVES:
        raise InputError(f"{root} is an archive: unpack it, and give the folder that holds {expected}.")
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the folder that holds {expected}.")
    if holds(root):
        return root
    folder = root.resolve()
    for level in LEVELS:
        if not re.fullmatch(inner, folder.name, re.IGNORECASE):
            break
        folder = folder.parent
        if holds(folder):
            raise WrongRoot(f"{root} is {LEVELS[level]} too low: give {folder}.")
    below = [root]
    for level in (1, 2):
        below = [f for folder in below for f in visible_folders(folder)]
        for folder in below:
            if holds(folder):
                raise WrongRoot(f"{root} is {LEVELS[level]} too high: give {folder}.")
    raise InputError(f"{root} does not hold {expected}: is this {name}?")


def first_folder(root: Path, names: Iterable[str]) -> str | None:
    """The first of the names that is a folder under the root."""
    return next((name for name in names if (root / name).is_dir()), None)


def visible_folders(folder: Path) -> list[Path]:
    """Its folders, sorted, without hidden ones and what archives of a Mac leave behind (``__MACOSX``).

    An empty list where there is no such folder, or it may not be read.
    """
    try:
        folders = (p for p in folder.iterdir() if not p.name.startswith(".") and p.name != "__MACOSX")
        return sorted(p for p in folders if p.is_dir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def visible_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Its files of these (lower-case) suffixes, in whatever case they are written, sorted, without hidden ones."""
    try:
        return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def frame_number(path: Path) -> int:
    """The number a file name ends in.

    Raises:
        InputError: It ends in none.
    """
    digits = re.search(r"\d+$", path.stem)
    if digits is None:
        raise InputError(f"{path}: a frame's name ends in its number. Remove the file if it is no frame.")
    return int(digits[0])


def frames_of(sequence: Path, at_least: int = 0) -> list[Path]:
    """The pictures in a sequence's folder, in the order of their numbers.

    Raises:
        InputError: There are fewer than ``at_least``, or the name of one ends in no number.
    """
    pictures = sorted(visible_files(sequence, PICTURES), key=frame_number)
    if len(pictures) < at_least:
        raise InputError(
            f"{sequence} holds {len(pictures)} pictures, and {at_least} are needed. Unpack the archive again."
        )
    return pictures


def around(items: Sequence[T], index: int, count: int) -> Sequence[T]:
    """``count`` neighbours about ``items[index]``, moved inwards at the ends."""
    start = max(min(index - count // 2, len(items) - count), 0)
    return items[start : start + count]


def expression_of(folder: Path, classes: Collection[str], codes: Mapping[str, str] | None = None) -> str:
    """The class that a folder is named after, by one of its names or by a code.

    Raises:
        InputError: It is named after none of the classes.
    """
    try:
        expression = (codes or {}).get(folder.name) or canonical(folder.name)
    except InputError:
        expression = None
    if expression not in classes:
        raise InputError(f"{folder} is none of the classes ({', '.join(classes)}): rename or remove it.")
    return expression


def picture_sample(
        path: str | Path,
        expression: str,
        subject: str | None = None,
        sequence: str | None = None,
        frame: int | None = None,
        landmarks: Callable[[], np.ndarray] | None = None,
) -> Sample:
    """The sample of a picture file; see ``Sample``."""
    picture = partial(read_picture, str(path))
    return Sample(str(path), picture, expression, subject, sequence, frame, landmarks=landmarks)


def sequence_samples(
        neutral: Path, peak: Iterable[Path], expression: str, subject: str, sequence: str
) -> list[Sample]:
    """Samples of a sequence: its neutral frame, then those that carry its label."""
    labelled = ((neutral, "neutral"), *((path, expression) for path in peak))
    return [picture_sample(path, label, subject, sequence, frame_number(path)) for path, label in labelled]


def class_samples(folder: Path, classes: Collection[str], codes: Mapping[str, str] | None = None) -> list[Sample]:
    """Samples of the pictures in a folder's class folders, which are named as ``expression_of`` says.

    Raises:
        InputError: A class folder is unknown, there twice, missing or empty.
    """
    folders, samples = {}, []
    for inner in visible_folders(folder):
        expression = expression_of(inner, classes, codes)
        if expression in folders:
            raise InputError(f"{inner}: {expression}, as {folders[expression]} is. Unpack again into an empty folder.")
        folders[expression] = inner
        samples += (picture_sample(inner / name, expression) for name in pictures_in(inner))
    lacking = set(classes) - {s.expression for s in samples}
    if lacking:
        raise InputError(f"{folder} has no pictures of {', '.join(sorted(lacking))}. Unpack the data set again.")
    return samples


def make_face_set(
        dataset: str, root: Path, classes: Iterable[str], samples: Iterable[Sample], options: dict[str, Any]
) -> FaceSet:
    """The samples of the classes; neutral ones become references where neutral is no class, others are left out.

    Raises:
        InputError: No sample is left.
    """
    classes = tuple(name for name in EXPRESSIONS if name in set(classes))
    samples = tuple(samples)
    kept = tuple(s for s in samples if s.expression in classes)
    neutral = () if "neutral" in classes else tuple(s for s in samples if s.expression == "neutral")
    if not any(s.role == "expressive" for s in kept):
        raise InputError(f"{root}: no labelled face was found. Unpack the data set again.")
    return FaceSet(dataset, "all", classes, kept, options, neutral)


def pictures_in(folder: Path) -> list[str]:
    """Sorted names of the picture files right in a folder, dotfiles left out; one scan, no look at single files."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries]
    return sorted(n for n in names if not n.startswith(".") and os.path.splitext(n)[1].lower() in PICTURES)


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a table, a header among them, with the numbers of their lines; lines without any value are left out.

    Raises:
        InputError: A line is no CSV.
    """
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                if any(map(str.strip, row)):
                    yield reader.line_num, row
        except csv.Error as error:  # such as a quote that is never closed
            raise InputError(f"{path}, line {reader.line_num}: {error}. Use the owner's file unchanged.") from error


def listed_files(
        folder: Path, names: Collection[str], labels: Path, mend: str, ending: str = ""
) -> dict[str, str]:
    """The path of each file that a list names; case tells apart only what has no other difference.

    Args:
        folder: What the names are relative to.
        names: The names, as the list writes them.
        labels: The list, for messages.
        mend: What to do about files that are missing.
        ending: What the stems of files end in, more than those of their names; files without it are taken, too.

    Raises:
        InputError: Some are missing, see ``refuse_missing``.
    """
    present, files = {}, {}
    for name in names:
        parent, file = os.path.split(name)
        if parent not in present:
            inside = os.listdir(folder / parent) if (folder / parent).is_dir() else []
            present[parent] = {n.lower(): n for n in inside} | {n: n for n in inside}
        stem, suffix = os.path.splitext(file)
        wanted = f"{stem}{ending}{suffix}"
        found = (present[parent].get(n) for n in (wanted, wanted.lower(), file, file.lower()))
        files[name] = next((os.path.join(folder, parent, n) for n in found if n), None)
    missing = [name for name, path in files.items() if path is None]
    refuse_missing(missing, len(names), labels, folder, mend)
    return files


def refuse_missing(missing: Collection[str], of: int, labels: Path, folder: Path, mend: str) -> None:
    """Refuse a folder that lacks files: pictures that a list names, or labels of pictures.

    Raises:
        InputError: There are some; the message counts them and names the first five.
    """
    if missing:
        first = ", ".join(sorted(missing)[:5]) + (", ..." if len(missing) > 5 else "")
        raise InputError(f"{folder}: {len(missing)} of the {of} files for {labels} are missing ({first}). {mend}")
