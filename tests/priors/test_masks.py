"""Tests of mask sets."""

import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.errors import InputError
from fmpn_timm.priors import MaskSet, list_assets
from fmpn_timm.priors import masks as module

CLASSES = ("happiness", "anger", "fear")


@pytest.fixture
def masks() -> MaskSet:
    return MaskSet(
        masks=torch.rand(3, 10, 8, generator=torch.Generator().manual_seed(0)),
        classes=CLASSES,
        data="drawn train",
        recipe={"size": 10, "options": {"seed": 0}, "post": "histogram equalisation"},
        pairs={"happiness": 4, "anger": 2, "fear": 7},
    )


def test_what_is_saved_is_loaded(masks, tmp_path):
    path = tmp_path / "new" / "folder" / "set.safetensors"
    masks.save(path)
    for name in (path, str(path)):
        loaded = MaskSet.load(name)
        assert torch.equal(loaded.masks, masks.masks)
        for fact in ("classes", "data", "recipe", "pairs"):
            assert getattr(loaded, fact) == getattr(masks, fact)
    assert [p.name for p in path.parent.iterdir()] == ["set.safetensors"]


def test_plain_safetensors_reads_it(masks, tmp_path):
    path = tmp_path / "set.safetensors"
    masks.save(path)
    tensors = load_file(path)
    assert set(tensors) == {"masks"} and torch.equal(tensors["masks"], masks.masks)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert metadata["data"] == "drawn train"
    assert json.loads(metadata["recipe"]) == masks.recipe
    assert json.loads(metadata["pairs"]) == masks.pairs


def test_a_view_is_saved_too(masks, tmp_path):
    MaskSet(masks.masks.transpose(1, 2), CLASSES).save(tmp_path / "turned.safetensors")
    assert torch.equal(MaskSet.load(tmp_path / "turned.safetensors").masks, masks.masks.transpose(1, 2))


def test_only_masks_and_classes_are_needed(tmp_path):
    save_file({"masks": torch.zeros(1, 4, 4)}, tmp_path / "set.safetensors", metadata={"classes": '["fear"]'})
    loaded = MaskSet.load(tmp_path / "set.safetensors")
    assert (loaded.classes, loaded.data, loaded.recipe, loaded.pairs) == (("fear",), "unknown", {}, {})


@pytest.mark.parametrize("before", [None, b"the old set"])
def test_a_failed_save_leaves_nothing_behind(masks, tmp_path, monkeypatch, before):
    path = tmp_path / "set.safetensors"
    if before is not None:
        path.write_bytes(before)

    def full(tensors, filename, metadata=None):
        filename.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        masks.save(path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({} if before is None else {path.name: before})


def test_save_replaces_an_old_set(masks, tmp_path):
    path = tmp_path / "set.safetensors"
    masks.save(path)
    masks.select(("fear",)).save(path)
    assert MaskSet.load(path).classes == ("fear",)


@pytest.mark.parametrize("name", list_assets())
def test_assets_load_by_name(name):
    loaded = MaskSet.load(name)
    assert set(loaded.classes) <= set(EXPRESSIONS)
    assert loaded.data != "unknown"
    assert all(mask.std() > 0 for name, mask in zip(loaded.classes, loaded.masks, strict=True) if name != "neutral")


def test_there_are_assets():
    assert "ckplus" in list_assets() and list_assets() == sorted(list_assets())


def test_missing_set_lists_the_assets():
    with pytest.raises(InputError, match="No mask set 'ckminus': give a safetensors file") as caught:
        MaskSet.load("ckminus")
    assert all(name in str(caught.value) for name in list_assets())


@pytest.mark.parametrize("content", [b"", b"P5 70 70 255", b"\xff" * 64])
def test_not_a_safetensors_file(tmp_path, content):
    path = tmp_path / "set.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{re.escape(str(path))} is no mask set .*fmpn priors build"):
        MaskSet.load(path)


@pytest.mark.parametrize(
    ("tensor", "metadata"),
    [
        ("mask", {"classes": '["fear"]'}),
        ("masks", {"labels": '["fear"]'}),
        ("masks", {"classes": "fear"}),
        ("masks", None),
    ],
)
def test_file_without_what_it_needs(tmp_path, tensor, metadata):
    path = tmp_path / "set.safetensors"
    save_file({tensor: torch.zeros(1, 4, 4)}, path, metadata=metadata)
    with pytest.raises(InputError, match=r"set\.safetensors is no mask set .*tensor 'masks' .*JSON list 'classes'"):
        MaskSet.load(path)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_values_outside_0_and_1_are_refused(value):
    masks = torch.full((1, 4, 4), 0.5)
    masks[0, 1, 2] = value
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        MaskSet(masks, ("fear",))


def test_the_ends_of_the_range_are_fine():
    MaskSet(torch.tensor([[[0.0, 1.0]]]), ("fear",))


