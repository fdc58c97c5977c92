"""Oulu-CASIA: six posed expressions of 80 subjects, in visible and near-infrared light, from neutral to the peak.

Zhao et al., `Facial expression recognition from near-infrared videos`, Image and Vision Computing 2011. Layout:
``OriginalImg/VL/Strong/P001/Anger/000.jpeg``; the archive's folder is also met as ``B_OriginalImg``.
"""

from pathlib import Path

from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError

from .layout import (
    check_choice,
    check_count,
    expression_of,
    find_root,
    first_folder,
    frames_of,
    make_face_set,
    sequence_samples,
    visible_folders,
)

__all__ = ["read_oulu_casia"]

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
LIGHTS = ("VL", "NI")
STRENGTHS = ("Strong", "Weak", "Dark")
FOLDERS = ("OriginalImg", "B_OriginalImg/OriginalImg", "B_OriginalImg")  # the second as the archive unpacks


def read_oulu_casia(
        root: str | Path, split: str = "all", light: str = "VL", strength: str = "Strong", frames: int = 3
) -> FaceSet:
    """Read the sequences of one camera and illumination.

    The last ``frames`` pictures of a sequence carry its label; the first is neutral, a reference for prior masks
    (``FaceSet.neutral``). VL and Strong have 480 sequences, 1,440 samples with three frames (FN2EN, DeRL).

    Args:
        root: The folder that holds ``OriginalImg`` or ``B_OriginalImg``.
        split: ``all``; there are no official splits, ``fmpn data folds`` cuts by subject.
        light: ``VL``, visible, or ``NI``, near infrared.
        strength: ``Strong``, ``Weak`` or ``Dark``.
        frames: Pictures taken from the end of each sequence.

    Raises:
        InputError: Wrong root or option, an unknown expression, or too few pictures in a sequence.
    """
    check_choice("Oulu-CASIA", "split", split, ("all",))
    check_choice("Oulu-CASIA", "light", light, LIGHTS)
    check_choice("Oulu-CASIA", "strength", strength, STRENGTHS)
    check_count("Oulu-CASIA", "frames", frames)
    inner = r"(B_)?OriginalImg|VL|NI|Strong|Weak|Dark|P\d{3}"
    expected = "OriginalImg or B_OriginalImg"
    root = find_root(root, "Oulu-CASIA", lambda folder: _images(folder) is not None, expected, inner)
    images = _images(root)
    folder = root / images / light / strength
    if not folder.is_dir():
        have = [f"{a}/{b}" for a in LIGHTS for b in STRENGTHS if (folder.parents[1] / a / b).is_dir()]
        raise InputError(f"{folder} is missing: unpack it, or choose from what is there ({', '.join(have) or 'none'}).")

    samples = []
    for subject in visible_folders(folder):
        for sequence in visible_folders(subject):
            expression, pictures = expression_of(sequence, CLASSES), frames_of(sequence, at_least=frames + 1)
            samples += sequence_samples(pictures[0], pictures[-frames:], expression, subject.name, sequence.name)
    options = {"light": light, "strength": strength, "frames": frames, "images": images}
    return make_face_set("oulu_casia", root, CLASSES, samples, options)


def _images(root: Path) -> str | None:
    return next((name for name in FOLDERS if first_folder(root / name, LIGHTS)), None)
