"""AffectNet: some 290,000 web faces of eight expressions, each labelled by one person.

`AffectNet: A Database for Facial Expression, Valence, and Arousal Computing in the Wild` -
https://arxiv.org/abs/1708.03985. Two layouts are read:

- old: ``Manually_Annotated_file_lists/{training,validation}.csv`` beside ``Manually_Annotated_Images/``, whole web
  pictures with the box of the face and 68 landmarks; ``validation.csv`` may lack a header;
- new: ``{train,val}_set/images/<id>.jpg``, cropped faces, beside ``annotations/<id>_{exp,val,aro,lnd}.npy``.
"""

import os
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.published import refuse_swapped
from fmpn_timm.data.samples import FaceSet, Sample, read_picture
from fmpn_timm.errors import InputError
from fmpn_timm.faces import five_of_68

from .layout import check_choice, csv_rows, find_root, listed_files, picture_sample, pictures_in, refuse_missing

__all__ = ["read_affectnet"]

SPLITS = ("train", "valid")
CODES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt", "none", "uncertain",
         "no face")
LISTS, IMAGES = "Manually_Annotated_file_lists", "Manually_Annotated_Images"
TABLES = {"train": "training.csv", "valid": "validation.csv"}
COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
           "valence", "arousal")
SETS = {"train": "train_set", "valid": "val_set"}
INNER = "|".join((LISTS, IMAGES, *SETS.values(), "images", "annotations"))  # names of folders inside
PROGRESS = dict(file=sys.stderr, delay=5, leave=False, disable=None)  # None: only where someone watches
AGAIN = "Use AffectNet's own file unchanged."


def read_affectnet(
        root: str | Path,
        split: str = "train",
        classes: int = 8,
        per_class: int | None = None,
        seed: int = 0,
        crop: float | None = 0.25,
) -> FaceSet:
    """Read one split of AffectNet: 287,651 faces of 8 classes, or 283,901 of 7, to train; 500 a class to validate.

    The five landmarks are made of the 68 given, in the coordinates of the picture as it is loaded. In the old layout a
    picture may show several people, so by default the labelled face's box is cut out, with room around it for the
    alignment; in the new layout pictures are crops already and ``crop`` does nothing. ``options`` says which layout was
    found and how many pictures of other codes (none, uncertain, no face, contempt) were left out.

    The FMPN paper's selection, "seven basic expressions" of about 3,500 pictures each, is read as ``classes=7,
    per_class=3500``; the paper does not say whether neutral or contempt is the eighth.

    Args:
        root: The folder that holds ``Manually_Annotated_file_lists`` or ``train_set``.
        split: ``train`` or ``valid``.
        classes: 8, or 7 without contempt.
        per_class: Take so many of each class, drawn at random, or all there are where there are fewer; None for all.
        seed: Seed of that draw.
        crop: Cut out the box of the face with so much around it on every side, as a share of the box; None for the
            whole picture.

    Raises:
        InputError: Wrong root, split or option, wrong columns, an unknown code, swapped codes, or files missing.
    """
    check_choice("AffectNet", "split", split, SPLITS)
    check_choice("AffectNet", "number of classes", classes, (7, 8))
    if per_class is not None and per_class < 1 or crop is not None and crop < 0:
        raise InputError(f"per_class={per_class}, crop={crop}: give per_class=1 or more, crop=0 or more, or neither.")
    wanted = f"{LISTS} and {IMAGES}, or {SETS['train']} and {SETS['valid']}"
    root = find_root(root, "AffectNet", _holds, wanted, INNER)
    names = tuple(e for e in EXPRESSIONS if classes == 8 or e != "contempt")
    table, folder = root / LISTS / TABLES[split], root / SETS[split]
    if table.is_file() and (root / IMAGES).is_dir():
        layout, samples, left_out = "old", *_from_table(table, root / IMAGES, names, crop)
    elif (folder / "images").is_dir() and (folder / "annotations").is_dir():
        layout, samples, left_out = "new", *_from_files(folder, names)
    else:
        lacking = _lacking(root, split)
        raise InputError(f"{lacking} is missing: unpack AffectNet's {lacking.name} there.")
    if not samples:
        raise InputError(f"{root}: no face of split {split!r} has one of the {classes} expressions. Fetch it again.")
    if per_class is not None:
        samples = _draw(samples, names, per_class, seed)
    options = dict(
        classes=classes, per_class=per_class, seed=seed, crop=crop if layout == "old" else None, layout=layout,
        left_out={name: left_out[name] for name in CODES if left_out[name]},
    )
    faces = FaceSet("affectnet", split, names, tuple(samples), options)
    refuse_swapped(faces, table if layout == "old" else folder / "annotations")
    return faces


