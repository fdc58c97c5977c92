"""Whatever holds a picture, as an array."""

import io
import os
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from fmpn_timm.data.samples import decode_picture
from fmpn_timm.errors import InputError

from .endings import HEIC, NO_HEIC, VIDEOS

__all__ = ["Unreadable", "as_picture", "lit_up"]

#: Mean brightness, of 255, below which a picture is lit up, and what it is then given. Fewer than one in a hundred of
#: FERPlus's faces are darker than the first; half of them are darker than the second.
DARK, LIT = 40, 128
WEB = ("http://", "https://")
SEVERAL = "These are several: give a list of pictures, such as list(pictures)."


class Unreadable(Exception):
    """A file, or its bytes, from which no picture can be decoded. The message says why and names no file."""


def as_picture(picture: Any) -> np.ndarray:
    """A picture as RGB uint8 (H, W, 3).

    Args:
        picture: A path; an open picture file (binary), or its bytes; a Pillow image; a NumPy array, uint8, RGB
            (H, W, 3) (not OpenCV's BGR) or grey (H, W); or a tensor, RGB (3, H, W), uint8 or floating point in [0, 1].

    Raises:
        Unreadable: The file is missing, broken, too large to be decoded safely, or no picture.
        InputError: It is something else, or an array or tensor of another type, shape or range.
    """
    if isinstance(picture, (str, os.PathLike)):
        path = _file(os.fspath(picture))
        try:
            return _decoded(path)
        except Unreadable:
            if path.lower().endswith(HEIC):
                raise Unreadable(NO_HEIC) from None
            if path.lower().endswith(VIDEOS):
                raise Unreadable("this is a video, not a picture: fmpn predict and fmpn_timm.inference.watch take "
                                 "videos") from None
            raise
    if hasattr(picture, "read"):
        picture = picture.read()
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return _decoded(io.BytesIO(picture))
    if isinstance(picture, Image.Image):
        if not picture.width or not picture.height:
            raise Unreadable("it has no pixels")
        return _decoded(picture)
    if isinstance(picture, torch.Tensor):
        return _from_tensor(picture)
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    raise InputError("A picture is a path, a binary file or its bytes, a Pillow image, a NumPy array or a tensor, not "
                     f"{type(picture).__name__}.")


def lit_up(picture: np.ndarray) -> np.ndarray:
    """A picture as if it had been exposed longer, where it is darker than what models learn from; else the picture.

    Args:
        picture: RGB uint8 (H, W, 3).
    """
    mean = picture.mean()
    return picture if mean >= DARK else cv2.convertScaleAbs(picture, alpha=LIT / max(mean, 1))


def _file(path: str) -> str:
    try:
        if not os.path.isfile(path):  # a pipe or a device would have us wait for ever
            missing = "web addresses are not read, download it" if path.startswith(WEB) else "no such file"
            raise Unreadable(missing if not os.path.exists(path) else "this is no file")
        with open(path, "rb"):
            return path
    except ValueError:
        raise Unreadable("no such file") from None  # a name with a zero byte
    except OSError as error:
        raise Unreadable((error.strerror or "no such file").lower()) from None


def _decoded(file: Any) -> np.ndarray:
    try:
        return decode_picture(file)
    except InputError as error:
        raise Unreadable(str(error)) from error


def _from_array(picture: np.ndarray) -> np.ndarray:
    grey, rgb = picture.ndim == 2, picture.ndim == 3 and picture.shape[2] == 3
    if picture.dtype != np.uint8 or not (grey or rgb) or not picture.size:
        mend = "Drop what is not RGB."
        if picture.ndim == 4 or picture.dtype.kind not in "biuf":  # a column of paths, say
            mend = SEVERAL
        elif not picture.size or picture.ndim < 2:
            mend = "It holds no picture."
        elif picture.dtype != np.uint8:
            mend = "Scale it to 0..255 and say .astype(np.uint8)."
        elif picture.shape[2] == 1:
            mend = "Say [:, :, 0]."
        elif len(picture) == 3:
            mend = "Say .transpose(1, 2, 0)."
        raise InputError(f"A picture as an array is RGB uint8 (H, W, 3) or grey uint8 (H, W), not {picture.dtype} "
                         f"{picture.shape}. {mend}")
    return np.ascontiguousarray(np.repeat(picture[:, :, None], 3, 2) if grey else picture)


def _from_tensor(picture: torch.Tensor) -> np.ndarray:
    wanted = "A picture as a tensor is RGB (3, H, W), uint8 or floating point in [0, 1]"
    floating = picture.is_floating_point()
    if picture.ndim != 3 or len(picture) != 3 or not picture.numel() or not (floating or picture.dtype == torch.uint8):
        mend = ""
        if picture.ndim == 4:
            mend = f" {SEVERAL}"
        elif picture.ndim == 3 and len(picture) == 1:
            mend = " Say .expand(3, -1, -1)."
        elif picture.ndim == 3 and picture.shape[2] == 3:
            mend = " Say .permute(2, 0, 1)."
        raise InputError(f"{wanted}, not {picture.dtype} {tuple(picture.shape)}.{mend}")
    picture = picture.detach().cpu()
    if floating:
        picture = picture.float()
        if not bool(((picture >= 0) & (picture <= 1)).all()):
            low, high = float(picture.min()), float(picture.max())
            scale = low >= 0 and 2 < high <= 255
            mend = "Divide it by 255." if scale else "Is it normalised? Give it as it was before."
            raise InputError(f"{wanted}; this one goes from {low:.3g} to {high:.3g}. {mend}")
        picture = (picture * 255).round().to(torch.uint8)
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
