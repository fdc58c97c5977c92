"""Real data for the tests that need some: ``FMPN_TEST_DATA`` names the folder; what is not there skips its tests.

The folder may hold ``data/ferplus_trainvalid.tar.gz`` (FERPlus's folders of Train and Valid), ``data/london_pairs.tar``
(photos of the Face Research Lab London Set), ``data/ict_facekit.tar.xz`` (ICT FaceKit's FaceXModel),
``data/face_detection_yunet_2023mar.onnx`` (or ``FMPN_YUNET`` names one), and the FMPN authors' ``reference/folds`` and
``reference/masks``.
"""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

__all__ = ["YUNET", "first_photos", "needs", "needs_photos", "needs_yunet", "real"]


def real(name: str) -> Path:
    """Where a file or folder of the real data lies, if it is there."""
    return Path(os.environ.get("FMPN_TEST_DATA") or "no FMPN_TEST_DATA") / name


def needs(path: Path) -> pytest.MarkDecorator:
    """Skips a test where a file or folder is missing."""
    return pytest.mark.skipif(not path.exists(), reason=f"{path} is not there (tests/real.py)")


YUNET = Path(os.environ.get("FMPN_YUNET") or real("data/face_detection_yunet_2023mar.onnx"))
PHOTOS = real("data/london_pairs.tar")
needs_yunet, needs_photos = needs(YUNET), needs(PHOTOS)


def first_photos(number: int, side: int) -> list[np.ndarray]:
    """Some of the London photos, RGB uint8 (side, side, 3)."""
    photos = []
    with tarfile.open(PHOTOS) as archive:
        for member in archive:
            if member.name.endswith(".jpg") and len(photos) < number:
                photo = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
                photos.append(np.array(photo.resize((side, side), Image.Resampling.BOX)))
    return photos
