"""Tests of the transforms: what happens to a face happens to its mask, as far as it moves pixels."""

import pytest
import torch
from torchvision import tv_tensors

from fmpn_timm.data.transforms import eval_transform, train_transform

ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
LOAD, SIZE = 20, 14
FIVE = {(0, 0), (0, 6), (6, 0), (6, 6), (3, 3)}


def twins(size: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """A face whose red channel is its mask: a smooth pattern that no flip or rotation maps to itself."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    mask = (0.1 + 0.5 * x + 0.3 * y**2)[None]
    face = torch.stack([mask[0], x, y]).mul(255).round().to(torch.uint8)
    return tv_tensors.Image(face), tv_tensors.Mask(mask)


def positions(size: int) -> tv_tensors.Image:
    """A face that holds the column in red and the row in green."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return tv_tensors.Image(torch.stack([x, y, torch.zeros_like(x)]).to(torch.uint8))


def flat(size: int = LOAD) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    return tv_tensors.Image(torch.full((3, size, size), 102, dtype=torch.uint8)), tv_tensors.Mask(
        torch.full((1, size, size), 0.25)
    )


def crops(seeds: int, **options) -> list[tuple[tuple[int, int], bool]]:
    """Row and column of the crop, and whether it is flipped, for each seed."""
    transform, face = train_transform(SIZE, LOAD, ZERO, ONE, **options), positions(LOAD)
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        columns, rows, _ = transform(face).mul(255).round().int()
        assert columns.max() - columns.min() == rows.max() - rows.min() == SIZE - 1
        assert rows[0, 0] < rows[-1, 0]  # never upside down
        found.append(((int(rows.min()), int(columns.min())), bool(columns[0, 0] > columns[0, -1])))
    return found


def test_five_crop_takes_all_five_places_and_no_other():
    found = crops(150)
    assert {place for place, _ in found} == FIVE
    assert set(found) == {(place, flipped) for place in FIVE for flipped in (False, True)}


def test_random_crop_takes_other_places_too():
    found = {place for place, _ in crops(60, crop="random")}
    assert found - FIVE
    assert all(0 <= v <= LOAD - SIZE for place in found for v in place)


@pytest.mark.parametrize("crop", ["five", "random"])
def test_mask_is_cropped_and_flipped_with_the_face(crop):
    transform, (face, mask) = train_transform(SIZE, LOAD, ZERO, ONE, crop=crop), twins(LOAD)
    for seed in range(40):
        torch.manual_seed(seed)
        out, out_mask = transform(face, mask)
        assert (out[:1] - out_mask).abs().max() < 0.003  # faces come in 256 levels


@pytest.mark.parametrize(
    "options", [{"rotate": 40}, {"scale": 0.3}, {"shift": 0.2}, {"rotate": 25, "scale": 0.2, "crop": "random"}]
)
def test_mask_is_rotated_and_zoomed_with_the_face(options):
    plain, transform = (train_transform(56, 64, ZERO, ONE, **o) for o in ({}, options))
    face, mask = twins(64)
    moved = []
    for seed in range(15):
        torch.manual_seed(seed)
        out, out_mask = transform(face, mask)
        apart = (out[:1] - out_mask).abs().flatten()
        assert apart.quantile(0.9) < 0.02  # but for the rim, where one is interpolated and the other is not
        torch.manual_seed(seed)
        moved.append((plain(face, mask)[1] - out_mask).abs().mean())
    assert max(moved) > 0.1


@pytest.mark.parametrize("options", [{"jitter": 0.5}, {"erase": 1.0}])
def test_jitter_and_erase_change_the_face_alone(options):
    transform, (face, mask) = train_transform(SIZE, LOAD, ZERO, ONE, **options), flat()
    changed = 0
    for seed in range(10):
        torch.manual_seed(seed)
        out, out_mask = transform(face, mask)
        assert (out_mask == 0.25).all()
        changed += bool(((out - 0.4).abs() > 0.01).any())
    assert changed >= 8


@pytest.mark.parametrize("blur", [0.1, 1.0])
def test_blur_changes_the_face_alone(blur):
    transform, sharp = train_transform(SIZE, SIZE, ZERO, ONE, blur=blur), train_transform(SIZE, SIZE, ZERO, ONE)
    noise = torch.randint(0, 256, (1, SIZE, SIZE), dtype=torch.uint8)
    face, mask = tv_tensors.Image(noise.expand(3, -1, -1)), tv_tensors.Mask(noise / 255)
    softer = 0
    for seed in range(10):
        torch.manual_seed(seed)
        out, out_mask = transform(face, mask)
        torch.manual_seed(seed)
        same, same_mask = sharp(face, mask)
        assert torch.equal(out_mask, same_mask)
        softer += bool(out.std() < 0.8 * same.std())
    assert softer >= 4


def test_nothing_is_erased_from_the_neutral_face_beside_it():
    face, neutral = flat()[0], tv_tensors.Image(flat()[0].clone())
    out, beside = train_transform(SIZE, LOAD, ZERO, ONE, erase=1.0)(face, neutral)
    assert (out == 0).any() and not (beside == 0).any()


def test_erased_is_a_part_of_the_face():
    transform, (face, _) = train_transform(SIZE, LOAD, ZERO, ONE, erase=1.0), flat()
    out = transform(face)
    erased = (out == 0).all(0)
    assert 0 < erased.float().mean() < 0.3
    torch.testing.assert_close(out[:, ~erased], torch.full_like(out[:, ~erased], 0.4))


def test_without_options_the_values_stay():
    out, out_mask = train_transform(SIZE, LOAD, ZERO, ONE)(*flat())
    torch.testing.assert_close(out.as_subclass(torch.Tensor), torch.full((3, SIZE, SIZE), 0.4))
    assert (out_mask == 0.25).all()


@pytest.mark.parametrize("make", [train_transform, eval_transform])
def test_only_the_face_is_normalised(make):
    mean, std = (0.4, 0.2, 0.0), (1.0, 0.5, 0.25)
    out, out_mask = make(SIZE, LOAD, mean, std)(*flat())
    expected = torch.tensor([0.0, 0.4, 1.6])
    torch.testing.assert_close(out.as_subclass(torch.Tensor).mean((1, 2)), expected)
    assert (out_mask == 0.25).all()


@pytest.mark.parametrize("mean", [ZERO, (0.5, 0.5, 0.5)])
@pytest.mark.parametrize("size", [9, 48])
@pytest.mark.parametrize(
    "transform",
    [
        train_transform,
        eval_transform,
        lambda *a: train_transform(*a, crop="random", rotate=10, scale=0.1, jitter=0.2, erase=0.5, blur=0.1),
    ],
    ids=["train", "eval", "everything"],
)
def test_faces_of_any_size_come_out_at_one(transform, size, mean):
    transform = transform(SIZE, LOAD, mean, ONE)
    alone = transform(twins(size)[0])
    face, mask = transform(twins(size)[0], twins(LOAD)[1])
    assert alone.shape == face.shape == (3, SIZE, SIZE) and mask.shape == (1, SIZE, SIZE)
    assert alone.dtype == face.dtype == mask.dtype == torch.float32
    assert mask.min() >= 0 and mask.max() <= 1


def test_evaluation_is_the_centre_and_has_no_chance_in_it():
    transform = eval_transform(SIZE, LOAD, ZERO, ONE)
    outs = []
    for seed in range(5):
        torch.manual_seed(seed)
        outs.append(transform(positions(LOAD)).mul(255).round().int())
    assert all((out == outs[0]).all() for out in outs)
    columns, rows, _ = outs[0]
    assert columns[0].tolist() == rows[:, 0].tolist() == list(range(3, 17))


def test_evaluation_keeps_the_mask_with_the_face():
    out, out_mask = eval_transform(SIZE, LOAD, ZERO, ONE)(*twins(LOAD))
    assert (out[:1] - out_mask).abs().max() < 0.003  # faces come in 256 levels


def test_the_picture_that_went_in_is_left_alone():
    face, mask = twins(LOAD)
    kept = face.clone(), mask.clone()
    train_transform(SIZE, LOAD, (0.5,) * 3, ONE, rotate=20, jitter=0.5, erase=1.0)(face, mask)
    assert (face == kept[0]).all() and (mask == kept[1]).all()
