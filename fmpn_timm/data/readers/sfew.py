"""SFEW 2.0: still frames of film scenes, labelled with one of seven expressions.

`Static Facial Expressions in Tough Conditions: Data, Evaluation Protocol and Benchmark`, ICCV workshops 2011; the
version of EmotiW 2015. The layout read is that of the aligned faces, 143 x 181 pixels:
``{Train,Val}_Aligned_Faces/{Angry,Disgust,Fear,Happy,Neutral,Sad,Surprise}/*.png``.
"""

from pathlib import Path

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError

from .layout import check_choice, class_samples, find_root

__all__ = ["read_sfew"]

SPLITS = ("train", "valid")
CLASSES = tuple(e for e in EXPRESSIONS if e != "contempt")
#: Where each split lies; the other forms are those the archives unpack to.
FOLDERS = {
    split: (f"{name}_Aligned_Faces", f"{name}_Aligned_Faces_new", f"{name}/{name}_Aligned_Faces",
            f"{name}/{name}_Aligned_Faces_new")
    for split, name in (("train", "Train"), ("valid", "Val"))
}
INNER = "[A-Za-z_]+"  # names of folders inside: of splits, and of classes in them


def read_sfew(root: str | Path, split: str = "train") -> FaceSet:
    """Read one split of SFEW 2.0: 958 faces to train, 436 to validate. The labels of its test faces are withheld.

    ``options`` says in which folder the split was found.

    Args:
        root: The folder that holds ``Train_Aligned_Faces`` and ``Val_Aligned_Faces``.
        split: ``train`` or ``valid``.

    Raises:
        InputError: Wrong root or split, or a class folder that is missing, unknown or empty.
    """
    if split == "test":
        raise InputError("SFEW has no split 'test': choose one of train, valid. The labels of its test faces are "
                         "withheld: report valid.")
    check_choice("SFEW", "split", split, SPLITS)
    first = FOLDERS[split][0]
    root = find_root(root, "SFEW 2.0 (aligned faces)", _holds, first, INNER)
    folder = _folder(root, split)
    if folder is None:
        other = next(name for name in SPLITS if name != split)
        raise InputError(f"{root / first} is missing: unpack it there; found only the split {other}.")
    samples = tuple(class_samples(folder, CLASSES))
    return FaceSet("sfew", split, CLASSES, samples, {"folder": folder.relative_to(root).as_posix()})


def _folder(root: Path, split: str) -> Path | None:
    return next((root / name for name in FOLDERS[split] if (root / name).is_dir()), None)


def _holds(folder: Path) -> bool:
    if folder.name in ("Train", "Val") and _holds(folder.parent):  # a split's own folder, with one split in it
        return False
    return any(_folder(folder, split) for split in SPLITS)
