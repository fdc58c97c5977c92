"""Time for a face that is turned, cropped, lit and erased where it is loaded, against batches on the training device.

    OMP_NUM_THREADS=1 python -m benchmarks.augment --json benchmarks/augment.json

Both give batches of 64 normalised faces with their masks from pictures in memory, by the options of configuration
`ferplus_lite` at 48 pixels, and by the same at 224. With `--augment device` the loader's part of it is left to the
loader, the rest to the device: on a GPU that part costs the loader nothing. Timed as `benchmarks/measure.py` says.
"""

import argparse
from collections.abc import Callable

import torch
from torch.utils.data import default_collate

from benchmarks.measure import interleaved, summary, write_json
from fmpn_timm.data.augment import DRAWS, BatchAugment
from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.sampler import EpochSampler
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.data.transforms import LoadSize, train_transform
from fmpn_timm.training import parse_config

LOADER, LEFT, DEVICE = "in the loader", "on the device: what the loader does", "on the device: all of it"
NORM = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default="benchmarks/augment.json")
    parser.add_argument("--faces", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results = {}
    for size in (48, 224):
        faces = read_faces("drawn", None, "all", subjects=-(-options.faces // 8), takes=1, size=size)
        variants = {LOADER: loader(faces, size), LEFT: loader(faces, size, later=True),
                    DEVICE: loader(faces, size, later=True, device=True)}
        results[f"{size} pixels"] = summary(interleaved(variants, options.rounds), LOADER, len(faces))
    write_json(options.json, {"faces": options.faces, "batch": BATCH, "augmentation": results})


def loader(faces: FaceSet, size: int, later: bool = False, device: bool = False) -> Callable[[], None]:
    options = parse_config(["--config", "ferplus_lite"]).augmentation
    augment = BatchAugment(size, *NORM, **options)
    transform = LoadSize(size) if later else train_transform(size, size, *NORM, **options)
    masks = torch.rand(len(faces.classes), size, size, generator=torch.Generator().manual_seed(0))
    dataset = FaceDataset(faces, faces.classes, transform, masks, cache=True, draws=DRAWS if later else 0)
    sampler = EpochSampler(len(dataset), 0)

    def epoch() -> None:
        items = list(sampler)
        for first in range(0, len(items), BATCH):
            batch = default_collate([dataset[item] for item in items[first:first + BATCH]])
            if device:
                augment(batch)
        sampler.set_epoch(sampler.epoch + 1)

    return epoch


if __name__ == "__main__":
    main()
