"""Tests of what a run learns from, selects on and reports on."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from accelerate import Accelerator

from fmpn_timm.data.prepare import prepare_faces
from fmpn_timm.data.protocols import get_protocol
from fmpn_timm.data.readers import drawn
from fmpn_timm.errors import InputError
from fmpn_timm.priors import MaskSet, build_masks
from fmpn_timm.training import TrainConfig
from fmpn_timm.training.data import folds_of, prepare_data
from tests.data.readers.base import write_picture


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    config = TrainConfig(name="run", output=str(tmp_path), data_options={"subjects": 20, "takes": 1, "size": 24},
                         fold=3, valid_fraction=0.2, progress=False)
    config.folder.mkdir()
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A prepared set of 12 subjects with folds, and neutral references beside."""
    pytest.importorskip("pyarrow")
    protocol = get_protocol("drawn")
    faces = protocol.read(subjects=12, takes=1, size=24)
    folds = {s.source: n for n, fold in protocol.cut(faces).items() for s in fold.test.samples}
    # references of the tested subjects must not be learnt from either
    neutral = (s for s in faces.samples if s.role == "neutral")
    neutral = tuple(dataclasses.replace(s, source=f"{s.source}/reference") for s in neutral)
    faces = dataclasses.replace(faces, neutral=neutral)
    root = tmp_path_factory.mktemp("prepared") / "set"
    prepare_faces(faces, root, folds=folds, progress=False)
    return root


@pytest.fixture
def prepared(config, folder) -> TrainConfig:
    return dataclasses.replace(config, dataset="prepared", root=str(folder), data_options={})


@pytest.fixture
def own_faces(tmp_path) -> Path:
    """A folder of two classes in splits, of nobody knows whom."""
    for split, number in (("train", 40), ("test", 2)):
        for i in range(number):
            write_picture(tmp_path / "own" / split / ("neutral", "happiness")[i % 2] / f"{split}{i}.png", seed=i)
    return tmp_path / "own"


def who(samples) -> set[str]:
    return {s.subject for s in samples}


