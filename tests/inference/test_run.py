"""Tests of ``fmpn predict``: every input has its row, whatever it is, and the exit code tells."""

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image

from fmpn_timm import cli, launched
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.errors import InputError
from fmpn_timm.faces import DETECTORS, Recipe
from fmpn_timm.hub import save_model
from fmpn_timm.inference import run
from fmpn_timm.inference.run import Counts, Outputs, predict_sources
from tests.data.test_samples import write_bomb
from tests.faces.marked import NONE, Marked, marked
from tests.inference.test_pictures import odd_files

pytestmark = pytest.mark.usefixtures("marked_detector")


class MarkedPhotos(Marked):
    """Finds the marked faces in pictures of the size of ``photos``, and none in others."""

    def __call__(self, pictures):
        return [super(MarkedPhotos, self).__call__([p])[0] if p.shape == (100, 140, 3) else NONE for p in pictures]


@pytest.fixture
def photos(tmp_path) -> Path:
    """Seven pictures, one without a face, one with two."""
    folder = tmp_path / "photos"
    for i, faces in enumerate([[(5, 5, 30)], [], [(5, 5, 30), (60, 20, 70)], *[[(3 * k, 9, 50)] for k in range(4)]]):
        path = folder / ("sub" if i > 4 else "") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(marked(*faces)).save(path)
    return folder


NAMES = ["0.png", "1.png", "2.png", "2.png", "3.png", "4.png", "sub/5.png", "sub/6.png"]


def predict(*args, model: str) -> int:
    try:
        cli.main(["predict", *map(str, args), "--model", model])
    except SystemExit as exit:
        return exit.code
    return 0


def rows_of(path: Path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_photos(photos, model, tmp_path, capsys):
    assert predict(photos, "--csv", tmp_path / "o.csv", model=model) == 0
    rows = rows_of(tmp_path / "o.csv")
    assert [row["source"] for row in rows] == NAMES
    assert [row["face"] for row in rows] == ["0", "", "0", "1", "0", "0", "0", "0"]
    assert rows[1]["reason"] == "no face was found" and rows[1]["label"] == ""
    for row in rows[2:]:
        probabilities = [float(row[name]) for name in EXPRESSIONS]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)
        assert row["label"] == EXPRESSIONS[int(np.argmax(probabilities))]
    captured = capsys.readouterr()
    assert captured.out == "" and "7 pictures, 7 faces, 1 without a face, 0 that cannot be read" in captured.err


