"""Does a model work in the world? From photo to label, on faces it was not trained for.

The whole pipeline (detection, the model's own recipe, the model) on three kinds of pictures:

- photos: the Face Research Lab London Set (CC BY 4.0), the same people neutral and smiling; also by skin tone, as the
  individual typology angle of their cheeks tells it roughly, and when turned, blurred, covered, darkened, shrunk or
  seen from near;
- people rendered with ICT FaceKit, by expression;
- faces the package draws, by expression.

    python -m benchmarks.world MODEL --london DIR --ict FACEXMODEL --json benchmarks/world.json

writes world.json and world.png. DIR holds neutral/*.jpg and smiling/*.jpg, one name for one person.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.measure import write_json
from fmpn_timm import Predictor
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.drawn import draw_face
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.samples import read_picture
from fmpn_timm.files import save_figure
from fmpn_timm.version import __version__

Faces = list[tuple[np.ndarray, str]]


def turned(picture: np.ndarray, degrees: float) -> np.ndarray:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def blurred(picture: np.ndarray, share: float) -> np.ndarray:
    """Standard deviation as a share of the picture's side."""
    return cv2.GaussianBlur(picture, (0, 0), share * picture.shape[0]) if share else picture


def darkened(picture: np.ndarray, gain: float) -> np.ndarray:
    """A share of the light is left, with the noise of a sensor (standard deviation of 4 grey levels)."""
    if gain == 1:
        return picture
    noise = np.random.default_rng(0).normal(0, 4, picture.shape)
    return (picture * gain + noise).clip(0, 255).astype(np.uint8)


def shrunk(picture: np.ndarray, side: float) -> np.ndarray:
    return cv2.resize(picture, (int(side), int(side)), interpolation=cv2.INTER_AREA)


