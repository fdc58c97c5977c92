"""The order of faces in an epoch, and the seed that each is augmented from: functions of (seed, epoch, index) alone.

So order and augmentation do not depend on the number of processes, on who loads a face, or on where a run was resumed.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

__all__ = ["EpochSampler", "mix_seeds"]


def mix_seeds(*numbers: int) -> int:
    """A seed of 32 bits from several numbers; unlike sums of them, (0, 1), (1, 0) and (0, 1, 0) differ."""
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1)[0])


class EpochSampler(Sampler[tuple[int, int]]):
    """The faces of an epoch in random order, each as ``(index, seed)``, what a ``FaceDataset`` augments from.

    Attributes:
        epoch: The epoch whose order comes next.
        start: How many faces of it are left out, since an earlier process trained on them.

    Args:
        length: Number of faces.
        seed: Seed of the run.
        used: How many of them an epoch has, others in each; all if None.
    """

    def __init__(self, length: int, seed: int, used: int | None = None):
        self.length = length
        self.seed = seed
        self.used = length if used is None else used
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        """Faces of a whole epoch."""
        return self.used

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(mix_seeds(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator)
        for index in order[self.start:self.used].tolist():
            yield index, mix_seeds(self.seed, self.epoch, index)