@pytest.mark.parametrize(
    ("masks", "classes"),
    [
        (torch.zeros(1, 4, 4, dtype=torch.float64), ("fear",)),
        (torch.zeros(1, 4, 4, dtype=torch.uint8), ("fear",)),
        (torch.zeros(4, 4), ("fear",)),
        (torch.zeros(1, 1, 4, 4), ("fear",)),
        (torch.zeros(2, 4, 4), ("fear",)),
        (torch.zeros(1, 4, 4), ("fear", "anger")),
    ],
)
def test_wrong_type_or_shape_is_refused(masks, classes):
    message = f"got {masks.dtype} {tuple(masks.shape)} and {len(classes)} name(s)"
    with pytest.raises(InputError, match=re.escape(message)):
        MaskSet(masks, classes)


def test_a_class_has_one_mask():
    with pytest.raises(InputError, match="one mask per class, got fear, fear"):
        MaskSet(torch.zeros(2, 4, 4), ("fear", "fear"))


def test_what_is_wrong_in_a_file_is_said(tmp_path):
    save_file({"masks": torch.full((1, 4, 4), 2.0)}, tmp_path / "set.safetensors", metadata={"classes": '["fear"]'})
    with pytest.raises(InputError, match=r"set\.safetensors is no mask set \(.*\[0, 1\]\): it needs"):
        MaskSet.load(tmp_path / "set.safetensors")
    save_file({"masks": torch.ones(1, 4, 4)}, tmp_path / "set.safetensors", metadata={"classes": "5"})
    with pytest.raises(InputError, match=r"set\.safetensors is no mask set"):
        MaskSet.load(tmp_path / "set.safetensors")


@pytest.mark.parametrize("order", [("fear", "happiness"), ["anger"], CLASSES[::-1]])
def test_select_keeps_the_order_asked_for(masks, order):
    chosen = masks.select(order)
    assert chosen.classes == tuple(order)
    for name, mask in zip(order, chosen.masks, strict=True):
        assert torch.equal(mask, masks.masks[CLASSES.index(name)])
    assert chosen.pairs == {name: masks.pairs[name] for name in order}
    assert (chosen.data, chosen.recipe) == (masks.data, masks.recipe)


def test_select_of_a_missing_class_names_it_and_what_there_is(masks):
    with pytest.raises(
        InputError, match="from drawn train has no mask for neutral, disgust.* happiness, anger, fear.*--priors"
    ):
        masks.select(("neutral", "fear", "disgust"))


def test_with_neutral_adds_an_empty_mask(masks):
    more = masks.with_neutral()
    assert more.classes == ("neutral", *CLASSES)
    assert not more.masks[0].any() and torch.equal(more.masks[1:], masks.masks)
    assert more.pairs == masks.pairs


def test_with_neutral_keeps_a_neutral_mask():
    masks = MaskSet(torch.full((2, 4, 4), 0.5), ("fear", "neutral"))
    assert masks.with_neutral() is masks


@pytest.mark.parametrize(("size", "shape"), [(5, (5, 5)), (32, (32, 32)), ((7, 21), (7, 21)), ((10, 8), (10, 8))])
def test_resize(masks, size, shape):
    resized = masks.resize(size)
    assert resized.masks.shape == (3, *shape) and resized.classes == CLASSES
    assert resized.masks.min() >= 0 and resized.masks.max() <= 1
    torch.testing.assert_close(resized.masks.mean((1, 2)), masks.masks.mean((1, 2)), atol=0.05, rtol=0)
    flat = MaskSet(torch.full((1, 10, 8), 0.3), ("fear",)).resize(size).masks
    torch.testing.assert_close(flat, torch.full_like(flat, 0.3))


def test_resize_to_the_same_size_changes_nothing(masks):
    torch.testing.assert_close(masks.resize((10, 8)).masks, masks.masks)


def test_resize_keeps_places():
    masks = torch.zeros(1, 8, 8)
    masks[0, :4, 4:] = 1  # the upper right
    resized = MaskSet(masks, ("fear",)).resize((12, 20)).masks[0]
    assert resized[:5, 12:].min() == 1 and resized[7:].max() == resized[:, :8].max() == 0


def test_place_is_zero_outside_the_box(masks):
    placed = masks.place((0.25, 0.1, 0.75, 0.9), 40)
    assert placed.masks.shape == (3, 40, 40)
    torch.testing.assert_close(placed.masks[:, 4:36, 10:30], masks.resize((32, 20)).masks)
    outside = torch.ones(40, 40, dtype=torch.bool)
    outside[4:36, 10:30] = False
    assert not placed.masks[:, outside].any()
    assert (placed.classes, placed.pairs) == (masks.classes, masks.pairs)


@pytest.mark.parametrize("box", [None, (0, 0, 1, 1)])
def test_place_over_the_whole_face(masks, box):
    torch.testing.assert_close(masks.place(box, 16).masks, masks.resize(16).masks)


@pytest.mark.parametrize(
    "box", [(-0.1, 0, 1, 1), (0, 0, 1.1, 1), (0, -0.2, 1, 1), (0, 0, 1, 1.2), (0.5, 0, 0.5, 1), (0.8, 0, 0.2, 1),
            (0, 0.6, 1, 0.4), (0, 0, 20, 30)]
)
def test_box_outside_the_face_is_refused(masks, box):
    with pytest.raises(InputError, match=rf"--mask_box {re.escape(str(box))}: give left < right and top < bottom"):
        masks.place(box, 40)
