"""Tests of whatever holds a picture, as an array; files that are odd or broken."""

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fmpn_timm.errors import InputError
from fmpn_timm.inference.pictures import Unreadable, as_picture, lit_up
from tests.data.test_samples import write_bomb

PICTURE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def png(picture: np.ndarray = PICTURE) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


def test_all_kinds_give_the_same_picture(tmp_path):
    path = tmp_path / "face.png"
    path.write_bytes(png())
    tensor = torch.from_numpy(PICTURE).permute(2, 0, 1)
    kinds = [path, str(path), png(), bytearray(png()), memoryview(png()), Image.fromarray(PICTURE), PICTURE, tensor,
             tensor / 255, (tensor / 255).double(), (tensor / 255).half(), PICTURE[::-1][::-1]]
    for kind in kinds:
        picture = as_picture(kind)
        assert picture.dtype == np.uint8 and picture.flags.c_contiguous
        np.testing.assert_array_equal(picture, PICTURE)


def test_grey_becomes_three_channels():
    np.testing.assert_array_equal(as_picture(PICTURE[..., 0]), np.repeat(PICTURE[..., :1], 3, 2))
    np.testing.assert_array_equal(as_picture(Image.fromarray(PICTURE[..., 0])), np.repeat(PICTURE[..., :1], 3, 2))


@pytest.mark.parametrize(("picture", "message"), [
    (PICTURE / 255, r"RGB uint8 \(H, W, 3\) or grey uint8 .* not float64 \(12, 10, 3\).*astype"),
    (np.zeros((4, 4, 4), np.uint8), r"not uint8 \(4, 4, 4\)"),
    (np.zeros((3, 4, 5), np.uint8), r"not uint8 \(3, 4, 5\). Say .transpose\(1, 2, 0\)"),
    (np.zeros((0, 4, 3), np.uint8), r"not uint8 \(0, 4, 3\). It holds no picture"),
    (np.zeros(5, np.uint8), r"not uint8 \(5,\). It holds no picture"),
    (np.array(["a.png", "b.png"], object), r"not object \(2,\). These are several: give a list"),
    (np.zeros((2, 4, 4, 3), np.uint8), r"not uint8 \(2, 4, 4, 3\). These are several: give a list"),
    (np.zeros((4, 4, 1), np.uint8), r"not uint8 \(4, 4, 1\). Say \[:, :, 0\]"),
    (torch.zeros(2, 3, 4, 4), r"not torch.float32 \(2, 3, 4, 4\). These are several: give a list"),
    (torch.zeros(4, 4, 3), r"RGB \(3, H, W\).* not torch.float32 \(4, 4, 3\). Say .permute\(2, 0, 1\)"),
    (torch.zeros(1, 4, 4), r"not torch.float32 \(1, 4, 4\). Say .expand\(3, -1, -1\)"),
    (torch.zeros(3, 4, 4, dtype=torch.int64), "not torch.int64"),
    (torch.full((3, 4, 4), 1.5), "from 1.5 to 1.5. Is it normalised"),
    (torch.full((3, 4, 4), 200.0), "from 200 to 200. Divide it by 255"),
    (torch.full((3, 4, 4), -0.5), "from -0.5 to -0.5. Is it normalised"),
    (torch.full((3, 4, 4), torch.nan), "from nan"),
    (7, "not int"),
    (None, "not NoneType"),
])
def test_what_is_no_picture_is_refused(picture, message):
    with pytest.raises(InputError, match=message):
        as_picture(picture)


def test_a_crop_without_pixels_is_told_of():
    with pytest.raises(Unreadable, match="it has no pixels"):
        as_picture(Image.fromarray(PICTURE).crop((5, 5, 5, 9)))


@pytest.mark.parametrize(("content", "message"), [
    (b"", r"broken picture \(0 bytes\)"),
    (png()[:60], r"broken picture \(60 bytes\)"),
    (b"this is a letter, not a picture", "broken picture"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "broken picture"),  # Pillow would run Ghostscript
])
def test_broken_files_and_bytes_say_so(tmp_path, content, message):
    (tmp_path / "face.jpg").write_bytes(content)
    for kind in (tmp_path / "face.jpg", content):
        with pytest.raises(Unreadable, match=message):
            as_picture(kind)


