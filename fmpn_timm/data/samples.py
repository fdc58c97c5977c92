"""A sample is one face picture with what is known about it; a face set is the samples of one split of a data set."""

import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image

from fmpn_timm.errors import InputError
from fmpn_timm.faces.recipe import Recipe

__all__ = ["FORMATS", "FaceSet", "Sample", "decode_picture", "read_picture", "relative_source"]

#: The formats that are opened, as Pillow calls them.
FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
#: What sets a picture upright, by its EXIF orientation.
TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
         5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
         8: Image.Transpose.ROTATE_90}
OPENING = threading.Lock()  # Python's filter of warnings is one for all threads


@dataclass(frozen=True)
class Sample:
    """One face.

    Attributes:
        source: Where it came from, a path or the recipe of a drawn face. Names the sample in messages and results.
        picture: Loads the face, RGB uint8 (H, W, 3).
        expression: Canonical class name.
        subject: Who it is, or None where the data set does not say.
        sequence: Which recording of the subject, if any.
        frame: Position in the sequence, if any.
        votes: Share of the raters' votes for each class of the face set, summing to 1, if known.
        landmarks: Loads the landmarks the data set gives, (5, 2) pixels (x, y) of the picture, in the order of
            ``fmpn_timm.faces.REFERENCE_LANDMARKS``; None where it gives none.
    """

    source: str
    picture: Callable[[], np.ndarray]
    expression: str
    subject: str | None = None
    sequence: str | None = None
    frame: int | None = None
    votes: tuple[float, ...] | None = None
    landmarks: Callable[[], np.ndarray] | None = None

    @property
    def role(self) -> str:
        return "neutral" if self.expression == "neutral" else "expressive"


@dataclass(frozen=True)
class FaceSet:
    """The samples of one split.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        classes: Canonical class names; their order is the order of labels.
        samples: The samples.
        options: What else decided which samples these are (label rule, seed, ...), JSON-serialisable, for the record.
        neutral: Neutral faces of the same subjects that are no samples of the protocol: references for prior masks and
            for de-expression.
        recipe: How the faces were aligned, or how a photo is cut so that its face lies as in the data set's own
            pictures; None if that is not known.
    """

    dataset: str
    split: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    options: dict[str, Any] = field(default_factory=dict)
    neutral: tuple[Sample, ...] = ()
    recipe: Recipe | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def per_class(self) -> dict[str, int]:
        """Number of samples of each class, in class order."""
        count = Counter(s.expression for s in self.samples)
        return {name: count[name] for name in self.classes}

    def neutral_by_subject(self) -> dict[str, Sample]:
        """The one neutral face that stands for each subject: the first reference, else the first neutral sample."""
        found = {}
        for sample in (*self.neutral, *self.samples):
            if sample.role == "neutral" and sample.subject is not None:
                found.setdefault(sample.subject, sample)
        return found

    def paired(self) -> "FaceSet":
        """The samples whose subject has a neutral face, neutral ones among them; that face is their reference."""
        neutral = self.neutral_by_subject()
        samples = tuple(s for s in self.samples if s.subject in neutral)
        return replace(self, samples=samples, neutral=tuple(neutral.values()))

    def joined(self, other: "FaceSet") -> "FaceSet":
        """This set followed by another's samples and references, in this one's color.

        ``options`` says so (``also``). Subjects of the other are renamed: two data sets may call two people the same.

        Raises:
            InputError: The other has classes that this one lacks.
        """
        if extra := set(other.classes) - set(self.classes):
            raise InputError(f"{other.dataset} has classes that {self.dataset} lacks: {', '.join(sorted(extra))}.")
        before = self.options.get("also", [])

        def joining(sample: Sample) -> Sample:
            if sample.subject is not None:
                sample = replace(sample, subject=f"also {len(before) + 1}: {sample.subject}")
            if other.classes != self.classes and sample.votes:  # they go by the order of the classes
                sample = replace(sample, votes=_reordered(sample.votes, other.classes, self.classes))
            if self.recipe is not None and self.recipe.color == "grey":
                sample = replace(sample, picture=partial(_colored, self.recipe, sample.picture))
            return sample

        record = {"dataset": other.dataset, "split": other.split, "samples": len(other), **other.options}
        return replace(
            self,
            samples=(*self.samples, *map(joining, other.samples)),
            neutral=(*self.neutral, *map(joining, other.neutral)),
            options={**self.options, "also": [*before, record]},
        )

    def where(self, keep: Callable[[Sample], bool], split: str | None = None) -> "FaceSet":
        """The samples, and neutral references, for which ``keep`` is true."""
        samples, neutral = (tuple(s for s in of if keep(s)) for of in (self.samples, self.neutral))
        return replace(self, samples=samples, neutral=neutral, split=self.split if split is None else split)


