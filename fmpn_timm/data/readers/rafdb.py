"""RAF-DB, the basic expressions: web faces of one expression each, labelled by some forty people.

`Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in the Wild`, CVPR 2017,
http://www.whdeng.cn/RAF/model1.html. The layout read is that of the folder ``basic``:

- ``EmoLabel/list_patition_label.txt`` (so misspelt; ``list_partition_label.txt`` is taken too): ``train_00001.jpg 5``;
- ``Image/aligned/train_00001_aligned.jpg`` (100 x 100) or ``Image/original/train_00001.jpg``;
- ``Annotation/manual/train_00001_manu_attri.txt``: five landmarks in the original picture, gender, race, age.
"""

import os
import re
from functools import partial
from pathlib import Path

import numpy as np

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.published import refuse_swapped
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError

from .layout import check_choice, find_root, listed_files, picture_sample

__all__ = ["read_rafdb"]

SPLITS = ("train", "test")
KINDS = ("aligned", "original")
CODES = {1: "surprise", 2: "fear", 3: "disgust", 4: "happiness", 5: "sadness", 6: "anger", 7: "neutral"}
CLASSES = tuple(e for e in EXPRESSIONS if e in CODES.values())
LISTS = ("list_patition_label.txt", "list_partition_label.txt")
LABELS = "EmoLabel"
INNER = "|".join((LABELS, "Image", "Annotation", "manual", *KINDS))  # names of folders inside


def read_rafdb(root: str | Path, split: str = "train", pictures: str = "aligned") -> FaceSet:
    """Read one split of RAF-DB: 12,271 faces to train, 3,068 to test.

    Landmarks come with the original pictures only, for they lie in those. The eyes, and the corners of the mouth, are
    put in the order in which they stand in the picture, left first. ``options`` says which list was found, and whether
    there are landmarks.

    Args:
        root: The folder that holds ``EmoLabel`` and ``Image``.
        split: ``train`` or ``test``.
        pictures: ``aligned`` or ``original``.

    Raises:
        InputError: Wrong root, split or pictures, no list, a wrong line or code, swapped codes, or pictures missing.
    """
    check_choice("RAF-DB", "split", split, SPLITS)
    check_choice("RAF-DB", "kind of pictures", pictures, KINDS)
    root = find_root(root, "RAF-DB (the folder 'basic')", _holds, f"{LABELS} and Image", INNER)
    labels = _list(root)
    if labels is None:
        raise InputError(f"{root / LABELS / LISTS[0]} is missing: copy it from RAF-DB's {LABELS}.")
    folder = root / "Image" / pictures
    if not folder.is_dir():
        raise InputError(_missing(folder))
    expressions = {name: expression for name, expression in _read_list(labels) if name.startswith(f"{split}_")}
    if not expressions:
        raise InputError(f"{labels}: no line begins with {split}_. Use RAF-DB's own list.")

    # Aligned pictures go by <name>_aligned.jpg, in some copies by the plain name.
    files = listed_files(folder, expressions, labels, f"Unpack {folder.name}.zip again.", "_aligned")
    manual = root / "Annotation" / "manual"
    landmarks = set(os.listdir(manual)) if pictures == "original" and manual.is_dir() else set()
    samples = []
    for name, expression in sorted(expressions.items()):
        points = f"{Path(name).stem}_manu_attri.txt"
        given = partial(_read_landmarks, str(manual / points)) if points in landmarks else None
        samples.append(picture_sample(files[name], expression, landmarks=given))
    options = {"pictures": pictures, "list": labels.name, "landmarks": bool(landmarks)}
    faces = FaceSet("rafdb", split, CLASSES, tuple(samples), options)
    refuse_swapped(faces, labels)
    return faces


def _read_list(path: Path) -> list[tuple[str, str]]:
    rows, codes = [], {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        name_and_code = re.fullmatch(r"((?:train|test)_\S+)\s+(-?\d+)", line.strip())
        if name_and_code is None:
            raise InputError(
                f"{path}, line {number}: expected a line such as 'train_00001.jpg 5', got {line[:80]!r}. Use RAF-DB's "
                "own list."
            )
        name, code = name_and_code[1], int(name_and_code[2])
        codes.setdefault(code, number)
        rows.append((name, code))
    for code, number in codes.items():
        if code not in CODES:
            shifted = set(codes) <= set(range(7))
            hint = "The codes begin at 0 instead of 1: add 1 to each" if shifted else "Use RAF-DB's own list"
            known = ", ".join(f"{c} {e}" for c, e in CODES.items())
            raise InputError(f"{path}, line {number}: unknown code {code}, known are {known}. {hint}.")
    listed = {}
    for name, code in rows:
        if listed.setdefault(name, code) != code:
            both = f"{CODES[listed[name]]} and {CODES[code]}"
            raise InputError(f"{path}: {name} is listed twice, as {both}. Use RAF-DB's own list.")
    return [(name, CODES[code]) for name, code in listed.items()]


def _read_landmarks(path: str) -> np.ndarray:
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.split() for line in file.read().splitlines() if line.strip()]
        points = np.array([[float(v) for v in line] for line in lines[:5]], np.float32)
    except (OSError, ValueError):
        points = np.zeros(0)
    if points.shape != (5, 2):
        raise InputError(f"{path}: expected five lines of two numbers. Unpack Annotation/manual.zip again.")
    for a, b in ((0, 1), (3, 4)):
        if points[a, 0] > points[b, 0]:
            points[[a, b]] = points[[b, a]]
    return points


def _holds(folder: Path) -> bool:
    return _list(folder) is not None or any((folder / "Image" / name).is_dir() for name in KINDS)


def _list(root: Path) -> Path | None:
    return next((root / LABELS / name for name in LISTS if (root / LABELS / name).is_file()), None)


def _missing(folder: Path) -> str:
    """What to say of a folder of pictures that is not there."""
    if folder.with_suffix(".zip").is_file():
        return f"{folder} is missing: unpack {folder.with_suffix('.zip')}."
    other = next(name for name in KINDS if name != folder.name)
    hint = f", or read the {other} pictures (pictures={other})" if (folder.parent / other).is_dir() else ""
    return f"{folder} is missing: unpack RAF-DB's Image/{folder.name}.zip there{hint}."
