"""How many samples each data set has by its publication, as data, and what that says about a copy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmpn_timm.errors import InputError

from .classes import EXPRESSIONS
from .samples import FaceSet

__all__ = ["PUBLISHED", "Published", "published", "refuse_swapped", "swapped"]


@dataclass(frozen=True)
class Published:
    """The published size of one split.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split; ``all`` for all of its splits together.
        samples: Number of samples, if published.
        per_class: Number of samples of each class, if published.
        subjects: Number of subjects, if published.
        options: Reader options under which the numbers hold.
    """

    dataset: str
    split: str
    samples: int | None = None
    per_class: Mapping[str, int] | None = None
    subjects: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def _each(*counts: int) -> dict[str, Any]:
    """Counts in the order of ``EXPRESSIONS``; 0 is no class of the data set."""
    per_class = {name: n for name, n in zip(EXPRESSIONS, counts, strict=False) if n}
    return {"samples": sum(counts), "per_class": per_class}


#: Several lines for one split are alternatives, the first being the one to name. Sources: the data sets' own papers and
#: read-me files. Three frames of a labelled CK+ sequence (45 anger, 18 contempt, 59 disgust, 25 fear, 69 happiness, 28
#: sadness, 83 surprise) and of an Oulu-CASIA one (80 a class) are samples.
PUBLISHED = (
    # neutral, happiness, surprise, sadness, anger, disgust, fear, contempt
    Published("affectnet", "train", **_each(74874, 134415, 14090, 25459, 24882, 3803, 6378, 3750),
              options={"classes": 8, "per_class": None}),
    Published("affectnet", "train", **_each(74874, 134415, 14090, 25459, 24882, 3803, 6378),
              options={"classes": 7, "per_class": None}),
    Published("affectnet", "valid", **_each(*8 * [500]), options={"classes": 8, "per_class": None}),
    # as its newer packing comes
    Published("affectnet", "valid", **_each(*7 * [500], 499), options={"classes": 8, "per_class": None}),
    Published("affectnet", "valid", **_each(*7 * [500]), options={"classes": 7, "per_class": None}),
    Published("bp4d", "all", subjects=140, options={"edition": "plus"}),
    Published("bu3dfe", "all", **_each(0, *6 * [200]), subjects=100, options={"classes": 6, "levels": [3, 4]}),
    Published("bu3dfe", "all", subjects=100),
    Published("bu4dfe", "all", subjects=101),
    Published("ckplus", "all", **_each(0, 207, 249, 84, 135, 177, 75, 54), subjects=118,
              options={"classes": 7, "frames": 3}),
    Published("ckplus", "all", **_each(327, 207, 249, 84, 135, 177, 75, 54), subjects=118,
              options={"classes": 8, "frames": 3}),
    Published("ckplus", "all", **_each(0, 207, 249, 84, 135, 177, 75), options={"classes": 6, "frames": 3}),
    Published("fer2013", "train", **_each(4965, 7215, 3171, 4830, 3995, 436, 4097)),
    Published("fer2013", "valid", **_each(607, 895, 415, 653, 467, 56, 496)),
    Published("fer2013", "test", **_each(626, 879, 416, 594, 491, 55, 528)),
    Published("ferplus", "train", samples=25060, options={"rule": "majority"}),
    Published("ferplus", "valid", samples=3199, options={"rule": "majority"}),
    Published("ferplus", "test", samples=3153, options={"rule": "majority"}),
    Published("ferplus", "train", samples=28389, options={"rule": "argmax"}),
    Published("ferplus", "valid", samples=3553, options={"rule": "argmax"}),
    Published("ferplus", "test", samples=3546, options={"rule": "argmax"}),
    Published("jaffe", "all", **_each(30, 31, 30, 31, 30, 29, 32), subjects=10, options={"classes": 7}),
    Published("mmi", "all", samples=624, subjects=31, options={"sequences": "published", "frames": 3}),
    Published("oulu_casia", "all", **_each(0, *6 * [240]), subjects=80, options={"frames": 3}),
    Published("rafdb", "train", **_each(2524, 4772, 1290, 1982, 705, 717, 281)),
    Published("rafdb", "test", **_each(680, 1185, 329, 478, 162, 160, 74)),
    Published("sfew", "train", **_each(150, 198, 96, 172, 178, 66, 98)),
    Published("sfew", "valid", **_each(86, 73, 57, 73, 77, 23, 47)),
    Published("tfd", "all", samples=4178),
)


def published(dataset: str, split: str, options: Mapping[str, Any]) -> tuple[Published, ...]:
    """What was published of a split read under these options; one that the reader does not name counts as met."""
    return tuple(
        p for p in PUBLISHED
        if (p.dataset, p.split) == (dataset, split) and all(options.get(k, v) == v for k, v in p.options.items())
    )


def swapped(faces: FaceSet) -> str | None:
    """How the classes are swapped, if their counts are the published ones under other names."""
    have = faces.per_class()
    for want in (p.per_class for p in published(faces.dataset, faces.split, faces.options)):
        if want and have != want and sorted(have.values()) == sorted(want.values()):
            names = {n: [o for o in want if want[o] == have[n]] for n in have if have[n] != want.get(n)}
            return "; ".join(f"{name} has the {have[name]} of {' or '.join(of)}" for name, of in names.items())
    return None


def refuse_swapped(faces: FaceSet, labels: Path) -> None:
    """Refuse a complete split whose counts belong to other classes.

    Raises:
        InputError: The counts are the published ones under other names; the message says which.
    """
    how = swapped(faces)
    if how:
        raise InputError(f"{labels}: the codes are swapped, {how}. Use the owner's label file and codes unchanged.")
