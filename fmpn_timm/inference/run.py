"""What ``fmpn predict`` runs: sources in, rows and pictures out, by one process or many."""

import json
import os
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fmpn_timm.errors import InputError
from fmpn_timm.launched import place, wait

from .draw import draw_prediction, drawn_path, write_masks, write_picture
from .neutral import find_neutrals, neutral_face, with_comparisons
from .predictor import DEFAULT_MODEL, WAITING, Predictor
from .results import PicturePrediction
from .sources import Frame, Source, frames, list_sources
from .timeline import NeutralSheet, Timeline
from .tracks import NEEDS_SCIPY, Tracker, can_follow, check_times, follow
from .video import VideoWriter, parse_every, sample
from .write import CsvRows, JsonArray, JsonLines, ParquetRows, RowWriter, Table, refuse_existing, writing

__all__ = ["FIND", "Counts", "Outputs", "Watching", "predict_sources"]

#: In place of a neutral picture: find the neutral face of each track in its video.
FIND = "find"
#: What is done about drawings and masks that cannot be written.
MEND = " --resume goes on with --csv or --json FILE.jsonl."


@dataclass(frozen=True)
class Outputs:
    """Where results go.

    Attributes:
        csv: CSV file.
        json: ``-`` for one JSON array on stdout, a ``.jsonl`` file for JSON lines, another file for a JSON array.
        parquet: Parquet file.
        draw: Folder of pictures and videos with what was predicted drawn into them, timelines of videos, and sheets
            beside the neutral face.
        masks: Folder of motion masks.
        resume: Go on with what is there.
    """

    csv: str | Path | None = None
    json: str | Path | None = None
    parquet: str | Path | None = None
    draw: str | Path | None = None
    masks: str | Path | None = None
    resume: bool = False

    @property
    def lines(self) -> bool:
        return str(self.json).lower().endswith(".jsonl")

    @property
    def files(self) -> list[str | Path]:
        return [path for path in (self.csv, self.json if self.json != "-" else None, self.parquet) if path is not None]

    @property
    def once(self) -> list[str | Path]:
        """Those that appear when they are complete."""
        return [path for path in self.files if path == self.parquet or path == self.json and not self.lines]


@dataclass(frozen=True)
class Watching:
    """How videos and cameras are looked at.

    Attributes:
        every: Which frames: ``3`` for each third, ``0.5s`` for one in each half second.
        gap: Seconds that a face may be out of sight and keep its track.
        smooth: Time constant, in seconds, of the smoothing of probabilities.
    """

    every: str | int = 1
    gap: float = 1.0
    smooth: float = 0.3


