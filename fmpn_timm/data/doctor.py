"""The doctor: is this that data set, and what is missing or odd?

It works for every reader.
"""

import hashlib
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fmpn_timm.errors import InputError

from .classes import EXPRESSIONS, canonical
from .prepare import is_utf8
from .published import Published, published, swapped
from .readers import READERS, read_faces, splits_of
from .readers.image_folder import class_folders
from .readers.layout import PICTURES, WrongRoot
from .samples import FaceSet, Sample
from .splits import fingerprint

__all__ = ["examine", "lines"]

#: Files that systems leave behind, by name; other dotfiles are strays too.
STRAYS = {"thumbs.db": "Thumbs.db", "desktop.ini": "desktop.ini", "__macosx": "__MACOSX"}
AT_ONCE = 4096  # samples handed to the threads at a time


def examine(
        name: str,
        root: str | Path | None = None,
        splits: Sequence[str] | None = None,
        decode: bool = True,
        progress: bool = False,
        threads: int | None = None,
        **options: Any,
) -> dict[str, Any]:
    """Examine a copy of a data set.

    Args:
        name: A name in ``READERS``.
        root: Where the data set lies.
        splits: The splits to look at; None for all.
        decode: Open every picture and look at its landmarks; without it only empty files are found.
        progress: Show how far it is on stderr.
        threads: How many pictures are opened at once; None for one a core, at most eight.
        options: Reader options.

    Returns:
        JSON-serialisable: ``dataset``, ``root``, ``sound`` (there is no problem), ``samples``, ``subjects`` (None if
        the data set does not say), ``per_class``, ``splits`` (samples, counts and reader options of each), ``problems``
        and ``notes``. Both are lists of dicts: ``path``, ``what``, ``mend`` and, if it is about several files,
        ``paths``, all of them. Notes are what does not make a data set unsound: copies of a picture within one split.

    Raises:
        InputError: No such data set, or no root.
    """
    if name not in READERS:
        raise InputError(f"Unknown data set {name!r}: choose one of {', '.join(READERS)}.")
    if root is None and name != "drawn":
        raise InputError(f"Where is {name}? Give its folder.")
    if root is not None and not Path(root).is_dir():
        return _report(name, root, [], [_finding(root, "is not a folder", "Give the folder the data set lies in.")], [])
    faces, problems = [], []
    try:
        of = splits_of(name, root) if splits is None else splits
    except InputError as error:
        return _report(name, root, [], [_from_error(error, root)], [])
    for split in of:
        try:
            faces.append(read_faces(name, root, split, **options))
        except WrongRoot as error:  # of one split as of all
            return _report(name, root, [], [_from_error(error, root)], [])
        except (OSError, ValueError) as error:  # InputError is a ValueError
            problem = _from_error(error, root)
            problems += [problem] if problem not in problems else []
    if not faces:
        return _report(name, root, faces, problems, [])
    notes = []
    whole = [_together(faces)] if splits is None and not problems and len(faces) > 1 else []
    for part in (*faces, *whole):
        problems += _odd_counts(part, root, name == "prepared")
    problems += _odd_subjects(faces)
    if name == "folder":
        problems += _odd_folders(Path(root), faces)
        problems += _loose_pictures(Path(root), of) if splits is None else ()
        notes += _nobody(Path(root), faces)
    looks = list(_look_at_all(faces, decode, progress, threads))
    problems += _odd_pictures(looks)
    if name != "prepared":  # where a picture has a row for each of its faces
        problems += _listed_twice(looks)
    for finding, is_problem in _copies(looks):
        (problems if is_problem else notes).append(finding)
    problems += _strays(root)
    return _report(name, root, faces, problems, notes)


def lines(report: dict[str, Any], at_most: int = 50) -> Iterable[str]:
    """A report for people: a summary, then one line for each problem and note."""
    parts = ", ".join(f"{split} {part['samples']:,}" for split, part in report["splits"].items())
    subjects = "" if report["subjects"] is None else f", {report['subjects']} subjects"
    where = "" if report["root"] is None else f" in {report['root']}"
    n = len(report["problems"])
    state = "sound" if report["sound"] else f"{n} problem{'s' if n > 1 else ''}"
    parts = f" ({parts})" if parts else ""
    yield f"{report['dataset']}{where}: {report['samples']:,} samples{parts}{subjects}; {state}"
    if report["per_class"]:
        yield "  " + ", ".join(f"{name} {n:,}" for name, n in report["per_class"].items())
    for problem in report["problems"][:at_most]:
        yield _line(problem)
    if n > at_most:
        yield f"... and {n - at_most} more: --json lists all."
    for note in report["notes"]:
        yield f"note: {_line(note)}"


