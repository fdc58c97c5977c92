"""Tests of what is drawn."""

import numpy as np
import pytest
from PIL import Image

from fmpn_timm.inference.draw import draw_prediction, drawn_path, write_masks, write_picture
from fmpn_timm.inference.results import PicturePrediction
from tests.inference.test_predictor import marked


@pytest.mark.parametrize(("shape", "drawn"), [((100, 140), (457, 640)), ((700, 900), (700, 900)),
                                              ((300, 5000), (154, 2560))])
def test_sizes_leave_room_for_text(predictor, shape, drawn):
    picture = marked((5, 5, 90), shape=shape)
    image = draw_prediction(picture, predictor(picture))
    assert image.shape == (*drawn, 3) and image.dtype == np.uint8
    assert picture.max() <= 190  # the picture itself is left alone


def test_boxes_and_masks_are_drawn_where_the_face_is(predictor):
    picture = np.full((800, 800, 3), 60, np.uint8)
    picture[..., 1] = 0
    picture[500, 400, 1] = 200  # marks a face
    prediction = predictor(picture)
    change = np.abs(draw_prediction(picture, prediction).astype(int) - picture).sum(2)
    assert change[430:570, 298:304].max(1).min() > 100  # the left side of the box
    assert change[450:550, 350:450].mean() > 10  # the motion
    outside = change.copy()
    outside[330:620, 280:650] = 0  # the face, and its label above
    assert outside.max() == 0
    assert (change[340:395, 300:450].max(1) > 60).sum() > 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 2), (48, 48)])
@pytest.mark.parametrize("reason", ["no face was found", "a reason much longer than the picture is wide " * 3])
def test_pictures_of_any_shape_bear_a_reason(shape, reason):
    picture = np.zeros((*shape, 3), np.uint8)
    image = draw_prediction(picture, PicturePrediction("a", shape[::-1], (), reason))
    assert image.shape[:2] == tuple(max(round(s * min(max(max(shape), 640), 2560) / max(shape)), 1) for s in shape)
    if min(image.shape[:2]) > 50:
        assert image.max() > 200


@pytest.mark.parametrize(("name", "path"), [
    ("a.jpg", "a.jpg"), ("sub/a.jpg", "sub/a.jpg"), ("../../a.jpg", "a.jpg"), ("/x/y/a.jpg", "x/y/a.jpg"),
    ("x/../../a.jpg", "x/a.jpg"), ("./a.jpg", "a.jpg"), ("/", "picture"),
])
def test_what_is_drawn_stays_in_its_folder(tmp_path, name, path):
    assert drawn_path(tmp_path, name) == tmp_path / path
    assert drawn_path(tmp_path, name, ".png").name == (tmp_path / path).name + ".png"


def test_the_common_folder_is_left_out(tmp_path):
    assert drawn_path(tmp_path, "/x/y/z/a.jpg", common="/x/y/") == tmp_path / "z/a.jpg"


def test_masks_are_written_as_grey_pictures(predictor, tmp_path):
    prediction = predictor(marked((5, 5, 30), (60, 20, 70)))
    write_masks(prediction, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["picture 0.0.png", "picture 0.1.png"]
    mask = np.array(Image.open(tmp_path / "picture 0.0.png"))
    assert mask.shape == (40, 40) and mask.dtype == np.uint8
    np.testing.assert_allclose(mask / 255, prediction.faces[0].motion_mask, atol=0.002)


@pytest.mark.parametrize("name", ["a.jpg", "a.PNG", "new/a.jpeg"])
def test_pictures_are_written_whole_or_not_at_all(tmp_path, monkeypatch, name):
    picture = np.full((8, 9, 3), 77, np.uint8)
    write_picture(picture, tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert image.size == (9, 8) and image.format == ("PNG" if name.endswith("PNG") else "JPEG")

    def fail(self, path, *args, **kwargs):
        open(path, "w").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space"):
        write_picture(picture, tmp_path / "b.jpg")
    assert not list(tmp_path.glob("*b.jpg*")) and not list(tmp_path.glob(".*"))
