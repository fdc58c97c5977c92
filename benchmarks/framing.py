"""Where the landmarks of a data set's faces lie in its pictures, for a recipe that cuts photos alike.

Data sets such as FERPlus ship faces that someone has cropped already. A model that learnt from them is best shown
photos that are cut the same way: the recipe's reference is the median of landmarks found in the data set's pictures.

    python -m benchmarks.framing ferplus DIR --number 3000

prints the medians (x, y, as the reference of a recipe of the pictures' size), their quartiles, and in how many pictures
a face was found.
"""

import argparse
import json

import cv2
import numpy as np
from tqdm import tqdm

from fmpn_timm.data.readers import read_faces
from fmpn_timm.faces.detectors import create_detector

SIDE = 240  # small pictures are enlarged to this before detection
BORDER = 80  # and given a border, since the faces fill them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("dataset")
    parser.add_argument("root")
    parser.add_argument("--split", default="train")
    parser.add_argument("--number", type=int, default=3000, help="faces to look at, drawn at random (default: 3000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detector", default="yunet")
    options = parser.parse_args()

    samples = read_faces(options.dataset, options.root, options.split).samples
    chosen = np.random.default_rng(options.seed).permutation(len(samples))[: options.number]
    detector = create_detector(options.detector)
    found = []
    for i in tqdm(chosen, desc="faces"):
        picture = samples[i].picture()
        enlarged = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        faces = detector([cv2.copyMakeBorder(enlarged, *[BORDER] * 4, cv2.BORDER_REPLICATE)])[0]
        if len(faces):
            found.append(reference(faces.landmarks[0], picture.shape[1::-1]))
    quartiles = np.quantile(found, [0.25, 0.5, 0.75], axis=0).round(4)
    print(json.dumps({
        "dataset": options.dataset, "split": options.split, "seed": options.seed, "detector": options.detector,
        "looked at": len(chosen), "found": len(found),
        **dict(zip(("lower quartile", "median", "upper quartile"), quartiles.tolist(), strict=True)),
    }, indent=2))


def reference(landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Landmarks in an enlarged picture with its border (5, 2) as the reference of a recipe of the picture's own size.

    Pixels are counted from the middle of the first, which is another place in a picture and in a larger copy of it.

    Args:
        landmarks: (5, 2), pixels (x, y).
        size: Width and height of the picture.
    """
    return (landmarks - BORDER + 0.5) / SIDE - np.divide(0.5, size)


if __name__ == "__main__":
    main()
