"""Tests of the timeline of a video and of the sheet beside the neutral face."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from PIL import Image

from fmpn_timm.inference.draw import COLORS
from fmpn_timm.inference.neutral import with_comparisons
from fmpn_timm.inference.timeline import MAX_TRACKS, NeutralSheet, Timeline
from fmpn_timm.inference.tracks import Tracker
from tests.inference.test_neutral import seen
from tests.inference.test_tracks import CLASSES, face, frame

pytest.importorskip("scipy")


def drawn(path, frames, **options) -> Timeline:
    timeline = Timeline(path, "a.mp4", CLASSES)
    for one in map(Tracker(**options), frames):
        timeline.add(one)
    timeline.close(complete=True)
    return timeline


def test_bands_show_the_probabilities_and_gaps_stay_open(tmp_path):
    times = np.arange(0, 4, 0.1)
    frames = [frame(t, *[face(100, happy=float(t > 3))][:not 1 <= t < 2]) for t in times]
    drawn(tmp_path / "new" / "t.png", frames, gap=2.0, smooth=0)
    picture = np.array(Image.open(tmp_path / "new" / "t.png").convert("RGB"))
    middle = picture[len(picture) // 2 - 20]
    found = {name: np.flatnonzero((middle == COLORS[name]).all(1)) for name in CLASSES}
    left, right = found["neutral"].min(), found["happiness"].max()
    second = (right - left) / 4
    assert len(found["neutral"]) == pytest.approx(2 * second, rel=0.1)
    assert len(found["happiness"]) == pytest.approx(second, rel=0.15)
    gap = (middle == 0xF4).all(1)[left:right]
    assert gap.sum() == pytest.approx(second, rel=0.15) and gap[int(1.2 * second):int(1.9 * second)].all()


def test_a_face_seen_once_is_shown(tmp_path):
    timeline = drawn(tmp_path / "t.png", [frame(0, face(100)), frame(0.1), frame(0.2), frame(5, face(300))])
    assert [len(stretches) for stretches in timeline.tracks.values()] == [1, 1]
    assert (np.array(Image.open(tmp_path / "t.png").convert("RGB")) == COLORS["neutral"]).all(-1).sum() > 100


def test_the_tracks_seen_longest_are_drawn(tmp_path):
    pairs = [[frame(10 * i, face(100)), frame(10 * i + 0.1, face(100))] for i in range(MAX_TRACKS + 5)]
    timeline = drawn(tmp_path / "t.png", [*sum(pairs, []), frame(10 * len(pairs) - 9.8, face(100))])
    figure = timeline._figure()
    shown = [axis.get_ylabel() for axis in figure.axes]
    assert len(shown) == MAX_TRACKS and len(timeline.tracks) == MAX_TRACKS + 5 and shown[-1] == f"#{MAX_TRACKS + 4}"
    assert f"{len(timeline.tracks) - MAX_TRACKS} tracks" in figure.get_suptitle()


@pytest.mark.parametrize("frames", [[frame(0.0), frame(0.1)], [frame(0.0, face(5))]])
def test_short_and_empty_videos_have_a_timeline(tmp_path, frames):
    drawn(tmp_path / "t.png", frames)
    assert Image.open(tmp_path / "t.png").width == 1200


def test_a_name_with_dollars_is_no_formula(tmp_path):
    timeline = Timeline(tmp_path / "t.png", "$$.mp4", CLASSES)
    timeline.add(Tracker()(frame(0.0, face(5))))
    timeline.close(complete=True)
    assert (tmp_path / "t.png").is_file()


def test_nothing_appears_of_what_is_not_complete(tmp_path):
    timeline = Timeline(tmp_path / "t.png", "a.mp4", CLASSES)
    timeline.close(complete=True)
    timeline.add(Tracker()(frame(0.0, face(5))))
    timeline.close(complete=False)
    NeutralSheet(tmp_path / "n.png", "a.mp4").close(complete=True)
    assert list(tmp_path.iterdir()) == []


def test_drawing_leaves_the_user_s_figures_alone(tmp_path):
    backend = matplotlib.rcParams["backend"]
    drawn(tmp_path / "t.png", [frame(0.0, face(5))])
    assert matplotlib.rcParams["backend"] == backend


def test_the_sheet_forgets_those_who_are_seen_least(tmp_path):
    tracker, sheet = Tracker(), NeutralSheet(tmp_path / "n.png", "a.mp4")
    one = with_comparisons(tracker(frame(0.0, seen(0))), {0: seen(0).face})
    for track in range(600):
        again = replace(one, faces=(replace(one.faces[0], track=track),))
        for _ in range(3 if track in (5, 77) else 1):
            sheet.add(again)
    assert len(sheet.best) <= 4 * MAX_TRACKS * len(COLORS)
    sheet.close(complete=False)
    assert len(sheet.best) == MAX_TRACKS and {(5, one.faces[0].label), (77, one.faces[0].label)} <= set(sheet.best)


def test_the_sheet_has_a_row_for_each_label_of_each_face(tmp_path):
    tracker, sheet = Tracker(), NeutralSheet(tmp_path / "n.png", "a.mp4")
    for i, happy in enumerate([0.0, 0.9, 0.7]):
        faces = [seen(100, happy), seen(300, subject=1)]
        one = tracker(frame(i / 10, *faces))
        sheet.add(with_comparisons(one, {0: seen(0).face, 1: seen(0, subject=1).face}))
    assert sorted(sheet.best) == [(0, "happiness"), (0, "neutral"), (1, "neutral")]
    assert sheet.best[0, "happiness"][0] == 0.9 and "at 0.10 s" in sheet.best[0, "happiness"][1]
    sheet.close(complete=True)
    assert Image.open(tmp_path / "n.png").height > 600
    alone = NeutralSheet(tmp_path / "one.png", "a.jpg")
    alone.add(with_comparisons(replace(frame(None, *faces), frame=None), faces[0].face))
    assert list(alone.best) == [(0, "happiness")]
