"""Detectors: one file each, a class whose objects find the faces of a list of pictures."""

import inspect
from typing import Any

from fmpn_timm.errors import InputError

from .base import Detector, Faces
from .mtcnn import MTCNN
from .retinaface import RetinaFace
from .yunet import YuNet

__all__ = ["DETECTORS", "Detector", "Faces", "create_detector"]

DETECTORS: dict[str, type[Detector]] = {"yunet": YuNet, "retinaface": RetinaFace, "mtcnn": MTCNN}


def create_detector(name: str = "yunet", **options: Any) -> Detector:
    """Create a detector by name.

    Args:
        name: A name in ``DETECTORS``.
        options: What its class takes (``path``, ``score``, ...).

    Raises:
        InputError: Unknown detector or option, a side of no pixels, or what the detector says of its weights.
    """
    if name == "dataset":
        raise InputError("Detector dataset stands for the landmarks that a data set gives: there is nothing to create.")
    if name not in DETECTORS:
        raise InputError(f"Unknown detector {name!r}: choose one of {', '.join(DETECTORS)}.")
    detector = DETECTORS[name]
    try:
        inspect.signature(detector).bind(**options)
    except TypeError as error:
        raise InputError(f"{name}: {error}. It takes {inspect.signature(detector)}.") from None
    if min(options.get("min_side", 1), options.get("max_side", 1)) < 1:
        raise InputError(f"{name}: min_side and max_side are pixels: give 1 or more.")
    return detector(**options)
