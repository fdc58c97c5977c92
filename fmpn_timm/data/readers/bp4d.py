"""BP4D-Spontaneous and BP4D+: spontaneous expressions, called forth by tasks; the task is the label.

Zhang et al., `BP4D-Spontaneous: a high-resolution spontaneous 3D dynamic facial expression database`, Image and Vision
Computing 2014 (41 subjects, eight tasks); Zhang et al., `Multimodal spontaneous emotion corpus for human behavior
analysis`, CVPR 2016 (BP4D+, 140 subjects, ten tasks). The two number their tasks differently. Layout:
``2D+3D/F001/T1/0001.jpg``, ``AUCoding/AU_OCC/F001_T1.csv`` (frame, then one column for each action unit).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError

from .layout import (
    around,
    check_choice,
    check_count,
    csv_rows,
    find_root,
    frame_number,
    frames_of,
    make_face_set,
    sequence_samples,
    visible_folders,
)

__all__ = ["read_bp4d"]

#: Tasks that stand for an expression; the others are startle, scepticism, embarrassment and pain.
TASKS = {
    "plus": {"T1": "happiness", "T2": "surprise", "T3": "sadness", "T7": "fear", "T9": "anger", "T10": "disgust"},
    "spontaneous": {
        "T1": "happiness", "T2": "sadness", "T3": "surprise", "T5": "fear", "T7": "anger", "T8": "disgust"},
}
IMAGES = ("2D+3D", "Sequences(2D+3D)", "Sequences")
CODING = ("AUCoding/AU_OCC", "AU_OCC", "AUCoding")
SUBJECT = r"[FM]\d{3}"


def read_bp4d(root: str | Path, split: str = "all", edition: str = "plus", frames: int = 3) -> FaceSet:
    """Read the tasks of BP4D+, or of BP4D-Spontaneous, that stand for one of six expressions.

    A task's pictures are about the one with the most action units present, the first of equals, where it is coded;
    else about its middle. Its neutral face is the first without any action unit, or its first; it is a reference for
    prior masks (``FaceSet.neutral``).

    Args:
        root: The folder that holds ``2D+3D`` and ``AUCoding``.
        split: ``all``; there are no official splits, ``fmpn data folds`` cuts by subject.
        edition: ``plus`` or ``spontaneous``: which task is which expression.
        frames: Pictures taken of each task.

    Returns:
        The faces. The options say how many tasks are coded, and where the pictures were.

    Raises:
        InputError: Wrong root, edition or option, an unreadable coding, or too few pictures in a task.
    """
    name = {"plus": "BP4D+", "spontaneous": "BP4D-Spontaneous"}.get(edition, "BP4D")
    check_choice(name, "split", split, ("all",))
    check_choice(name, "edition", edition, TASKS)
    check_count(name, "frames", frames)
    inner = rf"2D\+3D|Sequences(\(2D\+3D\))?|AUCoding|AU_OCC|{SUBJECT}|T\d+"
    root = find_root(root, name, lambda folder: _images(folder) is not None, "tasks such as 2D+3D/F001/T1", inner)
    images = _images(root)
    _check_edition(root / images, edition)

    samples, coded = [], 0
    for subject, task in _tasks(root / images):
        expression = TASKS[edition].get(task.name.upper())
        if expression is None:
            continue
        pictures = frames_of(task, at_least=frames + 1)
        counts = _action_units(root, subject, task.name)
        coded += bool(counts)
        neutral, picked = _pick(pictures, counts, frames, task)
        samples += sequence_samples(neutral, picked, expression, subject, task.name)
    options = {"edition": edition, "frames": frames, "images": images, "coded": coded}
    return make_face_set("bp4d", root, TASKS[edition].values(), samples, options)


def _images(root: Path) -> str | None:
    return next((name for name in IMAGES if any(_tasks(root / name))), None)


def _tasks(folder: Path) -> Iterator[tuple[str, Path]]:
    for subject in visible_folders(folder):
        if re.fullmatch(SUBJECT, subject.name, re.IGNORECASE):
            for task in visible_folders(subject):
                if re.fullmatch(r"T\d+", task.name, re.IGNORECASE):
                    yield subject.name.upper(), task


def _check_edition(folder: Path, edition: str) -> None:
    """Only BP4D+ has tasks 9 and 10; read as the other edition, sadness would be surprise and fear anger."""
    has_ten = any(task.name.upper() in ("T9", "T10") for _, task in _tasks(folder))
    if has_ten != (edition == "plus"):
        raise InputError(
            f"{folder} has task T9 or T10, which only BP4D+ has: say edition=plus." if has_ten else
            f"{folder} has no task T9 or T10: unpack BP4D+ again, or, if it is BP4D-Spontaneous whose tasks mean other "
            "expressions, say edition=spontaneous."
        )


def _action_units(root: Path, subject: str, task: str) -> dict[int, int]:
    """Number of action units present in each coded frame; empty if the task is not coded."""
    paths = (root / folder / f"{subject}_{task}.csv" for folder in CODING)
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        return {}
    counts = {}
    rows = csv_rows(path)
    next(rows, None)  # numbers of the action units
    for number, row in rows:
        try:
            frame, *units = (int(float(v)) for v in row)
        except ValueError:
            got = ",".join(row)[:60]
            raise InputError(
                f"{path}, line {number}: expected a frame and numbers, got {got!r}. Use BP4D's own file."
            ) from None
        counts[frame] = units.count(1)  # 0 is absent, 9 not known
    return counts


def _pick(pictures: list[Path], counts: dict[int, int], frames: int, task: Path) -> tuple[Path, list[Path]]:
    """The neutral picture of a task, and those about its peak."""
    if not counts:
        return pictures[0], around(pictures[1:], len(pictures) // 2 - 1, frames)
    coded = [p for p in pictures if frame_number(p) in counts]
    if len(coded) < frames:
        raise InputError(f"{task}: {len(coded)} of its pictures are coded, and {frames} are needed. Unpack it again.")
    units = [counts[frame_number(p)] for p in coded]
    picked = around(coded, units.index(max(units)), frames)
    still = (p for p, n in zip(coded, units, strict=True) if n == 0 and p not in picked)
    return next(still, next(p for p in pictures if p not in picked)), picked
