"""Model folders, as they lie on disk and on the Hugging Face Hub: timm's config.json and safetensors weights."""

import copy
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from timm.models import save_for_hf
from timm.models._hub import hf_split
from torch import nn

from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe

__all__ = ["class_names", "load_model", "recipe_of", "save_model", "weights_of"]


def save_model(
        model: nn.Module,
        folder: str | Path,
        classes: tuple[str, ...],
        size: int,
        crop_pct: float,
        files: dict[str, Any] | None = None,
        recipe: Recipe | None = None,
) -> None:
    """Write a folder that ``timm.create_model("local-dir:<folder>", pretrained=True)`` loads.

    The folder appears under its name only when it is complete; one that was there is replaced.

    Args:
        model: A timm model.
        folder: Where to write.
        classes: Class names in the order of the logits.
        size: Height and width of the input the model was trained for, in pixels.
        crop_pct: Share of the resized face that is cropped for evaluation.
        files: Further JSON files by name, such as results.
        recipe: How the faces it was trained on were cut; goes into config.json.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        # safetensors takes contiguous weights only, and the caller's model keeps its device and memory format
        model = copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format)
        save_for_hf(
            model,
            str(partial),
            model_config=dict(label_names=list(classes), recipe=recipe and recipe.as_dict()),
            safe_serialization=True,
            data_config=dict(input_size=(model.in_chans, size, size), crop_pct=crop_pct),
        )
        for name, content in (files or {}).items():
            (partial / name).write_text(json.dumps(content, indent=2))
        if folder.exists():
            old = folder.with_name(f".{folder.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            os.replace(folder, old)
            os.replace(partial, folder)
            shutil.rmtree(old)
        else:
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_model(name: str, **kwargs: Any) -> nn.Module:
    """A trained model by name: a timm name with weights, ``hf-hub:owner/name`` or ``local-dir:folder``.

    Raises:
        InputError: There is no such model, or it has no weights that can be reached.
    """
    if name.startswith("local-dir:"):
        _local_config(name)
    with weights_of(name):
        return timm.create_model(name, pretrained=True, **kwargs)


def recipe_of(name: str) -> Recipe | None:
    """How faces must be cut for a model, as its config.json says; None if it does not say.

    Args:
        name: As for ``load_model``.

    Raises:
        InputError: There is no such model, or its recipe is damaged.
    """
    if name.startswith("local-dir:"):
        path = _local_config(name)
    elif name.startswith("hf-hub:"):
        repository, revision = hf_split(name.removeprefix("hf-hub:"))
        with weights_of(name):
            path = hf_hub_download(repository, "config.json", revision=revision)
    else:
        return None
    recipe = json.loads(Path(path).read_text()).get("recipe")
    return recipe and Recipe.from_dict(recipe)


def _local_config(name: str) -> Path:
    folder = Path(name.removeprefix("local-dir:"))
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json: give a run's model/ folder.")
    return folder / "config.json"


@contextmanager
def weights_of(name: str) -> Iterator[None]:
    """Turn timm's and the Hub's errors about the weights of a model into one that names the mend."""
    try:
        yield
    except RepositoryNotFoundError as error:
        raise InputError(f"{name}: there is no such repository on the Hugging Face Hub, or it is private.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError) as error:
        raise InputError(
            f"{name}: its weights are not in the cache and the Hugging Face Hub is out of reach. Go online once, or "
            "give weights you have (local-dir:<folder>), or none."
        ) from error
    except RuntimeError as error:
        if any(text in str(error) for text in ("Unknown model", "No pretrained weights", "Invalid pretrained")):
            mend = "Give a name with weights, hf-hub:<repository> or local-dir:<folder>."
            raise InputError(f"{name}: {error} {mend}") from error
        raise


def class_names(model: nn.Module) -> tuple[str, ...]:
    """Class names in the order of the model's logits.

    Raises:
        InputError: The model's config has none.
    """
    names = model.pretrained_cfg.get("label_names")
    if not names:
        arch = model.pretrained_cfg.get("architecture", "this model")
        raise InputError(f"{arch} has no label_names in its config.json: add them, or nobody knows its outputs' order.")
    return tuple(names)
