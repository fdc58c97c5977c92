"""Tests of masks from neutral photos, on a coarse head in ICT FaceKit's layout."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.ict import load_ict, pose_head
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Faces, Recipe, five_of_68
from fmpn_timm.priors import warp
from fmpn_timm.priors.warp import build_masks_from_neutral, fit_person, move_photo
from tests.data.ict_head import write_head

LANDMARKS = np.array([(39, 44), (61, 44), (50, 57), (41, 70), (59, 70)], np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_head(tmp_path_factory.mktemp("ict"))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FMPN_CACHE", str(tmp_path_factory.getbasetemp() / "ict-cache"))


def photo(seed: int = 0) -> np.ndarray:
    """A soft random texture, RGB (110, 100, 3)."""
    coarse = np.random.default_rng(seed).uniform(60, 200, (22, 20, 3)).astype(np.float32)
    return cv2.resize(coarse, (100, 110), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "neutral"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), photo(i)[:, :, ::-1])
    (folder / "notes.txt").write_text("not a picture")
    return folder


def found_at(points: np.ndarray) -> Faces:
    return Faces(np.array([[30, 30, 70, 80]], np.float32), points[None], np.ones(1, np.float32))


def nothing() -> Faces:
    return Faces(np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0))


def test_the_fitted_head_has_the_photos_landmarks(root):
    model = load_ict(root)
    person, matrix = fit_person(model, LANDMARKS)
    fitted = five_of_68(pose_head(person)[model.landmarks, :2]) @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(fitted - LANDMARKS)[[0, 1, 3, 4]].max() < 2.5  # of 22 pixels between the eyes


def test_the_photo_itself_is_only_aligned(root):
    recipe = Recipe(size=64)
    still, = move_photo(load_ict(root), photo(), LANDMARKS, [{}], recipe, jitter=0.1)
    aligned = recipe.align(photo(), LANDMARKS)
    assert np.abs(still.astype(int) - aligned).max() <= 3


def test_a_shape_moves_its_part_of_the_photo_and_no_other(root):
    model = load_ict(root)
    brows = {"browInnerUp_L": 1.0, "browInnerUp_R": 1.0}
    still, moved = move_photo(model, photo(), LANDMARKS, [{}, brows], Recipe(size=64, weights=(0, 0, 0, 1, 1)))
    change = np.abs(moved.astype(int) - still).mean(2)
    assert change[8:18, 14:50].mean() > 3 and change[44:].mean() < 0.1


def test_a_moved_part_shows_what_was_there(root, monkeypatch):
    """Brows that go up by d show at y what the photo had at y + d."""
    monkeypatch.setattr(warp, "RATIO", (1, 1))  # the light of before
    model = load_ict(root)
    ramp = np.repeat(np.arange(110, dtype=np.uint8)[:, None, None] * 2, 100, 1).repeat(3, 2)
    raised = {"browInnerUp_L": 1.5, "browInnerUp_R": 1.5}
    still, moved = move_photo(model, ramp, LANDMARKS, [{}, raised], Recipe(size=64, weights=(0, 0, 0, 1, 1)))
    brow = (slice(6, 11), slice(16, 24))
    assert (moved[brow].astype(int) - still[brow]).mean() > 1


def test_masks_of_seven_expressions(root, photos):
    masks = build_masks_from_neutral(photos, root, 24, detector=lambda pictures: [found_at(LANDMARKS)], people=5,
                                     draws=2, progress=False)
    assert masks.classes == EXPRESSIONS[1:] and masks.masks.shape == (7, 24, 24)
    assert set(masks.pairs.values()) == {2 * 3 + 5} and masks.quality["refused"] == []
    assert all(mask.std() > 0.1 for mask in masks.masks)
    np.testing.assert_allclose(masks.masks, masks.masks.flip(2), atol=1.5 / 255)  # mirror-averaged
    assert "3 neutral photos" in masks.data and masks.recipe["faces"]["weights"] == [1, 1, 0.2, 0.2, 0.2]


def test_the_seed_decides(root, photos):
    def build(seed):
        return build_masks_from_neutral(photos, root, 16, landmarks={f"{i}.png": LANDMARKS for i in range(3)},
                                        draws=1, renders=0, seed=seed, progress=False)

    one, same, other = build(1), build(1), build(2)
    assert (one.masks == same.masks).all() and (one.masks != other.masks).any()
    assert one.recipe["faces"]["detector"] == "dataset" and set(one.pairs.values()) == {3}


def test_photos_without_a_face_are_listed(root, photos):
    found = iter([nothing(), found_at(LANDMARKS), nothing()])
    masks = build_masks_from_neutral(photos, root, 16, detector=lambda _: [next(found)], draws=1, renders=0,
                                     progress=False)
    assert [refused["source"] for refused in masks.quality["refused"]] == ["0.png", "2.png"]
    assert set(masks.pairs.values()) == {1}


def test_no_face_at_all_is_an_error(root, photos):
    with pytest.raises(InputError, match="no face in any of the 3 photos"):
        build_masks_from_neutral(photos, root, 16, detector=lambda _: [nothing()], renders=0, progress=False)


def test_bad_input_is_named(root, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no pictures"):
        build_masks_from_neutral(tmp_path / "empty", root)
    with pytest.raises(InputError, match="nowhere is not a folder"):
        build_masks_from_neutral(tmp_path / "nowhere", root)
    with pytest.raises(InputError, match="share of renders"):
        build_masks_from_neutral(photos, root, renders=2)
    (photos / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"0\.png: broken picture"):
        build_masks_from_neutral(photos, root, detector=lambda _: [found_at(LANDMARKS)], progress=False)
