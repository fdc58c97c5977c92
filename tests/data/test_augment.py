"""Tests of the augmentation of batches: it does what torchvision's functions do with what was drawn."""

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as VF

from fmpn_timm.data.augment import DRAWS, NAMES, BatchAugment, BatchMix
from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.transforms import LoadSize, train_transform

ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
LOAD, SIZE = 20, 14
MIDDLE = {name: 0.5 for name in NAMES}  # nothing turned, zoomed, shifted, flipped or lit


def faces(n: int = 1, size: int = LOAD) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def draws(**values: float) -> torch.Tensor:
    return torch.tensor([[{**MIDDLE, **values}[name] for name in NAMES]])


def augmented(augment: BatchAugment, batch: torch.Tensor, **values: float) -> torch.Tensor:
    return augment({"image": batch, "draws": draws(**values)})["image"]


@pytest.mark.parametrize(
    ("crop", "values", "place"),
    [("five", {"left": 0.0}, (0, 0)), ("five", {"left": 0.3}, (6, 0)), ("five", {"left": 0.5}, (0, 6)),
     ("five", {"left": 0.7}, (6, 6)), ("five", {"left": 0.9}, (3, 3)), ("random", {"left": 0.99, "top": 0.3}, (6, 2))],
)
def test_a_crop_and_a_flip_change_no_pixel(crop, values, place):
    augment, batch = BatchAugment(SIZE, ZERO, ONE, crop), faces()
    left, top = place
    expected = batch[..., top:top + SIZE, left:left + SIZE] / 255
    torch.testing.assert_close(augmented(augment, batch, **values), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(augmented(augment, batch, **values, flip=0.2), expected.flip(-1), atol=1e-5, rtol=0)


def test_turn_zoom_and_shift_are_torchvisions():
    augment, batch = BatchAugment(SIZE, ZERO, ONE, rotate=30, scale=0.2, shift=0.1), faces()
    got = augmented(augment, batch, turn=0.9, zoom=0.25, across=1.0, down=0.25, left=0.9)
    moved = VF.affine(batch / 255, angle=24, translate=[2, -1], scale=0.9, shear=[0, 0],
                      interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(got, VF.center_crop(moved, [SIZE, SIZE]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("order", [0.2, 0.8])
def test_light_is_torchvisions(order):
    got = augmented(BatchAugment(LOAD, ZERO, ONE, jitter=0.4), faces(), brightness=0.75, contrast=0.0, order=order)
    steps = [lambda x: VF.adjust_brightness(x, 1.2), lambda x: VF.adjust_contrast(x, 0.6)]
    expected = faces() / 255
    for step in steps if order < 0.5 else steps[::-1]:
        expected = step(expected)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_blur_is_torchvisions_away_from_the_rim():
    got = augmented(BatchAugment(LOAD, ZERO, ONE, blur=0.1), faces(), blur=0.75)
    expected = VF.gaussian_blur(faces() / 255, [13, 13], [1.5, 1.5])
    torch.testing.assert_close(got[..., 5:-5, 5:-5], expected[..., 5:-5, 5:-5], atol=2e-3, rtol=0)
    assert (got - faces() / 255).abs().mean() > 0.1


def test_blur_keeps_an_even_face_and_may_be_none():
    even = torch.full((1, 3, LOAD, LOAD), 51, dtype=torch.uint8)
    torch.testing.assert_close(augmented(BatchAugment(LOAD, ZERO, ONE, blur=1.0), even, blur=0.9), even / 255)
    sharp = augmented(BatchAugment(LOAD, ZERO, ONE, blur=1.0), faces(), blur=0.0)
    torch.testing.assert_close(sharp, faces() / 255, atol=1e-5, rtol=0)


@pytest.mark.parametrize("blur", [0.05, 0.2])
def test_blur_of_single_faces_and_of_batches_are_alike(blur):
    """Mean contrast that is left, over what either draws."""
    batch = faces(2000)
    draw = torch.rand(2000, DRAWS, generator=torch.Generator().manual_seed(0))
    ours = BatchAugment(LOAD, ZERO, ONE, blur=blur)({"image": batch, "draws": draw})["image"]
    single = train_transform(LOAD, LOAD, ZERO, ONE, blur=blur)
    torch.manual_seed(0)
    theirs = torch.stack([single(tv_tensors.Image(face)) for face in batch])
    left, expected = (blurred.std((1, 2, 3)).mean().item() for blurred in (ours, theirs))
    assert left == pytest.approx(expected, rel=0.1)


def test_a_rectangle_is_erased_from_as_many_faces_as_asked():
    batch = {"image": torch.full((400, 3, SIZE, SIZE), 255, dtype=torch.uint8),
             "draws": torch.rand(400, DRAWS, generator=torch.Generator().manual_seed(0))}
    gone = (BatchAugment(SIZE, ZERO, ONE, erase=0.3)(batch)["image"] == 0).all(1)
    share = gone.flatten(1).float().mean(1)
    assert (share > 0).float().mean() == pytest.approx(0.3, abs=0.06)
    assert share[share > 0].min() > 0.01 and share.max() < 0.26
    for face in gone[share > 0]:  # rows and columns of the rectangle alone
        assert face.any(1).sum() * face.any(0).sum() == face.sum()


def test_masks_and_neutral_faces_go_where_their_face_goes():
    batch = {"image": faces(8), "neutral": faces(8), "mask": faces(8)[:, :1] / 255, "label": torch.arange(8),
             "draws": torch.rand(8, DRAWS, generator=torch.Generator().manual_seed(1))}
    out = BatchAugment(SIZE, ZERO, ONE, rotate=20, scale=0.1, shift=0.1, jitter=0.2, erase=1.0, blur=0.1)(batch)
    kept = out["image"] != 0
    assert kept.any() and torch.equal(out["image"][kept], out["neutral"][kept])
    assert (out["neutral"] != 0).sum() > kept.sum()
    plain = BatchAugment(SIZE, ZERO, ONE, rotate=20, scale=0.1, shift=0.1)(batch)
    torch.testing.assert_close(plain["mask"], plain["image"][:, :1])
    assert torch.equal(out["label"], batch["label"]) and "draws" not in out and "draws" in batch


def test_faces_are_normalised():
    augment = BatchAugment(SIZE, (0.5, 0.25, 0.0), (0.5, 0.5, 2.0))
    got = augmented(augment, torch.full((1, 3, LOAD, LOAD), 255, dtype=torch.uint8))
    torch.testing.assert_close(got.mean((0, 2, 3)), torch.tensor([1.0, 1.5, 0.5]))


def test_draws_follow_from_the_seed_alone():
    found = read_faces("drawn", None, "train", subjects=5, takes=1, size=24)
    dataset = FaceDataset(found, found.classes, LoadSize(30), draws=DRAWS)
    first, again, other = dataset[1, 7], dataset[1, 7], dataset[1, 8]
    assert first["image"].dtype == torch.uint8 and first["image"].shape == (3, 30, 30)
    assert first["draws"].shape == (DRAWS,) and torch.equal(first["draws"], again["draws"])
    assert not torch.equal(first["draws"], other["draws"])


def mixed(seed: int = 0, n: int = 4, **options: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A batch whose face, mask and target tell its number, and the same batch mixed."""
    number = torch.arange(n, dtype=torch.float32).view(-1, 1, 1, 1)
    batch = {"image": number.expand(-1, 3, 8, 8).clone(), "mask": number.expand(-1, 1, 8, 8).clone(),
             "target": torch.eye(n), "index": torch.arange(n)}
    torch.manual_seed(seed)
    return batch, BatchMix(**options)(batch)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("options", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.3, "cutmix": 0.3}])
def test_a_mixed_face_has_the_mixed_mask_and_target(options, seed):
    batch, got = mixed(seed, **options)
    assert all(type(value) is torch.Tensor for value in got.values())
    mean = (got["target"] * torch.arange(4.0)).sum(1)  # the number that the shares of the target make
    for name in ("image", "mask"):
        torch.testing.assert_close(got[name].mean((1, 2, 3)), mean)
    torch.testing.assert_close(got["target"].sum(1), torch.ones(4))
    assert torch.equal(got["index"], batch["index"]) and torch.equal(batch["target"], torch.eye(4))


def test_mixup_blends_and_cutmix_cuts():
    assert not mixed(mixup=1.0)[1]["image"].frac().eq(0).all()
    batch, got = mixed(cutmix=1.0)
    assert got["image"].frac().eq(0).all() and (got["image"] != batch["image"]).any()


def test_mixing_follows_from_the_seed():
    for seed in range(3):
        one, other = (mixed(seed, mixup=0.4, cutmix=0.4)[1] for _ in range(2))
        assert torch.equal(one["image"], other["image"]) and torch.equal(one["target"], other["target"])
