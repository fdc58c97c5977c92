"""Tests of faces followed through a video: synthetic boxes, drawn faces that cross, gaps, smoothing over time."""

import sys
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from fmpn_timm.data.drawn import draw_face
from fmpn_timm.errors import InputError
from fmpn_timm.inference.results import FacePrediction, PicturePrediction, columns, face_quality
from fmpn_timm.inference.tracks import Tracker, follow, overlaps

pytest.importorskip("scipy")

CLASSES = ("neutral", "happiness")


@lru_cache
def drawn(subject: int) -> np.ndarray:
    return draw_face(subject, size=48).image


def face(x: float, y: float = 100, size: float = 50, subject: int = 0, happy: float = 0.0) -> FacePrediction:
    box = np.array([x, y, x + size, y + size], np.float32)
    image = drawn(subject)
    return FacePrediction(box, None, 0.9, CLASSES[happy > 0.5], {"neutral": 1 - happy, "happiness": happy},
                          face_quality(image, box, None, 0.9), image, None, np.eye(2, 3), (640, 480))


def frame(time: float | None, *faces: FacePrediction) -> PicturePrediction:
    return PicturePrediction("a.mp4", (640, 480), faces, "" if faces else "nobody", time, frame=0)


def tracks(frames, **options) -> list[list[int]]:
    tracker = Tracker(**options)
    return [[each.track for each in tracker(one).faces] for one in frames]


def test_overlap_of_enlarged_boxes():
    a = np.array([[0, 0, 10, 10]])
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [12, 0, 22, 10], [100, 100, 110, 110]])
    np.testing.assert_allclose(overlaps(a, b, buffer=0), [[1, 1 / 3, 0, 0]])
    assert overlaps(a, b)[0, 2] > 0.1 and overlaps(a, b)[0, 3] == 0


def test_ids_are_stable_in_whatever_order_faces_come():
    frames = [frame(i / 25, *(face(100 + 3 * i, 40), face(400 - 3 * i, 300, subject=1))[::1 if i % 2 else -1])
              for i in range(20)]
    assert tracks(frames) == [[0, 1] if i % 2 == 0 else [1, 0] for i in range(20)]


def test_two_people_who_are_seen_while_they_cross():
    frames = [frame(i / 25, face(100 + 10 * i, 100), face(500 - 10 * i, 110)) for i in range(41)]
    assert tracks(frames) == [[0, 1]] * 41  # alike as twins: only their ways tell them apart


