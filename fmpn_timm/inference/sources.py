"""From what was given on the command line to the pictures in it, in a stable order, and what cannot be read."""

import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .pictures import Unreadable, as_picture

__all__ = ["PICTURES", "Frame", "Source", "frames", "list_sources"]

#: Files of a folder that are pictures.
PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
            ".pbm", ".pnm", ".jp2", ".avif")


class Source(NamedTuple):
    """One input.

    Attributes:
        name: What rows call it.
        path: Where it is.
        problem: Why it is not read; empty if it is to be read.
    """

    name: str
    path: str
    problem: str = ""


class Frame(NamedTuple):
    """A picture of a source.

    Attributes:
        name: What rows call it.
        time: When it is shown, in seconds, if it is of a video.
        picture: RGB uint8 (H, W, 3); None if it cannot be read.
        reason: Why not.
    """

    name: str
    time: float | None = None
    picture: np.ndarray | None = None
    reason: str = ""


def list_sources(given: Iterable[str], leave_out: Collection[str | Path | None] = ()) -> Iterator[Source]:
    """Expand files, folders and globs.

    Folders are walked in the order of names, files before folders; hidden files and files that are no ``PICTURES`` are
    not listed. A link out of a folder is not followed, nor one to a folder. The pictures of a folder are named relative
    to it; where more than one source is given, that folder's name, as given, comes before.

    Args:
        given: Paths and globs (``**`` for folders within folders).
        leave_out: Folders that are not walked, since results are written to them.

    Yields:
        Every picture, and a source with a problem for what is missing, empty or not followed.
    """
    given = list(given)
    out = {os.path.realpath(folder) for folder in leave_out if folder is not None}
    for text in given:
        paths = [text]
        if not os.path.lexists(text) and glob.has_magic(text):
            paths = sorted(glob.iglob(text, recursive=True))
            if not paths:
                yield Source(_name(text), text, "no file matches")
        alone = len(given) == 1 and paths == [text]
        for path in paths:
            if not os.path.isdir(path):
                yield Source(_name(path), path)
                continue
            empty = True
            for source in _walk(path, os.path.realpath(path), "" if alone else path, out):
                empty = False
                yield source
            if empty:
                yield Source(_name(path), path, "the folder holds no picture")


def frames(source: Source) -> Iterator[Frame]:
    """The pictures of a source: one of a picture file. What else has pictures, such as a video, is to be read here.

    A source that cannot be read gives one frame that says why.
    """
    if source.problem:
        yield Frame(source.name, reason=source.problem)
        return
    try:
        yield Frame(source.name, picture=as_picture(source.path))
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
        picture = os.path.splitext(entry.name)[1].lower() in PICTURES
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            inside = target == root or target.startswith(os.path.join(root, ""))
            if not inside and (picture or entry.is_dir()):
                yield Source(_name(name), entry.path, "a link that leads out of the folder is not followed")
            elif inside and picture and not entry.is_dir():
                yield Source(_name(name), entry.path)
        elif entry.is_dir():
            below.append((entry.path, name))
        elif picture:
            yield Source(_name(name), entry.path)
    for path, name in below:
        if os.path.realpath(path) not in out:
            yield from _walk(path, root, name, out)


def _name(path: str) -> str:
    """A path as one line of text that every encoding can write, whatever bytes the file system holds."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda control: control[0].encode("unicode_escape").decode(), text)
