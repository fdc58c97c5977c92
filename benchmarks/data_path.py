"""Training samples a second and core: the package's data path against a loader like the authors', on 640 x 490 PNG.

    OMP_NUM_THREADS=1 python -m benchmarks.data_path --json benchmarks/data_path.json
    OMP_NUM_THREADS=1 python -m benchmarks.data_path --profile       # where the time of prepared shards goes

The plain loader does what the authors' does for every sample: PIL opens and decodes the picture twice, once in colour
and once in grey, resizes both to 320, takes one of five crops of 299 and a flip, and makes tensors. The package reads
the same files, the same once decoded and kept in memory (`--cache true`, from the second epoch on), prepared shards
(`fmpn data prepare`: faces of 112 pixels, found and cut once), and prepared shards kept in memory; it gives faces and
motion masks of 299. Pictures are drawn faces with the noise of a camera. Timed as `benchmarks/measure.py` says.
"""

import argparse
import cProfile
import pstats
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional as TF

from benchmarks.measure import interleaved, summary, write_json
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.drawn import draw_face
from fmpn_timm.data.prepare import prepare_faces
from fmpn_timm.data.readers.prepared import read_prepared
from fmpn_timm.data.sampler import EpochSampler
from fmpn_timm.data.samples import FaceSet, Sample, read_picture
from fmpn_timm.data.transforms import train_transform

PLAIN = "decoded with PIL, twice a sample"
LOAD_SIZE, SIZE = 320, 299


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default="benchmarks/data_path.json")
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_pictures(Path(folder) / "files", options.pictures)
        prepare_faces(cut(files), Path(folder) / "prepared", progress=False)
        prepared = read_prepared(Path(folder) / "prepared")
        variants = {
            PLAIN: plain_loader(files),
            "files": package_loader(files),
            "files, kept in memory": package_loader(files, cache=True),
            "prepared shards": package_loader(prepared),
            "prepared shards, kept in memory": package_loader(prepared, cache=True),
        }
        if options.profile:
            profile(variants["prepared shards"])
            return
        seconds = interleaved(variants, options.rounds)
    results = summary(seconds, PLAIN, options.pictures)
    for figures in results.values():
        figures["samples a second"] = round(1e3 / figures["ms"], 1)
    write_json(options.json, {"pictures": options.pictures, "picture": "640 x 490 PNG, grey", "samples": results})


def write_pictures(folder: Path, number: int) -> FaceSet:
    """Frames like a laboratory's: a face before a wall, grey, 640 x 490."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    samples = []
    for n in range(number):
        expression = EXPRESSIONS[n % 7]
        face = cv2.resize(np.asarray(draw_face(n, expression, size=160).image), (490, 490))
        frame = cv2.copyMakeBorder(face, 0, 0, 75, 75, cv2.BORDER_REPLICATE).mean(2) + rng.normal(0, 2, (490, 640))
        path = folder / f"{n:04d}.png"
        Image.fromarray(frame.clip(0, 255).astype(np.uint8)).save(path)
        samples.append(Sample(str(path), Picture(str(path)), expression, str(n)))
    return FaceSet("pictures", "train", EXPRESSIONS[:7], tuple(samples))


class Picture:
    """Reads a file, and cuts the middle out of it as a detector would."""

    def __init__(self, path: str, size: int | None = None):
        self.path, self.size = path, size

    def __call__(self) -> np.ndarray:
        picture = read_picture(self.path)
        if self.size is None:
            return picture
        return cv2.resize(picture[:, 75:-75], (self.size, self.size), interpolation=cv2.INTER_AREA)


def cut(files: FaceSet) -> FaceSet:
    samples = (Sample(s.source, Picture(s.picture.path, 112), s.expression, s.subject) for s in files.samples)
    return FaceSet("pictures", "train", files.classes, tuple(samples))


def plain_loader(faces: FaceSet) -> Callable[[], None]:
    masks = {name: Image.fromarray(mask) for name, mask in zip(faces.classes, prior_masks().numpy(), strict=True)}
    chance = random.Random(0)

    def sample(s: Sample) -> dict[str, torch.Tensor]:
        crop, flip = chance.randrange(5), chance.random() < 0.5
        colour, grey = Image.open(s.source).convert("RGB"), Image.open(s.source).convert("L")
        pictures = {"image": colour, "grey": grey, "mask": masks[s.expression]}
        for name, picture in pictures.items():
            picture = TF.five_crop(picture.resize((LOAD_SIZE, LOAD_SIZE), Image.BICUBIC), [SIZE, SIZE])[crop]
            pictures[name] = TF.to_tensor(TF.hflip(picture) if flip else picture)
        return pictures

    def epoch() -> None:
        for s in chance.sample(faces.samples, len(faces.samples)):
            sample(s)

    return epoch


def package_loader(faces: FaceSet, cache: bool = False) -> Callable[[], None]:
    transform = train_transform(SIZE, LOAD_SIZE, (0, 0, 0), (1, 1, 1))
    masks = torch.nn.functional.interpolate(prior_masks()[None], (LOAD_SIZE, LOAD_SIZE))[0]
    dataset = FaceDataset(faces, faces.classes, transform, masks, cache=cache)
    sampler = EpochSampler(len(dataset), 0)

    def epoch() -> None:
        for index in sampler:
            dataset[index]
        sampler.set_epoch(sampler.epoch + 1)

    return epoch


def prior_masks() -> torch.Tensor:
    return torch.rand(7, 70, 70, generator=torch.Generator().manual_seed(0))


def profile(run: Callable[[], None]) -> None:
    run()
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(run)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(22)


if __name__ == "__main__":
    main()
