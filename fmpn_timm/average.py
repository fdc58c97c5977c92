"""One model from several: the mean of their weights.

`Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time`
(Wortsman et al., ICML 2022) - https://arxiv.org/abs/2203.05482. It works for models that were trained on from the same
weights, such as one run and a run that went on from it; the mean of others is of no use. That holds for each part: of
FMPN runs that began with one backbone, each with a new mask generator, the mean has good classes and flat masks. Give
it to ``--init`` as the backbone behind the generator and fusion net of one of them.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from fmpn_timm.errors import InputError
from fmpn_timm.hub import class_names, load_model, model_folder, recipe_of, refuse_to_replace, results_of, save_model

__all__ = ["average_models"]

#: What averaged models have in common, of their configurations.
SAME = ("architecture", "input_size", "crop_pct", "mean", "std")


def average_models(names: Sequence[str], out: str | Path) -> nn.Module:
    """Write a model folder with the mean of the weights of several models.

    Everything else is the first one's: configuration, recipe, where its data come from and, where it is a folder, prior
    masks. Its temperature is left out: calibrate the new one.

    Args:
        names: Two or more models, as ``load_model`` takes them.
        out: Folder to write; a model folder that was there is replaced.

    Raises:
        InputError: There are fewer than two, they differ in architecture, sizes, normalisation, classes or recipe, or
            ``out`` is one of them, or is there already and no model folder, or cannot be written.
    """
    out = Path(out)
    if len(names) < 2:
        raise InputError("An average needs two models or more.")
    refuse_to_replace(out)
    folders = [model_folder(name) for name in names]
    if any(folder and folder.resolve() == out.resolve() for folder in folders):
        raise InputError(f"--out {out} is one of the models: give another name.")
    model = load_model(names[0])
    classes, recipe, total = class_names(model), recipe_of(names[0]), model.state_dict()
    for name in names[1:]:
        other = load_model(name)
        weights = other.state_dict()
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in total.items()}:
            raise InputError(f"{name} is of another architecture or size than {names[0]}.")
        differ = [key for key in SAME if other.pretrained_cfg.get(key) != model.pretrained_cfg.get(key)]
        if differ or _normalisation(other) != _normalisation(model):
            what = ", ".join(differ) or "normalisation"
            raise InputError(f"{name} differs from {names[0]} in its {what}: average models of one kind.")
        if class_names(other) != classes or recipe_of(name) != recipe:
            raise InputError(f"{name} has other classes than {names[0]}, or faces cut in another way.")
        total = {k: v + weights[k] if v.is_floating_point() else v for k, v in total.items()}
    model.load_state_dict({k: v / len(names) if v.is_floating_point() else v for k, v in total.items()})
    cfg = model.pretrained_cfg
    try:
        results = results_of(names[0])
        origin = {key: results[key] for key in ("data", "origin") if key in results}
        save_model(model, out, classes, cfg["input_size"][-1], cfg["crop_pct"], recipe=recipe,
                   files={"results.json": origin} if origin else None)
        folder = folders[0]
        if folder and (folder / "priors.safetensors").is_file():
            shutil.copyfile(folder / "priors.safetensors", out / "priors.safetensors")
    except OSError as error:
        raise InputError(f"--out {out} cannot be written ({error.strerror}): give a folder that can be.") from error
    return model


def _normalisation(model: nn.Module) -> list[list[float]]:
    """What FMPN hands its backbone faces with; empty for other models."""
    buffers = (getattr(model, name, None) for name in ("backbone_mean", "backbone_std"))
    return [buffer.flatten().tolist() for buffer in buffers if buffer is not None]
