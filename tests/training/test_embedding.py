"""Tests of embeddings, as numbers and as a picture."""

import math

import pytest
import timm
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.transforms import eval_transform
from fmpn_timm.tasks import ClassificationTask, create_loss
from fmpn_timm.training import TrainConfig
from fmpn_timm.training.embedding import angles, draw_embeddings, embed, plane


def test_angles():
    directions = torch.tensor([[1.0, 0.1], [2.0, -0.2], [0.0, 3.0], [-0.3, 3.0]])
    within, between = angles(directions, torch.tensor([5, 5, 2, 2]))
    spread = (math.atan(0.1), math.atan(0.1) / 2)  # half the angle between the two of each class
    assert within == pytest.approx(math.degrees(spread[0] + spread[1]) / 2, abs=0.01)
    assert between == pytest.approx(90 + math.degrees(spread[1]), abs=0.01)


def test_plane_keeps_the_distances_of_what_lies_in_a_plane():
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6)).Q[:, :2].T
    angle = torch.rand(20) * 2 * torch.pi
    unit = torch.stack([angle.cos(), angle.sin()], 1) @ turn
    points, others = plane(3 * unit, unit[:4])
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(unit, unit), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(others, points[:4], rtol=1e-4, atol=1e-4)


def loader(faces, batch_size: int = 32, shuffle: bool = False) -> DataLoader:
    dataset = FaceDataset(faces, faces.classes, eval_transform(32, 32, (0.5,) * 3, (0.5,) * 3), cache=True)
    return DataLoader(dataset, batch_size, shuffle)


def small(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    backbone = dict(backbone="resnet18_small", backbone_kwargs=dict(channels=(16, 24, 32, 48), layers=(1, 1, 1, 1)))
    return timm.create_model("msca", **backbone, num_classes=8, branch_width=16, embed_dim=32)


def test_embeddings_of_all_faces_in_order_and_their_picture(tmp_path):
    faces = read_faces("drawn", None, "valid", subjects=5, takes=1, size=32)
    model, batches, accelerator = small(), loader(faces, 5), Accelerator()
    embeddings, labels = embed(model, batches, accelerator)
    assert embeddings.shape == (len(faces), 32)
    assert [faces.classes[k] for k in labels] == [s.expression for s in faces.samples]
    torch.testing.assert_close(embed(model, loader(faces, 3), accelerator)[0], embeddings, rtol=1e-4, atol=1e-5)
    config = TrainConfig(output=str(tmp_path), name="run")
    config.folder.mkdir()
    for model in (small(), timm.create_model("fn2en", num_classes=8, pools=3)):
        draw_embeddings(model, batches, accelerator, faces.classes, "drawn valid", config)
        assert (config.folder / "embedding.png").stat().st_size > 0
        (config.folder / "embedding.png").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_center_cosine_loss_makes_classes_compact_and_apart(seed):
    """Against cross entropy with the same classifier, data, seed and epochs.

    On the people it learnt from, classes are narrower and farther apart; on others farther apart, and narrower against
    their distance (in degrees they are as wide as cross entropy's).
    """
    train, test = (read_faces("drawn", None, split, subjects=40, takes=2, size=32) for split in ("train", "test"))
    found = {}
    for name in ("cross_entropy", "center_cosine"):
        model = small(seed)
        task = ClassificationTask(model, loss=create_loss(name, model.get_classifier()))
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        batches = loader(train, shuffle=True)
        for _ in range(24):
            task.train()
            for batch in batches:
                optimizer.zero_grad()
                task(batch["image"], batch)["loss"].backward()
                optimizer.step()
        for of, faces in (("learnt", train), ("others", test)):
            found[name, of] = angles(*embed(model, loader(faces), Accelerator()))
            print(f"seed {seed}, {name}, {of}: within %.1f, between %.1f degrees" % found[name, of])
    for of in ("learnt", "others"):
        (within, between), (plain_within, plain_between) = found["center_cosine", of], found["cross_entropy", of]
        assert between > plain_between and within / between < plain_within / plain_between
    assert found["center_cosine", "learnt"][0] < found["cross_entropy", "learnt"][0]