def _draw(samples: Sequence[Sample], names: Sequence[str], per_class: int, seed: int) -> list[Sample]:
    """So many of each class; the draw of one class does not depend on the others."""
    drawn = set()
    for name in names:
        of_class = sorted(s.source for s in samples if s.expression == name)
        drawn |= set(random.Random(f"{seed}/{name}").sample(of_class, min(per_class, len(of_class))))
    return [s for s in samples if s.source in drawn]


def _from_table(
        table: Path, images: Path, names: Sequence[str], crop: float | None
) -> tuple[list[Sample], Counter]:
    faces, left_out = [], Counter()
    for number, row in _rows(table):
        where = f"{table}, line {number}"
        code = row["expression"].strip()
        if code not in {str(c) for c in range(len(CODES))}:
            raise InputError(f"{where}: {_unknown(code)}")
        expression = CODES[int(code)]
        if expression not in names:
            left_out[expression] += 1
            continue
        box = None if crop is None else _box(row, crop, where)
        landmarks = _five(row["facial_landmarks"], where)
        if landmarks is not None and box is not None:
            landmarks = landmarks - box[:2]
        given = None if landmarks is None else partial(np.array, landmarks)
        faces.append((row["subDirectory_filePath"].strip(), box, expression, given))
    mend = f"Unpack the pictures again, or remove their lines from {table.name}."
    files = listed_files(images, [name for name, *_ in faces], table, mend)
    samples = [
        Sample(files[name], partial(_cut_out, files[name], box), expression, landmarks=given)
        for name, box, expression, given in faces
    ]
    return samples, left_out


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    names = COLUMNS
    for number, row in tqdm(csv_rows(table), table.name, unit=" rows", **PROGRESS):
        if number == 1 and "expression" in (header := [name.strip() for name in row]):
            names = header
            lacking = [name for name in COLUMNS if name not in names]
            if lacking:
                raise InputError(f"{table}: no column {', '.join(lacking)}. {AGAIN}")
            continue
        if len(row) != len(names):
            expected = f"expected {len(names)} columns ({', '.join(names)}), got {len(row)}"
            raise InputError(f"{table}, line {number}: {expected}. {AGAIN}")
        yield number, dict(zip(names, row, strict=True))


def _unknown(code: Any) -> str:
    known = ", ".join(f"{i} {name}" for i, name in enumerate(CODES))
    return f"unknown code {code!r}, known are {known}. {AGAIN}"


def _box(row: dict[str, str], crop: float, where: str) -> tuple[int, int, int, int] | None:
    """Box (left, top, right, bottom) in pixels with room around it; None if the list gives none (NULL)."""
    values = [row[name].strip() for name in COLUMNS[1:5]]
    if all(v.upper() in ("NULL", "") for v in values):
        return None
    try:
        x, y, width, height = (float(v) for v in values)
    except ValueError:
        width = height = 0
    if min(width, height) <= 0:
        raise InputError(f"{where}: {', '.join(COLUMNS[1:5])} are {', '.join(values)}, no box. {AGAIN}")
    room = crop * width, crop * height
    left, top = max(round(x - room[0]), 0), max(round(y - room[1]), 0)
    return left, top, round(x + width + room[0]), round(y + height + room[1])


