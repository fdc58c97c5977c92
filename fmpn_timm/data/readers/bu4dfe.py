"""BU-4DFE: six posed expressions of 101 subjects, sequences that go from neutral to the peak and back.

Yin et al., `A high-resolution 3D dynamic facial expression database`, FG 2008. Layout: ``F001/Angry/000.jpg``.
"""

import re
from functools import partial
from pathlib import Path

from fmpn_timm.data.classes import canonical
from fmpn_timm.data.samples import FaceSet, Sample, read_picture
from fmpn_timm.errors import InputError

from .layout import (
    PICTURES,
    around,
    check_choice,
    check_count,
    find_root,
    frame_number,
    make_face_set,
    visible_files,
    visible_folders,
)

__all__ = ["read_bu4dfe"]

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
SUBJECT = r"[FM]\d{3}"


def read_bu4dfe(root: str | Path, split: str = "all", frames: int = 3) -> FaceSet:
    """Read the pictures of BU-4DFE's sequences.

    The ``frames`` pictures about the middle of a sequence carry its label; the first is neutral, a reference for prior
    masks (``FaceSet.neutral``).

    Args:
        root: The folder that holds the subjects' folders.
        split: ``all``; there are no official splits, ``fmpn data folds`` cuts by subject.
        frames: Pictures taken about the middle of each sequence.

    Raises:
        InputError: Wrong root or option, an unknown expression, or too few pictures in a sequence.
    """
    check_choice("BU-4DFE", "split", split, ("all",))
    check_count("BU-4DFE", "frames", frames)
    inner = rf"{SUBJECT}|Angry|Disgust|Fear|Happy|Sad|Surprise"
    root = find_root(root, "BU-4DFE", _holds_subjects, "sequences such as F001/Angry", inner)
    samples = []
    for subject in _subjects(root):
        for sequence in visible_folders(subject):
            expression = _expression(sequence)
            if expression is None:
                known = ", ".join(CLASSES)
                raise InputError(f"{sequence} is none of the six expressions ({known}): rename or remove it.")
            pictures = sorted(visible_files(sequence, PICTURES), key=frame_number)
            if len(pictures) <= frames:
                raise InputError(
                    f"{sequence} holds {len(pictures)} pictures, and {frames + 1} are needed. Unpack the archive again."
                )
            middle = around(pictures[1:], len(pictures) // 2 - 1, frames)
            samples += (
                Sample(str(path), partial(read_picture, str(path)), label, subject.name, sequence.name,
                       frame_number(path))
                for path, label in ((pictures[0], "neutral"), *((p, expression) for p in middle))
            )
    return make_face_set("bu4dfe", root, CLASSES, samples, {"frames": frames})


def _holds_subjects(root: Path) -> bool:
    return any(_expression(sequence) for subject in _subjects(root) for sequence in visible_folders(subject))


def _subjects(root: Path) -> list[Path]:
    return [f for f in visible_folders(root) if re.fullmatch(SUBJECT, f.name, re.IGNORECASE)]


def _expression(folder: Path) -> str | None:
    try:
        expression = canonical(folder.name)
    except InputError:
        return None
    return expression if expression in CLASSES else None