def _line(finding: dict[str, Any]) -> str:
    stop = "" if finding["what"].endswith("?") else "."
    return f"{finding['path']}: {finding['what']}{stop} {finding['mend']}"


def _finding(path: Any, what: str, mend: str, paths: Sequence[str] = ()) -> dict[str, Any]:
    return {"path": str(path), "what": what, "mend": mend, **({"paths": list(paths)} if len(paths) > 1 else {})}


def _from_error(error: Exception, path: Any) -> dict[str, Any]:
    """Path, what and mend of a message of the form ``path: what. mend`` or ``path what: mend``."""
    text, path = str(error).strip(), "" if path is None else str(path)
    if isinstance(error, OSError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
    if path and text.startswith(path):  # the path is the longest beginning that exists, or what comes before a space
        ends = [m.start() for m in re.finditer(r"[:,]? |$", text) if m.start() >= len(path)]
        path = max((text[:end] for end in ends if os.path.exists(text[:end])), key=len, default=path)
        path = text[: ends[0]] if len(path) < ends[0] else path
        text = re.sub(r"^[:,]? ", "", text[len(path):])
    sentences = re.split(r"(?<=[.?!]) (?=[A-Z])", text)
    if len(sentences) > 1:
        what, mend = " ".join(sentences[:-1]), sentences[-1]
    else:
        what, _, mend = text.rpartition(": ") if ": " in text else (text, "", "")
    mend = mend or "Compare it with the data set's own description."
    return _finding(path, what.rstrip("."), mend[:1].upper() + mend[1:])


def _report(name: str, root: Any, faces: Sequence[FaceSet], problems: list, notes: list) -> dict[str, Any]:
    counts = Counter()
    for part in faces:
        counts.update(part.per_class())
    subjects = {s.subject for part in faces for s in part.samples} - {None}
    return {
        "dataset": name,
        "root": None if root is None else str(root),
        "sound": not problems,
        "samples": sum(map(len, faces)),
        "subjects": len(subjects) or None,
        "per_class": {e: counts[e] for e in EXPRESSIONS if e in counts},
        "splits": {p.split: {"samples": len(p), "per_class": p.per_class(), "options": p.options} for p in faces},
        "problems": problems,
        "notes": notes,
    }


def _together(faces: Sequence[FaceSet]) -> FaceSet:
    classes = {name for part in faces for name in part.classes}
    samples = tuple(s for part in faces for s in part.samples)
    return replace(faces[0], split="all", classes=tuple(e for e in EXPRESSIONS if e in classes), samples=samples)


def _odd_counts(faces: FaceSet, root: Any, prepared: bool) -> Iterator[dict[str, Any]]:
    """Where the counts are not the published ones; a prepared set lacks the faces that were not found."""
    wanted = () if prepared else published(faces.dataset, faces.split, faces.options)
    how = swapped(faces)
    if how:
        yield _finding(root, f"the codes of {faces.split} are swapped: {how}", "Use the owner's labels unchanged.")
    elif wanted and not any(_agrees(faces, w) for w in wanted):
        want, subjects = wanted[0], len({s.subject for s in faces.samples})
        odd = []
        if want.samples is not None and len(faces) != want.samples:
            odd.append(f"{len(faces):,} samples instead of the published {want.samples:,}")
        odd += [
            f"{n:,} of {name} instead of {(want.per_class or {}).get(name, 0):,}"
            for name, n in faces.per_class().items() if want.per_class and n != want.per_class.get(name, 0)
        ]
        if want.subjects is not None and subjects != want.subjects:
            odd.append(f"{subjects} subjects instead of {want.subjects}")
        fewer = len(faces) < (want.samples or 0) or subjects < (want.subjects or 0)
        more = want.samples is not None and len(faces) > want.samples
        mend = "Use the owner's labels unchanged."
        if fewer:
            mend = "Unpack the data set again: something is missing, or it is another edition."
        elif more:
            mend = "Take away what does not belong to it, unless it is another edition."
        yield _finding(root, f"{faces.split} has {'; '.join(odd)}", mend)


def _agrees(faces: FaceSet, want: Published) -> bool:
    counts = {name: n for name, n in faces.per_class().items() if n}
    return (
        want.samples in (None, len(faces))
        and want.per_class in (None, counts)
        and want.subjects in (None, len({s.subject for s in faces.samples}))
    )


def _odd_subjects(faces: Sequence[FaceSet]) -> Iterator[dict[str, Any]]:
    """Subjects on both sides of a split, and faces of nobody among those of somebody."""
    for one, other in combinations(faces, 2):
        both = ({s.subject for s in one.samples} & {s.subject for s in other.samples}) - {None}
        if both:
            paths = [s.source for s in other.samples if s.subject in both]
            some = ", ".join(sorted(both)[:5]) + (", ..." if len(both) > 5 else "")
            what = f"{len(both)} subject(s) are in {one.split} and in {other.split} ({some})"
            yield _finding(paths[0], what, "Put all pictures of a subject into one split.", paths)
    samples = [s for part in faces for s in part.samples]
    nobody = [s.source for s in samples if s.subject is None]
    if nobody and len(nobody) < len(samples):
        what = f"{len(nobody)} of {len(samples)} samples have no subject, this is the first"
        yield _finding(nobody[0], what, "Name theirs too.", nobody)


def _odd_folders(root: Path, faces: Sequence[FaceSet]) -> Iterator[dict[str, Any]]:
    """Class folders without a picture, and what in them is not read."""
    read = {s.source for part in faces for s in part.samples}
    for part in faces:
        counts = part.per_class()
        for folder in class_folders(root, part.split):
            if not counts.get(canonical(folder.name)):
                yield _finding(folder, "holds no picture", "Fill it, or delete it.")
            others = [str(path) for path in sorted(folder.rglob("*"))
                      if str(path) not in read and path.is_file() and not _is_left_behind(path.relative_to(folder))]
            if others:
                n = len(others) - 1
                more = f", nor {'is 1 other' if n == 1 else f'are {n} others'} of its class" if n else ""
                mend = "Save it as PNG or JPEG if it is one, or remove it."
                yield _finding(others[0], f"is not read as a picture{more}", mend, others)
            linked = [str(path) for path in sorted(folder.rglob("*")) if path.is_symlink() and path.is_dir()]
            if linked:
                what = f"{len(linked)} linked folder(s) are not looked into, this is the first"
                yield _finding(linked[0], what, "Put the folders themselves there.", linked)


def _loose_pictures(root: Path, splits: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Pictures that lie in no class folder of the splits; those of a prepared set are its own."""
    read, loose = {folder for split in splits for folder in class_folders(root, split)}, []
    for folder, folders, files in os.walk(root):
        pictures = (name for name in sorted(files) if Path(name).suffix.lower() in PICTURES and not _stray(name))
        loose += [str(Path(folder, name)) for name in pictures if "prepared.json" not in files]
        inner = (name for name in sorted(folders) if not _stray(name) and Path(folder, name) not in read)
        folders[:] = inner if "prepared.json" not in files else ()
    if loose:
        what = f"{len(loose)} picture(s) in no class folder are not read, this is the first"
        yield _finding(loose[0], what, "Put them into folders of their classes, or elsewhere.", loose)


def _nobody(root: Path, faces: Sequence[FaceSet]) -> Iterator[dict[str, Any]]:
    """A folder without subjects, which folds need and which a held-out part is better with."""
    if all(s.subject is None for part in faces for s in part.samples):
        what = "does not say who is who, so each picture counts as a subject of its own"
        yield _finding(root / "subjects.csv", what, "If a person is in several, say so there (image, subject).")


def _is_left_behind(path: Path) -> bool:
    """Whether a file is hidden or of those that systems leave behind, which are told of elsewhere."""
    return any(part.startswith(".") or part.lower() in STRAYS for part in path.parts)


@dataclass(frozen=True)
class _Look:
    """What one look at a sample found; ``key`` is equal for equal files, None if there is no other of its size."""

    sample: Sample
    split: str
    problem: dict[str, Any] | None = None
    constant: bool = False
    outside: bool = False
    key: Any = None


def _look_at_all(faces: Sequence[FaceSet], decode: bool, progress: bool, threads: int | None) -> Iterator[_Look]:
    todo = [(s, part.split) for part in faces for s in (*part.samples, *part.neutral)]
    sizes = [_size(s.source) for s, _ in todo]
    shared = {size for size, n in Counter(sizes).items() if n > 1 and size}
    threads = min(os.cpu_count() or 1, 8) if threads is None else threads
    bar = tqdm(total=len(todo), desc="pictures", unit="", file=sys.stderr, disable=not progress, leave=False)
    with bar, ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(todo), AT_ONCE):
            some, of = todo[start : start + AT_ONCE], sizes[start : start + AT_ONCE]
            for look in pool.map(lambda job, size: _look_at(*job, size, size in shared, decode), some, of):
                bar.update()
                yield look


def _size(path: str) -> int | None:
    """Size of a file in bytes; None where the source is no file of its own, such as a frame or a row."""
    try:
        return os.path.getsize(path)
    except OSError:
        return None


def _look_at(sample: Sample, split: str, size: int | None, hashed: bool, decode: bool) -> _Look:
    if size == 0:
        problem = _finding(sample.source, "is empty (0 bytes)", "Fetch it again, or remove it and its label.")
        return _Look(sample, split, problem)
    key, constant, outside = None, False, False
    try:
        if hashed:
            with open(sample.source, "rb") as file:
                key = hashlib.blake2b(file.read()).digest()
        if decode:
            picture = sample.picture()
            constant = bool((picture == picture[:1, :1]).all())
            if size is None:
                key = fingerprint(picture)
            outside = sample.landmarks is not None and _outside(sample.landmarks(), picture)
    except InputError as error:
        return _Look(sample, split, _from_error(error, sample.source))
    except Exception as error:  # whatever a decoder throws at a broken file is a finding
        what = f"cannot be read ({type(error).__name__}: {error})"
        return _Look(sample, split, _finding(sample.source, what, "Fetch it again, or remove it and its label."))
    return _Look(sample, split, None, constant, outside, key)


def _outside(landmarks: np.ndarray, picture: np.ndarray) -> bool:
    """Whether a landmark is no number, or further from the picture than half its size."""
    size = np.array(picture.shape[1::-1])
    return not bool(np.isfinite(landmarks).all() and (abs(landmarks - size / 2) <= size).all())


def _odd_pictures(looks: Sequence[_Look]) -> Iterator[dict[str, Any]]:
    yield from (look.problem for look in looks if look.problem)
    constant = [look.sample.source for look in looks if look.constant]
    if constant:
        what = f"{len(constant)} picture(s) of one colour, this is the first"
        yield _finding(constant[0], what, "Leave them out: they show no face.", constant)
    outside = [look.sample.source for look in looks if look.outside]
    if outside:
        what = f"landmarks of {len(outside)} picture(s) lie far outside the picture, this is the first"
        yield _finding(outside[0], what, "Use landmarks and pictures of the same release.", outside)
    odd = [ascii(look.sample.source) for look in looks if not is_utf8(look.sample.source)]
    if odd:
        yield _finding(odd[0], f"{len(odd)} file name(s) are no UTF-8, this is the first", "Rename them.", odd)


def _listed_twice(looks: Sequence[_Look]) -> Iterator[dict[str, Any]]:
    twice = [source for source, n in Counter(look.sample.source for look in looks).items() if n > 1]
    if twice:
        what = f"{len(twice)} picture(s) listed twice, this is the first"
        yield _finding(twice[0], what, "Keep one line for each in the label file.", twice)


def _copies(looks: Sequence[_Look]) -> Iterator[tuple[dict[str, Any], bool]]:
    """Equal files: in two splits (a problem), and within one (a note)."""
    equal = defaultdict(list)
    for look in looks:
        if look.key is not None:
            equal[look.key].append(look)
    between, within = defaultdict(list), defaultdict(list)
    for group in equal.values():
        of_split = defaultdict(list)
        for look in group:
            of_split[look.split].append(look)
        for one, other in combinations(of_split, 2):
            between[one, other] += [(of_split[one][0], look) for look in of_split[other]]
        for split, same in of_split.items():
            if len({look.sample.source for look in same}) > 1:
                within[split].append(same)
    for (one, other), pairs in between.items():
        paths = [b.sample.source for _, b in pairs]
        what = f"{len(pairs)} picture(s) of {other} are in {one} too; this one as {pairs[0][0].sample.source}"
        yield _finding(paths[0], what, f"Leave them out of {one}, or of {other}.", paths), True
    for split, groups in within.items():
        paths = [look.sample.source for same in groups for look in same[1:]]
        unlike = sum(len({look.sample.expression for look in same}) > 1 for same in groups)
        what = f"{len(groups)} picture(s) of {split} are there more than once; this one is {groups[0][0].sample.source}"
        what += f". {unlike} of them have more than one label" if unlike else ""
        yield _finding(paths[0], what, "Keep one of each, if you like.", paths), False


def _strays(root: str | Path | None) -> Iterator[dict[str, Any]]:
    """Files and folders that systems leave behind, one finding for each kind."""
    found = defaultdict(list)
    for folder, folders, files in os.walk(root) if root is not None else ():
        for name in (*folders, *files):
            kind = _stray(name)
            if kind:
                found[kind].append(os.path.join(folder, name))
        folders[:] = sorted(name for name in folders if not _stray(name))
    for kind, paths in sorted(found.items()):
        what = f"{len(paths)} stray {kind}{', this is the first' if len(paths) > 1 else ''}"
        yield _finding(min(paths), what, "Delete them." if len(paths) > 1 else "Delete it.", sorted(paths))


def _stray(name: str) -> str | None:
    """What kind of stray file it is, if it is one."""
    if name.lower() in STRAYS:
        return STRAYS[name.lower()]
    if name.startswith("._"):
        return "AppleDouble file (._*)"
    if name.startswith("."):
        return name if name in (".DS_Store", ".git", ".ipynb_checkpoints") else "dotfile"
    return None
