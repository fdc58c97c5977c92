"""Tests of samples, face sets and the reading of pictures."""

import dataclasses
import struct
import warnings
import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fmpn_timm.data.samples import FaceSet, Sample, read_picture
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe


def sample(source: str, expression: str, subject: str | None = None) -> Sample:
    return Sample(source, partial(np.zeros, (4, 4, 3), np.uint8), expression, subject)


@pytest.fixture
def faces() -> FaceSet:
    samples = (sample("a", "fear", "1"), sample("b", "neutral", "1"), sample("c", "fear", "2"))
    return FaceSet("drawn", "train", ("neutral", "happiness", "fear"), samples, {"seed": 3})


@pytest.fixture
def colours() -> np.ndarray:
    """A picture whose four corners differ, RGB."""
    picture = np.zeros((10, 12, 3), np.uint8)
    picture[:5, :6], picture[:5, 6:], picture[5:, :6] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return picture


def test_role():
    assert sample("a", "neutral").role == "neutral"
    assert sample("a", "contempt").role == "expressive"


def test_per_class_counts_in_class_order(faces):
    assert list(faces.per_class().items()) == [("neutral", 1), ("happiness", 0), ("fear", 2)]
    assert len(faces) == 3


def test_joined_sets_have_one_order_of_classes_and_one_color(faces):
    red = Sample("d", lambda: np.full((4, 4, 3), (200, 0, 0), np.uint8), "neutral", votes=(0.25, 0.75))
    other = FaceSet("ict", "all", ("fear", "neutral"), (red,))
    both = dataclasses.replace(faces, recipe=Recipe(color="grey")).joined(other)
    assert [s.source for s in both.samples] == ["a", "b", "c", "d"] and both.dataset == "drawn"
    assert both.options == {"seed": 3, "also": [{"dataset": "ict", "split": "all", "samples": 1}]}
    assert both.samples[3].votes == (0.75, 0.0, 0.25) and np.ptp(both.samples[3].picture()) == 0
    assert np.ptp(faces.joined(other).samples[3].picture()) == 200
    mine = dataclasses.replace(faces.samples[0], subject="0", expression="neutral")
    theirs = Sample("e", red.picture, "fear", "0"), Sample("f", red.picture, "neutral", "0")
    others = FaceSet("ict", "all", ("fear",), theirs[:1], neutral=theirs[1:])
    paired = dataclasses.replace(faces, samples=(mine,)).joined(others).paired()  # both are called 0
    assert {s.source: paired.neutral_by_subject()[s.subject].source for s in paired.samples} == {"a": "a", "e": "f"}
    with pytest.raises(InputError, match="drawn has classes that ict lacks: happiness"):
        other.joined(faces)


def test_where_keeps_everything_but_the_samples(faces):
    kept = faces.where(lambda s: s.expression == "fear")
    assert [s.source for s in kept.samples] == ["a", "c"]
    assert (kept.dataset, kept.split, kept.classes, kept.options) == ("drawn", "train", faces.classes, {"seed": 3})
    assert len(faces) == 3


def test_where_can_name_the_split(faces):
    assert faces.where(lambda s: True, split="held out").split == "held out"
    assert faces.where(lambda s: True, split="").split == ""


@pytest.mark.parametrize("extension", ["png", "bmp", "tif"])
def test_read_picture_is_rgb(tmp_path, colours, extension):
    path = tmp_path / f"face.{extension}"
    cv2.imwrite(str(path), colours[:, :, ::-1])
    picture = read_picture(path)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, colours)
    np.testing.assert_array_equal(read_picture(str(path)), colours)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4)])
def test_read_picture_makes_three_channels_of_any(tmp_path, shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "face.png"), values)
    expected = np.repeat(values[:, :, None], 3, 2) if len(shape) == 2 else values[:, :, 2::-1]
    np.testing.assert_array_equal(read_picture(tmp_path / "face.png"), expected)


def test_read_picture_takes_names_beyond_ascii(tmp_path, colours):
    path = tmp_path / "Gesichtsausdrücke" / "笑.png"
    path.parent.mkdir()
    path.write_bytes(cv2.imencode(".png", colours[:, :, ::-1])[1].tobytes())
    np.testing.assert_array_equal(read_picture(path), colours)


@pytest.mark.parametrize("extension", ["png", "jpg"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5])
def test_truncated_picture_is_named(tmp_path, extension, kept):
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    data = cv2.imencode(f".{extension}", noise)[1].tobytes()
    path = tmp_path / f"face.{extension}"
    size = int(kept * len(data))
    path.write_bytes(data[:size])
    with pytest.raises(InputError, match=rf"face\.{extension}: broken picture \({size} bytes\).*[Ff]etch"):
        read_picture(path)


