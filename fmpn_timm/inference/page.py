"""Predictions as pieces of a web page, with their pictures in them: nothing is written to disk."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np

from .draw import COLORS, OTHER, draw_face, draw_prediction
from .results import UNCERTAIN, Comparison, FacePrediction, PicturePrediction

__all__ = ["CSS", "message", "picture_page", "video_page"]

#: Sides of pictures in pixels: the longest of the whole picture, and that of aligned faces, for sharp screens.
WHOLE, FACE = 1280, 240
#: The largest faces are shown one by one.
MAX_FACES = 12

#: What the flags of ``Quality`` mean.
FLAGS = {
    "no face": "no face was found: the middle of the picture stands for one",
    "low score": "this may not be a face",
    "small": "the face is small",
    "blurred": "the face is blurred",
    "turned": "the head is turned aside",
    "tilted": "the head is tilted",
}

CSS = """
.fmpn { color: var(--body-text-color); display: flex; flex-direction: column; gap: 16px; }
.fmpn p, .fmpn h3, .fmpn figure { margin: 0; }
.fmpn img { display: block; max-width: 100%; border-radius: 10px; }
.fmpn .whole img { margin: 0 auto; max-height: 60vh; }
.fmpn .wide { overflow-x: auto; contain: inline-size; }
.fmpn .wide img { min-width: 560px; width: 100%; background: white; }
.fmpn .card { border: 1px solid var(--border-color-primary); border-radius: 12px; padding: 16px;
    background: var(--background-fill-primary); display: flex; flex-direction: column; gap: 14px; }
.fmpn .card h3 { font-size: 1.15rem; font-weight: 600; display: flex; flex-wrap: wrap; gap: 2px 10px;
    align-items: baseline; }
