"""Predictions as pictures to look at: boxes, labels, and where the face moved."""

import hashlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.files import whole

from .results import FacePrediction, PicturePrediction

__all__ = ["COLORS", "draw_face", "draw_prediction", "drawn_path", "write_masks", "write_picture"]

#: Longest side of what is drawn, in pixels: text needs room, and nobody looks at more.
MIN_SIDE, MAX_SIDE = 640, 2560

#: After Okabe and Ito, `Color Universal Design`, 2008: told apart by the colour-blind too.
COLORS = dict(zip(EXPRESSIONS, ((210, 210, 210), (240, 228, 66), (240, 165, 30), (86, 180, 233), (230, 90, 20),
                                (0, 170, 125), (220, 135, 185), (70, 130, 230)), strict=True))
OTHER, PLATE, TEXT, NOTE = (255, 255, 255), (18, 18, 18, 215), (255, 255, 255), (255, 214, 130)
#: The strongest motion of a face is drawn this opaque; one that is weaker everywhere than 0.2 is drawn fainter.
OPACITY, FULL_MOTION = 0.55, 0.2
#: Bytes of a file name: file systems bear 255, and a file that is not complete yet has a longer one.
LONGEST = 240


def draw_prediction(picture: np.ndarray, prediction: PicturePrediction) -> np.ndarray:
    """Draw what was predicted into a picture.

    Args:
        picture: RGB uint8 (H, W, 3).
        prediction: Its prediction.

    Returns:
        RGB uint8: the picture with its longest side between 640 and 2,560 pixels, motion masks, boxes and labels.
    """
    height, width = picture.shape[:2]
    zoom = min(max(max(height, width), MIN_SIDE), MAX_SIDE) / max(height, width)
    size = tuple(max(round(s * zoom), 1) for s in (width, height))
    if size != (width, height):
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    drawn = picture.copy()
    for face in prediction.faces:
        _overlay(drawn, face, zoom)
    image = Image.fromarray(drawn)
    draw = ImageDraw.Draw(image, "RGBA")
    for face in reversed(prediction.faces):  # the largest on top
        _frame(draw, face, zoom, size)
    for face in reversed(prediction.faces):
        _label(draw, face, zoom, size)
    if not prediction.faces and prediction.reason:
        _plate(draw, (0, size[1]), [(prediction.reason, TEXT)], _text_height(size, 1.0), OTHER, size)
    return np.array(image)


