"""Prior masks from neutral/expressive pairs: equation (1) of the FMPN paper, end to end."""

from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError

from .masks import MaskSet

__all__ = ["build_masks", "equalize", "import_masks"]

#: Class names of the masks the FMPN authors published, `<class>.png`, from https://github.com/donydchen/FMPN-FER (MIT).
PUBLISHED_CLASSES = {
    "ckplus": ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"),
    "mmi": ("anger", "disgust", "fear", "happiness", "sadness", "surprise"),
}


def equalize(difference: np.ndarray) -> np.ndarray:
    """Histogram equalisation: psi in equation (1).

    Args:
        difference: Mean absolute difference (H, W), any non-negative range.

    Returns:
        Float32 (H, W) in [0, 1]; zeros if nothing moved.
    """
    peak = difference.max()
    if peak <= 0:
        return np.zeros(difference.shape, np.float32)
    # Mean differences fill a small part of 0..255; stretched first, equalisation has levels to work with.
    levels = np.round(difference * (255 / peak)).astype(np.uint8)
    return cv2.equalizeHist(levels).astype(np.float32) / 255


def build_masks(faces: FaceSet, size: int = 72, progress: bool = True) -> MaskSet:
    """Average |expressive - neutral| over the pairs of a face set, class by class.

    Equation (1): ``I_m^k = psi(1/n_k sum_i |phi(x_i^k) - phi(x_i^neutral)|)``. The faces of a face set are aligned
    already (phi). A subject's expressive faces share that subject's one neutral face, the first.

    Args:
        faces: Aligned faces of *training* subjects, neutral and expressive.
        size: Height and width of the masks in pixels.
        progress: Show a progress bar on stderr.

    Returns:
        One mask for each expressive class that has pairs.

    Raises:
        InputError: There is no pair.
    """
    neutral = {}
    for sample in (*faces.neutral, *faces.samples):
        if sample.role == "neutral" and sample.subject is not None:
            neutral.setdefault(sample.subject, sample)
    expressive = [s for s in faces.samples if s.role == "expressive" and s.subject in neutral]
    if not expressive:
        raise InputError(
            f"{faces.dataset} {faces.split} has no subject with a neutral and an expressive face, and prior masks need "
            "such pairs. Borrow a mask set instead (--priors NAME)."
        )
    neutral_faces = {}
    total, count = defaultdict(lambda: np.zeros((size, size))), defaultdict(int)
    for sample in tqdm(expressive, desc="prior masks", unit="pair", disable=None if progress else True, leave=False):
        if sample.subject not in neutral_faces:
            neutral_faces[sample.subject] = _grey(neutral[sample.subject].picture(), size)
        total[sample.expression] += np.abs(_grey(sample.picture(), size) - neutral_faces[sample.subject])
        count[sample.expression] += 1
    classes = tuple(name for name in EXPRESSIONS if count[name])
    masks = np.stack([equalize(total[name] / count[name]) for name in classes])
    return MaskSet(
        masks=torch.from_numpy(masks),
        classes=classes,
        data=f"{faces.dataset} {faces.split}",
        recipe={"size": size, "options": faces.options, "post": "histogram equalisation"},
        pairs={name: count[name] for name in classes},
    )


def _grey(face: np.ndarray, size: int) -> np.ndarray:
    face = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    return cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)


def import_masks(folder: str | Path, layout: str) -> MaskSet:
    """Import the masks the FMPN authors published: ``<class>.png``, or folds ``<fold>/<class>.png``.

    Folds are averaged. Each published set was made from the training subjects of one fold; the average has seen all
    subjects, so use it for other data sets, and one fold's own set on that fold of CK+ or MMI.

    Args:
        folder: A fold, or the folder of the folds.
        layout: ``ckplus`` or ``mmi``: which class each number is.

    Raises:
        InputError: Unknown layout, or a mask is missing, broken or of another size.
    """
    folder = Path(folder)
    if layout not in PUBLISHED_CLASSES:
        raise InputError(f"Unknown mask layout {layout!r}: choose one of {', '.join(PUBLISHED_CLASSES)}.")
    classes = PUBLISHED_CLASSES[layout]
    folds = sorted({p.parent for p in folder.glob("*/[0-9].png")}) or [folder]
    sets = []
    for fold in folds:
        masks = [cv2.imread(str(fold / f"{i}.png"), cv2.IMREAD_GRAYSCALE) for i in range(len(classes))]
        missing = [f"{i}.png" for i, mask in enumerate(masks) if mask is None]
        if missing:
            files = f"0.png ... {len(classes) - 1}.png"
            raise InputError(f"{fold}: {', '.join(missing)} missing or broken; {layout} has {files}. Fetch them again.")
        if (fold / f"{len(classes)}.png").exists():
            raise InputError(f"{fold} has more than {layout}'s {len(classes)} masks: give the --layout they are of.")
        if len({mask.shape for mask in masks}) > 1:
            raise InputError(f"{fold}: the masks differ in size. Fetch them again.")
        sets.append(np.stack(masks))
    if len({s.shape for s in sets}) > 1:
        raise InputError(f"{folder}: the folds' masks differ in size. Fetch them again.")
    mean = np.mean(sets, axis=0).astype(np.float32) / 255
    which = f"fold {folder.name}" if folds == [folder] else f"mean of {len(folds)} folds"
    return MaskSet(
        masks=torch.from_numpy(mean),
        classes=classes,
        data=f"{layout}, {which}, published by the FMPN authors (github.com/donydchen/FMPN-FER, MIT)",
        recipe={"layout": layout, "folds": [fold.name for fold in folds]},
    )
