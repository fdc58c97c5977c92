"""TFD, the Toronto Face Database: 4,178 labelled grey faces in five official folds.

Susskind et al., `The Toronto Face Database`, technical report, University of Toronto 2010. One MATLAB file,
``TFD_48x48.mat`` or ``TFD_96x96.mat``: ``images`` (N, size, size), ``labs_ex`` and ``labs_id`` (N), ``folds`` (N, 5).
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError

from .layout import WrongRoot, check_choice, find_root, make_face_set, visible_files

__all__ = ["read_tfd"]

#: By code, from 1; -1 is unlabelled.
CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
#: What the code in the folds means.
PARTS = ("none", "train", "valid", "test")
SPLITS = ("all", "train", "valid", "test")
FOLDS = 5


def read_tfd(root: str | Path, split: str = "all", size: int = 48, fold: int = 1) -> FaceSet:
    """Read the labelled faces of TFD, of all folds or of one part of one.

    TFD has no recordings: ``Sample.sequence`` says which part each of the five official folds puts a face in, such as
    ``train/train/test/valid/train``, so that the folds go wherever the samples go.

    Args:
        root: The folder that holds ``TFD_48x48.mat``.
        split: ``all``, or ``train``, ``valid`` or ``test`` of a fold.
        size: 48 or 96 pixels.
        fold: Which fold, from 1 to 5, unless the split is ``all``.

    Raises:
        InputError: Wrong root or option, SciPy is missing, the file cannot be read or holds something else.
    """
    check_choice("TFD", "split", split, SPLITS)
    check_choice("TFD", "size", size, (48, 96))
    check_choice("TFD", "fold", fold, range(1, FOLDS + 1))
    if Path(root).suffix.lower() == ".mat":
        raise WrongRoot(f"{root} is one level too low: give its folder, {Path(root).parent}.")
    root = find_root(root, "TFD", lambda folder: bool(_files(folder)), "TFD_48x48.mat or TFD_96x96.mat")
    files = {path.stem[-5:]: path for path in _files(root)}
    if f"{size}x{size}" not in files:
        raise InputError(f"{root} has no TFD_{size}x{size}.mat, but {', '.join(p.name for p in files.values())}.")
    path = files[f"{size}x{size}"]
    images, labels, people, folds = _arrays(path, size)

    samples = []
    for n in np.flatnonzero(labels != -1):
        parts = [PARTS[code] for code in folds[n]]
        if split in ("all", parts[fold - 1]):
            samples.append(Sample(
                source=f"{path}:{n:06d}",
                picture=partial(_rgb, images[n]),
                expression=CODES[labels[n] - 1],
                subject=f"{people[n]:04d}" if people[n] >= 0 else None,
                sequence="/".join(parts),
            ))
    options = {"size": size} if split == "all" else {"size": size, "fold": fold}
    return replace(make_face_set("tfd", root, CODES, samples, options), split=split)


def _files(folder: Path) -> list[Path]:
    return [p for p in visible_files(folder, (".mat",)) if re.fullmatch(r"TFD.*_(48x48|96x96)", p.stem, re.IGNORECASE)]


def _arrays(path: Path, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images (N, size, size) uint8, expressions (N,), identities (N,), folds (N, 5)."""
    found = _load(path)
    missing = [name for name in ("images", "labs_ex", "labs_id", "folds") if name not in found]
    if missing:
        raise InputError(f"{path} holds no {', '.join(missing)}: is this TFD? Fetch it again.")
    labels, people = (np.asarray(found[name]).ravel().astype(int) for name in ("labs_ex", "labs_id"))
    images, folds = np.asarray(found["images"]), np.asarray(found["folds"]).astype(int)
    n = len(labels)
    if images.shape == (size, size, n):  # faces last, as MATLAB's users often have them
        images = np.moveaxis(images, -1, 0)
    if images.shape != (n, size, size) or people.shape != (n,) or folds.shape != (n, FOLDS):
        shapes = f"images {images.shape}, labs_ex ({n},), labs_id {people.shape}, folds {folds.shape}"
        raise InputError(f"{path}: {shapes} do not belong together. Fetch it again.")
    for name, values, known in (("labs_ex", labels, {-1, *range(1, len(CODES) + 1)}), ("folds", folds, range(4))):
        unknown = sorted(set(np.unique(values).tolist()) - set(known))
        if unknown:
            codes = ", ".join(map(str, sorted(known)))
            raise InputError(f"{path}: unknown code {unknown[0]} in {name}; TFD has {codes}. Use TFD's own file.")
    if images.dtype != np.uint8:
        scale = 255 if images.max(initial=0) <= 1 else 1
        images = np.clip(np.round(images * scale), 0, 255).astype(np.uint8)
    return images, labels, people, folds


def _load(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        if file.read(10) == b"MATLAB 7.3":
            raise InputError(f"{path} is of MATLAB's version 7.3: save it again in MATLAB with save(..., '-v7').")
    try:
        from scipy.io import loadmat
    except ImportError:
        raise InputError(f'Reading {path} needs SciPy: pip install "fmpn-timm[data]".') from None
    try:
        return loadmat(path, variable_names=["images", "labs_ex", "labs_id", "folds"])
    except Exception as error:  # SciPy has a dozen kinds of error for broken files
        raise InputError(f"{path} cannot be read ({error}): fetch it again.") from error


def _rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2)
