"""Checkpoints of the FMPN authors' implementation, turned into model folders.

Theirs (https://github.com/donydchen/FMPN-FER) are three files, each a plain state dict: ``<epoch>_net_resface.pth``
is the mask generator (FMG), ``<epoch>_net_fusion.pth`` the prior fusion net (PFN), ``<epoch>_net_cls.pth`` the
classifier (CN) under torchvision's names. The layers are ours with other names; no value is changed.

How the authors aligned their faces is not published, so a converted folder names no recipe: nothing can check that
faces are cut as those the weights were trained on.
"""

from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from fmpn_timm.data.classes import canonical
from fmpn_timm.errors import InputError
from fmpn_timm.hub import refuse_to_replace, save_model
from fmpn_timm.models.fmpn import FMPN
from fmpn_timm.priors.build import PUBLISHED_CLASSES

__all__ = ["BACKBONES", "convert_checkpoint", "load_checkpoint"]

# torchvision's `transform_input`, x * std / 0.5 + (mean - 0.5) / 0.5, written as (x - backbone_mean) / backbone_std.
_INCEPTION = dict(
    backbone_mean=tuple((0.5 - m) / s for m, s in zip(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, strict=True)),
    backbone_std=tuple(0.5 / s for s in IMAGENET_DEFAULT_STD),
)
_AS_IT_IS = dict(backbone_mean=(0.0, 0.0, 0.0), backbone_std=(1.0, 1.0, 1.0))

#: The authors' classifiers, by the name timm and torchvision share, and what each does to the fused face first.
BACKBONES = {
    "inception_v3": _INCEPTION,
    "resnet50": _AS_IT_IS,
    "resnet152": _AS_IT_IS,
    "densenet121": _AS_IT_IS,
}

#: What each file is, and which part of FMPN it holds.
PARTS = {
    "fmg": ("mask generator", "mask_generator"),
    "pfn": ("prior fusion net", "fusion"),
    "cn": ("classifier", "backbone"),
}


def _residual(ours: str, theirs: str) -> dict[str, str]:
    layers = ("conv1", "norm1", "act1", "conv2", "norm2", "act2")
    return {f"{ours}.{layer}": f"{theirs}.conv_block.{n}" for n, layer in enumerate(layers)}


#: Our layers and theirs. timm's Inception, ResNet and DenseNet have torchvision's names.
LAYERS = {
    "fmg": {
        "stem.conv": "feature_extractor.0",
        "stem.norm": "feature_extractor.1",
        "down1.conv": "feature_extractor.3",
        "down1.norm": "feature_extractor.4",
        "down2.conv": "feature_extractor.6",
        "down2.norm": "feature_extractor.7",
        **_residual("blocks.0", "feature_extractor.9"),
        **_residual("blocks.1", "feature_extractor.10"),
        **_residual("blocks.2", "feature_extractor.11"),
        **_residual("blocks.3", "feature_extractor.12"),
        "up1.conv": "feature_extractor.13",
        "up1.norm": "feature_extractor.14",
        "up2.conv": "feature_extractor.16",
        "up2.norm": "feature_extractor.17",
        "head": "res_top.0",
    },
    "pfn": {
        "face.0": "process_a.0",
        "face.1": "process_a.1",
        "masked.0": "process_b.0",
        "masked.1": "process_b.1",
        **_residual("block", "model.0"),
        "head": "model.1",
    },
    "cn": {},
}


def convert_checkpoint(
        fmg: str | Path,
        pfn: str | Path,
        cn: str | Path,
        out: str | Path,
        backbone: str = "inception_v3",
        num_classes: int = 7,
        classes: Sequence[str] | None = None,
        size: int = 299,
        load_size: int = 320,
) -> tuple[str, ...]:
    """Write a folder that ``timm.create_model("local-dir:<out>", pretrained=True)`` loads.

    The folder appears only when it is complete; a model folder that was there is replaced, anything else is refused.

    Args:
        fmg: Mask generator's file.
        pfn: Prior fusion net's file.
        cn: Classifier's file.
        out: Folder to write.
        backbone: Which classifier it is, a name in ``BACKBONES``.
        num_classes: Number of expressions.
        classes: Their names in the order of the logits. If None, the authors' order for CK+ (7) and MMI (6).
        size: Height and width of the crop the network was trained for, in pixels: 299 with Inception; the authors
            name 224 for the other classifiers.
        load_size: Height and width the faces were resized to before that crop, in pixels.

    Returns:
        Class names in the order of the logits.

    Raises:
        InputError: A file is missing, damaged or another part's, or an option does not fit the files.
    """
    out = Path(out).absolute()
    refuse_to_replace(out)
    if not 1 <= size <= load_size:
        raise InputError(f"--size {size} and --load-size {load_size}: the crop must fit into the resized face.")
    classes = _class_names(num_classes, classes)
    model = load_checkpoint(fmg, pfn, cn, backbone, num_classes)
    try:
        save_model(model, out, classes, size, crop_pct=size / load_size, recipe=None)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written ({error.strerror}): give a folder that can be.") from error
    return classes