.fmpn .card h3 small, .fmpn figcaption, .fmpn .quiet { color: var(--body-text-color-subdued); font-weight: 400; }
.fmpn .card h3 small { font-size: .9rem; }
.fmpn .flags { color: #8a5a00; background: #fff4dc; border-radius: 8px; padding: 6px 10px; font-size: .9rem; }
.fmpn .body { display: flex; flex-wrap: wrap; gap: 16px 24px; }
.fmpn .panels { display: flex; gap: 10px; flex-wrap: wrap; align-content: flex-start; }
.fmpn .panels figure { width: 112px; }
.fmpn .panels img { width: 112px; height: 112px; object-fit: cover; }
.fmpn figcaption { font-size: .8rem; margin-top: 4px; line-height: 1.25; }
.fmpn .bars { flex: 1 1 230px; display: grid; grid-template-columns: max-content 1fr max-content; gap: 5px 10px;
    align-items: center; font-size: .9rem; align-content: start; }
.fmpn .bars .first { font-weight: 600; }
.fmpn .bars .bar { height: 10px; border-radius: 5px; background: var(--background-fill-secondary); overflow: hidden; }
.fmpn .bars .bar i { display: block; height: 100%; border-radius: 5px; }
.fmpn .bars .share { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.fmpn .message { border: 1px dashed var(--border-color-primary); border-radius: 12px; padding: 28px 20px;
    text-align: center; line-height: 1.5; }
.fmpn .message b { display: block; margin-bottom: 4px; font-size: 1.05rem; }
.fmpn .message.wrong { border-style: solid; border-color: #c9542d; padding: 16px 20px; }
.dark .fmpn .flags { color: #ffd682; background: #3a2d10; }
@media (max-width: 480px) {
    .fmpn .card { padding: 12px; }
    .fmpn .panels { width: 100%; display: grid; grid-template-columns: repeat(2, 1fr); }
    .fmpn .panels figure { width: auto; }
    .fmpn .panels img { width: 100%; height: auto; aspect-ratio: 1; }
}
"""


def message(title: str, text: str = "", wrong: bool = False) -> str:
    """A piece of page that says something.

    Args:
        title: In bold.
        text: Below it.
        wrong: Whether something is wrong.
    """
    return f'<div class="fmpn">{_message(title, text, wrong)}</div>'


def picture_page(
        picture: np.ndarray,
        prediction: PicturePrediction,
        problem: str = "",
) -> str:
    """A picture with what was predicted: boxes and labels, and each face by itself.

    Args:
        picture: RGB uint8 (H, W, 3).
        prediction: Its prediction, faces with their ``comparison`` with the neutral face where there is one.
        problem: What else went wrong.
    """
    parts = [_figure(draw_prediction(picture, prediction), "the picture with boxes and labels", "whole", WHOLE)]
    if problem:
        parts.append(_message(problem, "", wrong=True))
    if not prediction.faces:
        parts.append(_message("No face was found", "Try a picture in which a face is larger, upright and well lit."))
    many = len(prediction.faces) > 1
    for i, face in enumerate(prediction.faces[:MAX_FACES]):
        parts.append(_face(face, f"face {i + 1}" if many else ""))
    more = len(prediction.faces) - MAX_FACES
    if more > 0:
        parts.append(f'<p class="quiet">{more} smaller face{"s" * (more > 1)}: see the numbers below.</p>')
    return f'<div class="fmpn">{"".join(parts)}</div>'


def video_page(
        summary: str,
        people: Sequence[dict[str, Any]],
        classes: Sequence[str],
        pictures: Sequence[tuple[str, bytes]],
        problems: Sequence[str] = (),
) -> str:
    """What was seen in a video.

    Args:
        summary: A line on what was looked at.
        people: For each track its ``track``, ``from``, ``to`` (seconds), ``frames`` and the mean probability of each
            class; those seen longest are shown.
        classes: Class names.
        pictures: PNG files and what they are.
        problems: What went wrong.
    """
    parts = [_message(problem[:1].upper() + problem[1:], "", wrong=True) for problem in problems]
    parts.append(f'<p class="quiet">{escape(summary)}</p>')
    parts += [f'<figure class="wide"><img src="data:image/png;base64,{base64.b64encode(png).decode()}" '
              f'alt="{escape(words)}"><figcaption>{escape(words)}</figcaption></figure>' for words, png in pictures]
    for seen in sorted(people, key=lambda person: -person["frames"])[:MAX_FACES]:
        shares = {name: seen[name] for name in classes}
        best = max(shares, key=shares.get)
        when = f"person #{seen['track']}, {seen['from']:.1f} to {seen['to']:.1f} s, on average"
        label = f"{UNCERTAIN}: perhaps {best}" if seen.get("label") == UNCERTAIN else best
        title = _title(label, shares[best], when)
        parts.append(f'<article class="card">{title}<div class="body">{_bars(shares)}</div></article>')
    more = len(people) - MAX_FACES
    if more > 0:
        parts.append(f'<p class="quiet">{more} seen for a shorter time: see the numbers below.</p>')
    return f'<div class="fmpn">{"".join(parts)}</div>'


def _message(title: str, text: str, wrong: bool = False) -> str:
    return (f'<div class="message{" wrong" * wrong}"{" role=alert" * wrong}><b>{escape(title)}</b>'
            f'<span class="quiet">{escape(text)}</span></div>')


def _face(face: FacePrediction, name: str) -> str:
    comparison = face.comparison
    likeliest = max(face.probabilities, key=face.probabilities.get)
    label = f"{UNCERTAIN}: perhaps {likeliest}" if face.label == UNCERTAIN else face.label
    flags = "; ".join(FLAGS.get(flag, flag) for flag in face.quality.flags)
    warning = f'<p class="flags">Take this with care: {escape(flags)}.</p>' if flags else ""
    panels, agreement = [_figure(_square(face.face), "aligned face")], ""
    if comparison is not None:
        panels += [_figure(_square(comparison.neutral), "neutral face"),
                   _figure(_heat(comparison), "where it really moved")]
        agreement = f"<p>{escape(_agreement(comparison))}</p>"
    if face.motion_mask is not None:
        panels.append(_figure(draw_face(face, FACE), "where the model says it moved"))
    return (f'<article class="card">{_title(label, face.probability, name)}{warning}<div class="body">'
            f'<div class="panels">{"".join(panels)}</div>{agreement}{_bars(face.probabilities)}</div></article>')


def _title(label: str, probability: float, name: str) -> str:
    return f"<h3>{escape(label)} {100 * probability:.0f} % <small>{escape(name)}</small></h3>"


def _bars(probabilities: Mapping[str, float]) -> str:
    """The probabilities, the largest first."""
    rows = []
    for i, (name, p) in enumerate(sorted(probabilities.items(), key=lambda item: -item[1])):
        color = "#{:02x}{:02x}{:02x}".format(*COLORS.get(name, OTHER)) if name in COLORS else "var(--color-accent)"
        first = " first" * (i == 0)
        rows.append(f'<span class="name{first}">{escape(name)}</span><span class="bar"><i style="width:{100 * p:.1f}%;'
                    f'background:{color}"></i></span><span class="share{first}">{100 * p:.0f} %</span>')
    return f'<div class="bars">{"".join(rows)}</div>'


def _agreement(comparison: Comparison) -> str:
    care = f" Take this with care: {comparison.problem.rstrip('.')}." if comparison.problem else ""
    if not comparison.moved:
        return f"Nothing moved between the neutral face and this one.{care}"
    return (f"{100 * comparison.share:.0f} % of the real motion lies in the fifth of the face where the model expects "
            f"most (20\u00a0% by chance); their correlation is {comparison.r:.2f}.{care}")


def _heat(comparison: Comparison) -> np.ndarray:
    """The real motion in colours."""
    grey = (255 * comparison.shown()).astype(np.uint8)
    return _square(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1])


def _square(face: np.ndarray) -> np.ndarray:
    return cv2.resize(face, (FACE, FACE), interpolation=cv2.INTER_AREA if len(face) > FACE else cv2.INTER_CUBIC)


def _figure(picture: np.ndarray, words: str, kind: str = "", side: int = FACE) -> str:
    """A picture, RGB uint8 (H, W, 3), not larger than that, with a caption if it is one of several."""
    height, width = picture.shape[:2]
    if max(height, width) > side:
        size = tuple(max(round(s * side / max(height, width)), 1) for s in (width, height))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    caption = "" if kind else f"<figcaption>{escape(words)}</figcaption>"
    return (f'<figure class="{kind}"><img src="data:image/jpeg;base64,{base64.b64encode(data).decode()}" '
            f'alt="{escape(words)}">{caption}</figure>')