@dataclass
class Counts:
    """What was met, by this call.

    Attributes:
        pictures: Inputs other than videos and cameras, and every input that cannot be opened.
        faces: Faces in all pictures and frames.
        without: Pictures and frames without a face.
        unread: Inputs that could not be read, or not to their end.
        videos: Videos and cameras.
        frames: Their frames that were looked at.
        failures: The first ten inputs that could not be read, and why.
    """

    pictures: int = 0
    faces: int = 0
    without: int = 0
    unread: int = 0
    videos: int = 0
    frames: int = 0
    failures: list[str] = field(default_factory=list, repr=False, compare=False)
    last: str | None = field(default=None, repr=False, compare=False)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Count the rows of a picture or frame."""
        first = rows[0]
        if first["frame"] is not None:
            self.frames += 1
            self.videos += first["source"] != self.last
        else:
            self.pictures += first["source"] != self.last
        self.last = first["source"]
        if first["face"] is not None:
            self.faces += sum(row["face"] is not None for row in rows)
        elif first["reason"].startswith("cannot be read"):
            self.unread += 1
            if len(self.failures) < 10:
                self.failures.append(f"{first['source']}: {first['reason']}")
        else:
            self.without += 1

    def __str__(self) -> str:
        seen = [_plural(self.pictures, "picture")] if self.pictures or not self.videos else []
        if self.videos:
            seen.append(f"{_plural(self.videos, 'video')} ({_plural(self.frames, 'frame')})")
        return (f"{', '.join(seen)}, {_plural(self.faces, 'face')}, {self.without} without a face, {self.unread} that "
                "cannot be read")


def predict_sources(
        given: Sequence[str],
        outputs: Outputs,
        model: str = DEFAULT_MODEL,
        progress: bool = True,
        watching: Watching = Watching(),
        neutral: str | None = None,
        **options: Any,
) -> Counts | None:
    """Predict all that was given, and write rows for every input.

    The frames of a video are rows of one input: --resume does a video that was not finished again. Ctrl-C is how a
    camera ends; what was seen by then is complete.

    Processes that a launcher has started together share the inputs: each writes the rows of its share to
    ``OUT.<rank>-of-<processes>``, which ``resume`` goes on with, and the first puts them together, in order.

    Args:
        given: Files, folders, globs and cameras.
        outputs: Where results go; a table on stdout where no rows go anywhere else.
        model: As for ``Predictor``.
        progress: Show a progress bar on stderr, if that is a terminal.
        watching: How videos and cameras are looked at.
        neutral: A picture of the neutral face of the person who is the largest face in all pictures; or ``find``, to
            find that of each track of a video, which is then read twice.
        options: Further arguments of ``Predictor``.

    Returns:
        What was met; None in all processes but the first.

    Raises:
        InputError: An output is there already, or cannot be written; what ``Predictor`` raises.
    """
    rank, processes = place()
    _check(given, outputs, processes)
    parse_every(watching.every)
    check_times(watching.gap, watching.smooth)
    if processes > 1 and not outputs.files:
        raise InputError("Several processes write their rows to files: name one by --csv, --json or --parquet.")
    predictor = _predictor(model, options, quiet=rank > 0)
    if outputs.masks is not None and not predictor.masks:
        raise InputError(f"--masks {outputs.masks}: this model has no motion masks: take an fmpn model.")
    # by name, so that what is given twice is looked at once
    sources = {source.name: source for source in map(_followed, list_sources(given, (outputs.draw, outputs.masks)))}
    if outputs.resume and any(source.kind == "camera" for source in sources.values()):
        raise InputError("--resume does not work with a camera: leave it out, and write to a new file.")
    if neutral == FIND and not any(source.kind == "video" for source in sources.values()):
        raise InputError("--neutral find looks for a person's neutral face in a video, and none is given: give the "
                         "neutral face as a picture.")
    run = _Run(predictor, outputs, watching, _neutral(predictor, neutral), _common(sources))
    run.refuse_overwriting(sources.values())
    done = _done(outputs, predictor.classes, sources)
    if done and rank == 0:
        others = f", and {len(done - sources.keys())} that are not among them" * bool(done - sources.keys())
        print(f"{len(done & sources.keys())} of {_plural(len(sources), 'input')} are done already{others}",
              file=sys.stderr)
    if processes == 1:
        counts = Counts()
        with ExitStack() as stack:
            # of videos the table says the time, too
            width = max((len(name) + 10 * (source.kind != "picture") for name, source in sources.items()), default=0)
            writers = _writers(stack, outputs, predictor.classes, width, sources)
            run(sources, writers, counts, progress)
        return counts
    parts = [Path(f"{outputs.files[0]}.{i}-of-{processes}") for i in range(processes)]
    wait(processes)
    names = [name for name in sources if name not in done]
    first, last = (len(names) * i // processes for i in (rank, rank + 1))
    share = {name: sources[name] for name in names[first:last]}
    with ExitStack() as stack:
        writers = [_opened(stack, JsonLines(parts[rank], predictor.classes, outputs.resume))]
        run(share, writers, Counts(), progress and rank == 0)
    wait(processes)
    return _merge(parts, outputs, predictor.classes, sources) if rank == 0 else None


def _check(given: Sequence[str], outputs: Outputs, processes: int) -> None:
    """Refuse outputs that are there already, or would mix with what is read."""
    if outputs.resume and outputs.once and processes == 1:  # several go on with the files of their shares
        raise InputError(f"--resume cannot go on with {outputs.once[0]}, which appears when it is complete: leave "
                         "--resume out, or write --csv or --json FILE.jsonl.")
    for option, path in (("--csv", outputs.csv), ("--parquet", outputs.parquet)):
        if path == "-":
            raise InputError(f"{option} -: rows go to a file, name one; --json without a name prints them.")
    if len({os.path.realpath(path) for path in outputs.files}) < len(outputs.files):
        raise InputError(f"{outputs.files[0]} is named for two outputs: give each a file of its own.")
    inputs = {os.path.realpath(path if os.path.isdir(path) else os.path.dirname(path) or ".") for path in given}
    for folder in filter(None, (outputs.draw, outputs.masks)):
        above = os.path.join(os.path.realpath(folder), "")
        if any(os.path.join(path, "").startswith(above) for path in inputs):
            raise InputError(f"{folder} holds what is read: give another folder to write to.")
        refuse_existing(folder, folder=True, resume=outputs.resume)
    for path in outputs.files:
        once = path in outputs.once
        refuse_existing(path, resume=outputs.resume and not once, once=once)


def _followed(source: Source) -> Source:
    """A video or camera that nothing here could follow faces through becomes a source with that problem."""
    if source.kind == "picture" or can_follow():
        return source
    return Source(source.name, source.path, NEEDS_SCIPY)


def _predictor(model: str, options: dict[str, Any], quiet: bool) -> Predictor:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        predictor = Predictor(model, **options)
    for warning in caught:
        if not quiet and issubclass(warning.category, UserWarning):
            print(f"warning: {warning.message}", file=sys.stderr)
    return predictor


def _writers(
        stack: ExitStack,
        outputs: Outputs,
        classes: tuple[str, ...],
        width: int,
        inputs: Collection[str],
) -> list[RowWriter]:
    writers = []
    if outputs.csv is not None:
        writers.append(_opened(stack, CsvRows(outputs.csv, classes, outputs.resume, inputs)))
    if outputs.json == "-":
        writers.append(_opened(stack, JsonArray(None, classes)))
    elif outputs.json is not None:
        rows = (JsonLines(outputs.json, classes, outputs.resume, inputs) if outputs.lines
                else JsonArray(outputs.json, classes))
        writers.append(_opened(stack, rows))
    if outputs.parquet is not None:
        writers.append(_opened(stack, ParquetRows(outputs.parquet, classes)))
    if not writers:
        writers.append(_opened(stack, Table(classes, width)))
    return writers


def _opened(stack: ExitStack, writer: RowWriter) -> RowWriter:
    stack.push(lambda kind, error, trace: writer.close(complete=kind is None))
    return writer


def _done(outputs: Outputs, classes: tuple[str, ...], inputs: Collection[str]) -> set[str]:
    """The sources that every output has already; before any process changes them."""
    if not outputs.resume or outputs.once:
        return set()
    kinds = [(CsvRows, outputs.csv), (JsonLines, outputs.json)]
    done = [kind.finished(path, classes, inputs) for kind, path in kinds if path is not None]
    return set.intersection(*done) if done else set()


def _neutral(predictor: Predictor, neutral: str | None) -> np.ndarray | str | None:
    """The aligned neutral face, or that it is to be found."""
    if neutral is None:
        return None
    if not predictor.masks:
        raise InputError("--neutral: this model has no motion masks to compare with: take an fmpn model.")
    if neutral != FIND:
        return neutral_face(predictor, neutral)
    if "neutral" not in predictor.classes:
        raise InputError("--neutral find: this model has no class neutral: give the neutral face as a picture.")
    return FIND


@dataclass(frozen=True)
class _Run:
    """What is done with sources."""

    predictor: Predictor
    outputs: Outputs
    watching: Watching
    neutral: np.ndarray | str | None
    common: str

    def __call__(
            self,
            sources: dict[str, Source],
            writers: Sequence[RowWriter],
            counts: Counts,
            progress: bool,
    ) -> None:
        done = set.intersection(*(writer.done for writer in writers)) if writers else set()
        todo = [source for name, source in sources.items() if name not in done]
        wait = 1 if any(source.kind == "camera" for source in todo) else WAITING
        neutrals: dict[str, dict[int, np.ndarray | None]] = {}
        predictions = self.predictor.stream(self._frames(todo, neutrals), self.outputs.draw is not None, wait)
        with tqdm(total=len(sources), initial=len(sources) - len(todo), desc="predict", unit="input",
                  disable=None if progress else True) as bar:
            for name, shown in groupby(predictions, key=lambda shown: shown[0].source):
                source = sources[name]
                if source.kind != "picture":
                    shown = follow(shown, self._tracker())
                neutral = neutrals.pop(name, {}) if self.neutral is FIND else self.neutral
                with ExitStack() as stack:
                    drawings = self._drawings(stack, source)
                    for prediction, picture in shown:
                        if neutral is not None:
                            prediction = with_comparisons(prediction, neutral, self.predictor.recipe.frame)
                        # pictures first: what has rows is not looked at again by --resume
                        for drawing in drawings:
                            with writing(self.outputs.draw, MEND):
                                drawing.add(prediction, picture)
                        if self.outputs.masks is not None:
                            with writing(self.outputs.masks, MEND):
                                write_masks(prediction, self.outputs.masks, self.common)
                        rows = prediction.as_rows()
                        _write(writers, rows)
                        counts.add(rows)
                        if prediction.frame is not None and prediction.frame % 25 == 0:
                            bar.set_postfix_str(f"{prediction.time:.0f} s")
                bar.update()

    def _frames(self, todo: Sequence[Source], neutrals: dict[str, dict[int, np.ndarray | None]]) -> Iterator[Frame]:
        """The frames of all sources; the neutral faces of a video are found before its first."""
        for source in todo:
            if self.neutral is FIND and source.kind == "video":
                predictions = self.predictor.stream(sample(frames(source), self.watching.every))
                found = find_neutrals(prediction for prediction, _ in follow(predictions, self._tracker()))
                without = ", ".join(f"#{track}" for track, face in found.items() if face is None)
                if without:
                    tqdm.write(f"{source.name}: no neutral face was found of {without}", file=sys.stderr)
                neutrals[source.name] = found
            yield from sample(frames(source), self.watching.every)

    def _tracker(self) -> Tracker:
        return Tracker(self.watching.gap, self.watching.smooth, self.predictor.abstain)

    def refuse_overwriting(self, sources: Collection[Source]) -> None:
        """Refuse folders in which a drawing or mask would take the place of an input, or of another's.

        Raises:
            InputError: One would.
        """
        if self.outputs.draw is None and self.outputs.masks is None:
            return
        read = {os.path.realpath(source.path) for source in sources if source.kind != "camera"}
        taken = {}
        for source in sources:
            masks = self.outputs.masks
            paths = [] if self.outputs.draw is None else [drawing.path for drawing in self._drawn(source)]
            if masks is not None:  # those of a video lie in a folder of its own
                suffix = ".0.png" if source.kind == "picture" else ""
                paths.append(drawn_path(masks, source.name, suffix, self.common))
            for path in map(os.path.realpath, paths):
                if path in read:
                    raise InputError(f"{path} is an input, and would be written over: give --draw and --masks another "
                                     "folder.")
                if path in taken:
                    whose = f"{taken[path]} and {source.name}" if taken[path] != source.name else "--draw and --masks"
                    raise InputError(f"{whose} would both be written to {path}: give other folders, or one at a time.")
                taken[path] = source.name

    def _drawn(self, source: Source) -> list[Any]:
        """What is drawn of a source."""
        name = source.name.replace("camera:", "camera-") if source.kind == "camera" else source.name

        def path(suffix: str, kinds: tuple[str, ...] = ()) -> Path:
            return drawn_path(self.outputs.draw, name, "" if name.lower().endswith(kinds) else suffix, self.common)

        if source.kind == "picture":
            drawings = [_DrawnPicture(path(".jpg", (".jpg", ".jpeg", ".png")))]
        else:
            drawings = [_DrawnVideo(path(".mp4", (".mp4",))),
                        Timeline(path(".timeline.png"), name, self.predictor.classes)]
        if self.neutral is not None:
            drawings.append(NeutralSheet(path(".neutral.png"), name))
        return drawings

    def _drawings(self, stack: ExitStack, source: Source) -> list[Any]:
        """What is drawn of a source, each closed by the stack."""
        drawings = [] if self.outputs.draw is None else self._drawn(source)
        for drawing in drawings:
            close = writing(self.outputs.draw, MEND)(drawing.close)
            stack.push(lambda kind, *_, close=close: close(kind is None))
        return drawings


@dataclass(frozen=True)
class _DrawnPicture:
    path: Path

    def add(self, prediction: PicturePrediction, picture: np.ndarray | None) -> None:
        if picture is not None:
            write_picture(draw_prediction(picture, prediction), self.path)

    def close(self, complete: bool) -> None:
        """It is written already."""


class _DrawnVideo(VideoWriter):
    def add(self, prediction: PicturePrediction, picture: np.ndarray | None) -> None:
        if picture is not None:
            super().add(draw_prediction(picture, prediction), prediction.time)


def _common(names: Iterable[str]) -> str:
    """The folder that all absolute names lie in, so that what is drawn need not lie as deep."""
    folders = {os.path.dirname(name) for name in names if os.path.isabs(name)}
    return os.path.join(os.path.commonpath(folders), "") if folders else ""


def _write(writers: Sequence[RowWriter], rows: Sequence[dict[str, Any]]) -> None:
    for writer in writers:
        if rows[0]["source"] not in writer.done:
            writer.write(rows)


def _merge(parts: Sequence[Path], outputs: Outputs, classes: tuple[str, ...], inputs: Collection[str]) -> Counts:
    """Put the rows of all processes together, in order, and take their files away."""
    counts, seen = Counts(), set()
    with ExitStack() as stack:
        writers = _writers(stack, outputs, classes, 0, inputs)
        for part in parts:
            for source, of_source in groupby(_rows(part), key=lambda row: row["source"]):
                if source in seen:
                    continue
                seen.add(source)
                for _, rows in groupby(of_source, key=lambda row: row["frame"]):
                    rows = list(rows)
                    _write(writers, rows)
                    counts.add(rows)
    for part in parts:
        part.unlink()
    return counts


def _rows(part: Path) -> Iterator[dict[str, Any]]:
    with open(part, encoding="utf-8") as file:
        yield from map(json.loads, file)


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