def load_checkpoint(
        fmg: str | Path,
        pfn: str | Path,
        cn: str | Path,
        backbone: str = "inception_v3",
        num_classes: int = 7,
) -> FMPN:
    """FMPN with the weights of the authors' three files, in evaluation mode.

    The arguments are those of ``convert_checkpoint``.

    Raises:
        InputError: A file is missing, damaged or another part's, or an option does not fit the files.
    """
    if backbone not in BACKBONES:
        raise InputError(f"--backbone {backbone}: the authors' implementation has {', '.join(BACKBONES)}.")
    if num_classes < 1:
        raise InputError(f"--num-classes {num_classes}: give the number of expressions of the classifier.")
    with torch.device("meta"):  # the files bring the values: make none before
        model = timm.create_model(f"fmpn_{backbone}", num_classes=num_classes, **BACKBONES[backbone])
    names = {option: _their_names(model, option) for option in PARTS}
    state = {}
    for option, path in (("fmg", fmg), ("pfn", pfn), ("cn", cn)):
        weights = _read(option, Path(path))
        _check(option, Path(path), weights, names, model)
        state.update((ours, weights[theirs]) for ours, theirs in names[option].items())
    model.to_empty(device="cpu")
    model.load_state_dict(state)
    model.init_non_persistent_buffers()
    return model.eval()


def _class_names(num_classes: int, classes: Sequence[str] | None) -> tuple[str, ...]:
    if classes is None:
        known = {len(names): names for names in PUBLISHED_CLASSES.values()}
        if num_classes not in known:
            raise InputError(
                f"--num-classes {num_classes}: the authors have 7 (CK+) and 6 (MMI); name others with --classes."
            )
        return known[num_classes]
    names = tuple(canonical(name) for name in classes)
    if len(set(names)) != len(names) or len(names) != num_classes:
        raise InputError(f"--classes {','.join(classes)}: give {num_classes} different names, or mend --num-classes.")
    return names


def _their_names(model: FMPN, option: str) -> dict[str, str]:
    """Names of a part's weights, ours and the authors'."""
    prefix = PARTS[option][1]
    names = {}
    for name in getattr(model, prefix).state_dict():
        layer, _, weight = name.rpartition(".")
        names[f"{prefix}.{name}"] = f"{LAYERS[option].get(layer, layer)}.{weight}"
    return names


def _read(option: str, path: Path) -> dict[str, torch.Tensor]:
    """A state dict, without what DataParallel, auxiliary classifiers and old versions of PyTorch do to one."""
    if not path.is_file():
        raise InputError(f"--{option} {path}: there is no such file.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise whatever their bytes happen to mean
        raise InputError(
            f"--{option} {path} cannot be read: it is damaged, or holds more than weights. Give the "
            f"{PARTS[option][0]}'s state dict, whole, as torch.save writes it."
        ) from error
    if not isinstance(state, dict) or not state or not all(
            isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise InputError(f"--{option} {path} holds no plain state dict: save the {PARTS[option][0]}'s state_dict().")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith("AuxLogits.")}
    for name in [name for name in state if name.endswith(".running_var")]:  # PyTorch before 0.4.1 counts no batches
        state.setdefault(f"{name.removesuffix('running_var')}num_batches_tracked", torch.tensor(0))
    return state


def _check(
        option: str,
        path: Path,
        weights: dict[str, torch.Tensor],
        names: dict[str, dict[str, str]],
        model: FMPN,
) -> None:
    """Raise the one error that says what is wrong with a file, if anything is."""
    part = PARTS[option][0]
    expected = {theirs: ours for ours, theirs in names[option].items()}
    odd = sorted(expected.keys() - weights.keys()) or sorted(weights.keys() - expected.keys())
    if odd:
        what = f"has no {odd[0]}" if odd[0] in expected else f"has {odd[0]}, which the {part} has not"
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        raise InputError(f"--{option} {path} {what}{more}. {_mend(option, weights, names)}")
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    classifier = model.pretrained_cfg["classifier"]
    for theirs, ours in expected.items():
        found, wanted = tuple(weights[theirs].shape), tuple(shapes[ours])
        if found == wanted:
            continue
        if ours.rpartition(".")[0] == classifier and found[1:] == wanted[1:]:
            mend = f"It has {found[0]} classes: give --num-classes {found[0]}."
        else:
            mend = f"Give the {part} of the authors' default options."
        raise InputError(f"--{option} {path}: {theirs} has the shape {found} instead of {wanted}. {mend}")


def _mend(option: str, weights: dict[str, torch.Tensor], names: dict[str, dict[str, str]]) -> str:
    for other, theirs in names.items():
        if weights.keys() == set(theirs.values()):
            return f"These are the weights of the {PARTS[other][0]}: give the file as --{other}."
    for backbone in BACKBONES:
        with torch.device("meta"):
            known = timm.create_model(backbone).state_dict()
        if weights.keys() == known.keys():
            return f"These are the weights of a {backbone}: give the file as --cn, with --backbone {backbone}."
    return f"Give the {PARTS[option][0]} as the authors' implementation saves it."
