"""Tests of the registry of detectors."""

import pytest

from fmpn_timm.errors import InputError
from fmpn_timm.faces import DETECTORS, create_detector


class Blind:
    """Adding a detector takes one class."""

    def __init__(self, score: float = 0.5):
        self.score = score

    def __call__(self, pictures):
        return []


def test_a_detector_is_created_by_name(monkeypatch):
    monkeypatch.setitem(DETECTORS, "blind", Blind)
    assert create_detector("blind", score=0.25).score == 0.25


def test_unknown_names_and_options_are_refused(monkeypatch):
    monkeypatch.setitem(DETECTORS, "blind", Blind)
    with pytest.raises(InputError, match=r"Unknown detector 'dlib': choose one of yunet, retinaface, mtcnn, blind"):
        create_detector("dlib")
    with pytest.raises(InputError, match=r"blind: .*'zoom'\. It takes \(score: float = 0\.5\)"):
        create_detector("blind", zoom=2)
    with pytest.raises(InputError, match="landmarks that a data set gives"):
        create_detector("dataset")
    for side in ("min_side", "max_side"):
        with pytest.raises(InputError, match="yunet: min_side and max_side are pixels: give 1 or more"):
            create_detector("yunet", **{side: 0})
