"""Prior masks from neutral/expressive pairs: equation (1) of the FMPN paper, end to end."""

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError
from fmpn_timm.faces import REFERENCE_LANDMARKS

from .masks import MaskSet
from .pairs import LIMITS, PairLimits, artefacts, match_light

__all__ = ["build_masks", "equalize", "grey_face", "import_masks"]

#: Class names of the masks that the FMPN authors published, `<class number>.png`, github.com/donydchen/FMPN-FER (MIT).
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


def build_masks(
        faces: FaceSet,
        size: int = 72,
        light: str = "gain",
        smooth: float = 0.01,
        limits: PairLimits | None = LIMITS,
        progress: bool = True,
) -> MaskSet:
    """Average |expressive - neutral| over the pairs of a face set, class by class.

    Equation (1): ``I_m^k = psi(1/n_k sum_i |phi(x_i^k) - phi(x_i^neutral)|)``. The faces of a face set are aligned
    already (phi). A subject's expressive faces share that subject's one neutral face, the first. Light, eyes
    and artefacts are judged where the recipe says that a face is in its picture; faces without a recipe are taken to
    lie as by the default reference. With ``light="none"``, ``smooth=0`` and ``limits=None`` this is the equation alone,
    differences kept to a tenth of a grey level.

    Args:
        faces: Aligned faces of *training* subjects, neutral and expressive.
        size: Height and width of the masks in pixels.
        light: How the expressive face's light is brought to the neutral one's: ``none``, ``gain`` (one factor) or
            ``local`` (a factor that varies slowly over the face).
        smooth: Standard deviation of a Gaussian over the mean difference, as a share of the size; 0 for none.
        limits: Which pairs are refused; None for none.
        progress: Show a progress bar on stderr.

    Returns:
        One mask for each expressive class that has pairs. Its ``quality`` holds ``refused`` (each with ``source``,
        ``neutral`` and ``reason``) and ``artefacts``, the share of each mask's energy outside the face.

    Raises:
        InputError: There is no pair, all pairs of the set were refused, or an option is out of range.
    """
    if light not in ("none", "gain", "local"):
        raise InputError(f"Unknown light normalisation {light!r}: choose none, gain or local.")
    if size < 8 or smooth < 0:
        raise InputError(f"Masks of {size} pixels, smoothed by {smooth:g}: give at least 8, and 0 or more.")
    neutral = faces.neutral_by_subject()
    expressive = [s for s in faces.samples if s.role == "expressive" and s.subject in neutral]
    if not expressive:
        raise InputError(
            f"{faces.dataset} {faces.split} has no subject with a neutral and an expressive face, and prior masks need "
            "such pairs. Borrow a mask set instead (--priors NAME)."
        )
    landmarks = faces.recipe.frame if faces.recipe else REFERENCE_LANDMARKS
    neutral_faces, differences, refused = {}, defaultdict(list), []
    for sample in tqdm(expressive, desc="prior masks", unit="pair", disable=None if progress else True, leave=False):
        reference = neutral[sample.subject]
        if sample.subject not in neutral_faces:
            neutral_faces[sample.subject] = grey_face(reference.picture(), size)
        before, after = neutral_faces[sample.subject], grey_face(sample.picture(), size)
        reason = limits.refuse(after, before, landmarks) if limits else None
        if reason:
            refused.append({"source": sample.source, "neutral": reference.source, "reason": reason})
        else:
            # kept for the outliers' sake, in half precision: a tenth of a grey level is fine enough
            difference = np.abs(match_light(after, before, light, landmarks) - before)
            differences[sample.expression].append((sample, reference, difference.round(1).astype(np.float16)))
    classes, masks, pairs = [], [], {}
    for name in EXPRESSIONS:
        kept = differences[name]
        if limits and kept:
            outliers = limits.outliers(np.stack([d for *_, d in kept]))
            refused += [{"source": s.source, "neutral": r.source, "reason": reason}
                        for (s, r, _), reason in zip(kept, outliers, strict=True) if reason]
            kept = [pair for pair, reason in zip(kept, outliers, strict=True) if not reason]
        if kept:
            mean = np.mean([d for *_, d in kept], axis=0, dtype=np.float64)
            if smooth:
                mean = cv2.GaussianBlur(mean, (0, 0), smooth * size, borderType=cv2.BORDER_REPLICATE)
            classes.append(name)
            masks.append(equalize(mean))
            pairs[name] = len(kept)
    if not masks:
        raise InputError(f"{faces.dataset} {faces.split}: all {len(refused)} pairs were refused, the first because of "
                         f"{refused[0]['reason']}. Align the faces, or build with limits off (--keep-all).")
    outside = {n: artefacts(m, landmarks) for n, m in zip(classes, masks, strict=True)}
    options = {"light": light, "smooth": smooth, "limits": asdict(limits) if limits else None}
    return MaskSet(
        masks=torch.from_numpy(np.stack(masks)),
        classes=tuple(classes),
        data=f"{faces.dataset} {faces.split}",
        recipe={"size": size, "options": faces.options, "pairs": options, "post": "histogram equalisation",
                "faces": faces.recipe and faces.recipe.as_dict()},
        pairs=pairs,
        quality={"refused": refused, "artefacts": outside},
    )


def grey_face(face: np.ndarray, size: int) -> np.ndarray:
    """An RGB face, uint8, as grey float64 (size, size), 0 to 255."""
    face = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    return cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)


def import_masks(folder: str | Path, layout: str) -> MaskSet:
    """Import the masks the FMPN authors published: ``<class number>.png``, or folds ``<fold>/<class>.png``.

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
    above = next(folder.glob("*/*/[0-9].png"), None) if folds == [folder] and not (folder / "0.png").exists() else None
    if above:
        raise InputError(f"{folder} is one level too high: give {above.parents[1]}.")
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
