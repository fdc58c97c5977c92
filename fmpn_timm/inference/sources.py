"""From what was given on the command line to the pictures and frames in it, in order, and what cannot be read."""

import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .endings import HEIC, NO_HEIC, PICTURES, VIDEOS
from .pictures import Unreadable, as_picture
from .video import read_camera, read_video

__all__ = ["Frame", "Source", "frames", "list_sources"]

CAMERA = re.compile(r"(?:camera:)?(\d{1,3})")


class Source(NamedTuple):
    """One input.

    Attributes:
        name: What rows call it.
        path: Where it is.
        problem: Why it is not read; empty if it is to be read.
        kind: ``picture``, ``video`` or ``camera``.
    """

    name: str
    path: str
    problem: str = ""
    kind: str = "picture"


class Frame(NamedTuple):
    """A picture of a source.

    Attributes:
        name: What rows call the source.
        time: When it is shown, in seconds, if it is of a video.
        picture: RGB uint8 (H, W, 3); None if it cannot be read.
        reason: Why not.
        number: Its place in the video, from 0; None for a picture.
    """

    name: str
    time: float | None = None
    picture: np.ndarray | None = None
    reason: str = ""
    number: int | None = None


def list_sources(given: Iterable[str], leave_out: Collection[str | Path | None] = ()) -> Iterator[Source]:
    """Expand files, folders, globs and cameras.

    Folders are walked in the order of names, files before folders; hidden files and files that are neither
    ``PICTURES`` nor ``VIDEOS`` are not listed. A link out of a folder is not followed, nor one to a folder. What a
    folder holds is named relative to it; where more than one source is given, that folder's name, as given, comes
    before. A number that is no file, or ``camera:`` and a number, is a camera.

    Args:
        given: Paths, globs (``**`` for folders within folders) and cameras.
        leave_out: Folders that are not walked, since results are written to them.

    Yields:
        Every picture, video and camera, and a source with a problem for what is missing, empty or not followed.
    """
    given = list(given)
    out = {os.path.realpath(folder) for folder in leave_out if folder is not None}
    for text in given:
        camera = CAMERA.fullmatch(text)
        if camera and not os.path.lexists(text):
            yield Source(f"camera:{int(camera[1])}", camera[1], kind="camera")
            continue
        paths = [text]
        if not os.path.lexists(text) and glob.has_magic(text):
            paths = sorted(glob.iglob(text, recursive=True))
            if not paths:
                yield Source(_name(text), text, "no file matches")
        alone = len(given) == 1 and paths == [text]
        for path in paths:
            if not os.path.isdir(path):
                yield _file(_name(path), path)
                continue
            empty = True
            for source in _walk(path, os.path.realpath(path), "" if alone else path, out):
                empty = False
                yield source
            if empty:
                yield Source(_name(path), path, "the folder holds no picture and no video")


def frames(source: Source) -> Iterator[Frame]:
    """The pictures of a source: one of a picture file, those of a video or camera one by one.

    A source that cannot be read gives one frame that says why; a video that breaks off gives it after its others.
    """
    if source.problem:
        yield Frame(source.name, reason=source.problem)
        return
    try:
        if source.kind == "picture":
            yield Frame(source.name, picture=as_picture(source.path))
            return
        moving = read_camera(int(source.path)) if source.kind == "camera" else read_video(source.path)
        for number, time, picture in moving:
            yield Frame(source.name, time, picture, number=number)
    except Unreadable as error:
        yield Frame(source.name, reason=str(error))


def _walk(folder: str, root: str, prefix: str, out: Collection[str]) -> Iterator[Source]:
    try:
        with os.scandir(folder) as entries:
            entries = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        yield Source(_name(prefix or folder), folder, (error.strerror or "cannot be listed").lower())
        return
    below = []
    for entry in entries:
        name = os.path.join(prefix, entry.name)
        picture = entry.name.lower().endswith(PICTURES + VIDEOS)
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            inside = target == root or target.startswith(os.path.join(root, ""))
            if not inside and (picture or _is_folder(entry)):
                problem = "a link that leads out of the folder is not followed: name what it leads to"
                yield Source(_name(name), entry.path, problem)
            elif inside and picture and not _is_folder(entry):
                yield _file(_name(name), entry.path)
        elif _is_folder(entry):
            below.append((entry.path, name))
        elif picture:
            yield _file(_name(name), entry.path)
    for path, name in below:
        if os.path.realpath(path) not in out:
            yield from _walk(path, root, name, out)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into what may not be read
        return False


def _file(name: str, path: str) -> Source:
    if path.lower().endswith(HEIC):
        return Source(name, path, NO_HEIC)
    return Source(name, path, kind="video" if path.lower().endswith(VIDEOS) else "picture")


def _name(path: str) -> str:
    """A path as one line of text that every encoding can write, whatever bytes the file system holds."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda control: control[0].encode("unicode_escape").decode(), text)
