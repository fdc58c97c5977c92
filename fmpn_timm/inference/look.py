"""What the app shows of a picture or video: a piece of page, the video with boxes and labels, and numbers."""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fmpn_timm.errors import InputError

from .draw import draw_prediction
from .endings import VIDEOS
from .neutral import Neutrals, with_comparisons
from .page import message, picture_page, video_page
from .pictures import Unreadable, as_picture
from .predictor import Predictor
from .results import FacePrediction, PicturePrediction, label_of
from .sources import Frame, Source, frames
from .timeline import MAX_TRACKS, NeutralSheet, Timeline
from .tracks import Tracker, follow
from .video import VideoWriter, sample

__all__ = ["EVERY", "MAX_PICTURE", "MAX_SECONDS", "MAX_VIDEO", "Looked", "look_at"]

#: Largest files, in bytes.
MAX_PICTURE, MAX_VIDEO = 20 * 2**20, 200 * 2**20
#: Of a video one frame in so much time is looked at, and no more than so many seconds.
EVERY, MAX_SECONDS = "0.2s", 300


class Looked(NamedTuple):
    """What is shown of a picture or video.

    Attributes:
        page: HTML.
        video: The video with boxes and labels; None of a picture.
        numbers: Of a picture the rows of ``fmpn predict``, of a video one row for each person.
    """

    page: str
    video: str | None = None
    numbers: tuple[dict[str, Any], ...] = ()


def look_at(
        predictor: Predictor,
        path: str,
        neutral: str | None = None,
        folder: str | Path | None = None,
        told: Callable[[float], Any] = lambda seconds: None,
) -> Looked:
    """Look at a picture or video; what is wrong with it is said on the page.

    Args:
        predictor: What looks at it.
        path: The file.
        neutral: A picture of the same person's neutral face. In a video it is looked for if there is none.
        folder: Where a video is drawn, in a folder of its own.
        told: Called with the seconds of a video that have been looked at.
    """
    try:
        moving = path.lower().endswith(VIDEOS)
        _refuse_large(path, MAX_VIDEO if moving else MAX_PICTURE)
        reference, problem = None, ""
        if neutral and predictor.masks:
            reference, problem = _neutral(predictor, neutral)
        if moving:
            return _look_at_video(predictor, path, reference, problem, folder, told)
        return _look_at_picture(predictor, path, reference, problem)
    except Unreadable as error:
        return Looked(message("This file cannot be read", _sentence(error), wrong=True))
    except InputError as error:
        return Looked(message("This did not work", _sentence(error), wrong=True))


def _refuse_large(path: str, most: int) -> None:
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    if size > most:
        raise Unreadable(f"it has {size / 2**20:.1f} MB, and no more than {most / 2**20:.0f} MB are taken")


def _neutral(predictor: Predictor, path: str) -> tuple[np.ndarray | None, str]:
    """The aligned neutral face, or what is wrong with its picture."""
    try:
        _refuse_large(path, MAX_PICTURE)
        prediction = predictor(as_picture(path))
    except Unreadable as error:
        return None, f"The picture of the neutral face cannot be read: {str(error).rstrip('.')}."
    if not prediction.faces:
        return None, "The picture of the neutral face shows no face."
    return prediction.faces[0].face, ""


def _sentence(words: object) -> str:
    text = str(words)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _look_at_picture(predictor: Predictor, path: str, neutral: np.ndarray | None, problem: str) -> Looked:
    picture = as_picture(path)
    (prediction, _), = predictor.stream([Frame("picture", picture=picture)])
    if not prediction.read:
        raise Unreadable(_reason(prediction))
    if neutral is not None:
        prediction = with_comparisons(prediction, neutral, predictor.recipe.frame)
    rows = prediction.as_rows() if prediction.faces else []
    rows = tuple({name: value for name, value in row.items() if value is not None} for row in rows)
    return Looked(picture_page(picture, prediction, problem), None, rows)


def _reason(prediction: PicturePrediction) -> str:
    return prediction.reason.removeprefix("cannot be read: ")


