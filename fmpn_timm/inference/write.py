"""Writers of rows: CSV and JSON lines, which can be gone on with, JSON and Parquet, which appear when complete.

In text cells of a CSV file that begin with ``= + - @`` (which spreadsheets run as formulas), a ``'`` is put in front.
"""

import csv
import io
import json
import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from fmpn_timm.errors import InputError
from fmpn_timm.files import partial_name

from .results import UNCERTAIN, columns

__all__ = ["CsvRows", "JsonArray", "JsonLines", "ParquetRows", "RowWriter", "Table", "refuse_existing", "writing"]

FORMULA = re.compile("'*[=+@-]")
ROW_GROUP = 4096
#: Significant digits of numbers; times keep their milliseconds for days.
DIGITS = {"time": 10}


class RowWriter(Protocol):
    """Takes the rows of one picture after the other.

    Attributes:
        done: Names of the sources whose rows are there already.
    """

    done: set[str]

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write all rows of a picture."""

    def close(self, complete: bool) -> None:
        """End; without ``complete``, an output that appears only when it is complete does not appear."""


def refuse_existing(path: str | Path, folder: bool = False, resume: bool = False, once: bool = False) -> None:
    """Refuse to write over a file or into a folder that holds something, and to what is neither.

    Args:
        path: The file or folder.
        folder: Which of the two is to be written.
        resume: Whether to go on with what it holds.
        once: Whether it appears when it is complete, so that it cannot be gone on with.

    Raises:
        InputError: It does, or is the other of the two, or a device or pipe.
    """
    path = Path(path)
    if path.exists() and path.is_dir() != folder:
        raise InputError(f"{path} is a file: give a folder." if folder else f"{path} is a folder: give a file in it.")
    if path.exists() and not path.is_dir() and not path.is_file():
        raise InputError(f"{path} is no file: name one; --json without a name prints rows.")
    if resume:
        return
    if any(path.iterdir()) if path.is_dir() else path.exists() and path.stat().st_size:
        mend = "give another name" if once else "go on with it by --resume, or give another name"
        raise InputError(f"{path} is there already: {mend}.")


class _Lines:
    """A text file with one line for each row. A picture's rows are flushed together.

    Args:
        path: The file.
        classes: Class names, in the order of the columns.
        resume: Go on with what is there. A last line that was cut is dropped, and so are the rows of the last source,
            which may lack some.
        inputs: Names of the sources that are looked at; the last one's rows stay if it is none of them. None for any.

    Raises:
        InputError: The file is there and not to be gone on with, or its lines are others, or it cannot be written.
    """

    header = b""
    opening = b""  # what a file begins with

    def __init__(
            self,
            path: str | Path,
            classes: tuple[str, ...],
            resume: bool = False,
            inputs: Collection[str] | None = None,
    ):
        self._name(path, classes)
        refuse_existing(path, resume=resume)
        self.done, end = self._finished(inputs)
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "ab")  # noqa: SIM115
            self.file.truncate(end)
            if not end:
                self.file.write(self.header)

    @classmethod
    def finished(cls, path: str | Path, classes: tuple[str, ...], inputs: Collection[str] | None = None) -> set[str]:
        """Names of the sources whose rows are in a file, which is left as it is.

        Args:
            path: The file.
            classes: Class names, in the order of the columns.
            inputs: Names of the sources that are looked at, as for the writer.

        Raises:
            InputError: Its lines are others.
        """
        lines = cls.__new__(cls)
        lines._name(path, classes)
        return lines._finished(inputs)[0]

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        with writing(self.path, " What is written stays; --resume goes on."):
            self.file.write(b"".join(self._line(row) for row in rows))
            self.file.flush()

    def close(self, complete: bool) -> None:
        with suppress(OSError):
            self.file.close()

    def _name(self, path: str | Path, classes: tuple[str, ...]) -> None:
        self.path, self.columns = Path(path), columns(classes)

    def _finished(self, inputs: Collection[str] | None = None) -> tuple[set[str], int]:
        """Sources whose rows are all there, and where the rows after them begin."""
        done, last, start, begin, end = set(), None, 0, 0, 0
        if not self.path.exists():
            return done, 0
        with open(self.path, "rb") as file:
            for line in file:
                begin, end = end, end + len(line)
                if not line.endswith(b"\n"):
                    if begin == 0 and not (self.opening.startswith(line) or line.startswith(self.opening)):
                        raise self._foreign()
                    end = begin
                    break
                if begin == 0 and self.header:
                    if line != self.header:
                        raise self._foreign()
                    start = end
                    continue
                try:
                    source = self._source(line)
                except (ValueError, csv.Error):
                    raise self._foreign() from None
                if source != last:
                    done.add(last)
                    last, start = source, begin
        if inputs is not None and last is not None and last not in inputs:
            done.add(last)
            start = end
        return done - {None}, start

    def _foreign(self) -> InputError:
        return InputError(f"{self.path} holds other columns than fmpn predict writes for this model: give another "
                          "name.")


class CsvRows(_Lines):
    """Rows as CSV, UTF-8, with a header."""

    @property
    def header(self) -> bytes:
        return _csv_line(self.columns)

    opening = header

    def _line(self, row: dict[str, Any]) -> bytes:
        return _csv_line([_cell(name, row.get(name)) for name in self.columns])

    def _source(self, line: bytes) -> str:
        row, = csv.reader([line.decode()])
        if len(row) != len(self.columns):
            raise ValueError
        return row[0][1:] if FORMULA.match(row[0]) and row[0].startswith("'") else row[0]


class JsonLines(_Lines):
    """Rows as JSON objects, one on each line."""

    opening = b'{"source": '

    def _line(self, row: dict[str, Any]) -> bytes:
        return json.dumps(_complete(row, self.columns)).encode() + b"\n"

    def _source(self, line: bytes) -> str:
        row = json.loads(line)
        if not isinstance(row, dict) or tuple(row) != self.columns:
            raise ValueError
        return row["source"]


class JsonArray:
    """Rows as one JSON array, on stdout or in a file that appears when it is complete.

    Raises:
        InputError: The file is there, or cannot be written.
    """

    def __init__(self, path: str | Path | None, classes: tuple[str, ...]):
        self.done, self.columns, self.path = set(), columns(classes), path and Path(path)
        self.empty = True
        self.file = sys.stdout if path is None else _open_partial(self.path)

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        with writing(self.path):
            for row in rows:
                self.file.write(("[\n" if self.empty else ",\n") + json.dumps(_complete(row, self.columns)))
                self.empty = False

    def close(self, complete: bool) -> None:
        if self.path is None:
            if complete:
                self._end()
            return
        with _finishing(self.path, complete):
            if complete:
                self._end()
            self.file.close()

    def _end(self) -> None:
        self.file.write("[]\n" if self.empty else "\n]\n")


class ParquetRows:
    """Rows as a Parquet file, which appears when it is complete.

    Raises:
        InputError: The file is there, cannot be written, or pyarrow is missing.
    """

    def __init__(self, path: str | Path, classes: tuple[str, ...]):
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise InputError('--parquet needs pyarrow: pip install "fmpn-timm[data]".') from None
        kinds = {"time": pa.float64(), "flags": pa.list_(pa.string())}
        kinds |= dict.fromkeys(("frame", "track", "face"), pa.int32())
        kinds |= dict.fromkeys(("source", "label", "smoothed_label", "reason"), pa.string())
        self.done, self.path, self.rows = set(), Path(path), []
        self.schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in columns(classes)])
        _open_partial(self.path).close()
        self.file = pq.ParquetWriter(partial_name(self.path), self.schema)

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows += rows
        if len(self.rows) >= ROW_GROUP:
            with writing(self.path):
                self._write_group()

    def close(self, complete: bool) -> None:
        with _finishing(self.path, complete):
            if complete:
                self._write_group()
            self.file.close()

    def _write_group(self) -> None:
        import pyarrow as pa

        self.file.write_table(pa.Table.from_pylist(self.rows, schema=self.schema))
        self.rows = []


class Table:
    """Rows to be read, on stdout: source, face, label, its probability, and what is to be known.

    Of a video, the source has the time, and ``#`` and the track stand for the face, whose smoothed label is shown.
    """

    def __init__(self, classes: tuple[str, ...], width: int, file: TextIO | None = None):
        self.done, self.classes, self.columns = set(), classes, columns(classes)
        self.file = sys.stdout if file is None else file
        self.width, self.label_width = max(min(width, 60), 6), max(map(len, (*classes, UNCERTAIN)))
        self._print("source", "face", "label", "p", "notes")

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            row = {name: row.get(name) for name in self.columns}
            source = row["source"] if row["time"] is None else f"{row['source']} {row['time']:.2f} s"
            face = row["face"] if row["track"] is None else f"#{row['track']}"
            if row["face"] is None:
                self._print(source, "-" if face is None else face, "-", "-", row["reason"])
                continue
            notes = [*row["flags"], row["neutral_r"] is not None and f"neutral r {row['neutral_r']:.2f}", row["reason"]]
            smoothed = "smoothed_" * (row["smoothed_label"] is not None)
            p = max(row[f"{smoothed}{name}"] for name in self.classes)
            self._print(source, face, row[f"{smoothed}label"], f"{p:.2f}", ", ".join(filter(None, notes)))

    def close(self, complete: bool) -> None:
        self.file.flush()

    def _print(self, source: str, face: Any, label: str, p: str, notes: str) -> None:
        encoding = getattr(self.file, "encoding", None) or "utf-8"
        line = f"{source:{self.width}}  {face:>4}  {label:{self.label_width}}  {p:>4}  {notes}".rstrip()
        print(line.encode(encoding, "backslashreplace").decode(encoding), file=self.file)


def _csv_line(cells: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _cell(name: str, value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.{DIGITS.get(name, 6)}g}"
    text = ";".join(value) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and FORMULA.match(text) else text


def _complete(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """All columns of a row, with numbers of six digits."""
    values = {name: row.get(name) for name in names}
    return {name: float(_cell(name, v)) if isinstance(v, float) else v for name, v in values.items()}


def _open_partial(path: Path) -> TextIO:
    refuse_existing(path, once=True)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(partial_name(path), "w", encoding="utf-8")


@contextmanager
def _finishing(path: Path, complete: bool) -> Iterator[None]:
    """While a file is closed: it gets its name if that succeeds and it is complete, and goes otherwise."""
    try:
        with writing(path) if complete else suppress(OSError):
            yield
            if complete:
                os.replace(partial_name(path), path)
    finally:
        partial_name(path).unlink(missing_ok=True)


@contextmanager
def writing(path: str | Path | None, mend: str = " Give another place.") -> Iterator[None]:
    """A full disk and its like are one clear error; what befalls stdout, which has no path, is left as it is.

    Raises:
        InputError: What is written in the block cannot be.
    """
    try:
        yield
    except OSError as error:
        if path is None:
            raise
        raise InputError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}.{mend}") from error
