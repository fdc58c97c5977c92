"""BU-3DFE: six posed expressions of 100 subjects at four levels of intensity, and a neutral face of each.

Yin et al., `A 3D facial expression database for facial behavior research`, FG 2006. Read are the pictures of the face
from the front, ``F0001_AN01WH_F2D.bmp``: subject, expression and level, ethnicity. They lie in one folder, or in one of
each subject (``F0001/``).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError

from .layout import PICTURES, check_choice, find_root, make_face_set, picture_sample, visible_files, visible_folders

__all__ = ["read_bu3dfe"]

CODES = {"AN": "anger", "DI": "disgust", "FE": "fear", "HA": "happiness", "NE": "neutral", "SA": "sadness",
         "SU": "surprise"}
CLASSES = {6: tuple(name for name in CODES.values() if name != "neutral"), 7: tuple(CODES.values())}
NAME = re.compile(r"([FM]\d{4})_([A-Z]{2})(\d{2})([A-Z]{2})_F2D", re.IGNORECASE)
SUBJECT = r"[FM]\d{4}"


def read_bu3dfe(
        root: str | Path, split: str = "all", classes: int = 6, levels: int | Sequence[int] = (3, 4)
) -> FaceSet:
    """Read the pictures of BU-3DFE.

    Args:
        root: The folder that holds the pictures, or the subjects' folders.
        split: ``all``; there are no official splits, ``fmpn data folds`` cuts by subject.
        classes: 6 expressions, the neutral faces being references for prior masks (``FaceSet.neutral``), or 7.
        levels: Levels of intensity to take, from 1 to 4; the two strongest unless told. Neutral has none.

    Raises:
        InputError: Wrong root or option, or an unknown expression or level in a file name.
    """
    check_choice("BU-3DFE", "split", split, ("all",))
    check_choice("BU-3DFE", "number of classes", classes, CLASSES)
    levels = list(levels) if isinstance(levels, list | tuple) else [levels]
    for level in levels or [None]:
        check_choice("BU-3DFE", "level", level, range(1, 5))
    expected = "pictures such as F0001_AN01WH_F2D.bmp"
    root = find_root(root, "BU-3DFE", lambda folder: any(_faces(folder)), expected, SUBJECT)

    samples, folders = [], set()
    for path, name in _faces(root):
        subject, code, level = name[1].upper(), name[2].upper(), int(name[3])
        if code not in CODES or level not in range(5):
            raise InputError(
                f"{path}: unknown expression {code}{name[3]}; BU-3DFE has {', '.join(CODES)} and the levels 01 to 04 "
                "(00 for neutral). Rename or remove it."
            )
        folders.add("one folder" if path.parent == root else "subjects")
        if code == "NE" or level in levels:
            samples.append(picture_sample(path, CODES[code], subject, CODES[code], level))
    options = {"classes": classes, "levels": levels, "layout": " and ".join(sorted(folders))}
    return make_face_set("bu3dfe", root, CLASSES[classes], samples, options)


def _faces(root: Path) -> Iterator[tuple[Path, re.Match]]:
    for folder in (root, *(f for f in visible_folders(root) if re.fullmatch(SUBJECT, f.name, re.IGNORECASE))):
        for path in visible_files(folder, PICTURES):
            name = NAME.fullmatch(path.stem)
            if name:
                yield path, name
