"""The data of a run: what it learns from, selects on and reports on, and its prior masks."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from accelerate import Accelerator

from fmpn_timm.data.protocols import PROTOCOLS, Fold, get_protocol
from fmpn_timm.data.readers import READERS, read_faces
from fmpn_timm.data.readers.prepared import prepared_folds
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.data.splits import split_by_subject
from fmpn_timm.errors import InputError
from fmpn_timm.faces import FRAMING, check_recipe
from fmpn_timm.priors import MaskSet, build_masks

from .config import TrainConfig

__all__ = ["Data", "Folds", "find_folds", "paired_faces", "prepare_data"]


@dataclass
class Data:
    """The splits and the prior masks of a run.

    Attributes:
        train: What it learns from.
        valid: What it selects on.
        test: What it reports on; None for ``valid``.
        classes: Class names in the order of labels.
        priors: Its prior masks; None if it has none.
        masks: The same (K, L, L), laid where they are in its faces, of L = ``load_size`` pixels.
    """

    train: FaceSet
    valid: FaceSet
    test: FaceSet | None
    classes: tuple[str, ...]
    priors: MaskSet | None
    masks: torch.Tensor | None

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a run that is resumed must find again, wherever its data lie."""
        recipe = self.train.recipe
        return {"classes": list(self.classes), "training faces": len(self.train), "recipe": recipe and recipe.hash}


@dataclass(frozen=True)
class Folds:
    """The folds that a configuration's data are cut into.

    Attributes:
        dataset: The data set, also where it was prepared.
        protocol: Its protocol; None for a prepared set that fits none, and for a data set's own splits.
        numbers: Numbers of the folds, ascending; 0 alone for a data set's own splits.
        read: Gives a fold by its number.
    """

    dataset: str
    protocol: str | None
    numbers: tuple[int, ...]
    read: Callable[[int], Fold]

    @property
    def of(self) -> str:
        return f"protocol {self.protocol} of {self.dataset}" if self.protocol else f"the data of {self.dataset}"

    @property
    def span(self) -> str:
        return f"{self.numbers[0]} to {self.numbers[-1]}"


def find_folds(config: TrainConfig) -> Folds:
    """The folds of the configured protocol, or of the configured prepared set.

    A data set without protocols, such as RAF-DB, has one fold, number 0: its own splits, if ``test_split`` is given; so
    has a prepared set without folds.

    Raises:
        InputError: The data set has no protocol and no test split is given, or the prepared set has no folds.
    """
    if (config.dataset in READERS and config.dataset != "prepared" and config.dataset not in PROTOCOLS
            and config.test_split and not config.protocol):
        return Folds(config.dataset, None, (0,), lambda n: _own_splits(config))
    if config.dataset != "prepared":
        protocol = get_protocol(config.dataset, config.protocol)
        folds = protocol.cut(protocol.read(config.root, **config.data_options))
        return Folds(config.dataset, protocol.name, tuple(folds), folds.__getitem__)
    if config.protocol is not None:
        raise InputError(f"--protocol {config.protocol}: a prepared set has the folds it was prepared with; leave the "
                         "option out.")
    if config.root is None:
        raise InputError("Where is the prepared set? Give its folder with --root.")
    numbers = prepared_folds(config.root)
    if not numbers and config.test_split:
        own = _own_splits(config)
        return Folds(own.train.dataset, None, (0,), lambda n: own)
    if not numbers:
        raise InputError(f"{config.root} was prepared without folds. Prepare it with --protocol, or name a split to "
                         "report on with --test_split.")
    faces = _prepared_fold(config, numbers[0]).train
    fits = (p.name for p in PROTOCOLS.get(faces.dataset, {}).values()
            if p.classes in ((), faces.classes) and all(faces.options.get(k) == v for k, v in p.options.items()))
    return Folds(faces.dataset, next(fits, None), numbers, partial(_prepared_fold, config))


