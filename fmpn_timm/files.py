"""Files that appear under their name only when they are complete, their checksums, and paths that others may see."""

import errno
import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from .errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FULL", "os_errors", "partial_name", "portable", "save_figure", "sha256", "whole", "write_json",
           "write_text"]

#: Fonts that have the letters which matplotlib's lacks, on Linux, macOS and Windows.
FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "IPAGothic", "Arial Unicode MS", "Hiragino Sans",
         "Yu Gothic", "Microsoft YaHei", "Malgun Gothic")
#: Numbers of the errors of a disk that has no room.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def partial_name(path: str | Path) -> Path:
    """What a file or folder is called until it is complete: a hidden name in the same folder."""
    path = Path(path)
    return path.with_name(f".{path.name}.partial")


@contextmanager
def os_errors(path: str | Path) -> Iterator[None]:
    """Raise what safetensors cannot write as the ``OSError`` that it is; its own error is no subclass of that."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A name to write under: the file becomes ``path`` when the block ends, and goes if the block fails.

    The folder is made if there is none. Where ``path`` is a link, the file that it leads to is written.

    Raises:
        OSError: It cannot be written, or is a device or pipe.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is no file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    try:
        with os_errors(path):
            yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file, indented, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def save_figure(figure: "Figure", path: str | Path, dpi: int = 110) -> None:
    """Write a figure as a picture of the kind that its suffix says, whole or not at all.

    One of tight layout grows where a title or label is wider than it. Letters that matplotlib's font lacks are taken
    from one of ``FONTS``; where none is installed they become boxes.

    Raises:
        InputError: matplotlib writes no such pictures, or the file cannot be written.
    """
    from matplotlib.font_manager import fontManager
    from matplotlib.layout_engine import TightLayoutEngine
    from matplotlib.text import Text

    installed = fontManager.get_font_names()
    fonts = [font for font in FONTS if font in installed]
    for text in figure.findobj(Text):
        text.set_fontfamily([*text.get_fontfamily(), *fonts])
    try:
        with whole(path) as partial, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            grown = "tight" if isinstance(figure.get_layout_engine(), TightLayoutEngine) else None
            figure.savefig(partial, dpi=dpi, format=Path(path).suffix[1:] or "png", bbox_inches=grown)
    except ValueError as error:
        raise InputError(f"{path}: {error}. Name it .png.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}.") from error


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def portable(node: Any) -> Any:
    """A JSON value without this machine's paths: of an absolute path its last part stays, of a run its name."""
    if isinstance(node, dict):
        return {key: portable(value) for key, value in node.items()}
    if isinstance(node, list):
        return [portable(value) for value in node]
    if not isinstance(node, str):
        return node
    if "local-dir:" in node and "," in node:  # several teachers
        return ",".join(map(portable, node.split(",")))
    if node.startswith("local-dir:"):
        parts = Path(node.removeprefix("local-dir:")).parts
        return f"local-dir:runs/{parts[-2]}/model" if parts[-1:] == ("model",) and parts[1:] else "local-dir:FOLDER"
    absolute = PurePosixPath(node).is_absolute() or PureWindowsPath(node).is_absolute() or node.startswith("~")
    return PureWindowsPath(node).name if absolute else node
