"""Tests of the writers of rows."""

import csv
import errno
import io
import json
import os

import pytest

from fmpn_timm.errors import InputError
from fmpn_timm.inference.results import columns
from fmpn_timm.inference.write import CsvRows, JsonArray, JsonLines, ParquetRows, Table

CLASSES = ("neutral", "fear")
EVIL = ["=cmd()", "+1", "-2.jpg", "@sum", "'=quoted", "a,b.jpg", 'say "x".jpg', "笑.jpg", "plain.jpg"]


def picture(name: str, faces: int = 1, reason: str = "") -> list[dict]:
    if not faces:
        return [{"source": name, "face": None, "reason": reason}]
    boxes = dict(x1=1.23456789, y1=2.0, x2=30.0, y2=40.0)
    return [
        {"source": name, "face": i, "label": "fear", "neutral": 0.1, "fear": 0.9, **boxes, "score": 0.75,
         "sharpness": 0.5, "size": 30.0, "yaw": -3.5, "roll": None, "flags": ["small", "low score"], "reason": reason}
        for i in range(faces)
    ]


PICTURES = [picture("a.jpg"), picture("b.jpg", 0, "no face was found"), picture("=c.jpg", 3), picture("d.jpg", 2),
            picture("e.jpg", 0, "cannot be read: no such file"), picture("f.jpg", 2)]


def write_all(writer, pictures=PICTURES):
    for rows in pictures:
        if rows[0]["source"] not in writer.done:
            writer.write(rows)
    writer.close(complete=True)


def test_csv_has_the_columns_and_a_row_for_everything(tmp_path):
    write_all(CsvRows(tmp_path / "new" / "o.csv", CLASSES))
    with open(tmp_path / "new" / "o.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == columns(CLASSES) == (
        "source", "time", "frame", "track", "face", "label", "neutral", "fear", "smoothed_label", "smoothed_neutral",
        "smoothed_fear", "x1", "y1", "x2", "y2", "score", "sharpness", "size", "yaw", "roll", "flags", "neutral_r",
        "neutral_share", "reason")
    assert [row[0] for row in rows] == ["a.jpg", "b.jpg", *["'=c.jpg"] * 3, "d.jpg", "d.jpg", "e.jpg", "f.jpg", "f.jpg"]
    first, second = (dict(zip(header, row, strict=True)) for row in rows[:2])
    assert (first["face"], first["label"], first["fear"], first["x1"]) == ("0", "fear", "0.9", "1.23457")
    assert (first["yaw"], first["roll"], first["flags"]) == ("-3.5", "", "small;low score")
    assert second["face"] == second["label"] == second["fear"] == "" and second["reason"] == "no face was found"


def test_formulas_are_text_and_names_come_back(tmp_path):
    path = tmp_path / "o.csv"
    write_all(CsvRows(path, CLASSES), [picture(name) for name in [*EVIL, "last"]])
    with open(path, newline="", encoding="utf-8") as file:
        names = [row["source"] for row in csv.DictReader(file)]
    assert names[:6] == ["'=cmd()", "'+1", "'-2.jpg", "'@sum", "''=quoted", "a,b.jpg"]
    assert CsvRows(path, CLASSES, resume=True).done == set(EVIL)


@pytest.mark.parametrize("kind", [CsvRows, JsonLines])
def test_wherever_it_was_cut_it_goes_on_to_the_same_file(tmp_path, kind):
    whole = tmp_path / "whole"
    write_all(kind(whole, CLASSES))
    content = whole.read_bytes()
    path = tmp_path / "cut"
    ends = [i for i, byte in enumerate(content) if byte == ord("\n")]
    for size in sorted({0, len(content), *range(5, len(content), 41), *(end + i for end in ends for i in (0, 1))}):
        path.write_bytes(content[:size])
        finished = kind.finished(path, CLASSES)
        writer = kind(path, CLASSES, resume=True)
        assert finished == writer.done
        write_all(writer)
        assert path.read_bytes() == content, size


