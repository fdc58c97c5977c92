"""The data of a run: what it learns from, selects on and reports on, and its prior masks."""

from dataclasses import dataclass

from accelerate import Accelerator

from fmpn_timm.data.protocols import get_protocol
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.data.splits import split_by_subject
from fmpn_timm.errors import InputError
from fmpn_timm.faces import FRAMING, Recipe, check_recipe
from fmpn_timm.priors import MaskSet, build_masks, draw_sheet

from .config import TrainConfig

__all__ = ["Data", "paired_faces", "prepare_data"]


@dataclass
class Data:
    """The splits and the prior masks of a run."""

    train: FaceSet
    valid: FaceSet
    test: FaceSet | None
    classes: tuple[str, ...]
    priors: MaskSet | None


def prepare_data(config: TrainConfig, accelerator: Accelerator) -> Data:
    """Read the splits, or the fold, that a configuration names, and build or load its prior masks.

    Prior masks are built from the subjects that are learnt from alone, and written with their picture to the run's
    folder.

    Raises:
        InputError: What the reader, the protocol or the masks say of the data.
    """
    train, valid, test = _read_fold(config) if config.fold is not None else _read_splits(config)
    if valid is None:
        train, valid = split_by_subject(train, config.valid_fraction, config.seed)
    return Data(train, valid, test, train.classes, _prepare_priors(config, train, accelerator))


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


def _read_fold(config: TrainConfig) -> tuple[FaceSet, FaceSet | None, FaceSet]:
    protocol = get_protocol(config.dataset, config.protocol)
    folds = protocol.cut(protocol.read(config.root, **config.data_options))
    if config.fold not in folds:
        raise InputError(f"--fold {config.fold}: protocol {protocol.name} of {config.dataset} has folds 0 to "
                         f"{len(folds) - 1}.")
    fold = folds[config.fold]
    return fold.train, fold.valid, fold.test


def _prepare_priors(config: TrainConfig, train: FaceSet, accelerator: Accelerator) -> MaskSet | None:
    if config.arm != "fmpn":
        return None
    show = config.progress and accelerator.is_local_main_process
    priors = build_masks(train, progress=show) if config.priors == "build" else MaskSet.load(config.priors)
    priors = priors.with_neutral().select(train.classes)
    if config.mask_box is None and priors.recipe.get("faces"):
        cut = Recipe.from_dict(priors.recipe["faces"])
        check_recipe(train.recipe, cut, f"--priors {config.priors}", config.any_recipe, FRAMING)
    if accelerator.is_main_process:
        priors.save(config.folder / "priors.safetensors")
        draw_sheet(priors, config.folder / "priors.png")
    return priors
