"""CK+, the extended Cohn-Kanade data set: posed sequences from a neutral face to the peak of an expression.

Lucey et al., `The Extended Cohn-Kanade Dataset (CK+)`, CVPR Workshops 2010. 593 sequences of 123 subjects; the 327 that
have a file under ``Emotion`` are labelled. Layout: ``cohn-kanade-images/S005/001/S005_001_00000011.png``,
``Emotion/S005/001/S005_001_00000011_emotion.txt``, ``Landmarks/.../S005_001_00000011_landmarks.txt``.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError
from fmpn_timm.faces.alignment import five_of_68

from .layout import (
    WrongRoot,
    check_choice,
    check_count,
    find_root,
    first_folder,
    frame_number,
    frames_of,
    make_face_set,
    picture_sample,
    visible_files,
    visible_folders,
)

__all__ = ["read_ckplus"]

#: What the code in an emotion file means, by its number.
CODES = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
CLASSES = {
    8: CODES,
    7: CODES[1:],
    6: tuple(name for name in CODES[1:] if name != "contempt"),
}
#: Where the archives come to lie, by how they are unpacked; the first that is there is read.
IMAGES = ("cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images", "extended-cohn-kanade-images")
EMOTIONS = ("Emotion", "Emotion_labels/Emotion", "Emotion_labels")
LANDMARKS = ("Landmarks/Landmarks", "Landmarks")
INNER = r"(extended-)?cohn-kanade-images|Emotion(_labels)?|Landmarks|FACS(_labels)?|S\d{3}|\d{3}"


def read_ckplus(root: str | Path, split: str = "all", classes: int = 7, frames: int = 3) -> FaceSet:
    """Read the labelled sequences of CK+.

    The last ``frames`` pictures of a sequence carry its label. Its first is neutral: a sample with 8 classes, a
    reference for prior masks (``FaceSet.neutral``) with 7 or 6. With three frames there are 981 samples for 7 classes
    (FMPN), 1,308 for 8 and 927 for 6 (FN2EN). Landmarks are CK+'s own, where its files are there.

    Args:
        root: The folder that holds ``cohn-kanade-images`` and ``Emotion``.
        split: ``all``; there are no official splits, ``fmpn data folds`` cuts by subject.
        classes: 7 expressions (with contempt), 8 (and neutral) or 6 (without contempt and neutral).
        frames: Pictures taken from the end of each sequence.

    Returns:
        The faces. The options say where they were found, and how many sequences lack their first picture, which some
        leave out to save space; with 8 classes that is an error.

    Raises:
        InputError: Wrong root or option, no labels, an unreadable or unknown label, or pictures missing.
    """
    check_choice("CK+", "split", split, ("all",))
    check_choice("CK+", "number of classes", classes, CLASSES)
    check_count("CK+", "frames", frames)
    expected = "cohn-kanade-images and Emotion"
    root = find_root(root, "CK+", lambda folder: first_folder(folder, IMAGES) is not None, expected, INNER)
    images, emotions, landmarks = (first_folder(root, names) for names in (IMAGES, EMOTIONS, LANDMARKS))
    if emotions is None and all(first_folder(root.parent, names) for names in (IMAGES, EMOTIONS)):
        raise WrongRoot(f"{root} is one level too low: give {root.parent}.")
    if emotions is None:
        raise InputError(f"{root / 'Emotion'} is missing: unpack Emotion_labels.zip beside {images}.")

    labels = {(subject, sequence): label for subject, sequence, label in _labels(root / emotions)}
    broken, without_neutral, samples = [], 0, []
    for (subject, sequence), expression in sorted(labels.items()):
        folder = root / images / subject / sequence
        pictures = frames_of(folder)
        has_neutral = bool(pictures) and frame_number(pictures[0]) == 1
        if len(pictures) < frames + (has_neutral or classes == 8):
            broken.append(f"{folder} ({len(pictures)} pictures)")
        elif classes == 8 and not has_neutral:
            broken.append(f"{folder} (no first picture)")
        elif expression in CLASSES[classes]:
            without_neutral += not has_neutral
            roles = [(path, expression) for path in pictures[-frames:]]
            if has_neutral:
                roles.insert(0, (pictures[0], "neutral"))
            given = root / landmarks / subject / sequence if landmarks else None
            samples += (
                picture_sample(path, label, subject, sequence, frame_number(path), _landmarks_of(path, given))
                for path, label in roles
            )
    if broken:
        raise InputError(
            f"{root / images}: {len(broken)} of the {len(labels)} labelled sequences have too few pictures, the first "
            f"is {broken[0]}. The archive is half unpacked: unpack it again."
        )
    options = {"classes": classes, "frames": frames, "images": images, "labels": emotions, "landmarks": landmarks,
               "without_neutral": without_neutral}
    return make_face_set("ckplus", root, CLASSES[classes], samples, options)


def _labels(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Subject, sequence and expression of every label file."""
    for subject in visible_folders(folder):
        for sequence in visible_folders(subject):
            files = [p for p in visible_files(sequence, (".txt",)) if p.stem.lower().endswith("_emotion")]
            if len(files) > 1:
                raise InputError(f"{sequence} holds {len(files)} emotion files: keep the one of CK+'s own archive.")
            for path in files:
                yield subject.name, sequence.name, _expression(path)


def _expression(path: Path) -> str:
    text = path.read_bytes()[:100].decode("ascii", "replace").strip()
    try:
        code = float(text)
    except ValueError:
        raise InputError(f"{path}: expected one number, got {text[:40]!r}. Unpack Emotion_labels.zip again.") from None
    if code not in range(len(CODES)):
        known = ", ".join(CODES)
        raise InputError(f"{path}: unknown code {text}; CK+ has 0 to 7 ({known}). Use CK+'s own label files.")
    return CODES[int(code)]


def _landmarks_of(picture: Path, folder: Path | None) -> partial | None:
    path = folder / f"{picture.stem}_landmarks.txt" if folder else None
    return partial(_read_landmarks, str(path)) if path and path.is_file() else None


def _read_landmarks(path: str) -> np.ndarray:
    try:
        points = np.array([[float(v) for v in line.split()] for line in Path(path).read_text().splitlines() if line])
    except ValueError:  # words, or lines of unequal length
        points = np.empty(0)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise InputError(f"{path}: expected 68 lines of two numbers. Unpack Landmarks.zip again.")
    return five_of_68(points)
