"""A video or camera from Python: what its faces express, frame by frame."""

from collections.abc import Iterator
from numbers import Integral
from pathlib import Path

from fmpn_timm.errors import InputError

from .predictor import WAITING, Predictor
from .results import PicturePrediction
from .sources import Source, frames
from .tracks import Tracker, follow
from .video import parse_every, sample

__all__ = ["watch"]


def watch(
        predictor: Predictor,
        video: str | Path | int,
        every: str | int = 1,
        gap: float = 1.0,
        smooth: float = 0.3,
) -> Iterator[PicturePrediction]:
    """Look at a video or camera, in constant memory.

    Args:
        predictor: What looks at it.
        video: A video file, or the number of a camera.
        every: ``3`` for each third frame, ``"0.5s"`` for one in each half second.
        gap: Seconds that a face may be out of sight and keep its track.
        smooth: Time constant, in seconds, of the smoothing of probabilities; 0 for none.

    Yields:
        The prediction of each frame, with ``time`` and ``frame``, its faces with ``track`` and ``smoothed``, and the
        ``gaps``. A video that cannot be read, or not to its end, ends with one that is not ``read`` and has a
        ``reason``.

    Raises:
        InputError: An option is out of range, or SciPy is missing.
    """
    parse_every(every)  # now, not with the first frame
    live = isinstance(video, Integral)
    if live and video < 0:
        raise InputError(f"camera {video}: cameras are numbered from 0.")
    source = Source(f"camera:{video}" if live else str(video), str(video), kind="camera" if live else "video")
    predictions = predictor.stream(sample(frames(source), every), wait=1 if live else WAITING)
    return (prediction for prediction, _ in follow(predictions, Tracker(gap, smooth, predictor.abstain)))
