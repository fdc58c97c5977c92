"""What ``fmpn predict`` runs: sources in, rows and pictures out, by one process or many."""

import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fmpn_timm.errors import InputError
from fmpn_timm.launched import place, wait

from .draw import draw_prediction, drawn_path, write_masks, write_picture
from .predictor import DEFAULT_MODEL, Predictor
from .sources import Source, frames, list_sources
from .write import CsvRows, JsonArray, JsonLines, ParquetRows, RowWriter, Table, refuse_existing

__all__ = ["Counts", "Outputs", "predict_sources"]


@dataclass(frozen=True)
class Outputs:
    """Where results go.

    Attributes:
        csv: CSV file.
        json: ``-`` for one JSON array on stdout, a ``.jsonl`` file for JSON lines, another file for a JSON array.
        parquet: Parquet file.
        draw: Folder of pictures with what was predicted drawn into them.
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
        return str(self.json).endswith(".jsonl")

    @property
    def files(self) -> list[str | Path]:
        return [path for path in (self.csv, self.json if self.json != "-" else None, self.parquet) if path is not None]


@dataclass
class Counts:
    """What was met, by this call.

    Attributes:
        pictures: Inputs.
        faces: Faces in them.
        without: Pictures without a face.
        unread: Inputs that could not be read.
    """

    pictures: int = 0
    faces: int = 0
    without: int = 0
    unread: int = 0

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Count the rows of an input."""
        self.pictures += 1
        if rows[0]["face"] is not None:
            self.faces += len(rows)
        elif rows[0]["reason"].startswith("cannot be read"):
            self.unread += 1
        else:
            self.without += 1

    def __str__(self) -> str:
        pictures = f"{self.pictures} picture{'s' * (self.pictures != 1)}"
        faces = f"{self.faces} face{'s' * (self.faces != 1)}"
        return f"{pictures}, {faces}, {self.without} without a face, {self.unread} that cannot be read"


