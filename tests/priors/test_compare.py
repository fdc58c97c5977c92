"""Tests of the comparison of mask sets."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.priors import MaskSet
from fmpn_timm.priors.compare import compare_masks
from fmpn_timm.priors.regions import feature_region

CLASSES = ("happiness", "surprise", "sadness")


def blobs(scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0), size: int = 60, seed: int = 0) -> np.ndarray:
    """Three masks with a common part and a part of their own, (3, size, size), framed by a scale and a shift."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0.25, 0.75, (3, 6, 2))
    y, x = np.mgrid[:size, :size] / size + 0.5 / size
    masks = []
    for own in places:
        mask = np.zeros((size, size))
        for place, weight in ((np.array([0.5, 0.6]), 1.5), *((p, 1.0) for p in own)):
            px, py = 0.5 + scale * (place - 0.5) + shift
            mask += weight * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (0.05 * scale) ** 2))
        masks.append(mask / mask.max())
    return np.float32(masks)


def mask_set(masks: np.ndarray, classes=CLASSES) -> MaskSet:
    return MaskSet(torch.from_numpy(np.ascontiguousarray(masks)), tuple(classes))


def test_a_set_equals_itself_in_any_order_of_classes():
    masks = mask_set(blobs())
    comparison = compare_masks(masks.select(("sadness", "happiness", "surprise")), masks)
    assert comparison.classes == comparison.nearest == comparison.nearest_face == CLASSES
    for values in (comparison.r, comparison.r_face, comparison.specific, comparison.specific_face):
        assert values == pytest.approx([1, 1, 1], abs=1e-3)
    assert comparison.framing == pytest.approx((1, 0, 0), abs=0.01)


def test_one_scale_and_shift_are_found():
    comparison = compare_masks(mask_set(blobs(size=72)), mask_set(blobs(1.15, (0.04, -0.06))))
    assert comparison.framing == pytest.approx((1.15, 0.04, -0.06), abs=0.015)
    assert min(comparison.r) > 0.97


def test_the_framing_can_be_given():
    assert compare_masks(mask_set(blobs()), mask_set(blobs()), framing=(0.8, 0.1, 0.0)).r[0] < 0.9


def test_inside_the_face_the_nearest_may_be_another():
    inside = feature_region(60, 60)
    masks, reference = 0.3 * blobs(), 0.3 * blobs()
    outside = np.random.default_rng(1).random((3, 60, 60), np.float32)
    reference[:, ~inside] = outside[:, ~inside]
    masks[:, ~inside] = outside[[1, 0, 2]][:, ~inside]
    comparison = compare_masks(mask_set(masks), mask_set(reference), framing=(1, 0, 0))
    assert comparison.nearest == ("surprise", "happiness", "sadness") and comparison.nearest_face == CLASSES


def test_specific_r_sees_swapped_classes_that_raw_r_hides():
    common = np.zeros((60, 60), np.float32)
    cv2.circle(common, (30, 36), 16, 1.0, -1)
    masks = (0.25 * blobs() + 0.75 * common).clip(0, 1)
    comparison = compare_masks(mask_set(masks[[1, 0, 2]]), mask_set(masks), framing=(1, 0, 0))
    assert min(comparison.r) > 0.8
    assert comparison.specific[0] < 0.3 and comparison.specific[2] > 0.99
    assert comparison.nearest == ("surprise", "happiness", "sadness")
    summary = comparison.summary()
    assert summary["nearest"] == 1 and summary["classes"] == 3
    assert summary["specific"] == pytest.approx(np.mean(comparison.specific), abs=1e-3)
    assert json.loads(json.dumps(comparison.as_dict()))["summary"] == summary


def test_inside_the_face_ignores_the_outside():
    masks = blobs()
    noisy = masks.copy()
    outside = ~feature_region(60, 60)
    noisy[:, outside] = np.random.default_rng(1).uniform(0, 1, (3, outside.sum()))
    comparison = compare_masks(mask_set(noisy), mask_set(masks), framing=(1, 0, 0))
    assert min(comparison.r_face) > 0.97 and max(comparison.r) < 0.9


def test_the_face_is_where_the_masks_recipe_says():
    recipe = Recipe(margin=0.5)
    masks = blobs(0.5)
    noisy = masks.copy()
    outside = ~feature_region(60, 60, recipe.frame)
    noisy[:, outside] = np.random.default_rng(1).uniform(0, 1, (3, outside.sum()))
    r_face = {}
    for name, cut in (("known", {"faces": recipe.as_dict()}), ("unknown", {})):
        said = replace(mask_set(noisy), recipe=cut)
        r_face[name] = compare_masks(said, mask_set(masks), framing=(1, 0, 0)).r_face
    assert min(r_face["known"]) > 0.97 and max(r_face["unknown"]) < 0.9


def test_too_few_common_classes_are_named():
    with pytest.raises(InputError, match=r"1 class\(es\) in common.*happiness.*the other happiness, fear, anger"):
        compare_masks(mask_set(blobs()), mask_set(blobs(), ("happiness", "fear", "anger")))