@pytest.mark.parametrize("kind", [CsvRows, JsonLines])
def test_going_on_looks_at_finished_sources_once(tmp_path, kind):
    path = tmp_path / "o"
    write_all(kind(path, CLASSES), PICTURES[:4])
    assert kind(path, CLASSES, resume=True).done == {"a.jpg", "b.jpg", "=c.jpg"}  # the last may lack faces


@pytest.mark.parametrize("kind", [CsvRows, JsonLines])
def test_going_on_with_other_inputs_keeps_all_rows(tmp_path, kind):
    path = tmp_path / "o"
    write_all(kind(path, CLASSES), PICTURES[:4])
    content = path.read_bytes()
    for rest in (b"", content[-9:-1]):  # whole, and with a last line that was cut
        path.write_bytes(content + rest)
        writer = kind(path, CLASSES, resume=True, inputs={"e.jpg"})
        writer.close(complete=True)
        assert writer.done == {"a.jpg", "b.jpg", "=c.jpg", "d.jpg"} and path.read_bytes() == content
    assert kind(path, CLASSES, resume=True, inputs={"d.jpg"}).done == {"a.jpg", "b.jpg", "=c.jpg"}


@pytest.mark.parametrize("kind", [CsvRows, JsonLines, JsonArray, ParquetRows])
def test_pipes_and_devices_stay_what_they_are(tmp_path, kind):
    pytest.importorskip("pyarrow")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for resume in (dict(), dict(resume=True)) if kind in (CsvRows, JsonLines) else (dict(),):
        with pytest.raises(InputError, match="pipe is no file: name one"):
            kind(path, CLASSES, **resume)
    assert path.is_fifo()


@pytest.mark.parametrize("kind", [CsvRows, JsonLines, JsonArray, ParquetRows])
def test_what_is_there_is_not_written_over(tmp_path, kind):
    pytest.importorskip("pyarrow")
    path = tmp_path / "o.out"
    path.write_text("mine\n")
    with pytest.raises(InputError, match=r"o\.out is there already: .*give another name"):
        kind(path, CLASSES)
    assert path.read_text() == "mine\n" and len(list(tmp_path.iterdir())) == 1
    path.write_text("")  # an empty file, as mktemp makes it, is nothing
    kind(path, CLASSES).close(complete=False)


@pytest.mark.parametrize(("kind", "content"), [
    (CsvRows, "source,face,label\n"), (CsvRows, "my poem\n"), (JsonLines, "my poem\n"), (JsonLines, "[1, 2]\n"),
    (JsonLines, '{"source": "a.jpg", "face": 0}\n'), (CsvRows, "my poem"), (JsonLines, "my poem"),
])
def test_files_of_others_are_not_gone_on_with(tmp_path, kind, content):
    path = tmp_path / "o"
    path.write_text(content)
    with pytest.raises(InputError, match="o holds other columns than fmpn predict writes"):
        kind(path, CLASSES, resume=True)
    assert path.read_text() == content


def test_other_rows_below_the_header_are_refused(tmp_path):
    CsvRows(tmp_path / "o", CLASSES).close(complete=True)
    with open(tmp_path / "o", "a") as file:
        file.write("a,b\n")
    with pytest.raises(InputError, match="holds other columns"):
        CsvRows(tmp_path / "o", CLASSES, resume=True)


def test_json_lines_and_json_array_hold_the_same(tmp_path, capsys):
    write_all(JsonLines(tmp_path / "o.jsonl", CLASSES))
    write_all(JsonArray(tmp_path / "o.json", CLASSES))
    write_all(JsonArray(None, CLASSES))
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert json.loads((tmp_path / "o.json").read_text()) == json.loads(capsys.readouterr().out) == lines
    assert len(lines) == 10 and all(tuple(row) == columns(CLASSES) for row in lines)
    assert lines[0]["flags"] == ["small", "low score"] and lines[0]["roll"] is None and lines[1]["label"] is None