def draw_face(face: FacePrediction, side: int) -> np.ndarray:
    """Draw where an aligned face moved, if the model says it.

    Args:
        face: The face.
        side: Height and width of what is drawn, in pixels.

    Returns:
        RGB uint8 (side, side, 3).
    """
    zoom = side / len(face.face)
    drawn = cv2.resize(face.face, (side, side), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    _overlay(drawn, replace(face, matrix=np.eye(2, 3)), zoom)
    return drawn


def drawn_path(folder: str | Path, name: str, suffix: str = "", common: str = "") -> Path:
    """Where the picture of a source goes: its name within the folder, wherever the source lies.

    Args:
        folder: Where results go.
        name: Name of the source.
        suffix: What is added to the name.
        common: Beginning of the name that is left out.
    """
    parts = [part for part in Path(name.removeprefix(common)).parts if part.strip("./")]
    return Path(folder, *parts[:-1], _short(parts[-1] if parts else "picture", suffix))


def _short(name: str, suffix: str) -> str:
    """A name with a suffix; where file systems would not bear it, its beginning and a checksum."""
    whole = name.encode(errors="backslashreplace")
    room = LONGEST - len(suffix)
    if len(whole) <= room:
        return f"{name}{suffix}"
    ending = Path(name).suffix if len(Path(name).suffix) < 8 else ""
    checksum = f"~{hashlib.sha256(whole).hexdigest()[:8]}"
    return f"{whole[:room - len(checksum) - len(ending)].decode(errors='ignore')}{checksum}{ending}{suffix}"


def write_picture(picture: np.ndarray, path: str | Path) -> None:
    """Write a picture, RGB uint8 (H, W, 3) or grey (H, W), as the suffix of its name says; whole or not at all."""
    kind = "png" if Path(path).suffix.lower() == ".png" else "jpeg"
    with whole(path) as partial:
        Image.fromarray(picture).save(partial, kind, **({"quality": 92} if kind == "jpeg" else {}))


def write_masks(prediction: PicturePrediction, folder: str | Path, common: str = "") -> None:
    """Write the motion mask of each face as ``<name>.<face>.png``, grey, 255 for 1, in the pixels of the aligned face.

    Those of a video are ``<name>/<frame>.<face>.png``.

    Args:
        prediction: What was predicted.
        folder: Where results go.
        common: See ``drawn_path``.
    """
    frame = "" if prediction.frame is None else f"/{prediction.frame:06d}"
    for i, face in enumerate(prediction.faces):
        if face.motion_mask is not None:
            grey = (face.motion_mask * 255).round().astype(np.uint8)
            write_picture(grey, drawn_path(folder, f"{prediction.source}{frame}", f".{i}.png", common))


def _overlay(drawn: np.ndarray, face: FacePrediction, zoom: float) -> None:
    """Colour a face, in place, by how much it moved."""
    if face.motion_mask is None:
        return
    mask = face.motion_mask
    strength = np.clip(mask / max(float(mask.max()), FULL_MOTION), 0, 1)
    side = len(mask)
    edge = np.minimum(np.arange(side), np.arange(side)[::-1]) / max(0.08 * side, 1)  # no hard edge of the frame
    strength = (strength * np.outer(*2 * [edge.clip(0, 1)])).astype(np.float32)
    matrix = _zoomed(face.matrix, zoom)
    corners = cv2.transform(np.float64([[[-0.5, -0.5], [side, -0.5], [side, side], [-0.5, side]]]),
                            cv2.invertAffineTransform(matrix))[0]
    height, width = drawn.shape[:2]
    x1, y1 = np.floor(corners.min(0)).clip(0).astype(int)
    x2, y2 = np.ceil(corners.max(0)).clip(0, [width, height]).astype(int)
    if x2 <= x1 or y2 <= y1:
        return
    matrix[:, 2] += matrix[:, :2] @ [x1, y1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    strength = cv2.warpAffine(strength, matrix, (int(x2 - x1), int(y2 - y1)), flags=flags).clip(0, 1)[..., None]
    heat = cv2.applyColorMap((255 * (0.35 + 0.6 * strength)).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    region = drawn[y1:y2, x1:x2]
    region[:] = (region + OPACITY * strength * (heat - region.astype(np.float32))).round().astype(np.uint8)


def _zoomed(matrix: np.ndarray, zoom: float) -> np.ndarray:
    """The matrix from pixels of the zoomed picture to pixels of the face."""
    matrix = np.array(matrix, np.float64)
    matrix[:, 2] += matrix[:, :2].sum(1) * (0.5 / zoom - 0.5)
    matrix[:, :2] /= zoom
    return matrix


def _frame(draw: ImageDraw.ImageDraw, face: FacePrediction, zoom: float, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = (float(v) for v in face.box * zoom)
    line = max(round(min(max(size) / 400, (x2 - x1) / 40)), 1)
    radius = min(0.06 * (x2 - x1), 0.06 * (y2 - y1), 4 * line)
    outer = [x1 - line, y1 - line, max(x2 + line, x1), max(y2 + line, y1)]
    draw.rounded_rectangle(outer, radius + line, outline=(0, 0, 0, 150), width=3 * line)
    draw.rounded_rectangle([x1, y1, x2, y2], radius, outline=_color(face), width=line)


def _label(draw: ImageDraw.ImageDraw, face: FacePrediction, zoom: float, size: tuple[int, int]) -> None:
    share = float(face.box[2] - face.box[0]) * zoom / max(size)
    name = "" if face.track is None else f"#{face.track}  "
    lines = [(f"{name}{face.smoothed_label or face.label}  "
              f"{100 * max((face.smoothed or face.probabilities).values()):.0f} %", TEXT)]
    if face.quality.flags:
        lines.append((", ".join(face.quality.flags), NOTE))
    corner = (float(face.box[0]) * zoom, float(face.box[1]) * zoom)
    _plate(draw, corner, lines, _text_height(size, share / 0.25), _color(face), size)


def _plate(
        draw: ImageDraw.ImageDraw,
        corner: tuple[float, float],
        lines: list[tuple[str, tuple[int, int, int]]],
        height: float,
        color: tuple[int, int, int],
        size: tuple[int, int],
) -> None:
    """Text on a dark plate that stands on a corner of a box, or as near as the picture has room."""
    fonts = [_font(round(height)), *[_font(max(round(0.75 * height), 9))] * (len(lines) - 1)]
    widest = max(font.getlength(text) for font, (text, _) in zip(fonts, lines, strict=True))
    room = size[0] - height
    if widest > room > 0:  # rather small than cut
        fonts = [_font(max(int(font.size * room / widest), 6)) for font in fonts]
        widest = max(font.getlength(text) for font, (text, _) in zip(fonts, lines, strict=True))
    pad, bar = 0.28 * fonts[0].size, 0.22 * fonts[0].size
    tall = sum(1.2 * font.size for font in fonts) + pad
    wide = widest + 2 * pad + bar
    x = min(max(corner[0], 0), max(size[0] - wide, 0))
    y = min(max(corner[1] - tall - 0.15 * fonts[0].size, 0), max(size[1] - tall, 0))
    draw.rectangle([x, y, x + wide, y + tall], fill=PLATE)
    draw.rectangle([x, y, x + bar, y + tall], fill=color)
    top = y + pad / 2
    for font, (text, ink) in zip(fonts, lines, strict=True):
        draw.text((x + bar + pad, top + 0.6 * font.size), text, fill=ink, font=font, anchor="lm")
        top += 1.2 * font.size


def _text_height(size: tuple[int, int], scale: float) -> float:
    """Height of text in pixels: a share of the picture, less for small faces, never too little to be read."""
    return max(min(0.032 * max(size), 0.1 * min(size)) * min(max(scale, 0.45), 1.0), 11)


def _color(face: FacePrediction) -> tuple[int, int, int]:
    return COLORS.get(face.smoothed_label or face.label, OTHER)


@lru_cache(maxsize=64)
def _font(height: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), height)
