"""How time and memory grow with the batch, the size and the number of faces, and the size of the data set.

    OMP_NUM_THREADS=1 FMPN_YUNET=face_detection_yunet_2023mar.onnx python -m benchmarks.growth

Writes `benchmarks/growth.png` and `growth.json`. The network is the paper's by `optimize` (not compiled, the fastest
precision of the machine), its plain form beside it. Timed, and memory measured, as `benchmarks/measure.py` says.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from matplotlib.figure import Figure

import fmpn_timm  # noqa: F401 registers the models
from benchmarks.data_path import cut, package_loader, write_pictures
from benchmarks.measure import interleaved, peak_memory, reset_peak, write_json
from fmpn_timm.data.drawn import draw_face
from fmpn_timm.data.prepare import prepare_faces
from fmpn_timm.data.readers.prepared import read_prepared
from fmpn_timm.errors import InputError
from fmpn_timm.faces import FaceAligner
from fmpn_timm.files import save_figure
from fmpn_timm.inference.optimize import best_precision, optimize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", type=Path, default=Path("benchmarks/growth.json"),
                        help="file to write, with a picture beside it (default: benchmarks/growth.json)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    plain = timm.create_model("fmpn_inception_v3").eval()
    networks = {"plain float32": plain, f"optimize {best_precision()}": optimize(plain, compile=False)}
    curves = {}

    def grow(title: str, label: str, numbers: Sequence[int], runs: dict[str, Callable[[int], Callable]]) -> None:
        curves[title] = {"label": label, "lines": {
            name: [measure(number, prepare(number), options.rounds) for number in numbers]
            for name, prepare in runs.items()
        }}
        print(title, curves[title]["lines"], flush=True)

    def of_batch(network):
        return lambda n: partial(network, torch.rand(n, 3, 96, 96))

    def of_size(network):
        return lambda n: partial(network, torch.rand(1, 3, n, n))

    grow("batch", "faces of 96 x 96", (1, 2, 4, 8, 16), {k: of_batch(v) for k, v in networks.items()})
    grow("resolution", "height and width of one face", (75, 100, 150, 200, 299),
         {k: of_size(v) for k, v in networks.items()})
    try:
        aligner = FaceAligner(policy="all")
        grow("faces", "faces in a picture of 960 x 960", (1, 4, 9, 16),
             {"YuNet, all aligned": lambda n: partial(aligner, [crowd(n)])})
    except InputError as error:
        print(f"Left out: {error}")
    with tempfile.TemporaryDirectory() as folder:
        def epoch(n: int) -> Callable:
            files = write_pictures(Path(folder) / str(n), 8)
            samples = cut(files).samples * (n // 8)
            faces = files.__class__(files.dataset, files.split, files.classes, samples)
            prepare_faces(faces, Path(folder) / f"{n}-prepared", progress=False)
            return lambda: package_loader(read_prepared(Path(folder) / f"{n}-prepared"))()

        grow("data set", "faces of a prepared set, read once", (64, 128, 256, 512), {"epoch": epoch})
    draw(curves, options.json.with_suffix(".png"))
    write_json(options.json, curves)


def measure(number: int, run: Callable, rounds: int) -> dict[str, float]:
    run()  # what is loaded once is not of this number
    before = reset_peak()
    seconds = interleaved({"run": run}, rounds, warm_up=0)["run"]
    return {"number": number, "seconds": round(statistics.median(seconds), 5), "MB": peak_memory(before)}


def crowd(number: int) -> np.ndarray:
    """A picture of 960 x 960 with so many drawn faces, a square number, in rows."""
    side = round(number**0.5)
    faces = [cv2.resize(np.asarray(draw_face(n, size=160).image), (960 // side, 960 // side)) for n in range(number)]
    return np.ascontiguousarray(np.vstack([np.hstack(faces[i * side:(i + 1) * side]) for i in range(side)]))


def draw(curves: dict, path: Path) -> None:
    figure = Figure(figsize=(3.4 * len(curves), 5.6), layout="constrained")
    axes = figure.subplots(2, len(curves), squeeze=False)
    for column, (title, curve) in zip(axes.T, curves.items(), strict=True):
        for name, points in curve["lines"].items():
            numbers = [p["number"] for p in points]
            column[0].plot(numbers, [p["seconds"] for p in points], marker="o", label=name)
            if points[0]["MB"] is not None:
                column[1].plot(numbers, [p["MB"] for p in points], marker="o", label=name)
        column[0].set(title=title, ylabel="seconds")
        column[1].set(xlabel=curve["label"], ylabel="memory, MB more than before")
        column[0].legend(fontsize=8)
        for axis in column:
            axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
            axis.grid(alpha=0.3)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
