"""Tests of ``fmpn predict`` with videos, cameras and a neutral face."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fmpn_timm.cli import command_parser
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.errors import InputError
from fmpn_timm.inference import predictor as predictor_module
from fmpn_timm.inference import run, watch
from fmpn_timm.inference.run import Counts, Outputs, Watching, predict_sources
from fmpn_timm.inference.video import parse_every
from tests.faces.marked import marked
from tests.inference.test_run import predict, rows_of
from tests.inference.test_video import Camera, read, write_film

pytest.importorskip("av")
pytest.importorskip("scipy")
pytestmark = pytest.mark.usefixtures("marked_detector")

TIMES = [0, 0.1, 0.2, 0.25, 0.3, 0.7, 0.8, 0.9]


def pictures() -> list[np.ndarray]:
    """A face that wanders, is away in the fourth and fifth frame, and another in the last three."""
    faces = [[(5 + 2 * i, 9, 30)] * (i not in (3, 4)) + [(80, 20, 50)] * (i > 4) for i in range(len(TIMES))]
    return [textured(*each) for each in faces]


def textured(*faces: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A picture with marked faces, on which masks are not flat."""
    picture = marked(*faces)
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16), np.uint8)
    picture[..., 2] = cv2.resize(noise, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return picture


@pytest.fixture
def film(tmp_path) -> Path:
    return write_film(tmp_path / "film.mov", pictures(), TIMES)


@pytest.fixture
def sloping_masks(monkeypatch):
    """The tiny model's masks are flat, and agree with nothing: let them grow towards the chin."""
    monkeypatch.setattr(predictor_module, "_whole_face", lambda mask, crop_pct, size: np.repeat(
        np.linspace(0.1, 1, size, dtype=np.float32)[:, None], size, 1))


def test_rows_of_a_video(film, model, tmp_path, capsys):
    assert predict(film, "--csv", tmp_path / "o.csv", model=model) == 0
    rows = rows_of(tmp_path / "o.csv")
    assert [(row["frame"], float(row["time"]), row["track"], row["face"]) for row in rows] == [
        ("0", 0.0, "0", "0"), ("1", 0.1, "0", "0"), ("2", 0.2, "0", "0"), ("3", 0.25, "0", ""), ("4", 0.3, "0", ""),
        ("5", 0.7, "1", "0"), ("5", 0.7, "0", "1"), ("6", 0.8, "1", "0"), ("6", 0.8, "0", "1"), ("7", 0.9, "1", "0"),
        ("7", 0.9, "0", "1")]
    assert rows[3]["reason"] == "not seen" and rows[3]["label"] == rows[3]["smoothed_label"] == ""
    for row in rows:
        if row["face"]:
            assert sum(float(row[f"smoothed_{name}"]) for name in EXPRESSIONS) == pytest.approx(1, abs=1e-4)
    assert "1 video (8 frames), 9 faces, 2 without a face, 0 that cannot be read" in capsys.readouterr().err


def test_all_outputs_hold_the_same(film, model, tmp_path, capsys):
    pq = pytest.importorskip("pyarrow.parquet")
    assert predict(film, "--csv", tmp_path / "o.csv", "--parquet", tmp_path / "o.parquet", "--json", "--every", "2",
                   model=model) == 0
    lines = json.loads(capsys.readouterr().out)
    table = pq.read_table(tmp_path / "o.parquet").to_pylist()
    assert [row["frame"] for row in lines] == [0, 2, 4, 6, 6]
    for a, b, c in zip(rows_of(tmp_path / "o.csv"), lines, table, strict=True):
        assert float(a["time"]) == b["time"] == c["time"] and b["track"] == c["track"]
        assert (a["smoothed_label"] or None) == b["smoothed_label"] == c["smoothed_label"]


def test_pictures_and_videos_of_a_folder(film, model, tmp_path, capsys):
    Image.fromarray(marked((5, 5, 30))).save(tmp_path / "a.png")
    (tmp_path / "broken.mp4").write_text("no video")
    assert predict(tmp_path, "--every", "0.5s", model=model) == 1
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()[1:]]
    assert [line[0] for line in lines] == ["a.png", "broken.mp4", *["film.mov"] * 3]
    assert lines[0][1] == "0" and [line[1:4] for line in lines[2:]] == [["0.00", "s", "#0"], ["0.70", "s", "#1"],
                                                                        ["0.70", "s", "#0"]]
    assert "2 pictures, 1 video (2 frames), 4 faces, 0 without a face, 1 that cannot be read" in captured.err