def test_the_seed_says_who_selects(config):
    first, again, other = (who(prepare_data(dataclasses.replace(config, seed=seed), Accelerator()).valid.samples)
                           for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("seed", [0, 1])
def test_nobody_is_in_two_parts_and_masks_see_training_subjects_alone(config, monkeypatch, seed):
    aligned_face, opened = drawn._aligned_face, set()

    def open_face(subject, *args, **options):
        opened.add(f"{subject:04d}")
        return aligned_face(subject, *args, **options)

    monkeypatch.setattr(drawn, "_aligned_face", open_face)
    data = prepare_data(dataclasses.replace(config, seed=seed), Accelerator())
    parts = [who(part.samples) for part in (data.train, data.valid, data.test)]
    assert [len(part) for part in parts] == [14, 4, 2] and len(set.union(*parts)) == 20
    assert opened == parts[0]  # building the masks opened every training subject's pictures, and nobody else's
    assert set(data.priors.pairs) == set(data.classes) - {"neutral"}


def test_masks_are_built_as_told(config):
    options = {"light": "none", "smooth": 0, "keep_all": True}
    built = prepare_data(dataclasses.replace(config, prior_options=options), Accelerator())
    alone = build_masks(built.train, light="none", smooth=0, limits=None, progress=False)
    assert torch.equal(built.priors.masks, alone.with_neutral().select(built.classes).masks)
    assert not torch.equal(built.priors.masks, prepare_data(config, Accelerator()).priors.masks)
    with pytest.raises(InputError, match="knows light, smooth and keep_all, not size"):
        prepare_data(dataclasses.replace(config, prior_options={"size": 3}), Accelerator())


def test_masks_that_saw_tested_subjects_are_refused(config, tmp_path):
    def run(priors) -> TrainConfig:
        priors.save(tmp_path / "priors.safetensors")
        return dataclasses.replace(config, priors=str(tmp_path / "priors.safetensors"), mask_box=(0, 0, 1, 1))

    own = prepare_data(config, Accelerator()).priors
    assert own.data == "drawn fold 3 train"
    assert torch.equal(prepare_data(run(own), Accelerator()).priors.masks, own.masks)
    for data in ("drawn all", "drawn fold 13 train", "drawn fold 3 test", "drawn, mean of 10 folds, published"):
        with pytest.raises(InputError, match="the subjects of the test side of fold 3"):
            prepare_data(run(dataclasses.replace(own, data=data)), Accelerator())
    prepare_data(run(dataclasses.replace(own, data="ict all")), Accelerator())
    splits = dataclasses.replace(run(dataclasses.replace(own, data="drawn train")), fold=None)
    prepare_data(dataclasses.replace(splits, test_split="test"), Accelerator())
    with pytest.raises(InputError, match="the subjects of what is reported on"):  # a part of train is
        prepare_data(splits, Accelerator())
    with pytest.raises(InputError, match="was made from drawn all, which has the subjects of what is reported on"):
        run(dataclasses.replace(own, data="drawn all"))
        prepare_data(dataclasses.replace(splits, test_split="test"), Accelerator())


def test_masks_of_some_folder_are_told_not_refused(own_faces, tmp_path, capsys):
    """Any folder goes by that name."""
    masks = np.zeros((1, 8, 8), np.float32)
    MaskSet(torch.from_numpy(masks), ("happiness",), "folder all").save(tmp_path / "other.safetensors")
    config = TrainConfig(dataset="folder", root=str(own_faces), test_split="test", mask_box=(0, 0, 1, 1),
                         priors=str(tmp_path / "other.safetensors"))
    prepare_data(config, Accelerator())
    assert "was made from folder all. If that is this one" in capsys.readouterr().err


def test_masks_of_unknown_framing_are_told(config, tmp_path, capsys):
    whole = prepare_data(config, Accelerator()).priors
    dataclasses.replace(whole, data="other", recipe={}).save(tmp_path / "unknown.safetensors")
    config = dataclasses.replace(config, priors=str(tmp_path / "unknown.safetensors"))
    prepare_data(dataclasses.replace(config, mask_box=(0, 0, 1, 1)), Accelerator())
    assert capsys.readouterr().err == ""
    prepare_data(config, Accelerator())
    assert "does not say how its faces were cut" in capsys.readouterr().err


def test_a_share_of_the_training_subjects_leaves_the_others_as_they_are(config):
    whole = prepare_data(config, Accelerator())
    half = prepare_data(dataclasses.replace(config, train_fraction=0.5), Accelerator())
    assert len(who(half.train.samples)) == 7 and who(half.train.samples) < who(whole.train.samples)
    assert who(half.valid.samples) == who(whole.valid.samples) and who(half.test.samples) == who(whole.test.samples)
    assert set(half.priors.pairs.values()) != set(whole.priors.pairs.values())


def test_prepared_set_with_its_stored_folds(prepared):
    folds = folds_of(prepared)
    assert (folds.dataset, folds.protocol, folds.numbers) == ("drawn", "ten-folds", tuple(range(10)))
    data = prepare_data(prepared, Accelerator())
    parts = [who(part.samples) for part in (data.train, data.valid, data.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 12
    assert who(data.train.neutral) == parts[0] and data.test.split == "fold 3 test"
    assert data.train.split == "fold 3 train" and "0.2 of fold 3 train" in data.valid.split


def test_bad_folds_of_a_prepared_set(prepared, tmp_path):
    with pytest.raises(InputError, match="--fold 10: protocol ten-folds of drawn has folds 0 to 9"):
        prepare_data(dataclasses.replace(prepared, fold=10), Accelerator())
    with pytest.raises(InputError, match="--protocol ten-folds: a prepared set has the folds it was prepared with"):
        folds_of(dataclasses.replace(prepared, protocol="ten-folds"))
    with pytest.raises(InputError, match="--root"):
        folds_of(dataclasses.replace(prepared, root=None))
    faces = get_protocol("drawn").read(subjects=5, takes=1, size=24)
    prepare_faces(dataclasses.replace(faces, split="train"), tmp_path / "plain", progress=False)
    with pytest.raises(InputError, match="plain was prepared without folds. Prepare .* --protocol ten-folds; to train"):
        folds_of(dataclasses.replace(prepared, root=str(tmp_path / "plain")))


def test_a_prepared_set_without_folds_has_its_own_splits(prepared, tmp_path):
    root = tmp_path / "plain"
    for split in ("train", "test"):
        prepare_faces(drawn.read_drawn(split=split, subjects=8, takes=1, size=24), root, progress=False)
    folds = folds_of(dataclasses.replace(prepared, root=str(root), train_split="train", test_split="test"))
    assert (folds.dataset, folds.protocol, folds.numbers) == ("drawn", None, (0,))
    assert len(folds.read(0).test) == len(drawn.read_drawn(split="test", subjects=8, takes=1, size=24))


def test_other_faces_are_learnt_from_alone(config, prepared):
    alone = prepare_data(config, Accelerator())
    also = [{"dataset": "drawn", "subjects": 5, "takes": 2, "size": 24, "seed": 9}]
    data = prepare_data(dataclasses.replace(config, also=also), Accelerator())
    added = [s.source for s in data.train.samples if "seed=9" in s.source]
    assert len(added) == 3 * 8 * 2 and len(data.train) == len(alone.train) + len(added)
    for mine, theirs in ((data.valid, alone.valid), (data.test, alone.test)):
        assert [s.source for s in mine.samples] == [s.source for s in theirs.samples]
    assert (data.priors.masks == alone.priors.masks).all()


def test_other_faces_must_be_named_and_cut_alike(config, tmp_path):
    with pytest.raises(InputError, match="name the data set"):
        prepare_data(dataclasses.replace(config, also=[{"root": "x"}]), Accelerator())
    (tmp_path / "folder" / "train" / "happiness").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "folder" / "train" / "happiness" / "a.png"), np.zeros((24, 24, 3), np.uint8))
    also = [{"dataset": "folder", "root": str(tmp_path / "folder")}]
    with pytest.raises(InputError, match="not aligned"):
        prepare_data(dataclasses.replace(config, also=also), Accelerator())


@pytest.mark.parametrize("splits", [dict(test_split="all"), dict(train_split="all", test_split="test"),
                                    dict(valid_split="train"), dict(test_split="train")])
def test_faces_that_are_learnt_from_and_tested_are_refused(splits):
    config = TrainConfig(arm="cnn", data_options={"subjects": 20, "takes": 1, "size": 24}, **splits)
    with pytest.raises(InputError, match=r"drawn: \d+ of the \d+ faces of (all|train|test) are in (all|train) too"):
        prepare_data(config, Accelerator())


def test_people_on_both_sides_of_splits_are_told(own_faces, capsys):
    config = TrainConfig(arm="cnn", dataset="folder", root=str(own_faces), test_split="test", valid_fraction=0.2)
    prepare_data(config, Accelerator())
    assert "people" not in capsys.readouterr().err
    (own_faces / "subjects.csv").write_text("image,subject\ntrain/neutral/train0.png,Zoë\ntest/neutral/test0.png,Zoë\n")
    prepare_data(config, Accelerator())
    assert "1 people of folder are in train and in test (such as Zoë)" in capsys.readouterr().err


def test_faces_that_select_and_are_reported_on_are_told(capsys):
    config = TrainConfig(arm="cnn", valid_split="valid", data_options={"subjects": 20, "takes": 1, "size": 24})
    prepare_data(dataclasses.replace(config, test_split="test"), Accelerator())
    assert "reported on" not in capsys.readouterr().err
    prepare_data(dataclasses.replace(config, test_split="valid"), Accelerator())
    assert "drawn valid both selects the epoch and is reported on" in capsys.readouterr().err


def test_few_faces_to_select_on_are_told(own_faces, capsys):
    config = TrainConfig(arm="cnn", dataset="folder", root=str(own_faces), valid_fraction=0.175)
    prepare_data(dataclasses.replace(config, epochs=1), Accelerator())
    assert "select the epoch" not in capsys.readouterr().err
    prepare_data(config, Accelerator())
    assert "warning: 7 faces select the epoch, too few" in capsys.readouterr().err


def test_one_class_cannot_be_told_from_itself(tmp_path):
    for i in range(4):
        write_picture(tmp_path / "happiness" / f"{i}.png", seed=i)
    with pytest.raises(InputError, match="folder all: all faces are of one class"):
        prepare_data(TrainConfig(arm="cnn", dataset="folder", root=str(tmp_path), train_split="all"), Accelerator())


def test_a_protocol_wants_a_fold(config):
    for name in ("ten-folds", "nonsense"):
        with pytest.raises(InputError, match=rf"--protocol {name} cuts data into folds: .* --fold"):
            prepare_data(dataclasses.replace(config, fold=None, protocol=name), Accelerator())
