"""MMI: videos that go from a neutral face to an expression and back; the peak lies about the middle.

Pantic et al., `Web-based database for facial expression analysis`, ICME 2005; Valstar and Pantic, `Induced disgust,
happiness and surprise: an addition to the MMI facial expression database`, LREC Workshops 2010. Layout:
``Sessions/<n>/`` with ``session.xml`` (the view of each track), ``S001-100.avi`` and ``S001-100.xml`` (the emotion).
Frames are numbered from 0, as the FMPN author's script that names them so does.
"""

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError

from .layout import (
    around,
    check_choice,
    check_count,
    find_root,
    first_folder,
    make_face_set,
    visible_files,
    visible_folders,
)

__all__ = ["published_peaks", "read_mmi"]

#: What the value of the Metatag "Emotion" means; there are others, for mixed and non-prototypical displays.
CODES = {1: "anger", 2: "disgust", 3: "fear", 4: "happiness", 5: "sadness", 6: "surprise"}
SEQUENCES = ("published", "all")
FOLDERS = ("Sessions", "sessions")
VIDEOS = (".avi", ".mp4", ".mpg", ".mpeg", ".mov")
NAME = re.compile(r"(S\d{3})-(\d{3})", re.IGNORECASE)
TURNS = {0: None, 90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
#: Subjects that are filmed from two sides at once, and the half of the frame that shows them from the front; subjects
#: that are filmed upright. All others lie on their side. As the FMPN author's script of 2022 prepares MMI.
HALVES = {**dict.fromkeys(("S001", "S002", "S017"), "right"),
          **dict.fromkeys(("S003", "S005", "S006", "S015", "S016"), "left")}
UPRIGHT = ("S053", "S054")
UPRIGHT_HEIGHT = 480  # of a frame, in pixels; those of the turned camera have 576
PEAKS = Path(__file__).parents[1] / "assets" / "mmi_peaks.json"


def read_mmi(
        root: str | Path,
        split: str = "all",
        sequences: str = "published",
        frames: int = 3,
        rotation: int | str = "auto",
        half: str = "auto",
) -> FaceSet:
    """Read the videos of MMI that are labelled with one of six expressions.

    The ``frames`` about the peak of each carry its label: the peak that the FMPN authors published, else the middle of
    the video. The first frame is neutral, a reference for prior masks (``FaceSet.neutral``). Frames are decoded when
    asked for, and named like the authors' pictures, ``S050_003_030.png``.

    Most people were filmed by a camera on its side, some from two sides at once (``track@view`` 2), a few upright.
    Which is which goes by subject, as the FMPN author prepares the published sequences; of other subjects frames of 480
    lines are taken to be upright and the rest to lie. Look at a few faces, and give ``rotation`` and ``half`` if they
    lie or look sideways.

    Args:
        root: The folder that holds ``Sessions``.
        split: ``all``; there are no official splits, ``fmpn data folds`` cuts by subject.
        sequences: ``published``, the 208 of the FMPN protocol (624 frames of 31 subjects), or ``all`` labelled ones.
        frames: Frames taken about the peak.
        rotation: Degrees clockwise by which a frame with one view is turned: 0, 90, 180 or 270; ``auto`` by subject.
        half: ``left`` or ``right``, the half of a frame with two views that shows the face from the front; ``auto`` by
            subject, the left one where it is not known.

    Returns:
        The faces. The options say how many videos there are of each view, and how many were left out and why.

    Raises:
        InputError: Wrong root or option, unreadable or unsafe XML, a video that is there twice or cannot be read.
    """
    check_choice("MMI", "split", split, ("all",))
    check_choice("MMI", "choice of sequences", sequences, SEQUENCES)
    check_choice("MMI", "rotation", rotation, ("auto", *TURNS))
    check_choice("MMI", "half", half, ("auto", "left", "right"))
    check_count("MMI", "frames", frames)
    inner = r"Sessions|\d+"
    root = find_root(root, "MMI", lambda folder: first_folder(folder, FOLDERS) is not None, "Sessions", inner)
    sessions = visible_folders(root / first_folder(root, FOLDERS))
    peaks = published_peaks()

    views, left_out, taken, samples = Counter(), Counter(), {}, []
    for session in sorted(sessions, key=lambda s: (len(s.name), s.name)):
        if not visible_files(session, VIDEOS):
            left_out["sessions without a video"] += 1
        for video, subject, sequence, expression, view in _videos(session):
            name = f"{subject}_{sequence}"
            reason = _reason_to_leave_out(expression, name, sequences, peaks)
            if reason:
                left_out[reason] += 1
                continue
            if name in taken:
                raise InputError(f"{video} is there twice, also as {taken[name]}: keep one of the two sessions.")
            taken[name] = video
            views["unsaid" if view is None else str(view)] += 1
            picked = _frames_about_the_peak(video, peaks.get(name), frames)
            samples += (
                Sample(
                    source=f"{video}:{name}_{number:03d}.png",
                    picture=partial(_read_frame, str(video), number, _place(subject, view, rotation, half)),
                    expression=label,
                    subject=subject,
                    sequence=sequence,
                    frame=number,
                )
                for number, label in ((0, "neutral"), *((n, expression) for n in picked))
            )
    if not samples and left_out["not published"]:
        raise InputError(f"{root}: none of its {left_out['not published']} labelled sequences is one of the published "
                         "208. Read all that are labelled: sequences=all.")
    options = {"sequences": sequences, "frames": frames, "rotation": rotation, "half": half, "views": dict(views),
               "left_out": dict(left_out)}
    return make_face_set("mmi", root, CODES.values(), samples, options)


def published_peaks() -> dict[str, int]:
    """First of the three frames about the peak of each sequence, ``S050_003``, of the FMPN protocol."""
    return json.loads(PEAKS.read_text(encoding="utf-8"))["peaks"]


def _videos(session: Path) -> Iterator[tuple[Path, str, str, str | int | None, int | None]]:
    """Video, subject, sequence, expression (or an unknown code, or None) and view (or None) of a session's videos."""
    annotations = {p.name.lower(): p for p in visible_files(session, (".xml",))}
    views = _views(annotations.get("session.xml"))
    for video in visible_files(session, VIDEOS):
        name = NAME.fullmatch(video.stem)
        if name is None:
            continue
        annotation = annotations.get(f"{video.stem.lower()}.xml")
        view = views.get(video.stem.lower(), views.get(""))
        yield video, name[1].upper(), name[2], _emotion(annotation), view


def _views(path: Path | None) -> dict[str, int]:
    """View of each track, by the name of its file without suffix; under "" that of a track without a name."""
    views = {}
    for element in _elements(path, "track"):
        attributes = {key.lower(): value for key, value in element.attrib.items()}
        if "view" in attributes:
            view = attributes["view"].strip()
            if view not in ("0", "1", "2"):
                raise InputError(f"{path}: unknown view {view!r}; MMI has 0, 1 and 2. Fetch the file again.")
            # A file name may be written with its folder, of either system.
            name = re.split(r"[/\\]", attributes.get("filename", ""))[-1]
            views[name.rsplit(".", 1)[0].lower()] = int(view)
    return views


def _emotion(path: Path | None) -> str | int | None:
    for element in _elements(path, "metatag"):
        if element.get("Name", "").lower() == "emotion":
            value = element.get("Value", "").strip()
            if not value:
                return None
            if not value.isdecimal():
                raise InputError(f"{path}: the emotion is a number, not {value!r}. Fetch the file again.")
            return CODES.get(int(value), int(value))
    return None


def _elements(path: Path | None, tag: str) -> Iterator[ET.Element]:
    if path is None:
        return
    try:
        root = ET.parse(path, ET.XMLParser(target=_NoDeclarations())).getroot()
    except (ET.ParseError, LookupError, ValueError) as error:  # LookupError: an encoding nobody knows
        mend = "" if isinstance(error, InputError) else " Fetch the file again."
        raise InputError(f"{path}: {error}.{mend}") from None
    yield from (e for e in root.iter() if e.tag.rsplit("}")[-1].lower() == tag)


class _NoDeclarations(ET.TreeBuilder):
    """Entities are declared in a document type declaration: without one, none can grow or fetch anything."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise InputError("it declares a document type, and MMI's files need none. Remove the declaration")


def _reason_to_leave_out(expression: str | int | None, name: str, sequences: str, peaks: dict[str, int]) -> str | None:
    if expression is None:
        return "no emotion"
    if isinstance(expression, int):
        return f"emotion {expression}"
    return "not published" if sequences == "published" and name not in peaks else None


def _frames_about_the_peak(video: Path, published: int | None, frames: int) -> list[int]:
    if published is not None:  # the first of three
        first = max(published + 1 - frames // 2, 1)
        return list(range(first, first + frames))
    count = _count_frames(video)
    if count <= frames:
        raise InputError(f"{video} has {count} frames; {frames} beside a neutral one are needed. Fetch it again.")
    return list(around(range(1, count), count // 2 - 1, frames))


def _count_frames(video: Path) -> int:
    capture = _open(str(video))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()


def _place(subject: str, view: int | None, rotation: int | str, half: str) -> int | str:
    """Where the face is in a frame: its half, or by how many degrees it is turned, or that its height says that."""
    if view == 2 or subject in HALVES:
        return HALVES.get(subject, "left") if half == "auto" else half
    return 0 if rotation == "auto" and subject in UPRIGHT else rotation


def _read_frame(video: str, number: int, place: int | str) -> np.ndarray:
    capture = _open(video)
    try:
        for done in range(number):  # one by one: seeking lands on a key frame near by with some codecs
            if not capture.grab():
                raise InputError(f"{video} ends after {done} frames, frame {number} is asked for. Fetch it again.")
        found, frame = capture.read()
    finally:
        capture.release()
    if not found:
        raise InputError(f"{video}: frame {number} cannot be decoded. Fetch the video again.")
    frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    if place in ("left", "right"):
        middle = frame.shape[1] // 2
        return np.ascontiguousarray(frame[:, :middle] if place == "left" else frame[:, middle:])
    if place == "auto":
        place = 0 if frame.shape[0] == UPRIGHT_HEIGHT else 90
    return cv2.rotate(frame, TURNS[place]) if place else frame


def _open(video: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(video)
    if not capture.isOpened():
        size = Path(video).stat().st_size if Path(video).is_file() else "no"
        raise InputError(f"{video}: no video can be read from it ({size} bytes). Fetch it again.")
    return capture
