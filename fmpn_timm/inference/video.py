"""Videos and cameras: upright frames with their times, read one by one, and videos written the same way."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np

from fmpn_timm.errors import InputError
from fmpn_timm.faces.detectors.base import quiet_opencv
from fmpn_timm.files import partial_name
from fmpn_timm.interrupt import Interrupt

from .pictures import Unreadable

__all__ = ["VideoFrame", "VideoWriter", "parse_every", "read_camera", "read_video", "sample"]

T = TypeVar("T")

#: What videos are written with where PyAV has it; elsewhere MPEG-4.
ENCODER = "libx264"
#: Ticks of a second in videos that are written: the usual frame rates come out even, and MPEG-4 bears no more than
#: 65,535.
TICKS = 60_000
#: A video is cut if it ends this many seconds, and this many frames, before its own header says.
CUT_SECONDS, CUT_FRAMES = 0.5, 3
#: Frames with more pixels are not decoded.
MAX_PIXELS = 100_000_000
#: Containers whose header says when the video ends, by the clock of its frames, and not how long it is.
SAY_THE_END = ("matroska,webm", "asf", "nut")


class VideoFrame(NamedTuple):
    """A frame of a video.

    Attributes:
        number: Its place in the video, from 0; frames that were left out count.
        time: When it is shown, in seconds from the beginning of the video, or from the first frame of a camera.
        picture: RGB uint8 (H, W, 3), upright, with square pixels.
    """

    number: int
    time: float
    picture: np.ndarray


def parse_every(every: str | int) -> tuple[int, float]:
    """Step in frames and in seconds of what ``sample`` takes; the one not given is 1 or 0.

    Raises:
        InputError: See ``sample``.
    """
    text = str(every).strip()
    with suppress(ValueError):
        if text.endswith("s"):
            seconds = float(text[:-1])
            if 0 < seconds < float("inf"):
                return 1, seconds
        elif int(text) >= 1:
            return int(text), 0.0
    raise InputError(f"every {every!r}: give a number of frames, such as 5, or of seconds, such as 0.5s.")


def sample(frames: Iterable[T], every: str | int) -> Iterator[T]:
    """Leave frames of a video out.

    Args:
        frames: Anything with ``number`` and ``time``, in order; without a number it is not left out.
        every: ``3`` for each third frame, ``"0.5s"`` for the first of each half second.

    Raises:
        InputError: ``every`` is neither a number of frames, at least 1, nor of seconds, above 0.
    """
    step, seconds = parse_every(every)
    due = 0
    for frame in frames:
        if frame.number is None:
            yield frame
        elif seconds:
            # a time that should lie on the grid may lie a rounding before it
            slot = int(frame.time / seconds + 1e-6)
            if slot >= due:
                due = slot + 1
                yield frame
        elif frame.number % step == 0:
            yield frame


def read_video(path: str | Path) -> Iterator[VideoFrame]:
    """Read a video, one frame after the other; no more than the decoder's few are in memory.

    Times are those of the container, so a variable frame rate is kept. Frames are turned upright as the video's display
    matrix says, and widened where its pixels are not square. Sound is left alone.

    Args:
        path: A video file, in any format that FFmpeg knows.

    Yields:
        Frames, in the order of their times.

    Raises:
        Unreadable: PyAV is missing, the file is missing or no video, has no frame, or ends before its time or in the
            middle of a frame; frames before that have been yielded.
    """
    av = _av()
    if not os.path.isfile(path):
        raise Unreadable("no such file" if not os.path.exists(path) else "this is no file")
    try:
        # the file alone: a playlist that calls itself a video must not fetch anything
        container = av.open(f"file:{os.fspath(path)}", options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise Unreadable(f"no video, or a broken one ({_words(error)})") from None
    with container:
        if not container.streams.video:
            raise Unreadable("the file has no video, only sound or text" if container.streams else "no video")
        yield from _decoded(av, container)


def read_camera(index: int) -> Iterator[VideoFrame]:
    """Read a camera until Ctrl-C or SIGTERM, which end it after the frame at hand; a second Ctrl-C acts at once.

    Args:
        index: Number of the camera, from 0.

    Raises:
        Unreadable: There is no such camera, or it stops sending.
    """
    with quiet_opencv():  # a missing camera is told once, by us
        camera = cv2.VideoCapture(index)
    try:
        if not camera.isOpened():
            raise Unreadable(f"there is no camera {index}, or another program holds it")
        with Interrupt("frame") as interrupt:
            number, start = 0, time.monotonic()
            while not interrupt.asked:
                there, picture = camera.read()
                if not there:
                    raise Unreadable(f"camera {index} sends no more pictures")
                now = time.monotonic()
                start = start if number else now
                yield VideoFrame(number, now - start, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
                number += 1
    finally:
        camera.release()


class VideoWriter:
    """Writes a silent MP4 video, H.264 where PyAV has its encoder and MPEG-4 elsewhere, that appears when complete.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.partial = partial_name(self.path)
        self.stream, self.last = None, -1

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Add a frame; one of another size than the first is brought to that.

        Args:
            picture: RGB uint8 (H, W, 3).
            seconds: When it is shown.

        Raises:
            InputError: PyAV is missing.
            OSError: The file cannot be written.
        """
        if self.stream is None:
            self._open(*picture.shape[:2])
        size = (self.stream.width, self.stream.height)
        if picture.shape[1::-1] != size:
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        frame = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self.last = max(round(seconds * TICKS), self.last + 1)
        frame.pts, frame.time_base = self.last, Fraction(1, TICKS)
        self._mux(frame)

    def close(self, complete: bool) -> None:
        """End; without ``complete``, or without frames, no video appears."""
        if self.stream is None:
            return
        try:
            if complete:
                self._mux(None)
                self.container.close()
                self.file.close()
                os.replace(self.partial, self.path)
        finally:
            with suppress(Exception):
                self.container.close()
            self.file.close()
            self.partial.unlink(missing_ok=True)

    def _open(self, height: int, width: int) -> None:
        self.av = _av(InputError)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.partial, "wb")  # noqa: SIM115
        self.container = self.av.open(self.file, "w", format="mp4")
        try:
            stream = self.container.add_stream(ENCODER, rate=30, options={"crf": "21", "preset": "veryfast"})
        except (ValueError, self.av.error.FFmpegError):  # a build without it
            stream = self.container.add_stream("mpeg4", rate=30)
            stream.bit_rate = 4 * height * width
        stream.width, stream.height = width - width % 2, height - height % 2  # colour has half the resolution
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        self.stream = stream

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self.stream.encode(frame):
                self.container.mux(packet)
        except self.av.error.FFmpegError as error:
            raise OSError(f"{self.path}: {_words(error)}") from error


def _av(kind: type[Exception] = Unreadable) -> Any:
    try:
        import av
    except ImportError:
        raise kind('videos need PyAV: pip install "fmpn-timm[video]"') from None
    av.logging.set_level(av.logging.PANIC)  # what matters comes as an exception
    return av


def _words(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _decoded(av: Any, container: Any) -> Iterator[VideoFrame]:
    """All frames of the first video in a container."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    aspect = stream.sample_aspect_ratio or 1
    if stream.width * stream.height * max(aspect, 1) > MAX_PIXELS:
        raise Unreadable(f"its frames have {round(stream.width * aspect)} x {stream.height} pixels, which is too much")
    start = (container.start_time or 0) / 1_000_000
    usual = 1 / float(stream.average_rate or 25)
    number, now, shown, problem, late = 0, -usual, usual, "", False
    try:
        for frame in container.decode(stream):
            due = now + usual if frame.pts is None else max(float(frame.pts * frame.time_base) - start, 0.0)
            behind = bool(number and due < now)
            if behind:  # one frame alone a damaged film shows out of its order
                if late:  # recordings that were joined: the clock of each begins again
                    start -= now + usual / 2 - due
                due = now + usual / 2
            late = behind
            now, shown = due, max(float((frame.duration or 0) * (frame.time_base or 0)), usual)
            yield VideoFrame(number, now, _upright(frame, aspect))
            number += 1
    except (av.error.FFmpegError, ValueError) as error:
        problem = _words(error)
    if not number:
        raise Unreadable(f"the video has no frame that can be decoded{problem and f' ({problem})'}")
    missing = _length(container, stream) - (now + shown)
    if problem or missing > max(CUT_SECONDS, CUT_FRAMES * usual):
        raise Unreadable(f"the video is cut or broken after {now:.2f} s: {problem or f'{missing:.2f} s are missing'}")


