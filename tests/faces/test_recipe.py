"""Tests of the recipe: one hash for one way of cutting faces."""

import json

import numpy as np
import pytest

from fmpn_timm.errors import InputError
from fmpn_timm.faces import FRAMING, REFERENCE_LANDMARKS, Recipe, check_recipe

POINTS = REFERENCE_LANDMARKS * 200 + 40


def picture(dots: np.ndarray) -> np.ndarray:
    """A black picture with a white dot at each landmark."""
    image = np.zeros((300, 300, 3), np.uint8)
    for x, y in dots.round().astype(int):
        image[y - 4:y + 5, x - 4:x + 5] = 255
    return image


def test_recipe_survives_json_with_its_hash():
    recipe = Recipe("retinaface", size=96, margin=0.1, weights=(1, 1, 0.2, 0.2, 0.2))
    again = Recipe.from_dict(json.loads(json.dumps(recipe.as_dict())))
    assert again == recipe and again.hash == recipe.hash and len(recipe.hash) == 12


@pytest.mark.parametrize("change", [{"size": 96}, {"margin": 0.1}, {"detector": "dataset"}, {"interpolation": "cubic"}])
def test_any_change_changes_the_hash(change):
    assert Recipe(**change).hash != Recipe().hash


def test_equal_recipes_have_one_hash():
    assert Recipe(margin=0) == Recipe() and Recipe(margin=0).hash == Recipe().hash


def test_recipe_with_a_wrong_hash_or_unknown_field_is_refused():
    with pytest.raises(InputError, match="does not belong"):
        Recipe.from_dict({**Recipe().as_dict(), "size": 64})
    with pytest.raises(InputError, match="another version"):
        Recipe.from_dict({"zoom": 2})


@pytest.mark.parametrize("values", [{"size": 2}, {"color": "bgr"}, {"interpolation": "best"}, {"weights": (0,) * 5}])
def test_recipe_that_cuts_no_face_is_refused(values):
    with pytest.raises(InputError):
        Recipe(**values)


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "area"])
@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_landmarks_come_where_the_recipe_says(interpolation, margin):
    recipe = Recipe(size=80, margin=margin, interpolation=interpolation)
    face = recipe.align(picture(POINTS), POINTS)
    assert face.shape == (80, 80, 3) and face.dtype == np.uint8
    for x, y in (REFERENCE_LANDMARKS + margin) / (1 + 2 * margin) * 80:
        assert face[round(float(y)), round(float(x))].min() > 200


def test_weights_favour_their_landmarks():
    moved = POINTS.copy()
    moved[3:] += (0, 40)  # the mouth opens
    eyes = Recipe(size=80, weights=(1, 1, 0, 0, 0)).align(picture(moved), moved)
    x, y = (REFERENCE_LANDMARKS[0] * 80).round().astype(int)
    assert eyes[y, x].min() > 200
    assert Recipe(size=80).align(picture(moved), moved)[y, x].min() < 200


def test_grey_recipe_gives_luma_in_three_channels():
    image = np.zeros((40, 40, 3), np.uint8)
    image[..., 0] = 200  # red
    face = Recipe(size=16, color="grey").align(image, POINTS)
    assert face.shape == (16, 16, 3) and np.ptp(face.astype(int), axis=2).max() == 0
    assert abs(int(face[8, 8, 0]) - 0.299 * 200) < 2
    assert Recipe(color="grey").hash != Recipe().hash


def test_another_recipe_is_refused_and_can_be_allowed():
    check_recipe(Recipe(), Recipe(), "x")
    check_recipe(Recipe(), None, "x")
    with pytest.raises(InputError, match="size 64 instead of 112"):
        check_recipe(Recipe(size=64), Recipe(), "model")
    with pytest.raises(InputError, match="were not aligned.*--any-recipe"):
        check_recipe(None, Recipe(), "model")
    check_recipe(Recipe(size=64), Recipe(), "model", override=True)
    check_recipe(Recipe(), Recipe("dataset"), "model")  # photos have no landmarks of a data set
    with pytest.raises(InputError, match="detector dataset instead of yunet"):
        check_recipe(Recipe("dataset"), Recipe(), "model")


def test_masks_ask_for_the_framing_only():
    check_recipe(Recipe("retinaface", size=64), Recipe(), "masks", fields=FRAMING)
    with pytest.raises(InputError, match="margin 0.2 instead of 0.0"):
        check_recipe(Recipe(margin=0.2), Recipe(), "masks", fields=FRAMING)