def prepare_data(config: TrainConfig, accelerator: Accelerator) -> Data:
    """Read the splits, or the fold, that a configuration names, and build or load its prior masks.

    Prior masks are built from the subjects that are learnt from alone.

    Raises:
        InputError: What the reader, the protocol or the masks say of the data.
    """
    train, valid, test = _read_fold(config) if config.fold is not None else _read_splits(config)
    if valid is None:
        train, valid = split_by_subject(train, config.valid_fraction, config.seed)
    if not 0 < config.train_fraction <= 1:
        raise InputError(f"--train_fraction {config.train_fraction}: it must be above 0 and at most 1.")
    if config.train_fraction < 1:
        _, train = split_by_subject(train, config.train_fraction, config.seed)
    if train.recipe is None and accelerator.is_main_process:
        _warn_of_whole_pictures(train.dataset)
    priors = _prepare_priors(config, train, accelerator)
    masks = priors and priors.place(config.mask_box, config.load_size).masks
    return Data(_with_others(config, train), valid, test, train.classes, priors, masks)


@cache  # once, however many runs a cross-validation has
def _warn_of_whole_pictures(dataset: str) -> None:
    print(f"warning: nothing says how the faces of {dataset} are cut, and training looks for none. Unless the pictures "
          "are faces already, prepare them (fmpn data prepare) and train on that (--dataset prepared --root OUT).",
          file=sys.stderr)


def paired_faces(faces: FaceSet) -> FaceSet:
    """The faces that have a neutral face of their subject beside them, for a stage that learns neutral faces.

    Raises:
        InputError: There is no expressive one among them.
    """
    paired = faces.paired()
    if not any(s.role == "expressive" for s in paired.samples):
        raise InputError(
            f"{faces.dataset} {faces.split} has no subject with a neutral and an expressive face, and DeRL's stage 1 "
            "needs such pairs. Start from a model that was trained on pairs (--init local-dir:... --mask_epochs 0)."
        )
    return paired


def _read_splits(config: TrainConfig) -> tuple[FaceSet, FaceSet | None, FaceSet | None]:
    return tuple(
        read_faces(config.dataset, config.root, split, **config.data_options) if split else None
        for split in (config.train_split, config.valid_split, config.test_split)
    )


def _own_splits(config: TrainConfig) -> Fold:
    train, valid, test = _read_splits(config)
    return Fold(train, test, valid)


def _read_fold(config: TrainConfig) -> tuple[FaceSet, FaceSet | None, FaceSet]:
    folds = find_folds(config)
    if config.fold not in folds.numbers:
        raise InputError(f"--fold {config.fold}: {folds.of} has folds {folds.span}.")
    fold = folds.read(config.fold)
    return fold.train, fold.valid, fold.test


def _with_others(config: TrainConfig, train: FaceSet) -> FaceSet:
    """The training faces and those of ``--also``."""
    for options in config.also:
        if "dataset" not in options:
            raise InputError(f"--also {options}: name the data set, such as dataset: prepared.")
        options = {"root": None, "split": "train", **options}
        other = read_faces(options.pop("dataset"), options.pop("root"), options.pop("split"), **options)
        check_recipe(other.recipe, train.recipe, f"--also {other.dataset}", config.any_recipe, FRAMING)
        train = train.joined(other)
    return train


def _prepared_fold(config: TrainConfig, n: int) -> Fold:
    options = {**config.data_options, "fold": n}
    train, test = (
        replace(read_faces("prepared", config.root, part, **options), split=f"fold {n} {part}")
        for part in ("train", "test")
    )
    # Neutral references are of no fold in a prepared set: those of the tested subjects are nothing to learn from.
    tested = {s.subject for s in test.samples} - {None}
    return Fold(replace(train, neutral=tuple(s for s in train.neutral if s.subject not in tested)), test)


def _prepare_priors(config: TrainConfig, train: FaceSet, accelerator: Accelerator) -> MaskSet | None:
    if config.arm != "fmpn":
        return None
    show = config.progress and accelerator.is_local_main_process
    priors = build_masks(train, progress=show) if config.priors == "build" else MaskSet.load(config.priors)
    priors = priors.with_neutral().select(train.classes)
    if config.mask_box is None:
        check_recipe(train.recipe, priors.cut, f"--priors {config.priors}", config.any_recipe, FRAMING)
    return priors