@pytest.mark.parametrize("kind", [JsonArray, ParquetRows])
def test_what_is_not_complete_does_not_appear(tmp_path, kind):
    pytest.importorskip("pyarrow")
    writer = kind(tmp_path / "o", CLASSES)
    writer.write(PICTURES[0])
    assert not (tmp_path / "o").exists()
    writer.close(complete=False)
    assert not list(tmp_path.iterdir())
    write_all(kind(tmp_path / "o", CLASSES))
    assert [p.name for p in tmp_path.iterdir()] == ["o"]


def test_nothing_is_an_empty_array(capsys):
    JsonArray(None, CLASSES).close(complete=True)
    assert json.loads(capsys.readouterr().out) == []


def test_parquet(tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("fmpn_timm.inference.write.ROW_GROUP", 4)
    write_all(ParquetRows(tmp_path / "o.parquet", CLASSES))
    table = pq.read_table(tmp_path / "o.parquet")
    assert tuple(table.column_names) == columns(CLASSES) and table.num_rows == 10
    rows = table.to_pylist()
    assert rows[2]["source"] == "=c.jpg" and rows[2]["flags"] == ["small", "low score"] and rows[1]["face"] is None
    assert rows[0]["fear"] == pytest.approx(0.9) and rows[1]["reason"] == "no face was found"
    assert pq.ParquetFile(tmp_path / "o.parquet").num_row_groups > 1


@pytest.mark.parametrize("kind", [CsvRows, JsonLines, JsonArray, ParquetRows])
def test_places_that_cannot_be_written_are_named(tmp_path, kind):
    pytest.importorskip("pyarrow")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file/o cannot be written: (not a directory|file exists)"):
        kind(tmp_path / "file" / "o", CLASSES)


def test_a_full_disk_is_one_line(tmp_path):
    full = "/dev/full"
    try:
        open(full, "ab").close()
    except OSError:
        pytest.skip("no /dev/full here")
    writer = CsvRows(tmp_path / "o", CLASSES)
    writer.file = open(full, "ab")  # noqa: SIM115
    with pytest.raises(InputError, match=r"o cannot be written: no space left.*--resume goes on"):
        writer.write(PICTURES[0])


@pytest.mark.parametrize("kind", [JsonArray, ParquetRows])
@pytest.mark.parametrize("complete", [True, False])
def test_a_full_disk_leaves_no_part_of_what_appears_when_complete(tmp_path, kind, complete):
    class Full:
        def write(self, *_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        write_table = close = write

    writer = kind(tmp_path / "o", CLASSES)
    writer.file.close()
    writer.file = Full()
    if complete:
        with pytest.raises(InputError, match="o cannot be written: no space left.*Give another place"):
            writer.close(complete)
    else:  # another error is on its way, and shall be the one that is told
        writer.close(complete)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [CsvRows, JsonLines, JsonArray, ParquetRows])
def test_a_folder_is_no_file(tmp_path, kind):
    with pytest.raises(InputError, match="is a folder: give a file in it"):
        kind(tmp_path, CLASSES)
    assert not list(tmp_path.iterdir())


def test_a_table_in_an_encoding_without_the_letters():
    text = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    write_all(Table(CLASSES, 10, text), [picture("日本.jpg")])
    assert rb"\u65e5\u672c.jpg" in text.buffer.getvalue()


def test_table():
    file = io.StringIO()
    write_all(Table(CLASSES, 8, file))
    header, *lines = file.getvalue().splitlines()
    assert header.split() == ["source", "face", "label", "p", "notes"] and len(lines) == 10
    assert lines[0].split(maxsplit=4) == ["a.jpg", "0", "fear", "0.90", "small, low score"]
    assert lines[1].split(maxsplit=4) == ["b.jpg", "-", "-", "-", "no face was found"]