def _five(text: str, where: str) -> np.ndarray | None:
    if text.strip().upper() in ("NULL", ""):
        return None
    try:
        points = np.array(text.strip().strip(";").split(";"), np.float32)
    except ValueError:
        points = np.zeros(0)
    if points.size != 2 * 68:
        expected = f"expected 68 landmarks 'x;y;x;y...', got {text[:40]!r} ({points.size} numbers)"
        raise InputError(f"{where}: {expected}. {AGAIN}")
    return five_of_68(points.reshape(68, 2))


def _cut_out(path: str, box: tuple[int, int, int, int] | None) -> np.ndarray:
    picture = read_picture(path)
    if box is None:
        return picture
    left, top, right, bottom = box
    face = picture[top:bottom, left:right]
    if not face.size:
        size = f"{picture.shape[1]} x {picture.shape[0]}"
        raise InputError(f"{path}: the box of the face, {box}, lies outside the picture ({size}). Fetch it again.")
    return np.ascontiguousarray(face)


def _from_files(folder: Path, names: Sequence[str]) -> tuple[list[Sample], Counter]:
    images, annotations = folder / "images", folder / "annotations"
    pictures, present = pictures_in(images), set(os.listdir(annotations))
    ids = {name: os.path.splitext(name)[0] for name in pictures}
    unlabelled = [f"{i}_exp.npy" for i in ids.values() if f"{i}_exp.npy" not in present]
    refuse_missing(unlabelled, len(ids), images, annotations, "Unpack the annotations again, or remove those pictures.")
    labelled = {name[: -len("_exp.npy")] for name in present if name.endswith("_exp.npy") and not name.startswith(".")}
    missing = labelled - set(ids.values())
    refuse_missing(missing, len(labelled), annotations, images, "Unpack the pictures again.")
    samples, left_out = [], Counter()
    for name in tqdm(pictures, f"{folder.name} labels", unit=" faces", **PROGRESS):
        expression = CODES[_code(annotations / f"{ids[name]}_exp.npy")]
        if expression not in names:
            left_out[expression] += 1
            continue
        points = f"{ids[name]}_lnd.npy"
        given = partial(_five_from_file, str(annotations / points)) if points in present else None
        samples.append(picture_sample(images / name, expression, landmarks=given))
    return samples, left_out


def _code(path: Path) -> int:
    """The code in a file; owners wrote it as a number or as text, alone or in a list of one."""
    value = _load(path).reshape(-1)
    try:
        code = float(value.item())
    except ValueError:
        raise InputError(f"{path}: expected one number, found {value[:3].tolist()}. {AGAIN}") from None
    if code not in range(len(CODES)):
        raise InputError(f"{path}: {_unknown(value.item())}")
    return int(code)


def _five_from_file(path: str) -> np.ndarray:
    points = _load(path)
    try:
        points = points.astype(np.float32)
    except ValueError:
        raise InputError(f"{path}: no numbers. {AGAIN}") from None
    if points.size != 2 * 68:
        raise InputError(f"{path}: expected 68 landmarks, found {points.size} numbers. {AGAIN}")
    return five_of_68(points.reshape(68, 2))


def _load(path: str | Path) -> np.ndarray:
    try:
        value = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: no plain NumPy array ({str(error).splitlines()[0]}). Unpack it again.") from None
    if not isinstance(value, np.ndarray):
        raise InputError(f"{path}: an archive of arrays, not one array. Unpack it again.")
    return value


def _holds(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in (LISTS, IMAGES, *SETS.values()))


def _lacking(root: Path, split: str) -> Path:
    """What is not there of the layout that is."""
    table, folder = root / LISTS / TABLES[split], root / SETS[split]
    if (root / LISTS).is_dir() or (root / IMAGES).is_dir():
        return root / IMAGES if table.is_file() else table
    inside = (folder / name for name in ("images", "annotations"))
    return next((inner for inner in inside if folder.is_dir() and not inner.is_dir()), folder)
