"""Protocols: which samples, which classes and which folds a published figure stands on.

The FMPN authors' ten folds of CK+ and MMI (https://github.com/donydchen/FMPN-FER, MIT) follow a rule that reproduces
their lists exactly: subjects in ascending order are cut into ten consecutive parts at ``round(i * n / 10)``, and the
parts are numbered from the last to the first: fold 0 tests the last subjects.
"""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmpn_timm.errors import InputError

from .classes import EXPRESSIONS
from .readers import READERS, read_faces
from .samples import FaceSet
from .splits import subject_folds

__all__ = ["PROTOCOLS", "Fold", "Protocol", "file_names", "get_protocol"]

SEVEN = tuple(name for name in EXPRESSIONS if name != "neutral")
SIX = tuple(name for name in SEVEN if name != "contempt")
SIX_AND_NEUTRAL = ("neutral", *SIX)

OF_FMPN = "Chen et al., Facial Motion Prior Networks for Facial Expression Recognition, VCIP 2019 (arXiv:1902.08788)"
OF_DERL = "Yang et al., Facial Expression Recognition by De-expression Residue Learning, CVPR 2018"
OF_FN2EN = "Ding et al., FaceNet2ExpNet, FG 2017 (arXiv:1609.06591)"


@dataclass(frozen=True)
class Fold:
    """One fold: nobody in ``test`` is in ``train`` or ``valid``.

    Attributes:
        train: Samples to learn from, and their neutral references: prior masks are made of these alone.
        test: Samples to report on; None only where splits stand for a fold and none of them is for that.
        valid: Samples to choose on, where the protocol has any.
    """

    train: FaceSet
    test: FaceSet | None
    valid: FaceSet | None = None


@dataclass(frozen=True)
class Protocol:
    """Which samples of a data set, which classes and which folds.

    Attributes:
        name: Its name among the protocols of the data set.
        dataset: A name in ``READERS``.
        source: Who published it.
        classes: Canonical class names, in canonical order; empty for those that the data have.
        options: What its reader is told.
        rule: How folds are made: ``subjects``, parts of nearly as many subjects each; ``one subject``, each a fold of
            its own; ``official``, as the data set says.
        number: Number of folds; None for as many as there are subjects.
        numbering: ``ascending`` if fold 0 tests the first subjects in alphabetical order, ``descending`` if the last.
    """

    name: str
    dataset: str
    source: str
    classes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    rule: str = "subjects"
    number: int | None = 10
    numbering: str = "ascending"

    def read(self, root: str | Path | None = None, **options: Any) -> FaceSet:
        """Read the samples; ``options`` take the place of the protocol's own.

        Raises:
            InputError: What the reader says of the data.
        """
        return read_faces(self.dataset, root, "all", **{**self.options, **options})

    def cut(self, faces: FaceSet) -> dict[int, Fold]:
        """The folds of a face set, by number.

        Raises:
            InputError: The faces are of another data set or other classes, a sample has no subject, or there are too
                few subjects.
        """
        if faces.dataset != self.dataset or (self.classes and faces.classes != self.classes):
            raise InputError(
                f"Protocol {self.name} is for {self.dataset} with {', '.join(self.classes) or 'any class'}; these are "
                f"faces of {faces.dataset} with {', '.join(faces.classes)}. Name another protocol, or leave "
                "the options that change the classes."
            )
        if self.rule == "official":
            return {n: _official_fold(faces, n) for n in range(self.number)}
        nobody = next((s for s in faces.samples if s.subject is None), None)
        if nobody is not None:
            mend = ", in a table subjects.csv (image, subject)" if faces.dataset == "folder" else ""
            raise InputError(f"{nobody.source} has no subject, and folds keep subjects apart. Say who is who{mend}.")
        subjects = len({s.subject for s in faces.samples})
        number = self.number or max(subjects, 2)
        if subjects < number:
            fewer = [p.name for p in PROTOCOLS.get(self.dataset, {}).values() if p.number is None and subjects > 1]
            mend = f"Take --protocol {fewer[0]}" if fewer else "Give data of more"
            raise InputError(f"{subjects} subject(s) cannot make {number} folds. {mend}.")
        parts = subject_folds(faces.samples, number)
        parts = parts if self.numbering == "ascending" else parts[::-1]
        return {n: _subject_fold(faces, set(part), n) for n, part in enumerate(parts)}


def _subject_fold(faces: FaceSet, tested: set[str], n: int) -> Fold:
    return Fold(
        train=faces.where(lambda s: s.subject not in tested, split=f"fold {n} train"),
        test=faces.where(lambda s: s.subject in tested, split=f"fold {n} test"),
    )