def test_text_is_no_picture(tmp_path):
    (tmp_path / "face.png").write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"face\.png: broken picture"):
        read_picture(tmp_path / "face.png")


def test_missing_picture_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png is missing"):
        read_picture(tmp_path / "gone.png")


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_sixteen_bits_of_grey_are_scaled_not_clipped(tmp_path, extension):
    grey = np.linspace(0, 65535, 120).reshape(10, 12).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"face.{extension}"), grey)
    picture = read_picture(tmp_path / f"face.{extension}")
    assert picture.dtype == np.uint8 and (picture[:, :, :1] == picture).all()
    np.testing.assert_allclose(picture[:, :, 0], grey / 257, atol=0.51)


def test_eight_bits_in_sixteen_stay_as_they_are(tmp_path):
    grey = np.arange(120, dtype=np.uint16).reshape(10, 12) + 136
    cv2.imwrite(str(tmp_path / "face.png"), grey)
    assert (read_picture(tmp_path / "face.png") == grey[:, :, None]).all()


@pytest.mark.parametrize("transparency", [None, 0, bytes(range(0, 256, 16))])
def test_palette_gives_its_colours_without_a_warning(tmp_path, colours, transparency):
    palette = Image.fromarray(colours).quantize(4)
    palette.save(tmp_path / "face.png", **({} if transparency is None else {"transparency": transparency}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_picture(tmp_path / "face.png"), np.array(palette.convert("RGB")))


@pytest.mark.parametrize("extension", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path, extension):
    Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(tmp_path / f"face.{extension}")
    picture = read_picture(tmp_path / f"face.{extension}")
    assert picture.shape == (8, 16, 3)
    np.testing.assert_allclose(picture, np.broadcast_to([255, 0, 0], picture.shape), atol=3)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_turned_photo_is_turned_back(tmp_path, colours, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(colours).save(tmp_path / "face.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "face.png"), np.rot90(colours, turns))


@pytest.mark.parametrize(
    "other", [struct.pack("<HHI4s", 0x11A, 2, 3, b"72\0\0"), struct.pack("<HHII", 0x100, 2, 2, 65)]
)
def test_other_tags_of_a_wrong_type_do_not_matter(tmp_path, other):
    turned = struct.pack("<HHII", 0x112, 3, 1, 6)
    tags = sorted([turned, other])
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + b"".join(tags) + bytes(4)
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg").shape == (30, 20, 3)


def write_bomb(path: Path, width: int, height: int) -> None:
    """A PNG of some hundred bytes that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


@pytest.mark.parametrize("side", [10_000, 50_000])  # Pillow warns of the first and refuses the second
def test_decompression_bomb_is_one_error(tmp_path, side, recwarn):
    write_bomb(tmp_path / "face.png", side, side)
    with pytest.raises(InputError, match=r"face\.png: more than 89 million pixels\. Shrink it"):
        read_picture(tmp_path / "face.png")
    assert not recwarn.list


@pytest.mark.parametrize("values", [np.float32([[0.5, 2]]), np.int32([[0, 1 << 20]]), np.int32([[-1, 5]])])
def test_numbers_without_a_range_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "face.tif")
    with pytest.raises(InputError, match=r"face\.tif: pixels of kind [IF] .*Save it as RGB"):
        read_picture(tmp_path / "face.tif")


def test_the_first_neutral_face_stands_for_its_subject():
    samples = (sample("a", "fear", "1"), sample("b", "neutral", "1"), sample("c", "neutral", "1"),
               sample("d", "neutral", "2"), sample("e", "neutral"))
    faces = FaceSet("drawn", "train", ("neutral", "fear"), samples, neutral=(sample("f", "neutral", "2"),))
    assert {k: s.source for k, s in faces.neutral_by_subject().items()} == {"1": "b", "2": "f"}


def test_paired_keeps_the_samples_whose_subject_has_a_neutral_face(faces):
    paired = faces.paired()
    assert [s.source for s in paired.samples] == ["a", "b"] and [s.source for s in paired.neutral] == ["b"]
    alone = faces.where(lambda s: s.source == "a").paired()
    assert not alone.samples and not alone.neutral
    nobody = FaceSet("folder", "train", ("fear",), (sample("a", "fear"),), neutral=(sample("b", "neutral"),))
    assert not nobody.paired().samples