@pytest.mark.parametrize("side", [10_000, 20_000, 60_000])
def test_too_many_pixels_are_not_decoded(tmp_path, side, recwarn):
    write_bomb(tmp_path / "face.png", side, side)
    with pytest.raises(Unreadable, match="more than 89 million pixels"):
        as_picture(tmp_path / "face.png")
    assert not recwarn.list


def test_twenty_thousand_pixels_wide_is_fine():
    buffer = io.BytesIO()
    Image.new("L", (20_000, 3)).save(buffer, "png")
    assert as_picture(buffer.getvalue()).shape == (3, 20_000, 3)


@pytest.mark.parametrize("path", ["gone.jpg", "a\0b.jpg", "x" * 300, ""])
def test_missing_files_say_so(tmp_path, path):
    with pytest.raises(Unreadable, match="no such file|too long"):
        as_picture(str(tmp_path / path) if path else path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_folders_and_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path, tmp_path / "pipe.jpg"):
        with pytest.raises(Unreadable, match="this is no file"):
            as_picture(path)


def odd_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Write pictures of unusual kinds; returns the height and width that each has upright."""
    rgb = Image.fromarray(np.repeat(PICTURE, 4, 0))  # 48 high, 10 wide
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(folder / "cmyk.jpg")
    rgb.quantize(8).save(folder / "palette.png")
    rgb.convert("LA").save(folder / "alpha.png")
    rgb.save(folder / "animated.gif", save_all=True, append_images=[rgb.rotate(180)] * 2)
    rgb.save(folder / "animated.webp", save_all=True, append_images=[rgb.rotate(180)] * 2, lossless=True)
    rgb.save(folder / "turned.jpg", exif=exif)
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("1", (9, 7), 1).save(folder / "bits.png")
    cv2.imwrite(str(folder / "deep-grey.png"), np.full((6, 5), 40_000, np.uint16))
    cv2.imwrite(str(folder / "deep.png"), np.full((6, 5, 3), 40_000, np.uint16))
    cv2.imwrite(str(folder / "deep.tif"), np.full((6, 5, 3), 40_000, np.uint16))
    whole = (48, 10)
    return {"cmyk.jpg": (8, 16), "palette.png": whole, "alpha.png": whole, "animated.gif": whole,
            "animated.webp": whole, "turned.jpg": (10, 48), "one.png": (1, 1), "bits.png": (7, 9),
            "deep-grey.png": (6, 5), "deep.png": (6, 5), "deep.tif": (6, 5)}


def test_odd_files_are_read(tmp_path):
    for name, shape in odd_files(tmp_path).items():
        picture = as_picture(tmp_path / name)
        assert picture.shape == (*shape, 3) and picture.dtype == np.uint8, name
        if name.startswith("deep"):
            assert abs(int(picture[0, 0, 0]) - 156) <= 1, name
    first = np.array(Image.fromarray(np.repeat(PICTURE, 4, 0)))
    np.testing.assert_array_equal(as_picture(tmp_path / "animated.webp"), first)


@pytest.mark.parametrize(("name", "message"), [("a.HEIC", "save it as JPEG"), ("a.mp4", "this is a video.*watch")])
def test_files_of_other_kinds_say_what_takes_them(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(Unreadable, match=message):
        as_picture(tmp_path / name)
    (tmp_path / name).write_bytes(png())  # whatever it is called
    assert as_picture(tmp_path / name).shape == PICTURE.shape


def test_only_what_is_nearly_black_is_lit_up():
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert lit_up(picture) is picture
    dark = (picture * 0.1).astype(np.uint8)
    lit = lit_up(dark)
    assert lit.dtype == np.uint8 and lit.shape == dark.shape and lit.mean() == pytest.approx(128, abs=3)
    np.testing.assert_allclose(lit.astype(float), picture, atol=16)  # of 26 steps that are left
    assert not lit_up(np.zeros_like(picture)).any()


def test_a_web_address_is_told_to_download():
    with pytest.raises(Unreadable, match="download it"):
        as_picture("https://example.org/face.jpg")
