"""Faces found a second: a detector called on many pictures at once, against one call a picture.

    OMP_NUM_THREADS=1 FMPN_YUNET=face_detection_yunet_2023mar.onnx python -m benchmarks.detection

YuNet looks at one picture after the other either way (OpenCV runs it for one picture). RetinaFace takes pictures of one
size together if told to (``in batches of 4``), and on a CPU one after the other if not; here it has random weights, so
that its time is right and its faces are not; it is left out where its package is not installed. Pictures are drawn
faces, 640 x 490. Timed as `benchmarks/measure.py` says.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.measure import interleaved, summary, write_json
from fmpn_timm.data.drawn import draw_face
from fmpn_timm.errors import InputError
from fmpn_timm.faces import FaceAligner, create_detector
from fmpn_timm.faces.detectors import Detector
from fmpn_timm.faces.detectors.retinaface import _network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default="benchmarks/detection.json")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(torch.get_num_threads())
    pictures = frames(options.pictures)
    results = {"pictures": options.pictures, "picture": "640 x 490", "faces": {}, "detectors": {}, "left out": {}}
    for name in ("yunet", "retinaface"):
        try:
            detector = create_detector(name) if name == "yunet" else random_retinaface()
        except InputError as error:
            results["left out"][name] = str(error)
            continue
        number = options.pictures if name == "yunet" else min(options.pictures, 4)
        aligner = FaceAligner(detector=detector)
        variants = {
            "one call a picture": lambda of=detector, n=number: [of([picture]) for picture in pictures[:n]],
            "one call": lambda of=detector, n=number: of(pictures[:n]),
            "one call, and aligned": lambda of=aligner, n=number: of(pictures[:n]),
        }
        if name == "retinaface":
            variants["one call, in batches of 4"] = partial(random_retinaface(batch_size=4), pictures[:number])
        seconds = interleaved(variants, options.rounds if name == "yunet" else 2)
        results["faces"][name] = sum(len(faces) for faces in detector(pictures[:number]))
        results["detectors"][name] = summary(seconds, "one call a picture", number)
        for figures in results["detectors"][name].values():
            figures["pictures a second"] = round(1e3 / figures["ms"], 1)
    write_json(options.json, results)


def frames(number: int) -> list[np.ndarray]:
    """Pictures of one drawn face each, 640 x 490."""
    faces = (cv2.resize(np.asarray(draw_face(n, size=160).image), (490, 490)) for n in range(number))
    return [cv2.copyMakeBorder(face, 0, 0, 75, 75, cv2.BORDER_REPLICATE) for face in faces]


def random_retinaface(**kwargs) -> Detector:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.pth"
        torch.save(_network().state_dict(), path)
        return create_detector("retinaface", path=path, **kwargs)


if __name__ == "__main__":
    main()
