"""What every reader promises; its test inherits ``ReaderTests``."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError


def write_picture(path: Path, seed: int = 0, size: int = 12) -> np.ndarray:
    """Write a picture of noise, making its folders; returns it as RGB."""
    picture = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[:, :, ::-1])
    return picture


def facts(sample: Sample) -> tuple:
    """All of a sample but the loader of its picture."""
    return tuple(getattr(sample, name) for name in
                 ("source", "expression", "subject", "sequence", "frame", "votes", "role"))


class ReaderTests:
    """Inherit, write a few faces in an autouse fixture and give ``read(split)``."""

    dataset: str
    split = "train"

    def read(self, split: str) -> FaceSet:
        raise NotImplementedError

    @pytest.fixture
    def faces(self) -> FaceSet:
        return self.read(self.split)

    def test_names_what_was_read(self, faces):
        assert isinstance(faces, FaceSet)
        assert faces.dataset == self.dataset and faces.split == self.split
        assert len(faces) == len(faces.samples) > 0
        assert isinstance(faces.samples, tuple) and isinstance(faces.classes, tuple)
        assert json.loads(json.dumps(faces.options)) == faces.options

    def test_classes_are_canonical_and_in_canonical_order(self, faces):
        assert len(faces.classes) >= 1
        assert faces.classes == tuple(name for name in EXPRESSIONS if name in faces.classes)

    def test_every_expression_is_a_class(self, faces):
        assert {s.expression for s in faces.samples} <= set(faces.classes)
        assert sum(faces.per_class().values()) == len(faces)

    def test_sources_are_unique(self, faces):
        assert all(isinstance(s.source, str) and s.source for s in faces.samples)
        assert len({s.source for s in faces.samples}) == len(faces)

    def test_pictures_are_rgb_uint8(self, faces):
        for sample in faces.samples[:8]:
            picture = sample.picture()
            assert isinstance(picture, np.ndarray) and picture.dtype == np.uint8
            assert picture.ndim == 3 and picture.shape[2] == 3 and min(picture.shape) > 0

    def test_votes_are_shares_of_the_classes(self, faces):
        for sample in faces.samples:
            if sample.votes is not None:
                assert len(sample.votes) == len(faces.classes)
                assert min(sample.votes) >= 0 and sum(sample.votes) == pytest.approx(1)

    def test_second_read_is_the_same(self, faces):
        again = self.read(self.split)
        assert (again.classes, again.options) == (faces.classes, faces.options)
        assert [facts(s) for s in again.samples] == [facts(s) for s in faces.samples]
        np.testing.assert_array_equal(again.samples[-1].picture(), faces.samples[-1].picture())

    def test_samples_pickle(self, faces):
        sample = faces.samples[0]
        copy = pickle.loads(pickle.dumps(sample))
        assert facts(copy) == facts(sample)
        np.testing.assert_array_equal(copy.picture(), sample.picture())

    def test_unknown_split_is_named(self):
        with pytest.raises(InputError, match="holiday"):
            self.read("holiday")
