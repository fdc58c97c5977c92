"""Tests of the sheet of faces by expression."""

import numpy as np
import pytest
from PIL import Image

from fmpn_timm.data.sheet import draw_contact_sheet


@pytest.mark.parametrize("rows, columns", [(1, 1), (2, 3), (7, 10)])
def test_the_title_stands_above_the_faces(tmp_path, rows, columns):
    red = np.full((48, 48, 3), (255, 0, 0), np.uint8)
    draw_contact_sheet({f"class {i}": [red] * columns for i in range(rows)}, tmp_path / "sheet.png", "faces, all")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    faces = np.flatnonzero((sheet[..., 0] - sheet[..., 1] > 200).any(1))
    columns_of_faces = np.flatnonzero((sheet[..., 0] - sheet[..., 1] > 200).any(0))
    dark = (sheet.max(2) < 60)[:, columns_of_faces[0]:]  # names of classes stand on the left
    assert dark.any() and np.flatnonzero(dark.any(1)).max() < faces[0]
    assert faces.size > 0.8 * len(sheet) - 60
