"""JAFFE: 213 posed faces of ten Japanese women, some three of each of seven expressions.

Lyons et al., `Coding facial expressions with Gabor wavelets`, FG 1998 - https://zenodo.org/records/3451524. Layout: one
folder of ``KA.AN1.39.tiff``: subject, expression and repetition, serial number.
"""

import re
from pathlib import Path

from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError

from .layout import PICTURES, check_choice, find_root, make_face_set, picture_sample, visible_files

__all__ = ["read_jaffe"]

CODES = {"AN": "anger", "DI": "disgust", "FE": "fear", "HA": "happiness", "NE": "neutral", "SA": "sadness",
         "SU": "surprise"}
CLASSES = {7: tuple(CODES.values()), 6: tuple(name for name in CODES.values() if name != "neutral")}
NAME = re.compile(r"([A-Z]{2})\.([A-Z]{2})(\d)\.(\d+)", re.IGNORECASE)


def read_jaffe(root: str | Path, split: str = "all", classes: int = 7) -> FaceSet:
    """Read JAFFE.

    Args:
        root: The folder that holds the pictures.
        split: ``all``; there are no official splits, ``fmpn data folds`` leaves one subject out.
        classes: 7, or 6 without neutral, whose faces are then references for prior masks (``FaceSet.neutral``).

    Raises:
        InputError: Wrong root or option, or an unknown expression in a file name.
    """
    check_choice("JAFFE", "split", split, ("all",))
    check_choice("JAFFE", "number of classes", classes, CLASSES)
    root = find_root(root, "JAFFE", lambda folder: any(_faces(folder)), "pictures such as KA.AN1.39.tiff")
    samples = []
    for path, name in _faces(root):
        subject, code, repetition = name[1].upper(), name[2].upper(), int(name[3])
        if code not in CODES:
            raise InputError(f"{path}: unknown expression {code!r}; JAFFE has {', '.join(CODES)}. Rename or remove it.")
        samples.append(picture_sample(path, CODES[code], subject, CODES[code], repetition))
    return make_face_set("jaffe", root, CLASSES[classes], samples, {"classes": classes})


def _faces(folder: Path) -> list[tuple[Path, re.Match]]:
    names = ((path, NAME.fullmatch(path.stem)) for path in visible_files(folder, PICTURES))
    return [(path, name) for path, name in names if name]
