"""A face set as a torch data set: faces, label distributions and the masks that FMG is to predict."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from fmpn_timm.errors import InputError

from .samples import FaceSet

__all__ = ["FaceDataset"]


class FaceDataset(Dataset):
    """Faces ready for a model.

    Each item is a dict: ``image`` float32 (3, H, W), ``target`` float32 (K,) summing to 1, ``label`` int64 (),
    ``index`` int64 () into the face set, ``broken`` bool (), and with prior masks ``mask`` float32 (1, H, W), the
    target of equation (2): the prior mask of the sample's class or, with soft targets, the mixture of prior masks under
    them, which is the mask that minimises the expected loss.

    An item that is asked for as ``(index, seed)`` is augmented from that seed, whatever was drawn before.

    Args:
        faces: The samples.
        classes: Class names in the order of the model's outputs.
        transform: A transform of ``(face, mask)`` or of the face alone.
        masks: Prior masks (K, H, W) in [0, 1] in the order of ``classes``, at the size faces are cropped from; None for
            no masks.
        soft: Use the raters' votes as target where known, else the label alone.
        cache: Keep decoded pictures in memory.
        stand_in: Let the next whole face of the same class stand in for one whose picture is broken, and say so in
            ``broken``; else a broken picture raises InputError.
    """

    def __init__(
            self,
            faces: FaceSet,
            classes: tuple[str, ...],
            transform: v2.Transform,
            masks: torch.Tensor | None = None,
            soft: bool = False,
            cache: bool = False,
            stand_in: bool = False,
    ):
        self.faces = faces
        self.transform = transform
        self.masks = masks
        self.pictures = {} if cache else None
        self.stand_in = stand_in
        self.labels = torch.tensor([classes.index(s.expression) for s in faces.samples])
        self.targets = torch.nn.functional.one_hot(self.labels, len(classes)).float()
        if soft and all(s.votes is not None for s in faces.samples):
            votes = torch.zeros(len(faces), len(classes))
            for k, name in enumerate(classes):
                if name in faces.classes:
                    votes[:, k] = torch.tensor([s.votes[faces.classes.index(name)] for s in faces.samples])
            self.targets = votes / votes.sum(1, keepdim=True)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        index, seed = index if isinstance(index, tuple) else (index, None)
        shown, item = self._whole(index, seed)
        return {**item, "index": torch.tensor(index), "broken": torch.tensor(shown != index)}

    def _whole(self, index: int, seed: int | None) -> tuple[int, dict[str, torch.Tensor]]:
        """A face, or the one that stands in for it: its index, and what a model learns from it."""
        try:
            return index, self._seeded(index, seed)
        except InputError:
            if not self.stand_in:
                raise
            alike = torch.nonzero(self.labels == self.labels[index])[:, 0].tolist()
            place = alike.index(index)
            for other in alike[place + 1:] + alike[:place]:
                try:
                    return other, self._seeded(other, seed)
                except InputError:
                    continue
            raise

    def _seeded(self, index: int, seed: int | None) -> dict[str, torch.Tensor]:
        if seed is None:
            return self._item(index)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self._item(index)

    def _item(self, index: int) -> dict[str, torch.Tensor]:
        face = tv_tensors.Image(torch.from_numpy(self._picture(index)).permute(2, 0, 1))
        target = self.targets[index]
        item = {"target": target, "label": self.labels[index]}
        if self.masks is None:
            return {"image": self.transform(face).as_subclass(torch.Tensor), **item}
        mask = tv_tensors.Mask(torch.einsum("k,khw->hw", target, self.masks)[None])
        face, mask = self.transform(face, mask)
        return {"image": face.as_subclass(torch.Tensor), "mask": mask.as_subclass(torch.Tensor), **item}

    def _picture(self, index: int) -> np.ndarray:
        if self.pictures is None:
            return self.faces.samples[index].picture()
        if index not in self.pictures:
            self.pictures[index] = self.faces.samples[index].picture()
        return self.pictures[index]
