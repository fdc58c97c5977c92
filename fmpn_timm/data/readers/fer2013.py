"""FER2013: 35,887 grey web faces of 48 x 48 pixels, of the ICML 2013 challenge in representation learning.

`Challenges in Representation Learning: A report on three machine learning contests` -
https://arxiv.org/abs/1307.0414. Two layouts are read:

- ``fer2013.csv`` (or ``icml_face_data.csv``): columns emotion, pixels, Usage;
- ``{train,test}/<class>/*``, with ``valid`` or ``validation`` beside them in some copies. In the usual copy ``test``
  holds both PublicTest and PrivateTest, told apart by the beginning of the file names.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.published import refuse_swapped
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe

from .layout import check_choice, class_samples, csv_rows, find_root

__all__ = ["FER2013_RECIPE", "USAGES", "find_table", "grey_picture", "pixels_of", "read_fer2013", "table_rows"]

SPLITS = ("train", "valid", "test")
USAGES = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}
CODES = {"0": "anger", "1": "disgust", "2": "fear", "3": "happiness", "4": "sadness", "5": "surprise", "6": "neutral"}
CLASSES = tuple(e for e in EXPRESSIONS if e in CODES.values())
COLUMNS = ("emotion", "pixels", "Usage")
TABLES = ("fer2013.csv", "icml_face_data.csv")
FOLDERS = {"train": ("train",), "valid": ("valid", "validation", "val"), "test": ("test",)}
INNER = "|".join(sum(FOLDERS.values(), ()))  # names of folders inside
AGAIN = "Use FER2013's own file unchanged."

#: How a photo is cut so that its face lies as FER2013's do. They were cropped roughly, not aligned: the reference is
#: the median of the landmarks that YuNet found in 2,884 of 3,000 training faces of FERPlus, made symmetric
#: (benchmarks/framing.py). Counted in enlarged pictures, it has photos 0.4 of its 48 pixels too far right and down; the
#: London photos are called the same without, and it stays as the published weights name it.
FER2013_RECIPE = Recipe(
    size=48,
    reference=((0.3175, 0.3822), (0.6825, 0.3822), (0.5, 0.5989), (0.3522, 0.7495), (0.6478, 0.7495)),
    color="grey",
)


def read_fer2013(root: str | Path, split: str = "train") -> FaceSet:
    """Read one split of FER2013: 28,709 / 3,589 / 3,589 faces.

    ``options`` says which layout was found and, for folders, how PublicTest and PrivateTest were told apart: by
    ``folder``, by ``file name``, or not (``together``, then ``test`` is both, 7,178 faces, and there is no ``valid``).

    Args:
        root: The folder that holds ``fer2013.csv`` or the folders ``train`` and ``test``.
        split: ``train``, ``valid`` (PublicTest) or ``test`` (PrivateTest).

    Raises:
        InputError: Wrong root or split, wrong columns, an unknown code or class folder, or swapped codes.
    """
    check_choice("FER2013", "split", split, SPLITS)
    root = find_root(root, "FER2013", _holds, "fer2013.csv or the folders train and test", INNER)
    table = find_table(root)
    if table is not None:
        faces = FaceSet("fer2013", split, CLASSES, _from_table(table, split), {"layout": "csv"}, recipe=FER2013_RECIPE)
    elif (root / "fer2013new.csv").is_file():
        raise InputError(f"{root} holds fer2013new.csv, the votes of FERPlus: put fer2013.csv beside it, or read it as "
                         "ferplus.")
    else:
        for name in ("train", "test"):
            if not (root / name).is_dir():
                raise InputError(f"{root / name} is missing: unpack FER2013 again.")
        samples, told = _from_folders(root, split)
        options = {"layout": "folders", "splits told apart": told}
        faces = FaceSet("fer2013", split, CLASSES, samples, options, recipe=FER2013_RECIPE)
    if not faces.samples:
        raise InputError(f"{table or root}: no face of split {split!r} ({USAGES[split]}). Fetch FER2013 again.")
    refuse_swapped(faces, table or root)
    return faces


def _from_table(table: Path, split: str) -> tuple[Sample, ...]:
    samples, codes = [], {}
    for number, (code, pixels, usage) in table_rows(table):
        codes.setdefault(code, number)
        if usage == USAGES[split]:
            picture = partial(grey_picture, pixels_of(pixels, table, number))
            samples.append(Sample(f"{table}:{number}", picture, CODES.get(code, code)))
    for code, number in codes.items():
        if code not in CODES:
            shifted = set(codes) <= {str(i) for i in range(1, 8)}
            hint = "The codes begin at 1 instead of 0: subtract 1 from each." if shifted else AGAIN
            known = ", ".join(f"{c} {name}" for c, name in CODES.items())
            raise InputError(f"{table}, line {number}: unknown code {code!r}, known are {known}. {hint}")
    return tuple(samples)


def find_table(root: Path) -> Path | None:
    """FER2013's table in a folder; None if it is not there."""
    return next((root / name for name in TABLES if (root / name).is_file()), None)


