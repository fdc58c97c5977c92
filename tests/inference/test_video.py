"""Tests of videos and cameras: times, turned frames, videos that are cut or none."""

import os
import signal
import socket
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fmpn_timm.errors import InputError
from fmpn_timm.inference import video
from fmpn_timm.inference.pictures import Unreadable
from fmpn_timm.inference.video import VideoFrame, VideoWriter, parse_every, read_camera, read_video, sample

av = pytest.importorskip("av")

GREY = np.full((48, 64, 3), 90, np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), dtype=np.uint8)


def write_film(path: Path, pictures, times=None, codec: str = "png", aspect: int = 1, turn=None, **options) -> Path:
    """Write a video, without loss unless the codec has some; frames a tenth of a second apart if no times are given."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = {"png": "rgb24", "ffv1": "bgr0"}.get(codec, "yuv420p")
        tick = Fraction(1, 1000 if times else 10)
        stream.codec_context.time_base = tick
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if turn:
            stream.set_display_rotation(turn[0], hflip=turn[1], vflip=turn[2])
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(times[i] / tick) if times else i, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path: Path) -> tuple[list[VideoFrame], str]:
    """The frames of a video, and why there are no more."""
    frames = []
    try:
        for frame in read_video(path):
            frames.append(frame)
    except Unreadable as error:
        return frames, str(error)
    return frames, ""


@pytest.mark.parametrize(("name", "codec"), [("a.mov", "png"), ("a.mkv", "ffv1")])
def test_times_are_those_of_the_container(tmp_path, name, codec):
    times = [0, 0.04, 0.1, 0.5, 0.52, 2.25]
    frames, problem = read(write_film(tmp_path / name, NOISE[:6], times, codec))
    assert [frame.time for frame in frames] == pytest.approx(times, abs=1e-3) and not problem
    assert [frame.number for frame in frames] == list(range(6))
    for frame, picture in zip(frames, NOISE, strict=False):
        np.testing.assert_array_equal(frame.picture, picture)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "ffv1"), ("a.webm", "libvpx"), ("a.wmv", "wmv2"),
                                             ("a.mp4", "mpeg4"), ("a.flv", "flv1")])
def test_a_clock_that_does_not_begin_at_zero(tmp_path, name, codec):
    """As in pieces of a longer recording: nothing is missing before the first frame, but a cut is seen as before."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    path = write_film(tmp_path / name, NOISE[:20], [10 + i / 10 for i in range(20)], codec)
    frames, problem = read(path)
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(20)], abs=0.01) and not problem
    if name in ("a.mkv", "a.webm"):  # the others say nothing of their length once their end is gone
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
        assert "is cut or broken after" in read(path)[1]


def test_joined_recordings_go_on(tmp_path):
    """Their clock begins again in the middle; times do not."""
    half = write_film(tmp_path / "half.ts", NOISE[:10], codec="mpeg2video").read_bytes()
    (tmp_path / "both.mts").write_bytes(half + half)
    frames, problem = read(tmp_path / "both.mts")
    times = np.array([frame.time for frame in frames])
    assert not problem and len(times) >= 18 and (np.diff(times) > 0).all() and times[-1] == pytest.approx(1.9, abs=0.25)


@pytest.mark.parametrize(("given", "times"), [
    ([0, 1, 2, 1, 3, 4], [0, 1, 2, 2.5, 3, 4]),  # a damaged film's frame out of its order
    ([0, 1, 2, 0, 1, 2], [0, 1, 2, 2.5, 3, 4]),  # recordings that were joined
])
def test_times_never_go_back(given, times):
    def frame(pts: int) -> SimpleNamespace:
        return SimpleNamespace(pts=pts, time_base=Fraction(1, 10), duration=1, side_data={}, width=4, height=4,
                               to_ndarray=lambda format: np.zeros((4, 4, 3), np.uint8))

    stream = SimpleNamespace(width=4, height=4, average_rate=10, sample_aspect_ratio=None, duration=None)
    container = SimpleNamespace(streams=SimpleNamespace(video=[stream]), start_time=0, duration=None,
                                format=SimpleNamespace(name="mpegts"), decode=lambda _: map(frame, given))
    assert [f.time for f in video._decoded(av, container)] == pytest.approx([t / 10 for t in times])


