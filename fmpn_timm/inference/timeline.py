"""What a person expressed as a picture: over the time of a video, and beside the neutral face."""

import textwrap
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fmpn_timm.files import save_figure

from .draw import COLORS
from .results import Comparison, FacePrediction, PicturePrediction

__all__ = ["NeutralSheet", "Timeline"]

#: The tracks that are seen longest are drawn.
MAX_TRACKS = 12
BACKGROUND = "#f4f4f4"


class Timeline:
    """Smoothed probabilities over the time of a video, one band for each track, open where its face was not seen.

    It keeps four bytes for each number, some 3 MB for a face that is seen for an hour at 25 frames a second.

    Args:
        path: PNG file.
        title: What is written above.
        classes: Class names, from below.
    """

    def __init__(self, path: str | Path, title: str, classes: tuple[str, ...]):
        self.path, self.title, self.classes = Path(path), title, classes
        self.times = array("d")
        self.tracks: dict[int, list[_Stretch]] = {}

    def add(self, prediction: PicturePrediction, _: Any = None) -> None:
        """Add the next frame, with tracks."""
        if prediction.time is None:
            return
        number = len(self.times)
        self.times.append(prediction.time)
        for face in prediction.faces:
            stretches = self.tracks.setdefault(face.track, [])
            if not stretches or stretches[-1].end != number:
                stretches.append(_Stretch(number))
            stretches[-1].add(face.smoothed)

    def close(self, complete: bool) -> None:
        """Draw what was added; without ``complete`` nothing."""
        if complete and self.times:
            save_figure(self._figure(), self.path, 100)

    def _figure(self) -> Figure:
        times = np.array(self.times)
        usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.04
        ends = np.append(times[1:], times[-1] + usual)
        longest = sorted(self.tracks, key=lambda t: -sum(len(s) for s in self.tracks[t]))[:MAX_TRACKS]
        figure = Figure(figsize=(12, 1.35 + 1.25 * max(len(longest), 1)), layout="constrained")
        axes = figure.subplots(max(len(longest), 1), 1, sharex=True, squeeze=False)[:, 0]
        colors = [_color(i, name) for i, name in enumerate(self.classes)]
        for axis, track in zip(axes, sorted(longest), strict=False):
            for stretch in self.tracks[track]:
                shown = np.append(times[stretch.start:stretch.end], ends[stretch.end - 1])
                values = stretch.values(len(self.classes))
                axis.stackplot(shown, np.concatenate([values, values[-1:]]).T, colors=colors, linewidth=0)
            axis.set_ylabel(f"#{track}", rotation=0, ha="right", va="center", fontsize=12)
        for axis in axes:
            axis.set(xlim=(times[0], ends[-1]), ylim=(0, 1), yticks=(0, 0.5, 1), facecolor=BACKGROUND)
            axis.tick_params(labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
        if not longest:
            axes[0].text(0.5, 0.5, "no face", ha="center", va="center", transform=axes[0].transAxes)
        if times[-1] >= 120:
            axes[-1].xaxis.set_major_formatter(_minutes)
        axes[-1].set_xlabel("minutes:seconds" if times[-1] >= 120 else "seconds")
        left_out = len(self.tracks) - len(longest)
        more = f"; {left_out} tracks seen for less time are not drawn" if left_out else ""
        # a name may have dollars
        figure.suptitle(f"{self.title}: smoothed probabilities{more}", fontsize=11, parse_math=False)
        handles = [axes[0].fill_between([], [], color=color, label=name)
                   for color, name in zip(colors, self.classes, strict=True)]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
        return figure


class NeutralSheet:
    """Faces beside the neutral face, with the real motion and the learned mask; each label of each track once.

    Of many tracks those are shown that are seen longest; of very many the least seen are forgotten on the way.

    Args:
        path: PNG file.
        title: What is written above.
    """

    def __init__(self, path: str | Path, title: str):
        self.path, self.title = Path(path), title
        self.best: dict[tuple[int, str], tuple[float, str, Comparison]] = {}
        self.seen: Counter[int] = Counter()

    def add(self, prediction: PicturePrediction, _: Any = None) -> None:
        """Add a picture, or the next frame of a video."""
        for i, face in enumerate(prediction.faces):
            if face.comparison is None:
                continue
            key = (i if face.track is None else face.track, face.label)
            self.seen[key[0]] += 1
            if face.probability > self.best.get(key, (0.0,))[0]:
                self.best[key] = face.probability, _words(face, prediction.time), face.comparison
        if len(self.best) > 4 * MAX_TRACKS * len(COLORS):
            self._keep(2 * MAX_TRACKS)

    def close(self, complete: bool) -> None:
        """Draw what was added, if there is something and it is complete."""
        self._keep(MAX_TRACKS)
        if complete and self.best:
            save_figure(self._figure(), self.path, 100)

    def _keep(self, number: int) -> None:
        """Forget all but the tracks that are seen longest."""
        there = {track for track, _ in self.best}
        longest = set(sorted(there, key=lambda track: -self.seen[track])[:number])
        self.best = {key: value for key, value in self.best.items() if key[0] in longest}

    def _figure(self) -> Figure:
        rows = [self.best[key] for key in sorted(self.best, key=lambda key: (key[0], -self.best[key][0]))]
        figure = Figure(figsize=(10.5, 0.9 + 2.2 * len(rows)), layout="constrained")
        figure.suptitle(self.title, fontsize=11, parse_math=False)
        axes = figure.subplots(len(rows), 5, squeeze=False, width_ratios=(0.9, 1, 1, 1, 1))
        for axis in axes.flat:
            axis.axis("off")
        for axis, name in zip(axes[0, 1:], ("face", "neutral", "real motion", "learned mask"), strict=True):
            axis.set_title(name, fontsize=10)
        for (words, *pictures), (_, text, pair) in zip(axes, rows, strict=True):
            agreement = (f"r = {pair.r:.2f}\n{100 * pair.share:.0f} % of the motion in the\nmask's strongest fifth"
                         if pair.moved else "nothing moved")
            problem = textwrap.fill(pair.problem, 30)
            words.text(0, 0.5, f"{text}\n\n{agreement}\n{problem}", va="center", fontsize=9, transform=words.transAxes)
            pictures[0].imshow(pair.face)
            pictures[1].imshow(pair.neutral)
            pictures[2].imshow(pair.shown(), cmap="inferno", vmin=0, vmax=1)
            pictures[3].imshow(pair.mask, cmap="inferno", vmin=0, vmax=max(float(pair.mask.max()), 1e-6))
        return figure


class _Stretch:
    """Frames one after the other in which a face was seen, and its probabilities."""

    def __init__(self, start: int):
        self.start, self.end = start, start
        self.flat = array("f")

    def __len__(self) -> int:
        return self.end - self.start

    def add(self, probabilities: dict[str, float]) -> None:
        self.flat.extend(probabilities.values())
        self.end += 1

    def values(self, classes: int) -> np.ndarray:
        return np.array(self.flat).reshape(-1, classes)


def _color(number: int, name: str) -> Any:
    return tuple(c / 255 for c in COLORS[name]) if name in COLORS else f"C{number}"


def _minutes(seconds: float, _: Any) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _words(face: FacePrediction, time: float | None) -> str:
    text = f"{face.label}  {100 * face.probability:.0f} %"
    return text if time is None else f"#{face.track}  {text}\nat {time:.2f} s"
