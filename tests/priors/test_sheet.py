"""Tests of mask sets as pictures."""

import cv2
import numpy as np
import pytest
import torch

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.priors import MaskSet, draw_sheet


def sheet(path, count: int, value: float = 0.5, **facts) -> np.ndarray:
    draw_sheet(MaskSet(torch.full((count, 12, 12), value), EXPRESSIONS[:count], **facts), path)
    return cv2.imread(str(path))


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (7, 4, 2), (8, 4, 2)])
def test_size_grows_with_the_masks(tmp_path, count, columns, rows):
    picture = sheet(tmp_path / "sheet.png", count)
    height, width = picture.shape[:2]
    assert 150 * columns < width < 400 * columns
    assert 180 * rows < height < 450 * rows


def test_path_may_be_text(tmp_path):
    draw_sheet(MaskSet(torch.zeros(1, 4, 4), ("fear",)), str(tmp_path / "sheet.png"))
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_brightness_is_on_one_scale(tmp_path):
    dark, middle, bright = (sheet(tmp_path / f"{value}.png", 2, value).mean() for value in (0.0, 0.5, 1.0))
    assert dark < middle - 10 < bright - 20  # and not each mask stretched to its own range


def test_names_and_pairs_are_written(tmp_path):
    plain = sheet(tmp_path / "plain.png", 2)
    pairs = sheet(tmp_path / "pairs.png", 2, pairs={"neutral": 3, "happiness": 4})
    data = sheet(tmp_path / "data.png", 2, data="somewhere")
    assert plain.shape == pairs.shape == data.shape
    assert (plain != pairs).any() and (plain != data).any()