def covered(picture: np.ndarray, share: float) -> np.ndarray:
    """A grey square over a random place of the middle, its side a share of the picture's."""
    if not share:
        return picture
    picture = picture.copy()
    side, length = picture.shape[0], int(share * picture.shape[0])
    x, y = np.random.default_rng(int(picture.sum()) % 2**32).integers(side // 4, 3 * side // 4 - length // 2, 2)
    picture[y:y + length, x:x + length] = 128
    return picture


def closer(picture: np.ndarray, share: float) -> np.ndarray:
    """So much is cut off each side, and the rest has 1,200 pixels, as a photo of a face from near has."""
    height, width = (int(share * side) for side in picture.shape[:2])
    return cv2.resize(picture[height:picture.shape[0] - height, width:picture.shape[1] - width], (1200, 1200),
                      interpolation=cv2.INTER_CUBIC)


#: What is done to a photo, and how much of it; the first is nothing.
CURVES: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], tuple[float, ...]]] = {
    "turned by, degrees": (turned, (0, 15, 30, 45, 60, 90, 135, 180, 270)),
    "blurred by, share of the picture": (blurred, (0, 0.005, 0.01, 0.02, 0.03)),
    "covered, share of the side": (covered, (0, 0.1, 0.2, 0.3)),
    "light left": (darkened, (1, 0.5, 0.25, 0.12, 0.06)),
    "picture's side, pixels": (shrunk, (675, 200, 100, 60, 40)),
    "cut off each side, share": (closer, (0, 0.1, 0.15, 0.2, 0.25)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model")
    parser.add_argument("--london", type=Path)
    parser.add_argument("--ict", metavar="FACEXMODEL")
    parser.add_argument("--people", type=int, default=30, help="rendered and drawn people (default: 30)")
    parser.add_argument("--detector", help="the recipe's by default")
    parser.add_argument("--json", metavar="FILE", type=Path, default=Path("benchmarks/world.json"),
                        help="file to write, with a picture beside it (default: benchmarks/world.json)")
    options = parser.parse_args()

    predictor = Predictor(options.model, faces="largest", detector=options.detector)
    result = {"model": options.model, "version": __version__, "recipe": predictor.recipe.as_dict()}
    if options.london:
        photos = london(options.london)
        result["London, photos"] = by_expression(predictor, photos)
        result["London, by skin tone"] = by_tone(predictor, photos)
        result["London, curves"] = {
            name: {str(value): by_expression(predictor, [(change(p, value), e) for p, e in photos], short=True)
                   for value in tqdm(values, desc=name)}
            for name, (change, values) in CURVES.items()
        }
    if options.ict:
        result["ICT FaceKit, rendered"] = by_expression(predictor, list(rendered(options.ict, options.people)))
    result["drawn"] = by_expression(predictor, list(drawn(options.people)))
    if options.london:
        draw(result["London, curves"], options.json.with_suffix(".png"))
    write_json(options.json, result)


def london(folder: Path) -> Faces:
    kinds = (("neutral", "neutral"), ("smiling", "happiness"))
    return [(read_picture(str(path)), expression) for name, expression in kinds
            for path in sorted((folder / name).glob("*.jpg"))]


def rendered(root: str, people: int) -> Iterator[tuple[np.ndarray, str]]:
    faces = read_faces("ict", root, "all", subjects=people, size=200, margin=0.35, seed=7)
    return ((s.picture(), s.expression) for s in tqdm(faces.samples, desc="rendered"))


def drawn(people: int) -> Iterator[tuple[np.ndarray, str]]:
    return ((draw_face(subject, expression, size=240, seed=7).image, expression)
            for subject in tqdm(range(people), desc="drawn") for expression in EXPRESSIONS)


def by_expression(predictor: Predictor, faces: Faces, short: bool = False) -> dict:
    """Recall of each expression, and what its faces were called; faces that were not found count as wrong."""
    answers = [(p.faces[0].label if p.faces else "no face") for p in predictor([picture for picture, _ in faces])]
    report = {"n": len(faces), "no face": answers.count("no face"),
              "accuracy": round(float(np.mean([a == e for a, (_, e) in zip(answers, faces, strict=True)])), 4)}
    for expression in dict.fromkeys(e for _, e in faces):
        called = [a for a, (_, e) in zip(answers, faces, strict=True) if e == expression]
        report[f"{expression}, recall"] = round(called.count(expression) / len(called), 4)
        if not short:
            report[f"{expression}, called"] = {a: called.count(a) for a in sorted(set(called), key=called.count)[::-1]}
    return report


def by_tone(predictor: Predictor, faces: Faces) -> dict:
    """The same for thirds of the people by the individual typology angle of their cheeks, degrees (Chardon 1991)."""
    people = len(faces) // 2
    angles = np.array([typology_angle(predictor, picture) for picture, _ in faces[:people]])
    bounds = np.nanquantile(angles, [0, 1 / 3, 2 / 3, 1])
    report = {}
    for name, low, high in zip(("dark", "middle", "light"), bounds, bounds[1:], strict=False):
        chosen = np.flatnonzero((angles >= low) & ((angles < high) | (high == bounds[-1])))
        group = [faces[i] for i in (*chosen, *(chosen + people))]
        report[f"{name} third, {low:.0f} to {high:.0f} degrees"] = by_expression(predictor, group, short=True)
    return report


def typology_angle(predictor: Predictor, picture: np.ndarray) -> float:
    found = predictor(picture).faces
    if not found:
        return np.nan
    right_eye, left_eye, nose, right_mouth, left_mouth = found[0].landmarks
    cheeks = [(eye + mouth) / 2 for eye, mouth in ((right_eye, right_mouth), (left_eye, left_mouth))]
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(float)
    radius = max(int(np.linalg.norm(left_eye - right_eye) / 12), 1)
    patches = [lab[int(y) - radius:int(y) + radius, int(x) - radius:int(x) + radius].reshape(-1, 3) for x, y in cheeks]
    lightness, _, yellow = np.median(np.concatenate(patches), axis=0)
    return float(np.degrees(np.arctan2(lightness * 100 / 255 - 50, yellow - 128)))


def draw(curves: dict, path: Path) -> None:
    figure = Figure(figsize=(3.1 * len(curves), 2.9), layout="constrained")
    axes = figure.subplots(1, len(curves), sharey=True)
    for axis, (name, points) in zip(axes, curves.items(), strict=True):
        x = range(len(points))
        for key, color in (("happiness, recall", "tab:orange"), ("neutral, recall", "tab:blue")):
            axis.plot(x, [100 * p[key] for p in points.values()], "o-", color=color, label=key.partition(",")[0])
        found = [100 * (1 - p["no face"] / p["n"]) for p in points.values()]
        axis.plot(x, found, ":", color="gray", label="face found")
        axis.set_xticks(x, list(points))
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
        axis.set_ylim(0, 103)
    axes[0].set_ylabel("recall, % of the photos")
    axes[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