def _length(container: Any, stream: Any) -> float:
    """How long the video is by its header, in seconds from the container's beginning; 0 if it does not say."""
    if container.format.name == "avi":  # its length is guessed from what there is, but its frames are counted
        return stream.frames / float(stream.average_rate or 25)
    start = (container.start_time or 0) / 1_000_000
    if stream.duration is not None:
        length = float((stream.duration + (stream.start_time or 0)) * stream.time_base) - start
    elif container.duration is not None and len(container.streams) == 1:  # otherwise it may be the sound's
        length = container.duration / 1_000_000
    else:
        return 0.0
    return length - start if container.format.name in SAY_THE_END else length


def _upright(frame: Any, aspect: Fraction | int) -> np.ndarray:
    """RGB uint8 (H, W, 3) with square pixels, turned and mirrored by quarter turns as the display matrix says."""
    picture = frame.to_ndarray(format="rgb24")
    if aspect != 1:
        size = (max(round(frame.width * float(aspect)), 1), frame.height)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return picture
    # (x, y) goes to (x, y) @ turn, in 16.16 fixed point, with y down
    turn = np.frombuffer(bytes(data), np.int32)[:9].reshape(3, 3)[:2, :2] / 65536
    swap = abs(turn[0, 0]) < abs(turn[1, 0])
    if swap:
        picture = picture.transpose(1, 0, 2)
    (right, down) = (turn[1, 0], turn[0, 1]) if swap else (turn[0, 0], turn[1, 1])
    return np.ascontiguousarray(picture[::-1 if down < 0 else 1, ::-1 if right < 0 else 1])