def predict_sources(
        given: Sequence[str],
        outputs: Outputs,
        model: str = DEFAULT_MODEL,
        progress: bool = True,
        **options: Any,
) -> Counts | None:
    """Predict all that was given, and write rows for every input.

    Processes that a launcher has started together share the inputs: each writes the rows of its share to
    ``OUT.<rank>-of-<processes>``, and the first puts them together, in order.

    Args:
        given: Files, folders and globs.
        outputs: Where results go; a table on stdout where nothing is named.
        model: As for ``Predictor``.
        progress: Show a progress bar on stderr, if that is a terminal.
        options: Further arguments of ``Predictor``.

    Returns:
        What was met; None in all processes but the first.

    Raises:
        InputError: An output is there already, or cannot be written; what ``Predictor`` raises.
    """
    _check(given, outputs)
    rank, processes = place()
    if processes > 1 and not outputs.files:
        raise InputError("Several processes write their rows to files: name one by --csv, --json or --parquet.")
    predictor = _predictor(model, options, quiet=rank > 0)
    # by name, so that what is given twice is looked at once
    sources = {source.name: source for source in list_sources(given, (outputs.draw, outputs.masks))}
    common = _common(sources)
    if processes == 1:
        counts = Counts()
        with ExitStack() as stack:
            writers = _writers(stack, outputs, predictor.classes, max(map(len, sources), default=0))
            _run(predictor, sources, writers, outputs, counts, progress, common)
        return counts
    parts = [Path(f"{outputs.files[0]}.{i}-of-{processes}") for i in range(processes)]
    done = _done(outputs, predictor.classes)
    wait(processes)
    names = [name for name in sources if name not in done]
    first, last = (len(names) * i // processes for i in (rank, rank + 1))
    share = {name: sources[name] for name in names[first:last]}
    with ExitStack() as stack:
        writers = [_opened(stack, JsonLines(parts[rank], predictor.classes, outputs.resume))]
        _run(predictor, share, writers, outputs, Counts(), progress and rank == 0, common)
    wait(processes)
    return _merge(parts, outputs, predictor.classes) if rank == 0 else None


def _check(given: Sequence[str], outputs: Outputs) -> None:
    """Refuse outputs that are there already, or would mix with what is read."""
    once = [path for path in (outputs.parquet, outputs.json) if path not in (None, "-")]
    once = [path for path in once if not (path == outputs.json and outputs.lines)]
    if outputs.resume and once:
        raise InputError(f"{once[0]} appears when it is complete, and cannot be gone on with: leave --resume out, or "
                         "write --csv or --json FILE.jsonl.")
    inputs = {os.path.realpath(path if os.path.isdir(path) else os.path.dirname(path) or ".") for path in given}
    for folder in filter(None, (outputs.draw, outputs.masks)):
        if os.path.realpath(folder) in inputs:
            raise InputError(f"{folder} holds what is read: give another folder to write to.")
    if not outputs.resume:
        for path in filter(None, (*outputs.files, outputs.draw, outputs.masks)):
            refuse_existing(path)


def _predictor(model: str, options: dict[str, Any], quiet: bool) -> Predictor:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        predictor = Predictor(model, **options)
    for warning in caught:
        if not quiet and issubclass(warning.category, UserWarning):
            print(f"warning: {warning.message}", file=sys.stderr)
    return predictor


def _writers(stack: ExitStack, outputs: Outputs, classes: tuple[str, ...], width: int) -> list[RowWriter]:
    writers = []
    if outputs.csv is not None:
        writers.append(_opened(stack, CsvRows(outputs.csv, classes, outputs.resume)))
    if outputs.json == "-":
        writers.append(_opened(stack, JsonArray(None, classes)))
    elif outputs.json is not None:
        rows = JsonLines(outputs.json, classes, outputs.resume) if outputs.lines else JsonArray(outputs.json, classes)
        writers.append(_opened(stack, rows))
    if outputs.parquet is not None:
        writers.append(_opened(stack, ParquetRows(outputs.parquet, classes)))
    if not writers and outputs.draw is None and outputs.masks is None:
        writers.append(_opened(stack, Table(classes, width)))
    return writers


def _opened(stack: ExitStack, writer: RowWriter) -> RowWriter:
    stack.push(lambda kind, error, trace: writer.close(complete=kind is None))
    return writer


def _done(outputs: Outputs, classes: tuple[str, ...]) -> set[str]:
    """The sources that every output has already; before any process changes them."""
    if not outputs.resume:
        return set()
    kinds = [(CsvRows, outputs.csv), (JsonLines, outputs.json)]
    return set.intersection(*(kind.finished(path, classes) for kind, path in kinds if path is not None))


def _run(
        predictor: Predictor,
        sources: dict[str, Source],
        writers: Sequence[RowWriter],
        outputs: Outputs,
        counts: Counts,
        progress: bool,
        common: str,
) -> None:
    done = set.intersection(*(writer.done for writer in writers)) if writers else set()
    todo = [source for name, source in sources.items() if name not in done]
    coming = (frame for source in todo for frame in frames(source))
    disable = None if progress else True
    with tqdm(total=len(sources), initial=len(sources) - len(todo), desc="predict", unit="picture",
              disable=disable) as bar:
        for prediction, picture in predictor.stream(coming, keep=outputs.draw is not None):
            # pictures first: what has rows is not looked at again by --resume
            if outputs.draw is not None and picture is not None:
                suffix = "" if prediction.source.lower().endswith((".jpg", ".jpeg", ".png")) else ".jpg"
                path = drawn_path(outputs.draw, prediction.source, suffix, common)
                _written(path, write_picture, draw_prediction(picture, prediction), path)
            if outputs.masks is not None:
                _written(outputs.masks, write_masks, prediction, outputs.masks, common)
            rows = prediction.as_rows()
            _write(writers, rows)
            counts.add(rows)
            bar.update()


def _common(names: Iterable[str]) -> str:
    """The folder that all absolute names lie in, so that what is drawn need not lie as deep."""
    folders = {os.path.dirname(name) for name in names if os.path.isabs(name)}
    return os.path.join(os.path.commonpath(folders), "") if folders else ""


def _write(writers: Sequence[RowWriter], rows: Sequence[dict[str, Any]]) -> None:
    for writer in writers:
        if rows[0]["source"] not in writer.done:
            writer.write(rows)


def _written(where: str | Path, write: Any, *args: Any) -> None:
    try:
        write(*args)
    except OSError as error:
        raise InputError(f"{where} cannot be written: {(error.strerror or str(error)).lower()}. --resume goes on with "
                         "--csv or --json FILE.jsonl.") from error


def _merge(parts: Sequence[Path], outputs: Outputs, classes: tuple[str, ...]) -> Counts:
    """Put the rows of all processes together, in order, and take their files away."""
    counts, seen = Counts(), set()
    with ExitStack() as stack:
        writers = _writers(stack, outputs, classes, 0)
        for part in parts:
            for rows in _pictures(part):
                if rows[0]["source"] not in seen:
                    seen.add(rows[0]["source"])
                    _write(writers, rows)
                    counts.add(rows)
    for part in parts:
        part.unlink()
    return counts


def _pictures(part: Path) -> Iterator[list[dict[str, Any]]]:
    with open(part, encoding="utf-8") as file:
        for _, rows in groupby(map(json.loads, file), key=lambda row: row["source"]):
            yield list(rows)
