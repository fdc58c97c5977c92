"""Tests of the torch data set."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.data.transforms import eval_transform, train_transform
from fmpn_timm.errors import InputError

CLASSES = ("neutral", "happiness", "fear")
VOTES = ((1.0, 0.0, 0.0), (0.2, 0.7, 0.1), (0.0, 0.25, 0.75), (0.1, 0.5, 0.4))
SIZE = 6


class Loader:
    """Loads one picture and counts how often."""

    def __init__(self, seed: int):
        self.seed, self.loaded = seed, 0

    def __call__(self) -> np.ndarray:
        self.loaded += 1
        return np.random.default_rng(self.seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def face_set(votes: bool = True) -> FaceSet:
    expressions = ("neutral", "happiness", "fear", "happiness")
    samples = tuple(
        Sample(f"{i}.png", Loader(i), expression, votes=VOTES[i] if votes else None)
        for i, expression in enumerate(expressions)
    )
    return FaceSet("folder", "train", CLASSES, samples)


@pytest.fixture
def transform():
    return eval_transform(SIZE, SIZE, (0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def masks() -> torch.Tensor:
    return torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def test_items_without_masks(transform):
    faces = face_set()
    dataset = FaceDataset(faces, CLASSES, transform)
    assert len(dataset) == 4
    for i, label in enumerate((0, 1, 2, 1)):
        item = dataset[i]
        assert set(item) == {"image", "target", "label", "index", "broken"}
        assert type(item["image"]) is torch.Tensor and item["image"].dtype == torch.float32
        picture = torch.from_numpy(faces.samples[i].picture()).permute(2, 0, 1) / 255
        torch.testing.assert_close(item["image"], picture)
        assert item["label"].dtype == item["index"].dtype == torch.int64
        assert (item["label"].shape, item["index"].shape) == ((), ())
        assert (int(item["label"]), int(item["index"])) == (label, i)
        assert item["target"].tolist() == np.eye(3)[label].tolist()


def test_hard_targets_have_the_mask_of_their_class(transform, masks):
    dataset = FaceDataset(face_set(), CLASSES, transform, masks)
    for i, label in enumerate((0, 1, 2, 1)):
        mask = dataset[i]["mask"]
        assert type(mask) is torch.Tensor and mask.shape == (1, SIZE, SIZE)
        torch.testing.assert_close(mask[0], masks[label])


def test_soft_targets_are_the_votes_and_mix_the_masks(transform, masks):
    dataset = FaceDataset(face_set(), CLASSES, transform, masks, soft=True)
    for i, votes in enumerate(VOTES):
        item = dataset[i]
        assert item["target"].dtype == torch.float32
        torch.testing.assert_close(item["target"], torch.tensor(votes))
        mixture = votes[0] * masks[0] + votes[1] * masks[1] + votes[2] * masks[2]
        torch.testing.assert_close(item["mask"][0], mixture)
    assert [int(dataset[i]["label"]) for i in range(4)] == [0, 1, 2, 1]


def test_the_mixture_minimises_the_expected_mask_loss(transform, masks):
    """Equation (2), its expectation over the votes."""
    best = FaceDataset(face_set(), CLASSES, transform, masks, soft=True)[1]["mask"]

    def loss(mask):
        return sum(p * (mask - m).square().mean() for p, m in zip(VOTES[1], masks, strict=True))

    others = [*masks[:, None], best + 0.05, best * 0.9]
    assert all(loss(best) < loss(other) for other in others)


def test_soft_targets_fall_back_to_labels(transform):
    dataset = FaceDataset(face_set(votes=False), CLASSES, transform, soft=True)
    torch.testing.assert_close(dataset.targets, torch.eye(3)[[0, 1, 2, 1]])


def test_classes_come_in_the_order_of_the_model(transform, masks):
    order = ("fear", "neutral", "happiness")
    index = [2, 0, 1]
    one = FaceDataset(face_set(), CLASSES, transform, masks, soft=True)
    other = FaceDataset(face_set(), order, transform, masks[index], soft=True)
    assert [int(other[i]["label"]) for i in range(4)] == [1, 2, 0, 2]
    for i in range(4):
        torch.testing.assert_close(other[i]["target"], one[i]["target"][index])
        torch.testing.assert_close(other[i]["mask"], one[i]["mask"])
    hard = FaceDataset(face_set(), order, transform)
    torch.testing.assert_close(hard.targets, torch.eye(3)[[1, 2, 0, 2]])


def test_cache_gives_the_same_items_and_reads_once(masks):
    transform = train_transform(4, SIZE, (0.5,) * 3, (0.5,) * 3, rotate=20, jitter=0.5, erase=1.0)
    cached = FaceDataset(face_set(), CLASSES, transform, masks, cache=True)
    plain = FaceDataset(face_set(), CLASSES, transform, masks)
    for epoch in range(3):
        for i in range(4):
            items = []
            for dataset in (cached, plain):
                torch.manual_seed(10 * epoch + i)
                items.append(dataset[i])
            assert all((items[0][key] == items[1][key]).all() for key in items[0])
    assert [s.picture.loaded for s in cached.faces.samples] == [1] * 4
    assert [s.picture.loaded for s in plain.faces.samples] == [3] * 4


def test_masks_are_cropped_with_the_faces(masks):
    transform = train_transform(4, SIZE, (0.0,) * 3, (1.0,) * 3)
    faces = face_set()
    dataset = FaceDataset(faces, CLASSES, transform, masks)
    item, face = dataset[2], torch.from_numpy(faces.samples[2].picture()).permute(2, 0, 1) / 255
    candidates = [
        (f[:, t : t + 4, x : x + 4], m[t : t + 4, x : x + 4])
        for f, m in ((face, masks[2]), (face.flip(-1), masks[2].flip(-1)))
        for t in range(3)
        for x in range(3)
    ]
    matching = [m for f, m in candidates if torch.allclose(f, item["image"])]
    assert len(matching) == 1
    torch.testing.assert_close(item["mask"][0], matching[0])


def test_loader_stacks_the_items(transform, masks):
    batch = next(iter(DataLoader(FaceDataset(face_set(), CLASSES, transform, masks, soft=True), batch_size=4)))
    shapes = {key: tuple(value.shape) for key, value in batch.items()}
    assert shapes == {"image": (4, 3, 6, 6), "mask": (4, 1, 6, 6), "target": (4, 3), "label": (4,), "index": (4,),
                      "broken": (4,)}
    torch.testing.assert_close(batch["target"].sum(1), torch.ones(4))


def test_soft_targets_over_other_classes_still_sum_to_one():
    votes = (0.5, 0.25, 0.25)
    sample = Sample("a", lambda: np.zeros((8, 8, 3), np.uint8), "neutral", votes=votes)
    faces = FaceSet("made", "train", ("neutral", "happiness", "surprise"), (sample,))
    transform = eval_transform(8, 8, (0, 0, 0), (1, 1, 1))
    target = FaceDataset(faces, ("fear", "happiness", "neutral"), transform, soft=True)[0]["target"]
    torch.testing.assert_close(target, torch.tensor([0.0, 1 / 3, 2 / 3]))


def neutral_set() -> FaceSet:
    """Three subjects; of the third no neutral face is known."""
    rows = (("fear", "1"), ("neutral", "1"), ("happiness", "2"), ("fear", "3"))
    samples = tuple(Sample(f"{i}.png", Loader(i), name, subject) for i, (name, subject) in enumerate(rows))
    return FaceSet("folder", "train", CLASSES, samples, neutral=(Sample("reference.png", Loader(9), "neutral", "2"),))


def test_neutral_faces_are_the_subjects(transform):
    faces = neutral_set().paired()
    dataset = FaceDataset(faces, CLASSES, transform, neutral=True)
    assert len(dataset) == 3
    for i, seed in enumerate((1, 1, 9)):
        neutral = dataset[i]["neutral"]
        assert type(neutral) is torch.Tensor and neutral.dtype == torch.float32
        torch.testing.assert_close(neutral, torch.from_numpy(Loader(seed)()).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("options", [{}, {"rotate": 30, "scale": 0.3, "shift": 0.2, "jitter": 0.5}])
def test_neutral_faces_and_masks_go_where_the_face_goes(options, masks):
    """A neutral sample is its own neutral face here, so the two must come out alike."""
    transform = train_transform(4, SIZE, (0.0,) * 3, (1.0,) * 3, **options)
    dataset = FaceDataset(neutral_set().paired(), CLASSES, transform, masks, neutral=True)
    places = set()
    for seed in range(10):
        torch.manual_seed(seed)
        item = dataset[1]
        assert item["mask"].shape == (1, 4, 4)
        torch.testing.assert_close(item["neutral"], item["image"])
        places.add(tuple(item["image"].flatten().tolist()))
    assert len(places) > 3


def test_erasing_spares_the_neutral_face():
    transform = train_transform(4, SIZE, (0.0,) * 3, (1.0,) * 3, erase=1.0)
    item = FaceDataset(neutral_set().paired(), CLASSES, transform, neutral=True)[1]
    erased = (item["image"] != item["neutral"]).any(0)
    assert erased.any() and not erased.all() and (item["image"][:, erased] == 0).all()


def test_cache_keeps_neutral_faces_too(transform):
    faces = neutral_set().paired()
    dataset = FaceDataset(faces, CLASSES, transform, cache=True, neutral=True)
    for _ in range(2):
        items = [dataset[i] for i in range(len(dataset))]
    assert [s.picture.loaded for s in (*faces.samples, *faces.neutral)] == [1, 1, 1, 1, 1]
    torch.testing.assert_close(items[0]["neutral"], items[1]["image"])


def test_a_seeded_item_depends_on_its_seed_alone_and_draws_nothing_from_outside(masks):
    transform = train_transform(4, SIZE, (0.5,) * 3, (0.5,) * 3, rotate=20, jitter=0.5, erase=1.0)
    dataset = FaceDataset(face_set(), CLASSES, transform, masks)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = dataset[2, 7]
    assert torch.equal(torch.rand(3), expected)
    again, other = dataset[2, 7], dataset[2, 8]
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["image"], other["image"])


def broken_picture() -> np.ndarray:
    raise InputError("1.png: broken picture. Fetch it again.")


def test_the_next_whole_face_of_the_class_stands_in_for_a_broken_one(transform, masks):
    faces = face_set()
    samples = tuple(replace(s, picture=broken_picture) if i == 1 else s for i, s in enumerate(faces.samples))
    faces = replace(faces, samples=samples)
    whole = FaceDataset(faces, CLASSES, transform, masks, soft=True)
    with pytest.raises(InputError, match="1.png"):
        whole[1]
    item = FaceDataset(faces, CLASSES, transform, masks, soft=True, stand_in=True)[1]
    assert int(item["index"]) == 1 and bool(item["broken"])
    for key in ("image", "target", "mask", "label"):
        assert torch.equal(item[key], whole[3][key])
    assert not whole[3]["broken"]


def test_a_class_without_a_whole_face_has_no_stand_in(transform):
    faces = face_set()
    faces = replace(faces, samples=(replace(faces.samples[0], picture=broken_picture), *faces.samples[1:]))
    with pytest.raises(InputError, match="1.png"):
        FaceDataset(faces, CLASSES, transform, stand_in=True)[0]