def _reordered(votes: tuple[float, ...], classes: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[float, ...]:
    by_name = dict(zip(classes, votes, strict=True))
    return tuple(by_name.get(name, 0.0) for name in wanted)


def _colored(recipe: Recipe, picture: Callable[[], np.ndarray]) -> np.ndarray:
    return recipe.colored(picture())


def relative_source(source: str, root: str | Path | None) -> str:
    """A sample's source relative to the folder of its data set, so that no file names a machine's folders."""
    return source if root is None else source.removeprefix(f"{str(Path(root)).rstrip('/')}/")


def read_picture(path: str | Path) -> np.ndarray:
    """Read a picture file as RGB uint8 (H, W, 3), see ``decode_picture``.

    Raises:
        InputError: The file is missing, or ``decode_picture`` refuses it.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} is missing: check the path, or unpack the data again.")
    try:
        return decode_picture(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def decode_picture(file: str | Path | BinaryIO | Image.Image) -> np.ndarray:
    """Decode a picture as RGB uint8 (H, W, 3), upright as its EXIF data says; of an animated one the first frame.

    Grey, palette and CMYK pictures become RGB, 16 bits of grey become 8 (values that all fit into 8 stay), and of
    colours with an alpha channel the alpha is dropped. Only ``FORMATS`` are opened: Pillow hands some others to
    programs outside. Threads may share it.

    Args:
        file: A path, an open file, or what Pillow has opened.

    Raises:
        InputError: No picture can be decoded from it, or it has more pixels than is safe
            (``PIL.Image.MAX_IMAGE_PIXELS``, 89 million). The message names no file.
    """
    try:
        opened = nullcontext(file) if isinstance(file, Image.Image) else _open(file)
        with opened as picture:
            limit = Image.MAX_IMAGE_PIXELS
            if limit and picture.width * picture.height > limit:
                raise Image.DecompressionBombError
            picture.load()
            picture = _upright(picture)
    except Image.DecompressionBombError as error:
        limit = f"{Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        raise InputError(f"more than {limit}. Shrink it, or leave it out.") from error
    except Exception as error:  # Pillow's decoders raise all kinds on broken and truncated files
        size = f" ({_size(file)} bytes)" if not isinstance(file, Image.Image) else ""
        raise InputError(f"broken picture{size}. Fetch it again, or leave it out.") from error
    try:
        return _rgb(picture)
    except ValueError as error:
        mend = "Save it as RGB, or as grey of 8 or 16 bits."
        raise InputError(f"pixels of kind {picture.mode} cannot be shown as RGB. {mend}") from error


def _open(file: str | Path | BinaryIO) -> Image.Image:
    """What Pillow says of a file from its header, without its warning of many pixels."""
    with OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        Image.init()
        formats = [name for name in FORMATS if name in Image.OPEN]  # Pillow may have been built without some
        return Image.open(file, formats=formats)


def _upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its EXIF data say; data that cannot be read say nothing."""
    try:  # Pillow's exif_transpose writes all other tags anew, and falls over those of a wrong type
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation))
    except Exception:
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _size(file: str | Path | BinaryIO) -> int:
    return Path(file).stat().st_size if isinstance(file, (str, Path)) else file.seek(0, os.SEEK_END)


def _rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16 bits of grey; convert() would clip them at 255
        values = np.array(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("integers beyond 16 bits have no known range")
        eight = values.max() <= 255  # kept in 16 by mistake, as some programs do
        grey = np.round(values / (1 if eight else 257)).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.mode == "F":
        raise ValueError("real numbers have no known range")
    if picture.mode in ("P", "PA"):  # Pillow wants palettes with transparency to go by way of RGBA
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"))