def _official_fold(faces: FaceSet, n: int) -> Fold:
    """The reader says in ``Sample.sequence`` which part each fold puts a face in, see ``read_tfd``."""
    train, test, valid = (
        faces.where(lambda s, part=part: (s.sequence or "").split("/")[n : n + 1] == [part], split=f"fold {n} {part}")
        for part in ("train", "test", "valid")
    )
    if not train.samples or not test.samples:
        raise InputError(f"{faces.dataset}: fold {n} has no face to train or none to test on. Read all of the data.")
    return Fold(train, test, valid)


def _by_name(*protocols: Protocol) -> dict[str, dict[str, Protocol]]:
    found = {}
    for protocol in protocols:
        found.setdefault(protocol.dataset, {})[protocol.name] = protocol
    return found


#: The protocols of each data set, by name; the first is the one that is meant unless another is named. How many samples
#: they give of complete data, ``PUBLISHED`` says.
PROTOCOLS = _by_name(
    Protocol("fmpn", "ckplus", OF_FMPN, SEVEN, {"classes": 7, "frames": 3}, numbering="descending"),
    Protocol("fn2en-8", "ckplus", OF_FN2EN, EXPRESSIONS, {"classes": 8, "frames": 3}, numbering="descending"),
    Protocol("fn2en-6", "ckplus", OF_FN2EN, SIX, {"classes": 6, "frames": 3}, numbering="descending"),
    Protocol("fmpn", "mmi", OF_FMPN, SIX, {"sequences": "published", "frames": 3}, numbering="descending"),
    Protocol("vl-strong", "oulu_casia", f"{OF_FN2EN}; {OF_DERL}", SIX,
             {"light": "VL", "strength": "Strong", "frames": 3}),
    Protocol("derl", "bu3dfe", OF_DERL, SIX, {"classes": 6, "levels": [3, 4]}),
    Protocol("derl", "bp4d", OF_DERL, SIX, {"edition": "plus"}),
    Protocol("ten-folds", "bu4dfe", "subjects in ascending order, ten folds", SIX),
    Protocol("one-subject-out", "jaffe", "Lyons et al., Coding Facial Expressions with Gabor Wavelets, FG 1998",
             SIX_AND_NEUTRAL, {"classes": 7}, rule="one subject", number=None),
    Protocol("official", "tfd", f"Susskind et al., The Toronto Face Database, 2010; {OF_FN2EN}", SIX_AND_NEUTRAL,
             rule="official", number=5),
    Protocol(
        "hard", "ict", "subjects in ascending order, ten folds; weak expressions, patches, blur, noise",
        SEVEN,
        {"subjects": 100, "takes": 3, "size": 72, "seed": 1, "classes": 7, "scene": "subject", "pose": 2.0,
         "light": 2.0, "jitter": 0.02, "intensity": [0.2, 0.7], "occlude": 0.4, "blur": 0.015, "noise": 16.0},
    ),
    Protocol("ten-folds", "ict", "subjects in ascending order, ten folds"),
    Protocol("ten-folds", "folder", "subjects in ascending order, ten folds"),
    Protocol("one-subject-out", "folder", "each subject a fold of its own", rule="one subject", number=None),
    Protocol("ten-folds", "drawn", "subjects in ascending order, ten folds"),
)


def get_protocol(dataset: str, name: str | None = None) -> Protocol:
    """A protocol of a data set; the first, if none is named.

    Raises:
        InputError: There is no such data set or protocol.
    """
    if dataset not in READERS:
        raise InputError(f"Unknown data set {dataset!r}: choose one of {', '.join(READERS)}.")
    if dataset not in PROTOCOLS:
        raise InputError(
            f"{dataset} has no protocol with folds: use its own splits. Those that have: {', '.join(PROTOCOLS)}."
        )
    protocols = PROTOCOLS[dataset]
    name = name or next(iter(protocols))
    if name not in protocols:
        raise InputError(f"{dataset} has no protocol {name!r}: choose one of {', '.join(protocols)}.")
    return protocols[name]


def file_names(sources: Iterable[str]) -> dict[str, str]:
    """File name of each sample by its source; paths from the folder they share where names are met twice."""
    # A frame of a video, or of an archive, is named behind a colon: video.avi:S050_003_030.png.
    names = {source: Path(source.replace(":", "/")).name for source in sources}
    if max(Counter(names.values()).values(), default=0) <= 1:
        return names
    shared = os.path.commonpath([Path(source).parent for source in names])
    return {source: Path(source).relative_to(shared).as_posix() for source in names}