def test_every_bad_input_has_a_row_and_the_rest_goes_on(photos, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(DETECTORS, "yunet", MarkedPhotos)
    odd = odd_files(photos)
    whole = (photos / "0.png").read_bytes()
    (photos / "zero.jpg").touch()
    (photos / "cut.png").write_bytes(whole[:len(whole) // 2])
    (photos / "letter.jpg").write_text("a letter")
    (photos / "=cmd().png").write_bytes(whole)
    (photos / "notes.txt").write_text("no picture, and not listed")
    (photos / "out.png").symlink_to(tmp_path / "elsewhere.png")
    Image.new("L", (20_000, 2)).save(photos / "wide.png")
    write_bomb(photos / "bomb.png", 20_000, 20_000)
    assert predict(photos, "--csv", tmp_path / "o.csv", "--draw", tmp_path / "drawn", model=model) == 1
    rows = rows_of(tmp_path / "o.csv")
    reasons = {row["source"]: row["reason"] for row in rows}
    assert set(reasons) == {*NAMES, *odd, "zero.jpg", "cut.png", "letter.jpg", "'=cmd().png", "out.png", "wide.png",
                            "bomb.png"}
    unread = {name: reason for name, reason in reasons.items() if reason.startswith("cannot be read: ")}
    assert set(unread) == {"zero.jpg", "cut.png", "letter.jpg", "out.png", "bomb.png"}
    assert "89 million pixels" in unread["bomb.png"] and "out of the folder" in unread["out.png"]
    drawn = {p.relative_to(tmp_path / "drawn").as_posix() for p in (tmp_path / "drawn").rglob("*") if p.is_file()}
    named = {name if name.endswith(("png", "jpg")) else f"{name}.jpg" for name in set(reasons) - set(unread)}
    assert drawn == {name.lstrip("'") for name in named}
    told = capsys.readouterr().err
    assert all(f"  {name}: {reason}\n" in told for name, reason in unread.items())
    assert f"drawings are in {tmp_path / 'drawn'}\n" in told


def test_named_files_and_globs(photos, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(photos)
    assert predict("sub/*.png", "gone.jpg", "0.png", "0.png", "*.xyz", "--json", "--faces", "largest", model=model) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["source"] for row in rows] == ["sub/5.png", "sub/6.png", "gone.jpg", "0.png", "*.xyz"]
    assert rows[2]["reason"] == "cannot be read: no such file"
    assert rows[4]["reason"] == "cannot be read: no file matches"


def test_options_may_stand_between_pictures(photos, model, tmp_path):
    assert predict(photos / "0.png", "--csv", tmp_path / "o.csv", photos / "3.png", model=model) == 0
    assert [Path(row["source"]).name for row in rows_of(tmp_path / "o.csv")] == ["0.png", "3.png"]


def test_without_an_output_a_table_is_printed(photos, model, capsys):
    assert predict(photos, "--abstain", "1", model=model) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["source", "face", "label", "p", "notes"] and len(lines) == 8
    assert lines[0].split()[:3] == ["0.png", "0", "uncertain"] and "no face was found" in lines[1]
    assert predict(photos, "--masks", photos.parent / "masks", model=model) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9


def test_all_outputs_hold_the_same(photos, model, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    outputs = Outputs(tmp_path / "o.csv", tmp_path / "o.jsonl", tmp_path / "o.parquet", masks=tmp_path / "masks")
    counts = predict_sources([str(photos)], outputs, model, progress=False)
    assert counts == Counts(7, 7, 1, 0)
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "o.parquet").to_pylist()
    for a, b, c in zip(rows_of(tmp_path / "o.csv"), lines, table, strict=True):
        assert a["source"] == b["source"] == c["source"] and (a["label"] or None) == b["label"] == c["label"]
        assert (float(a["fear"]) if a["fear"] else None) == b["fear"]
        assert c["fear"] is None if b["fear"] is None else c["fear"] == pytest.approx(b["fear"], rel=1e-5)
    masks = sorted(p.relative_to(tmp_path / "masks").as_posix() for p in (tmp_path / "masks").rglob("*.png"))
    assert masks == ["0.png.0.png", "2.png.0.png", "2.png.1.png", "3.png.0.png", "4.png.0.png", "sub/5.png.0.png",
                     "sub/6.png.0.png"]


def test_masks_of_a_model_that_has_none_are_refused(photos, tmp_path):
    plain = timm.create_model("test_resnet", num_classes=3)
    save_model(plain, tmp_path / "plain", ("neutral", "happiness", "fear"), 32, 1, recipe=Recipe(size=32))
    with pytest.raises(InputError, match="this model has no motion masks"):
        predict_sources([str(photos)], Outputs(masks=tmp_path / "masks"), f"local-dir:{tmp_path / 'plain'}")


def test_a_video_is_one_row_where_nothing_can_follow_faces(photos, model, tmp_path, monkeypatch):
    (photos / "a.mp4").touch()
    monkeypatch.setattr(run, "can_follow", lambda: False)
    assert predict_sources([str(photos)], Outputs(tmp_path / "o.csv"), model, progress=False).pictures == 8
    [row] = [row for row in rows_of(tmp_path / "o.csv") if row["source"] == "a.mp4"]
    assert row["reason"].startswith("cannot be read: following faces needs SciPy")


def test_an_interrupted_run_goes_on(photos, model, tmp_path, monkeypatch):
    options = dict(model=model, progress=False, batch_size=1)  # the last digits of a figure may hang on the batch
    predict_sources([str(photos)], Outputs(tmp_path / "whole.csv"), **options)
    outputs = Outputs(tmp_path / "o.csv", resume=False)
    seen = []
    plain = run.frames

    def interrupted(source):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(source.name)
        return plain(source)

    monkeypatch.setattr(run, "frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_sources([str(photos)], outputs, **options)
    monkeypatch.setattr(run, "frames", lambda source: seen.append(source.name) or plain(source))
    with pytest.raises(InputError, match="is there already: go on with it by --resume"):
        predict_sources([str(photos)], outputs, **options)
    seen.clear()
    predict_sources([str(photos)], Outputs(tmp_path / "o.csv", resume=True), **options)
    assert "0.png" not in seen and seen[-1] == "sub/6.png"
    assert (tmp_path / "o.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_ctrl_c_says_how_to_go_on(photos, model, tmp_path, monkeypatch, capsys):
    def interrupt(source):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "frames", interrupt)
    assert predict(photos, "--csv", tmp_path / "o.csv", model=model) == 130
    assert "--resume goes on" in capsys.readouterr().err


@pytest.mark.parametrize(("processes", "said"), [(1, "without --parquet, with --resume"), (2, "line with --resume")])
def test_ctrl_c_says_what_cannot_go_on(photos, tmp_path, monkeypatch, capsys, processes, said):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "predict_sources", interrupt)
    monkeypatch.setattr(launched, "place", lambda: (0, processes))
    outputs = ("--csv", tmp_path / "o.csv", "--parquet", tmp_path / "o.parquet")
    assert predict(photos, *outputs, model="any") == 130
    assert f"{said} goes on" in capsys.readouterr().err


@pytest.mark.parametrize("processes", [2, 12])
def test_processes_share_the_pictures_and_the_first_puts_the_rows_together(photos, model, tmp_path, monkeypatch,
                                                                           processes):
    predict_sources([str(photos)], Outputs(tmp_path / "whole.csv"), model, progress=False)
    monkeypatch.setattr(run, "wait", lambda processes: None)
    outputs = Outputs(tmp_path / "o.csv", tmp_path / "o.json")
    for rank in reversed(range(processes)):  # the first is the last to come
        monkeypatch.setattr(run, "place", lambda rank=rank: (rank, processes))
        counts = predict_sources([str(photos)], outputs, model, progress=False)
    assert counts == Counts(7, 7, 1, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.csv", "o.json", "photos", "whole.csv"]
    assert [row["source"] for row in rows_of(tmp_path / "o.csv")] == NAMES
    for a, b in zip(rows_of(tmp_path / "o.csv"), rows_of(tmp_path / "whole.csv"), strict=True):
        assert a["label"] == b["label"] and (not a["fear"] or float(a["fear"]) == pytest.approx(float(b["fear"])))


def test_processes_go_on_with_what_one_has_left(photos, model, tmp_path, monkeypatch):
    predict_sources([str(photos)], Outputs(tmp_path / "o.csv"), model, progress=False)
    whole = (tmp_path / "o.csv").read_bytes()
    (tmp_path / "o.csv").write_bytes(b"".join(whole.splitlines(keepends=True)[:4]) + b"2.png,1,fe")
    monkeypatch.setattr(run, "wait", lambda processes: None)
    seen, plain = [], run.frames
    monkeypatch.setattr(run, "frames", lambda source: seen.append(source.name) or plain(source))
    for rank in (1, 0):
        monkeypatch.setattr(run, "place", lambda rank=rank: (rank, 2))
        predict_sources([str(photos)], Outputs(tmp_path / "o.csv", resume=True), model, progress=False)
    assert sorted(seen) == ["2.png", "3.png", "4.png", "sub/5.png", "sub/6.png"]
    assert [row["source"] for row in rows_of(tmp_path / "o.csv")] == NAMES


@pytest.mark.parametrize("name", ["o.parquet", "o.json"])
def test_processes_go_on_with_what_appears_when_complete(photos, model, tmp_path, monkeypatch, name):
    kind = name.partition(".")[2]
    monkeypatch.setattr(run, "wait", lambda processes: None)
    seen, plain = [], run.frames
    monkeypatch.setattr(run, "frames", lambda source: seen.append(source.name) or plain(source))

    def go(rank, resume):
        monkeypatch.setattr(run, "place", lambda: (rank, 2))
        return predict_sources([str(photos)], Outputs(**{kind: tmp_path / name}, resume=resume), model, progress=False)

    go(1, False)  # the other is stopped before it has begun
    with pytest.raises(InputError, match="1-of-2 is there already: go on with it by --resume"):
        go(1, False)
    seen.clear()
    go(1, True)
    assert go(0, True) == Counts(7, 7, 1, 0)
    assert seen == ["sub/6.png", "0.png", "1.png", "2.png"]  # the last, which may lack rows, and the other's
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, "photos"]
    with pytest.raises(InputError, match=f"{name} is there already: give another name"):
        go(0, True)


def test_several_processes_need_a_file(photos, model, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "place", lambda: (0, 2))
    with pytest.raises(InputError, match="Several processes.*--csv"):
        predict_sources([str(photos)], Outputs(json="-"), model)


@pytest.mark.parametrize(("args", "message"), [
    (["--draw", "photos"], "photos holds what is read"),
    (["--csv", "taken.csv"], "taken.csv is there already"),
    (["--draw", "taken"], "taken is there already"),
    (["--parquet", "o.parquet", "--resume"], "--resume cannot go on with o.parquet"),
    (["--json", "o.json", "--resume"], "--resume cannot go on with o.json"),
    (["--abstain", "2"], "abstain: give a probability"),
    (["--csv", "-"], "--csv -: rows go to a file"),
    (["--csv", "o", "--parquet", "./o"], "o is named for two outputs"),
    (["--gap", "-1", "--csv", "o.csv"], "gap: give seconds"),
    (["--csv", "/dev/null"], "/dev/null is no file"),
])
def test_bad_options_are_one_line(photos, model, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    Path("taken.csv").write_text("mine")
    Path("taken").mkdir()
    Path("taken/file").touch()
    code = predict("photos", *args, model=model)
    assert str(code).startswith("error: ") and message in code and "\n" not in code
    assert sorted(p.name for p in Path().iterdir()) == ["photos", "taken", "taken.csv"]


def test_usage(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["predict"])
    assert exit.value.code == 2
    with pytest.raises(SystemExit, match="(?s)no_such_model"):
        cli.main(["predict", "x.jpg", "--model", "no_such_model"])


def test_inputs_are_not_written_over(photos, model, tmp_path, monkeypatch, capsys):
    """Nor drawings by others, with or without --resume."""
    monkeypatch.chdir(tmp_path)
    Path("other").mkdir()
    Image.fromarray(marked((5, 5, 30))).save("other/0.png")
    before = Path("photos/0.png").read_bytes()
    for options in ((), ("--csv", "o.csv", "--resume")):
        code = predict("photos", "other", "--draw", ".", *options, model=model)
        assert code != 0 and Path("photos/0.png").read_bytes() == before
        assert ". holds what is read" in str(code)
    Path("links").mkdir()
    Path("links/0.png").symlink_to(tmp_path / "other" / "0.png")
    monkeypatch.chdir("links")
    code = predict("0.png", "--draw", "../other", "--csv", "o.csv", "--resume", model=model)
    assert "other/0.png is an input, and would be written over" in str(code)
    monkeypatch.chdir(tmp_path / "other")
    Path("photos").mkdir()
    Path("0.png").rename("photos/0.png")
    said = predict("../photos/0.png", "photos/0.png", "--draw", "d", model=model)
    assert "../photos/0.png and photos/0.png would both be written to" in str(said)


def test_going_on_says_what_is_there_already(photos, model, tmp_path, capsys):
    """So that another folder with the same names is noticed."""
    out = tmp_path / "o.csv"
    predict(photos, "--csv", out, model=model)
    (photos / "sub").rename(tmp_path / "sub")
    capsys.readouterr()
    predict(photos, "--csv", out, "--resume", model=model)
    assert "5 of 5 inputs are done already, and 2 that are not among them" in capsys.readouterr().err


def test_names_as_long_as_the_file_system_bears(photos, model, tmp_path):
    for name in (f"{'a' * 246}.png", f"{'日' * 80}.png"):
        (photos / name).write_bytes((photos / "0.png").read_bytes())
    outputs = ("--csv", tmp_path / "o.csv", "--draw", tmp_path / "d", "--masks", tmp_path / "m")
    assert predict(photos, *outputs, model=model) == 0
    assert len({row["source"] for row in rows_of(tmp_path / "o.csv")}) == 9
    assert sum(path.is_file() for path in (tmp_path / "d").rglob("*")) == 9


def test_results_within_the_folder_are_not_read_again(photos, model, monkeypatch):
    monkeypatch.chdir(photos)
    for _ in range(2):
        assert predict(".", "--draw", "drawn", "--csv", "o.csv", *["--resume"] * _, model=model) == 0
        assert [row["source"] for row in rows_of(Path("o.csv"))] == NAMES


def test_closed_streams_do_not_matter(photos, model, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert predict(photos, "--csv", tmp_path / "o.csv", model=model) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
@pytest.mark.parametrize("buffering", [1, -1])
@pytest.mark.parametrize("args", [[], ["--json"]])
def test_a_full_disk_behind_stdout_is_one_line(photos, model, monkeypatch, args, buffering):
    with open("/dev/full", "w", buffering) as full:
        monkeypatch.setattr(sys, "stdout", full)
        code = predict(photos, *args, model=model)
    assert code == "error: no space left on device. Make room, then run it again."


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read all")
def test_files_that_may_not_be_read(photos, model, tmp_path):
    (photos / "0.png").chmod(0)
    assert predict(photos, "--csv", tmp_path / "o.csv", model=model) == 1
    assert rows_of(tmp_path / "o.csv")[0]["reason"] == "cannot be read: permission denied"
