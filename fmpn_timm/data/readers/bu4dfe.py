"""BU-4DFE: six posed expressions of 101 subjects, sequences that go from neutral to the peak and back.

Yin et al., `A high-resolution 3D dynamic facial expression database`, FG 2008. Layout: ``F001/Angry/000.jpg``.
"""

import re
from pathlib import Path

from fmpn_timm.data.samples import FaceSet

from .image_folder import is_class
from .layout import (
    around,
    check_choice,
    check_count,
    expression_of,
    find_root,
    frames_of,
    make_face_set,
    sequence_samples,
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
            expression, pictures = expression_of(sequence, CLASSES), frames_of(sequence, at_least=frames + 1)
            middle = around(pictures[1:], len(pictures) // 2 - 1, frames)
            samples += sequence_samples(pictures[0], middle, expression, subject.name, sequence.name)
    return make_face_set("bu4dfe", root, CLASSES, samples, {"frames": frames})


def _holds_subjects(root: Path) -> bool:
    return any(is_class(sequence) for subject in _subjects(root) for sequence in visible_folders(subject))


def _subjects(root: Path) -> list[Path]:
    return [f for f in visible_folders(root) if re.fullmatch(SUBJECT, f.name, re.IGNORECASE)]
