"""Tests of what is made of files, folders and globs."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from fmpn_timm.inference.sources import Source, frames, list_sources


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "sub/c.webp", "sub/deep/d.tif", "a.mp4", ".git/e.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(*given, leave_out=()) -> list[str]:
    return [source.name for source in list_sources(map(str, given), leave_out)]


def problems(*given) -> dict[str, str]:
    return {source.name: source.problem for source in list_sources(map(str, given)) if source.problem}


def test_one_folder_is_walked_in_order_and_its_pictures_named_within_it(folder):
    expected = ["a.PNG", "a.mp4", "b.jpg", "sub/c.webp", "sub/deep/d.tif"]
    assert names(folder) == names(f"{folder}/") == expected
    assert [s.path for s in list_sources([str(folder)])] == [str(folder / name) for name in expected]
    assert not problems(folder)


def test_several_sources_keep_their_folder_in_the_name(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "b.jpg").touch()
    assert names("photos/sub", "b.jpg") == ["photos/sub/c.webp", "photos/sub/deep/d.tif", "b.jpg"]
    assert names("photos/*.jpg") == ["photos/b.jpg"]
    assert names("pho*/sub") == ["photos/sub/c.webp", "photos/sub/deep/d.tif"]
    assert names("photos/**/*.tif") == ["photos/sub/deep/d.tif"]


def test_a_named_file_is_a_source_whatever_it_is_called(folder):
    assert names(folder / "notes.txt") == [str(folder / "notes.txt")]
    (folder / "[1]*.jpg").touch()
    assert names(folder / "[1]*.jpg") == [str(folder / "[1]*.jpg")]  # a file before it is a glob


def test_nothing_is_said_to_be_nothing(tmp_path, folder):
    assert problems(f"{tmp_path}/*.xyz") == {f"{tmp_path}/*.xyz": "no file matches"}
    (tmp_path / "empty").mkdir()
    assert problems(tmp_path / "empty") == {str(tmp_path / "empty"): "the folder holds no picture and no video"}
    frame, = frames(Source("gone.jpg", str(tmp_path / "gone.jpg")))
    assert frame.picture is None and frame.reason == "no such file"


def test_links_out_of_the_folder_are_not_followed(folder, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.jpg").touch()
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "out.jpg").symlink_to(tmp_path / "secret" / "s.jpg")
    (folder / "in.jpg").symlink_to(folder / "b.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "self").symlink_to(folder / "self")
    listed = names(folder)
    assert listed[:7] == ["a.PNG", "a.mp4", "b.jpg", "gone.jpg", "in.jpg", "out", "out.jpg"] and len(listed) == 9
    found = problems(folder)
    assert set(found) == {"out", "out.jpg"} and "leads out of the folder is not followed: name what" in found["out"]


def test_folders_of_results_are_left_out(folder):
    assert names(folder, leave_out=(folder / "sub", None)) == ["a.PNG", "a.mp4", "b.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_names_are_one_line_of_text(tmp_path):
    for name in (b"\xff.jpg", b"a\nb.jpg", "笑.jpg".encode()):
        (tmp_path / os.fsdecode(name)).touch()
    listed = names(tmp_path)
    assert sorted(listed) == sorted(["\\xff.jpg", "a\\nb.jpg", "笑.jpg"])


def test_a_picture_file_is_one_frame(tmp_path):
    Image.new("RGB", (5, 4), (9, 8, 7)).save(tmp_path / "a.png")
    frame, = frames(Source("a.png", str(tmp_path / "a.png")))
    np.testing.assert_array_equal(frame.picture, np.full((4, 5, 3), (9, 8, 7)))
    assert (frame.name, frame.time, frame.reason) == ("a.png", None, "")


def test_many_files_come_one_by_one(tmp_path):
    for i in range(300):
        (tmp_path / f"{i:04d}.jpg").touch()
    sources = list_sources([str(tmp_path)])
    assert next(sources).name == "0000.jpg" and sum(1 for _ in sources) == 299


def test_cameras_are_numbers_that_are_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(list_sources(["0", "camera:12"])) == [Source("camera:0", "0", kind="camera"),
                                                      Source("camera:12", "12", kind="camera")]
    (tmp_path / "0").touch()
    assert [source.kind for source in list_sources(["0"])] == ["picture"]


def test_heic_is_not_passed_over_in_silence(folder):
    (folder / "IMG_1.HEIC").touch()
    [source] = [s for s in list_sources([str(folder)]) if s.name.endswith("HEIC")]
    assert next(frames(source)).reason == "HEIC is not read: save it as JPEG"


def test_videos_are_known_by_their_names(folder):
    assert {s.name: s.kind for s in list_sources([str(folder)])} == {
        "a.mp4": "video", "a.PNG": "picture", "b.jpg": "picture", "sub/c.webp": "picture",
        "sub/deep/d.tif": "picture"}