def test_a_last_frame_that_is_held_is_no_cut(tmp_path):
    tick = Fraction(1, 1000)
    with av.open(str(tmp_path / "held.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.codec_context.time_base = 48, 64, tick
        packets = []
        for i, picture in enumerate(NOISE[:10]):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = 100 * i, tick
            packets += stream.encode(frame)
        for packet in (packets := packets + stream.encode(None)):
            packet.duration = 5000 if packet is packets[-1] else 100
            container.mux(packet)
    frames, problem = read(tmp_path / "held.mp4")
    assert len(frames) == 10 and not problem


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV writes no display matrix")
@pytest.mark.parametrize("mirrored", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_frames_are_turned_upright(tmp_path, degrees, mirrored):
    path = write_film(tmp_path / "a.mov", [GREY, NOISE[0]], turn=(degrees, *mirrored))
    expected = np.rot90(NOISE[0], degrees // 90)  # counterclockwise, then mirrored
    expected = expected[:, ::-1] if mirrored[0] else expected
    expected = expected[::-1] if mirrored[1] else expected
    frames, _ = read(path)
    np.testing.assert_array_equal(frames[1].picture, expected)
    assert frames[1].picture.flags.c_contiguous


def test_pixels_become_square(tmp_path):
    frames, _ = read(write_film(tmp_path / "a.mov", [GREY] * 2, aspect=2))
    assert frames[0].picture.shape == (48, 128, 3)


@pytest.mark.parametrize(("aspect", "width"), [(1, 64), (20, 1280)])
def test_frames_of_too_many_pixels_are_refused(tmp_path, monkeypatch, aspect, width):
    path = write_film(tmp_path / "a.mov", [GREY] * 2, aspect=aspect)
    monkeypatch.setattr(video, "MAX_PIXELS", width * 48)
    assert read(path)[0][1].picture.shape == (48, width, 3)
    monkeypatch.setattr(video, "MAX_PIXELS", width * 48 - 1)
    assert read(path) == ([], f"its frames have {width} x 48 pixels, which is too much")


def test_a_frame_that_cannot_be_shown_ends_the_video(tmp_path, monkeypatch):
    upright = video._upright
    monkeypatch.setattr(video, "_upright", lambda frame, aspect: upright(frame, aspect) if frame.pts == 0 else int("x"))
    frames, problem = read(write_film(tmp_path / "a.mov", NOISE[:3]))
    assert len(frames) == 1 and "cut or broken after" in problem and "invalid literal" in problem


@pytest.mark.parametrize(("name", "codec", "options"), [
    ("a.mp4", "mpeg4", {"movflags": "faststart"}), ("a.mkv", "mpeg4", {}), ("a.avi", "mpeg4", {}),
])
def test_a_cut_video_gives_what_it_has_and_says_so(tmp_path, name, codec, options):
    path = write_film(tmp_path / name, NOISE, codec=codec, **options)
    whole, problem = read(path)
    assert len(whole) == 40 and not problem
    path.write_bytes(path.read_bytes()[:path.stat().st_size * 6 // 10])
    frames, problem = read(path)
    assert 10 < len(frames) < 32 and problem.startswith(f"the video is cut or broken after {frames[-1].time:.2f} s: ")
    np.testing.assert_array_equal(frames[8].picture, whole[8].picture)


def test_what_is_no_video_says_so(tmp_path):
    (tmp_path / "text.mp4").write_text("a letter " * 99)
    (tmp_path / "empty.mp4").touch()
    lost = write_film(tmp_path / "lost.mp4", NOISE, codec="mpeg4")  # its index is at its end
    lost.write_bytes(lost.read_bytes()[:-2000])
    for name in ("text.mp4", "empty.mp4", "lost.mp4"):
        frames, problem = read(tmp_path / name)
        assert not frames and problem.startswith("no video, or a broken one (invalid data") and name not in problem
    assert read(tmp_path / "gone.mp4")[1] == "no such file" and read(tmp_path)[1] == "this is no file"


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for i in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 1024 * i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert read(tmp_path / "a.mp4") == ([], "the file has no video, only sound or text")


def test_a_video_without_frames(tmp_path):
    with av.open(str(tmp_path / "a.mov"), "w", options={"movflags": "empty_moov"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    frames, problem = read(tmp_path / "a.mov")
    assert not frames and "no frame" in problem


def test_a_playlist_fetches_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        (tmp_path / "a.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n"
                                        "#EXT-X-ENDLIST\n")
        assert read(tmp_path / "a.mp4")[1]
        with pytest.raises(BlockingIOError):
            server.accept()


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert read(tmp_path)[1] == 'videos need PyAV: pip install "fmpn-timm[video]"'


@pytest.mark.parametrize(("every", "numbers"), [
    (1, range(10)), ("3", [0, 3, 6, 9]), ("0.2s", [0, 2, 4, 6, 8]), ("0.25s", [0, 3, 5, 8]), ("5s", [0]),
    ("0.01s", range(10)),
])
def test_sampling(every, numbers):
    frames = [VideoFrame(i, i / 10, GREY) for i in range(10)]
    assert [frame.number for frame in sample(frames, every)] == list(numbers)


@pytest.mark.parametrize("every", ["0", "-1", "0s", "-1s", "infs", "nans", "often", "1.5", 0, ""])
def test_bad_sampling_is_refused(every):
    with pytest.raises(InputError, match="give a number of frames, such as 5, or of seconds, such as 0.5s"):
        parse_every(every)


def test_a_written_video_keeps_its_times_and_sizes(tmp_path):
    times = [0, 0.0333, 0.5, 0.5, 3.25]
    writer = VideoWriter(tmp_path / "new" / "a.mp4")
    for i, seconds in enumerate(times):
        writer.add(cv2.resize(GREY, (65, 49) if i < 3 else (80, 80)) + np.uint8(30 * i), seconds)
    writer.close(complete=True)
    frames, problem = read(tmp_path / "new" / "a.mp4")
    assert [frame.time for frame in frames] == pytest.approx(times, abs=1e-3) and not problem
    assert {frame.picture.shape for frame in frames} == {(48, 64, 3)}
    assert [round(float(frame.picture.mean())) for frame in frames] == pytest.approx([90, 120, 150, 180, 210], abs=4)
    assert os.listdir(tmp_path / "new") == ["a.mp4"]


def test_without_its_encoder_mpeg_4_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "ENCODER", "no_such_encoder")
    writer = VideoWriter(tmp_path / "a.mp4")
    writer.add(GREY, 0.0)
    writer.close(complete=True)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"


def test_an_unfinished_video_does_not_appear(tmp_path):
    VideoWriter(tmp_path / "none.mp4").close(complete=True)
    writer = VideoWriter(tmp_path / "a.mp4")
    writer.add(GREY, 0.0)
    assert len(os.listdir(tmp_path)) == 1
    writer.close(complete=False)
    assert os.listdir(tmp_path) == []


class Camera:
    """Sends pictures, and is interrupted while it takes one."""

    def __init__(self, index, pictures=10, interrupted=None):
        self.index, self.left, self.interrupted, self.released = index, pictures, interrupted, False

    def isOpened(self):
        return self.index == 0

    def read(self):
        self.left -= 1
        if self.left == self.interrupted:
            os.kill(os.getpid(), signal.SIGINT)
        return self.left >= 0, GREY * np.uint8((1, 0, 0))

    def release(self):
        self.released = True


def test_ctrl_c_ends_a_camera(monkeypatch):
    camera = Camera(0, interrupted=6)
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: camera)
    before = signal.getsignal(signal.SIGINT)
    frames = list(read_camera(0))
    assert [frame.number for frame in frames] == [0, 1, 2, 3] and camera.released
    assert frames[0].time == 0 and frames[0].picture[0, 0].tolist() == [0, 0, 90]  # OpenCV's blue is the last of RGB
    assert signal.getsignal(signal.SIGINT) is before


def test_a_camera_that_is_not_there_or_stops(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with pytest.raises(Unreadable, match="there is no camera 3"):
        next(read_camera(3))
    frames = read_camera(0)
    for _ in range(10):
        next(frames)
    with pytest.raises(Unreadable, match="camera 0 sends no more pictures"):
        next(frames)