@pytest.mark.parametrize("speed", [4, 8, 16])
def test_one_who_is_hidden_by_another_keeps_the_number(speed):
    tracker, ids, gaps = Tracker(), [], []
    for i in range(400 // speed):
        hidden = abs(400 - 2 * speed * i) < 40
        faces = [face(100 + speed * i, subject=3), face(500 - speed * i, 110, subject=8)]
        seen = tracker(frame(i / 25, *faces[:1 if hidden else 2]))
        ids.append([each.track for each in seen.faces])
        gaps.append(seen.gaps)
    assert {tuple(each) for each in ids} == {(0, 1), (0,)} and set(gaps) == {(), (1,)}
    assert all((len(each) == 1) == (gap == (1,)) for each, gap in zip(ids, gaps, strict=True))


def test_looks_tell_two_apart_where_places_do_not():
    one, other = (face(x, subject=s) for x, s in ((100, 3), (140, 8)))
    passed = face(122, subject=3), face(118, subject=8)
    assert tracks([frame(0.0, one, other), frame(0.04, *passed)]) == [[0, 1], [0, 1]]


@pytest.mark.parametrize("x", [480, 330])
def test_one_who_is_not_seen_for_a_while_is_looked_for_farther_on_and_where_he_was(x):
    frames = [frame(i / 25, face(100 + 16 * i)) for i in range(15)]  # to 324, at 400 pixels a second
    assert tracks([*frames, frame(0.6), frame(14 / 25 + 0.4, face(x))])[-1] == [0]
    assert tracks([*frames, frame(0.6), frame(14 / 25 + 0.4, face(x + 300))])[-1] == [1]


def test_one_who_comes_back_within_the_gap_only_is_the_same():
    def away(seconds):
        return [frame(0.0, face(100)), frame(0.1, face(100)), frame(0.2), frame(0.1 + seconds, face(104))]

    assert tracks(away(0.9), gap=1.0)[-1] == [0]
    assert tracks(away(1.2), gap=1.0)[-1] == [1]
    assert tracks(away(1.2), gap=2.0)[-1] == [0]
    tracker = Tracker(gap=1.0)
    assert [tracker(each).gaps for each in away(1.2)] == [(), (), (0,), ()]


def test_neighbours_keep_their_numbers_when_one_goes_as_another_comes():
    """The best sum of all matches is no match of its own: one who is there must not be taken for who has gone."""
    frames = [frame(i / 25, face(100, size=100), face(205, size=100, subject=1)) for i in range(5)]
    frames.append(frame(0.2, face(205, size=100, subject=1), face(310, size=100, subject=2)))
    assert tracks(frames)[-1] == [1, 2]


def test_one_who_appears_elsewhere_is_another():
    assert tracks([frame(0, face(100)), frame(0.04, face(500)), frame(0.08, face(103))]) == [[0], [1], [0]]


def test_rarely_looked_at_videos_are_followed_too():
    assert tracks([frame(2.0 * i, face(100 + 5 * i)) for i in range(4)], gap=1.0) == [[0]] * 4
    long_pause = [frame(0, face(100)), frame(0.04, face(100)), frame(9, face(100)), frame(9.04, face(100))]
    assert tracks(long_pause, gap=1.0) == [[0], [0], [1], [1]]


def test_moving_faces_are_found_again_though_the_frame_rate_varies():
    times = np.cumsum(np.random.default_rng(0).choice([0.02, 0.04, 0.12], 50))
    assert tracks([frame(t, face(20 + 180 * t, size=40)) for t in times]) == [[0]] * 50


def smoothed_after(times, smooth: float) -> float:
    """Happiness at the end, of a face that turned happy at 0."""
    tracker = Tracker(smooth=smooth)
    tracker(frame(0.0, face(100)))
    for time in times:
        seen, = tracker(frame(time, face(100, happy=1.0))).faces
    assert sum(seen.smoothed.values()) == pytest.approx(1) and tuple(seen.smoothed) == CLASSES
    return seen.smoothed["happiness"]


def test_smoothing_has_a_time_constant_at_any_frame_rate():
    wanted = 1 - np.exp(-0.6 / 0.3)
    varying = np.append(np.sort(np.random.default_rng(0).uniform(0, 0.6, 20)), 0.6)
    for times in (np.linspace(0, 0.6, 7)[1:], np.linspace(0, 0.6, 61)[1:], varying):
        assert smoothed_after(times, 0.3) == pytest.approx(wanted)
    assert smoothed_after([0.04], 0.0) == 1


def test_the_raw_answer_stays_beside_the_smoothed_one():
    tracker = Tracker(smooth=0.5, abstain=0.9)
    tracker(frame(0.0, face(100)))
    seen = tracker(frame(0.2, face(100, happy=0.9)))
    assert seen.faces[0].label == "happiness" and seen.faces[0].probabilities["happiness"] == 0.9
    assert seen.faces[0].smoothed["happiness"] == pytest.approx(0.9 * (1 - np.exp(-0.4)))
    assert seen.faces[0].smoothed_label == "uncertain"


def test_a_clock_that_goes_back_does_no_harm():
    tracker = Tracker(smooth=0.5)
    tracker(frame(4.8, face(0, happy=0.9)))
    smoothed = tracker(frame(0.0, face(0, happy=0.1))).faces[0].smoothed
    assert all(0 <= p <= 1 for p in smoothed.values())


def test_rows_of_a_frame():
    tracker = Tracker()
    tracker(frame(0.0, face(100), face(300, subject=1)))
    rows = tracker(replace(frame(0.2, face(100)), frame=5)).as_rows()
    assert [(row["time"], row["frame"], row["track"], row["face"]) for row in rows] == [(0.2, 5, 0, 0),
                                                                                        (0.2, 5, 1, None)]
    assert tuple(rows[0]) == columns(CLASSES) and rows[0]["smoothed_label"] == "neutral"
    assert rows[1]["reason"] == "not seen"
    nobody, = tracker(frame(5.0)).as_rows()
    assert nobody["track"] is None and nobody["reason"] == "nobody"


def test_what_cannot_be_read_is_left_as_it_is():
    broken = PicturePrediction("a.mp4", (0, 0), (), "cannot be read: cut", read=False)
    assert list(follow([(broken, "picture")], Tracker())) == [(broken, "picture")]


def test_bad_options_and_missing_scipy_are_refused(monkeypatch):
    for options in (dict(gap=-1), dict(smooth=float("nan")), dict(smooth=float("inf"))):
        with pytest.raises(InputError, match="give seconds"):
            Tracker(**options)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(InputError, match=r"fmpn-timm\[video\]"):
        Tracker()