def _look_at_video(
        predictor: Predictor,
        path: str,
        neutral: np.ndarray | None,
        problem: str,
        folder: str | Path | None,
        told: Callable[[float], Any],
) -> Looked:
    problems, people, best, neutrals = [problem] if problem else [], {}, {}, Neutrals()
    finds = neutral is None and predictor.masks and "neutral" in predictor.classes
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        drawn = VideoWriter(Path(scratch, "seen.mp4"))
        timeline = Timeline(Path(scratch, "timeline.png"), "The video", predictor.classes)
        sheet = NeutralSheet(Path(scratch, "neutral.png"), "Beside the neutral face")
        looked, last = 0, 0.0
        try:
            for prediction, picture in _followed(predictor, path):
                if picture is None:
                    problems.append(_reason(prediction))
                    continue
                looked, last = looked + 1, prediction.time
                told(last)
                drawn.add(draw_prediction(picture, prediction), last)
                timeline.add(prediction)
                if finds:
                    neutrals.add(prediction)
                for face in prediction.faces:
                    people.setdefault(face.track, _Person(face.track, last)).see(face, last)
                    kept = best.get((face.track, face.label))
                    if kept is None or face.probability > kept.faces[0].probability:
                        best[face.track, face.label] = replace(prediction, faces=(face,))
        finally:
            drawn.close(complete=looked > 0)
        if not looked:
            raise Unreadable(problems[-1] if problems else "the video has no frame")
        timeline.close(complete=bool(people))
        references = neutrals.faces
        if neutral is not None and people:  # it belongs to whoever is seen most
            references = {max(people.values(), key=lambda person: person.frames).track: neutral}
        # the sheet would count for how long each is seen, but it is given one frame of each expression
        longest = sorted(people, key=lambda track: -people[track].frames)[:MAX_TRACKS]
        for (track, _), prediction in best.items():
            if track in longest:
                sheet.add(with_comparisons(prediction, references, predictor.recipe.frame))
        sheet.close(complete=True)
        pictures = [(words, made.path.read_bytes()) for words, made in (
            ("Probabilities over time, smoothed, one band for each person", timeline),
            ("Each expression beside the person's neutral face", sheet),
        ) if made.path.exists()]
        # the pictures go onto the page; the video stays until the page has shown it
        video = drawn.path.replace(Path(tempfile.mkdtemp(dir=folder), drawn.path.name))
    rows = tuple(person.row(predictor.abstain) for _, person in sorted(people.items()))
    summary = (f"{last:.1f} s of video, of which {looked} {'frame was' if looked == 1 else 'frames were'} looked at: "
               f"{len(rows)} {'person' if len(rows) == 1 else 'people'}.")
    if last > MAX_SECONDS - 1:
        summary += f" No more than {MAX_SECONDS // 60} minutes are looked at."
    return Looked(video_page(summary, rows, predictor.classes, pictures, problems), str(video), rows)


def _followed(predictor: Predictor, path: str) -> Iterator[tuple[PicturePrediction, np.ndarray | None]]:
    coming = sample(frames(Source("video", path, kind="video")), EVERY)
    coming = takewhile(lambda frame: frame.time is None or frame.time < MAX_SECONDS, coming)
    return follow(predictor.stream(coming, keep=True), Tracker(abstain=predictor.abstain))


@dataclass
class _Person:
    """Who was seen in a video: when, and what they expressed on average."""

    track: int
    start: float
    end: float = 0.0
    frames: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def see(self, face: FacePrediction, time: float) -> None:
        self.end, self.frames = time, self.frames + 1
        for name, probability in face.probabilities.items():
            self.sums[name] = self.sums.get(name, 0.0) + probability

    def row(self, abstain: float | None) -> dict[str, Any]:
        means = {name: total / self.frames for name, total in self.sums.items()}
        return {"track": self.track, "from": self.start, "to": self.end, "frames": self.frames,
                "label": label_of(means, abstain), **means}