def test_what_is_drawn_of_a_video(film, model, tmp_path):
    assert predict(film, "--draw", tmp_path / "drawn", "--masks", tmp_path / "masks", model=model) == 0
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["film.mov.mp4", "film.mov.timeline.png"]
    frames, problem = read(tmp_path / "drawn" / "film.mov.mp4")
    assert [frame.time for frame in frames] == pytest.approx(TIMES, abs=2e-3) and not problem
    assert frames[0].picture.shape == (456, 640, 3)
    masks = [p.relative_to(tmp_path / "masks").as_posix() for p in sorted((tmp_path / "masks").rglob("*.png"))]
    assert masks[:4] == ["film.mov/000000.0.png", "film.mov/000001.0.png", "film.mov/000002.0.png",
                         "film.mov/000005.0.png"] and len(masks) == 9


def test_a_cut_video_keeps_its_frames_and_the_exit_code_tells(model, tmp_path, capsys):
    cut = write_film(tmp_path / "cut.mkv", pictures() * 4, codec="ffv1")
    cut.write_bytes(cut.read_bytes()[:cut.stat().st_size // 2])
    assert predict(cut, "--csv", tmp_path / "o.csv", "--draw", tmp_path / "drawn", model=model) == 1
    *rows, last = rows_of(tmp_path / "o.csv")
    assert len({row["frame"] for row in rows}) > 5 and last["frame"] == last["time"] == ""
    assert last["reason"].startswith("cannot be read: the video is cut or broken after ")
    assert "1 video (" in capsys.readouterr().err and (tmp_path / "drawn" / "cut.mkv.mp4").exists()


def test_an_unfinished_video_is_done_again(film, model, tmp_path, monkeypatch):
    second = write_film(tmp_path / "second.mov", pictures()[::-1], TIMES)
    given = [str(film), str(second)]
    predict_sources(given, Outputs(tmp_path / "whole.csv"), model, progress=False, batch_size=1)
    plain = run.frames

    def interrupted(source):
        for frame in plain(source):
            if source.name == str(second) and frame.number == 4:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(run, "frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_sources(given, Outputs(tmp_path / "o.csv", draw=tmp_path / "d"), model, progress=False, batch_size=1)
    assert rows_of(tmp_path / "o.csv")[-1]["source"] == str(second)
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["film.mov.mp4", "film.mov.timeline.png"]
    seen = []
    monkeypatch.setattr(run, "frames", lambda source: seen.append(source.name) or plain(source))
    predict_sources(given, Outputs(tmp_path / "o.csv", resume=True), model, progress=False, batch_size=1)
    assert seen == [str(second)]
    assert (tmp_path / "o.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_processes_share_videos(film, model, tmp_path, monkeypatch):
    given = [str(film), str(write_film(tmp_path / "second.mov", pictures(), TIMES))]
    whole = predict_sources(given, Outputs(tmp_path / "whole.csv"), model, progress=False)
    monkeypatch.setattr(run, "wait", lambda processes: None)
    for rank in (1, 0):
        monkeypatch.setattr(run, "place", lambda rank=rank: (rank, 2))
        counts = predict_sources(given, Outputs(tmp_path / "o.csv"), model, progress=False)
    assert counts == whole == Counts(0, 18, 4, 0, 2, 16)
    for a, b in zip(rows_of(tmp_path / "o.csv"), rows_of(tmp_path / "whole.csv"), strict=True):
        assert [a[name] for name in ("source", "time", "track", "label")] == [b[name] for name in ("source", "time",
                                                                                                  "track", "label")]


def test_a_camera_until_ctrl_c(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: Camera(index, interrupted=6))
    assert predict("0", "--csv", tmp_path / "o.csv", "--json", tmp_path / "o.json", "--draw", tmp_path / "d",
                   model=model) == 0
    assert [row["frame"] for row in rows_of(tmp_path / "o.csv")] == ["0", "1", "2", "3"]
    assert {row["source"] for row in json.loads((tmp_path / "o.json").read_text())} == {"camera:0"}
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["camera-0.mp4", "camera-0.timeline.png"]


def test_a_camera_that_is_not_there(model, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert predict("camera:7", "--csv", tmp_path / "o.csv", model=model) == 1
    row, = csv.DictReader((tmp_path / "o.csv").open())
    assert row["reason"] == "cannot be read: there is no camera 7, or another program holds it"
    assert "--resume does not work with a camera" in predict("0", "--csv", tmp_path / "o.csv", "--resume", model=model)


def test_a_neutral_picture(film, model, tmp_path, sloping_masks):
    neutral = tmp_path / "neutral.png"
    Image.fromarray(textured((20, 9, 60), seed=1)).save(neutral)
    Image.fromarray(textured((5, 5, 30), (60, 20, 70))).save(tmp_path / "two.png")
    assert predict(film, tmp_path / "two.png", "--csv", tmp_path / "o.csv", "--neutral", neutral, "--draw",
                   tmp_path / "d", model=model) == 0
    rows = [row for row in rows_of(tmp_path / "o.csv") if row["face"]]
    assert all(bool(row["neutral_r"]) == bool(row["neutral_share"]) == (row["face"] == "0") for row in rows)
    assert all(-1 <= float(row["neutral_r"]) <= 1 for row in rows if row["neutral_r"])
    assert {p.name for p in (tmp_path / "d").iterdir()} >= {"film.mov.neutral.png", "two.png.neutral.png"}


def test_the_neutral_face_is_found_in_the_video(film, model, tmp_path, monkeypatch, capsys, sloping_masks):
    found = {0: np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8), 1: None}
    seen = []
    monkeypatch.setattr(run, "find_neutrals", lambda predictions: seen.extend(predictions) or found)
    assert predict(film, "--csv", tmp_path / "o.csv", "--neutral", "find", model=model) == 0
    assert "no neutral face was found of #1" in capsys.readouterr().err
    assert [prediction.frame for prediction in seen] == list(range(8))
    for row in rows_of(tmp_path / "o.csv"):
        assert bool(row["neutral_share"]) == (row["track"] == "0" and row["face"] != "")


def test_a_neutral_face_is_found_in_videos_alone(model, tmp_path):
    Image.fromarray(textured((20, 9, 60), seed=1)).save(tmp_path / "a.png")
    code = predict(tmp_path / "a.png", "--neutral", "find", model=model)
    assert "looks for a person's neutral face in a video, and none is given" in str(code)


def test_bad_options_are_one_line(film, model, tmp_path):
    for args, message in ((["--every", "often"], "give a number of frames"), (["--gap", "-1"], "gap: give seconds"),
                          (["--neutral", str(tmp_path / "gone.jpg")], "no such file"), (["--smooth", "inf"], "smooth")):
        code = predict(film, *args, model=model)
        assert str(code).startswith("error: ") and message in code and "\n" not in code


def test_from_python(film, predictor, monkeypatch):
    frames = list(watch(predictor, film, smooth=0))
    assert [frame.time for frame in frames] == pytest.approx(TIMES, abs=1e-3)
    assert [[face.track for face in frame.faces] for frame in frames] == [[0]] * 3 + [[]] * 2 + [[1, 0]] * 3
    assert frames[3].gaps == (0,) and frames[0].faces[0].smoothed == frames[0].faces[0].probabilities
    assert len(list(watch(predictor, film, every="0.5s"))) == 2
    broken, = watch(predictor, "gone.mp4")
    assert not broken.read and "no such file" in broken.reason
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: Camera(index, interrupted=6))
    assert len(list(watch(predictor, 0))) == len(list(watch(predictor, np.int64(0)))) == 4
    with pytest.raises(InputError, match="numbered from 0"):
        watch(predictor, -1)
    with pytest.raises(InputError, match="every 'x'"):
        watch(predictor, film, every="x")


def test_watching_defaults_are_those_of_the_command():
    said, default = command_parser().parse_args(["predict", "film.mp4"]), Watching()
    assert parse_every(said.every) == parse_every(default.every)
    assert (said.gap, said.smooth) == (default.gap, default.smooth)
