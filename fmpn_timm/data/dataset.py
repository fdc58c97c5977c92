"""A face set as a torch data set: faces, label distributions, and the masks and neutral faces to be predicted."""

from typing import Any

import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from fmpn_timm.errors import InputError

from .samples import FaceSet, Sample

__all__ = ["FaceDataset"]


class FaceDataset(Dataset):
    """Faces ready for a model.

    Each item is a dict: ``image`` float32 (3, H, W), ``target`` float32 (K,) summing to 1, ``label`` int64 (),
    ``index`` int64 () into the face set, ``broken`` bool (), and with prior masks ``mask`` float32 (1, H, W), the
    target of equation (2): the prior mask of the sample's class or, with soft targets, the mixture of prior masks under
    them, which is the mask that minimises the expected loss. With neutral faces, ``neutral`` float32 (3, H, W) is the
    one that stands for the sample's subject, cropped, turned and lit as the face is.

    With ``draws``, ``draws`` float32 (draws,) in [0, 1) are random numbers for an augmentation that comes later.

    An item that is asked for as ``(index, seed)`` is augmented from that seed, whatever was drawn before.

    Args:
        faces: The samples.
        classes: Class names in the order of the model's outputs.
        transform: A transform of the face and what goes with it: the mask, the neutral face, both or neither.
        masks: Prior masks (K, H, W) in [0, 1] in the order of ``classes``, at the size faces are cropped from; None for
            no masks.
        soft: Use the raters' votes as target of the samples that have them, the label alone of the others.
        cache: Keep decoded pictures in memory.
        neutral: Give neutral faces too; ``faces`` must be ``paired()``.
        stand_in: Let the next whole face of the same class stand in for one whose picture is broken, and say so in
            ``broken``; else a broken picture raises InputError.
        draws: Random numbers to give with each item, see ``BatchAugment``.
    """

    def __init__(
            self,
            faces: FaceSet,
            classes: tuple[str, ...],
            transform: v2.Transform,
            masks: torch.Tensor | None = None,
            soft: bool = False,
            cache: bool = False,
            neutral: bool = False,
            stand_in: bool = False,
            draws: int = 0,
    ):
        self.faces = faces
        self.transform = transform
        self.masks = masks
        self.neutral = faces.neutral_by_subject() if neutral else None
        self.pictures = {} if cache else None
        self.stand_in = stand_in
        self.draws = draws
        self.labels = torch.tensor([classes.index(s.expression) for s in faces.samples])
        self.targets = torch.nn.functional.one_hot(self.labels, len(classes)).float()
        rated = [i for i, s in enumerate(faces.samples) if s.votes is not None] if soft else []
        if rated:
            votes = torch.zeros(len(rated), len(classes))
            for k, name in enumerate(classes):
                if name in faces.classes:
                    votes[:, k] = torch.tensor([faces.samples[i].votes[faces.classes.index(name)] for i in rated])
            self.targets[rated] = votes / votes.sum(1, keepdim=True)

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
        state = torch.default_generator.get_state()  # torch.random.fork_rng asks for accelerators each time
        try:
            torch.default_generator.manual_seed(seed)
            return self._item(index)
        finally:
            torch.default_generator.set_state(state)

    def _item(self, index: int) -> dict[str, torch.Tensor]:
        sample, target = self.faces.samples[index], self.targets[index]
        pictures = {"image": self._image(sample)}
        if self.masks is not None:
            pictures["mask"] = tv_tensors.Mask(self._mask(index)[None])
        if self.neutral is not None:
            pictures["neutral"] = self._image(self.neutral[sample.subject])
        moved = self.transform(*pictures.values())
        moved = moved if len(pictures) > 1 else (moved,)
        item = {name: picture.as_subclass(torch.Tensor) for name, picture in zip(pictures, moved, strict=True)}
        if self.draws:
            item["draws"] = torch.rand(self.draws)
        return {**item, "target": target, "label": self.labels[index]}

    def _mask(self, index: int) -> torch.Tensor:
        target = self.targets[index]
        if target[self.labels[index]] == 1:  # one class: its mask is the mixture
            return self.masks[self.labels[index]]
        return torch.einsum("k,khw->hw", target, self.masks)

    def _image(self, sample: Sample) -> tv_tensors.Image:
        if self.pictures is None:
            picture = sample.picture()
        else:
            if sample not in self.pictures:
                self.pictures[sample] = sample.picture()
            picture = self.pictures[sample]
        return tv_tensors.Image(torch.from_numpy(picture).permute(2, 0, 1))