def table_rows(table: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Rows of FER2013's table: the number of the line, then code, pixels and usage, as they are written.

    Raises:
        InputError: A column is missing, a line has too few or too many, or an unknown usage.
    """
    rows = csv_rows(table)
    header = [name.strip() for name in next(rows, (1, []))[1]]  # one published copy has spaces in front
    if not set(COLUMNS) <= set(header):
        raise InputError(
            f"{table}: expected the columns {', '.join(COLUMNS)}, found {', '.join(header)[:80]!r}. Use FER2013's own "
            "file; the votes of FERPlus are another data set, ferplus."
        )
    places = [header.index(name) for name in COLUMNS]
    for number, row in rows:
        if len(row) != len(header):
            raise InputError(f"{table}, line {number}: expected {len(header)} columns, got {len(row)}. {AGAIN}")
        code, pixels, usage = (row[place].strip() for place in places)
        if usage not in USAGES.values():
            known = ", ".join(USAGES.values())
            raise InputError(f"{table}, line {number}: unknown Usage {usage!r}, known are {known}. {AGAIN}")
        yield number, (code, pixels, usage)


def pixels_of(text: str, table: Path, number: int) -> bytes:
    """The 48 x 48 grey values that a line of the table gives.

    Raises:
        InputError: They are others.
    """
    try:
        pixels = bytes(map(int, text.split()))
    except ValueError:
        pixels = b""
    if len(pixels) != 48 * 48:
        raise InputError(f"{table}, line {number}: expected 48 x 48 pixels, 0-255, got {len(text.split())}. {AGAIN}")
    return pixels


def grey_picture(pixels: bytes) -> np.ndarray:
    """A picture, uint8 (48, 48, 3), of 48 x 48 grey values."""
    return np.repeat(np.frombuffer(pixels, np.uint8).reshape(48, 48, 1), 3, axis=2)


def _from_folders(root: Path, split: str) -> tuple[tuple[Sample, ...], str]:
    own = next((root / name for name in FOLDERS[split] if (root / name).is_dir()), None)
    has_valid = any((root / name).is_dir() for name in FOLDERS["valid"])
    if split == "train" or has_valid:
        return tuple(class_samples(own, CLASSES, CODES)), "folder"
    both = class_samples(root / "test", CLASSES, CODES)
    parts = {Path(s.source).name.split("_")[0] for s in both}
    if parts == {USAGES["valid"], USAGES["test"]}:
        return tuple(s for s in both if Path(s.source).name.startswith(f"{USAGES[split]}_")), "file name"
    if split == "valid":
        raise InputError(
            f"{root} has no valid split: test holds PublicTest and PrivateTest under names that do not tell. "
            "Select on a part of train, or use fer2013.csv."
        )
    return tuple(both), "together"


def _holds(folder: Path) -> bool:
    files, folders = (*TABLES, "fer2013new.csv"), ("train", "test")
    return any((folder / name).is_file() for name in files) or any((folder / name).is_dir() for name in folders)
