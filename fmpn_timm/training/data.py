"""The data of a run: what it learns from, selects on and reports on, and its prior masks."""

import re
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from accelerate import Accelerator, PartialState

from fmpn_timm.data.folds import Folds, Splits, find_folds, read_splits
from fmpn_timm.data.protocols import Fold
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.data.splits import split_by_subject
from fmpn_timm.errors import InputError
from fmpn_timm.faces import FRAMING, check_recipe
from fmpn_timm.priors import LIMITS, MaskSet, build_masks

from .config import TrainConfig

__all__ = ["Data", "folds_of", "paired_faces", "prepare_data"]

#: Of fewer faces to select on, a single one moves the accuracy by more than epochs differ.
FEW = 30


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


def prepare_data(config: TrainConfig, accelerator: Accelerator) -> Data:
    """Read the splits, or the fold, that a configuration names, and build or load its prior masks.

    Prior masks are built from the subjects that are learnt from alone.

    Raises:
        InputError: What the reader, the protocol or the masks say of the data.
    """
    fold = _read_fold(config)
    train, valid, test = fold.train, fold.valid, fold.test
    if sum(n > 0 for n in train.per_class().values()) < 2:
        raise InputError(f"{train.dataset} {train.split}: all faces are of one class. Give faces of two or more.")
    for other in (valid, test):
        _check_apart(train, other)
    if valid and test and _shared(valid, test):
        _warn(f"{test.dataset} {test.split} both selects the epoch and is reported on, so the figure is too good. Give "
              "another --valid_split, or none, and a part of the training subjects selects.")
    if valid is None:
        train, valid = split_by_subject(train, config.valid_fraction, config.seed)
    if len(valid) < FEW and config.epochs > 1:
        _warn(f"{len(valid)} faces select the epoch, too few to tell epochs apart. Give a --valid_split, or a larger "
              "--valid_fraction.")
    if config.train_fraction < 1:
        _, train = split_by_subject(train, config.train_fraction, config.seed)
    if train.recipe is None:
        _warn(f"nothing says how the faces of {train.dataset} are cut, and training looks for none. Unless the "
              "pictures are faces already, prepare them (fmpn data prepare) and train on that (--dataset prepared "
              "--root OUT).")
    priors = _prepare_priors(config, train, fold, accelerator)
    masks = priors and priors.place(config.mask_box, config.load_size).masks
    return Data(_with_others(config, train), valid, test, train.classes, priors, masks)


@cache  # once, however many runs a cross-validation has
def _warn(text: str) -> None:
    if PartialState().is_main_process:
        print(f"warning: {text}", file=sys.stderr)


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


def folds_of(config: TrainConfig) -> Folds:
    """The folds of the configured data (``find_folds``); its splits, if ``test_split`` is given, where it has none."""
    splits = _splits(config) if config.test_split else None
    return find_folds(config.dataset, config.root, config.protocol, config.data_options, splits)


def _splits(config: TrainConfig) -> Splits:
    return config.train_split, config.valid_split, config.test_split


def _read_fold(config: TrainConfig) -> Fold:
    """The fold that is named; the splits as one, where none is."""
    if config.fold is None:
        if config.protocol is not None:
            raise InputError(f"--protocol {config.protocol} cuts data into folds: name the one to report on with "
                             "--fold, or train all with fmpn crossval.")
        return read_splits(config.dataset, config.root, _splits(config), config.data_options)
    folds = folds_of(config)
    if config.fold not in folds.numbers:
        raise InputError(f"--fold {config.fold}: {folds.of} has folds {folds.span}.")
    return folds.read(config.fold)


def _shared(one: FaceSet, other: FaceSet) -> set[str]:
    return {s.source for s in one.samples} & {s.source for s in other.samples}


def _check_apart(train: FaceSet, other: FaceSet | None) -> None:
    """Refuse faces that are learnt from among those to select or report on; tell of people on both sides."""
    if other is None:
        return
    both = _shared(train, other)
    if both:
        raise InputError(f"{train.dataset}: {len(both)} of the {len(other)} faces of {other.split} are in "
                         f"{train.split} too, which is learnt from. Give splits that have none in common "
                         "(--train_split, --valid_split, --test_split).")
    people = {s.subject for s in train.samples} & {s.subject for s in other.samples} - {None}
    if people:
        _warn(f"{len(people)} people of {train.dataset} are in {train.split} and in {other.split} (such as "
              f"{min(people)}): they are known when they are tested. Put all pictures of a subject into one split.")


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


def _build_priors(config: TrainConfig, train: FaceSet, show: bool) -> MaskSet:
    options = dict(config.prior_options)
    limits = None if options.pop("keep_all", False) else LIMITS
    unknown = [name for name in options if name not in ("light", "smooth")]
    if unknown:
        raise InputError(f"--prior_options knows light, smooth and keep_all, not {', '.join(unknown)}.")
    return build_masks(train, limits=limits, progress=show, **options)


def _prepare_priors(config: TrainConfig, train: FaceSet, fold: Fold, accelerator: Accelerator) -> MaskSet | None:
    if config.arm != "fmpn":
        return None
    if config.priors == "build":
        priors = _build_priors(config, train, config.progress and accelerator.is_local_main_process)
        return priors.with_neutral().select(train.classes)
    priors = MaskSet.load(config.priors)
    _check_unseen(config, fold, priors)
    if config.mask_box is None:
        check_recipe(train.recipe, priors.cut, f"--priors {config.priors}", config.any_recipe, FRAMING)
        if priors.cut is None:
            _warn(f"--priors {config.priors} does not say how its faces were cut, so its masks are laid over whole "
                  "faces. --mask_box lays them where they belong: those of CK+, over faces as `fmpn data prepare` cuts "
                  "them, with --mask_box '[0.05, 0.12, 0.92, 0.98]'.")
    return priors.with_neutral().select(train.classes)


def _check_unseen(config: TrainConfig, fold: Fold, priors: MaskSet) -> None:
    """Refuse masks of the same data set that were not made from its training subjects alone."""
    train, made_from = fold.train, re.match(r"\w*", priors.data)[0]
    number = priors.recipe.get("options", {}).get("fold")
    of_fold = config.fold is not None and (
        number == config.fold or re.search(rf"\bfold {config.fold}(,| train)", priors.data))
    apart = fold.test or fold.valid  # or else a part of these very subjects is reported on
    same = apart and priors.data == f"{train.dataset} {train.split}" and number == train.options.get("fold")
    if made_from != train.dataset or of_fold or same:
        return
    said = f"--priors {config.priors} was made from {priors.data}"
    if made_from == "folder":  # as any folder is called
        return _warn(f"{said}. If that is this one, it has seen subjects that are tested: then leave the option out.")
    of = "what is reported on" if config.fold is None else f"the test side of fold {config.fold}"
    raise InputError(f"{said}, which has the subjects of {of} in it. Build masks from the training subjects (--priors "
                     "build), or take another data set's.")
