"""Model folders, as they lie on disk and on the Hugging Face Hub: timm's config.json and safetensors weights."""

import copy
import errno
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open
from timm.models import parse_model_name, save_for_hf
from torch import nn

from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.files import FULL, os_errors, partial_name, sha256, write_json
from fmpn_timm.models._published import weights_source

__all__ = [
    "WEIGHTS", "class_names", "load_model", "model_folder", "read_config", "recipe_of", "refuse_to_replace",
    "results_of", "save_model", "temperature_of", "weights_of",
]

#: The one file weights are in. Pickles (.bin, .pth, .ckpt) are neither written nor read.
WEIGHTS = "model.safetensors"

HTTP_ERROR = HfHubHTTPError.__bases__[0]  # of the HTTP library that huggingface_hub uses, httpx or httpx2
#: Keys of config.json that would have timm read weights from somewhere else.
ELSEWHERE = ("file", "hf_hub_filename", "custom_load", "checkpoint_path", "pretrained_cfg_overlay")


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

    Raises:
        OSError: It cannot be written (a full disk, say).
    """
    folder = Path(folder).absolute()  # also where it is given as "."
    partial = partial_name(folder)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        # safetensors takes contiguous weights only, and the caller's model keeps its device and memory format
        model = copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format)
        with os_errors(folder):
            save_for_hf(
                model,
                str(partial),
                model_config=dict(label_names=list(classes), recipe=recipe and recipe.as_dict()),
                safe_serialization=True,
                data_config=dict(
                    input_size=(getattr(model, "in_chans", 3), size, size),  # a backbone of one's own may not say
                    crop_pct=crop_pct,
                    interpolation="bilinear",  # as the transforms have it, whatever the backbone's own weights ask for
                ),
            )
        # transformers takes the number of classes from beside the arguments, and does not bear it among them as well
        config = read_config(partial / "config.json")
        config.get("model_args", {}).pop("num_classes", None)
        for name, content in {"config.json": config, **(files or {})}.items():
            write_json(partial / name, content)
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


def refuse_to_replace(out: Path) -> None:
    """Refuse to write a model where more would be lost than a model, or an empty folder.

    Raises:
        InputError: Something else is there.
    """
    model = (out / "config.json").is_file() and (out / WEIGHTS).is_file()
    empty = out.is_dir() and not any(out.iterdir())
    if out.exists() and not (model or empty):
        raise InputError(f"--out {out} is there already and is no model folder: give another name.")


def load_model(name: str | os.PathLike, **kwargs: Any) -> nn.Module:
    """A trained model by name.

    Unlike ``timm.create_model`` it opens no pickle of a folder or repository, follows no config.json to weights
    elsewhere, checks the hash of what it fetched where the cache is named by it (with symbolic links), and reads config
    and weights of one commit.

    Args:
        name: A timm name with weights (``arch`` or ``arch.tag``), ``hf-hub:owner/name`` with or without ``@revision``,
            ``local-dir:folder``, or the folder alone.
        kwargs: Further arguments of ``timm.create_model``, such as ``num_classes``.

    Returns:
        The model, in training mode, as ``timm.create_model`` gives it.

    Raises:
        InputError: There is no such model, it has no weights that can be reached, or it is damaged.
    """
    name = os.fspath(name)
    with weights_of(name):
        source = _source(name)
        if source is None:
            return timm.create_model(name, pretrained=True, **kwargs)
        cache_dir = kwargs.get("cache_dir")
        config = _file(source, "config.json", cache_dir)
        _check_config(read_config(config), config)
        if source.startswith("hf-hub:"):  # the commit that config.json is of: weights must not be of a later one
            source = f"{source.partition('@')[0]}@{config.parent.name}"
        _check_weights(_file(source, WEIGHTS, cache_dir), source)
        try:
            return timm.create_model(source, pretrained=True, **kwargs)
        except (RuntimeError, TypeError, ValueError) as error:
            what = "its config.json and weights do not make a model"
            raise InputError(f"{name}: {what}: {_first_lines(error)}") from error


def model_folder(name: str) -> Path | None:
    """The folder that ``local-dir:folder`` or a folder alone names; None for names of other kinds.

    Args:
        name: As for ``load_model``. A timm name is one, whatever folders there are.
    """
    if name.startswith("local-dir:"):
        return Path(name.removeprefix("local-dir:"))
    return Path(name) if Path(name, "config.json").is_file() and not timm.is_model(name) else None


def recipe_of(name: str | os.PathLike) -> Recipe | None:
    """How faces must be cut for a model, as its config.json says; None if it does not say.

    Args:
        name: As for ``load_model``.

    Raises:
        InputError: There is no such model, or its recipe is damaged.
    """
    recipe = _read_beside(name, "config.json").get("recipe")
    return recipe and Recipe.from_dict(recipe)


def temperature_of(name: str | os.PathLike) -> float:
    """What the logits of a model are divided by before the softmax, so that its probabilities are calibrated.

    Args:
        name: As for ``load_model``.

    Returns:
        The temperature, positive; 1 where the model was not calibrated.

    Raises:
        InputError: There is no such model, or its temperature is no positive number.
    """
    temperature = _read_beside(name, "config.json").get("temperature", 1.0)
    number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
    if not number or not math.isfinite(temperature) or temperature <= 0:
        raise InputError(f"{name}: the temperature in its config.json, {temperature!r}, must be a positive number: run "
                         "fmpn calibrate again, or take the line out.")
    return float(temperature)


def results_of(name: str | os.PathLike) -> dict[str, Any]:
    """What lies beside a model as results.json, the figures of its run and their data; empty if there is none.

    Args:
        name: As for ``load_model``.
    """
    try:
        return _read_beside(name, "results.json")
    except InputError:
        return {}


def class_names(model: nn.Module) -> tuple[str, ...]:
    """Class names in the order of the model's logits.

    Raises:
        InputError: The model's config has none, or those of another number of logits.
    """
    names = model.pretrained_cfg.get("label_names")
    arch = model.pretrained_cfg.get("architecture", "this model")
    if not names:
        raise InputError(f"{arch} has no label_names in its config.json: add them, or nobody knows its outputs' order.")
    if len(names) != model.num_classes:
        raise InputError(f"The config.json of {arch} names {len(names)} classes for {model.num_classes} logits: mend "
                         "its label_names, or load it without num_classes.")
    return tuple(names)


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a model's config.json, or a JSON file beside it.

    Raises:
        InputError: It is no JSON object.
    """
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}): get the model again.") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} is damaged (it holds no JSON object): get the model again.")
    return config


@contextmanager
def weights_of(name: str, mend: str | None = None) -> Iterator[None]:
    """Turn what timm, the Hub, the network and the disk say about the weights of a model into one ``InputError``.

    Args:
        name: As for ``load_model``.
        mend: What else to do where there are none, or the Hub is out of reach.
    """
    try:
        yield
    except InputError:
        raise
    except GatedRepoError as error:
        raise InputError(
            f"{name}: this repository is gated. Ask for access on its page on the Hub, then log in (hf auth login)."
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{name}: there is no such repository on the Hugging Face Hub, or it is private: then log in "
            "(hf auth login)."
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"{name}: the repository has no such revision. Name a branch, a tag or a commit of it after the @."
        ) from error
    except HFValidationError as error:
        raise InputError(
            f"{name} names no repository of the Hub: write hf-hub:owner/name or hf-hub:owner/name@revision."
        ) from error
    except RemoteEntryNotFoundError as error:
        raise InputError(f"{name}: the Hub lacks a file of it. {_first_lines(error)}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, FileMetadataError, HTTP_ERROR, ConnectionError) as error:
        mend = mend or f"give weights you have (local-dir:<folder>{_checkout(name)}), or none"
        raise InputError(
            f"{name}: its weights are not in the cache and the Hugging Face Hub is out of reach{_answer(error)}. "
            f"Go online once, or {mend}."
        ) from error
    except OSError as error:
        where = error.filename or constants.HF_HUB_CACHE
        if error.errno in FULL:
            what = f"the disk of {where} is full: make room, or name another cache with HF_HOME."
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            what = f"{where} cannot be written: name a cache that can with HF_HOME."
        else:
            what = f"{_first_lines(error)} Try again."
        raise InputError(f"{name}: {what}") from error
    except RuntimeError as error:
        if "No pretrained weights" in str(error) and "local-dir" in str(error):
            raise InputError(str(error)) from error
        if any(text in str(error) for text in ("Unknown model", "No pretrained weights", "Invalid pretrained")):
            mend = f", or {mend}" if mend else ""
            raise InputError(f"{name}: {_first_lines(error)} Give a name with weights, hf-hub:<repository> or "
                             f"local-dir:<folder>{mend}.") from error
        raise


def _read_beside(name: str | os.PathLike, file: str) -> dict[str, Any]:
    """A JSON file of a model; empty for timm's own names."""
    name = os.fspath(name)
    with weights_of(name):
        source = _source(name)
        return read_config(_file(source, file)) if source else {}


def _source(name: str) -> str | None:
    """``local-dir:<folder>`` or ``hf-hub:<repository>`` of a model; None for timm's own names."""
    if folder := model_folder(name):
        return f"local-dir:{folder}"
    try:
        source, identifier = parse_model_name(name)
    except ValueError as error:  # timm asks for a prefix, which would not help
        repository = f"hf-hub:{name}" if name.count("/") == 1 else "hf-hub:owner/name"
        raise InputError(f"{name} is no folder with a config.json, and no model of that name is known: give a run's "
                         f"model/ folder, {repository} for a model on the Hub, or a name that fmpn models "
                         "lists.") from error
    return f"{source}:{identifier}" if source else weights_source(name)


def _file(source: str, file: str, cache_dir: str | Path | None = None) -> Path:
    """A file of a model folder, fetched if need be."""
    kind, _, identifier = source.partition(":")
    if kind == "local-dir":
        path = Path(identifier) / file
        if not path.is_file():
            mend = "give a run's model/ folder" if file == "config.json" else "weights as pickles are not opened"
            raise InputError(f"{identifier} holds no {file}: {mend}.")
        return path
    repository, _, revision = identifier.partition("@")
    try:
        return Path(hf_hub_download(repository, file, revision=revision or None, cache_dir=cache_dir))
    except RemoteEntryNotFoundError as error:
        mend = "it is no timm model" if file == "config.json" else "weights as pickles are not opened; ask its owner"
        raise InputError(f"{source}: the repository holds no {file}: {mend}.") from error


def _check_config(config: dict[str, Any], path: Path) -> None:
    """Refuse a config.json that names no model, or has weights read from anywhere but its own folder."""
    for key in ("pretrained_cfg", "model_args", "recipe"):
        if not isinstance(config.get(key) or {}, dict):
            raise InputError(f"{path} is damaged: its {key} is no JSON object. Get the model again.")
    arch = config.get("architecture")  # where timm reads it
    if arch is None and (path.parent / "model" / "config.json").is_file():
        raise InputError(f"{path.parent} is a run: give its model, {path.parent / 'model'}.")
    if not isinstance(arch, str) or not timm.is_model(arch):
        raise InputError(
            f"{path} names the architecture {arch!r}, which neither timm {timm.__version__} nor fmpn-timm knows: "
            "install newer ones, or mend the name."
        )

    def outside(node: Any) -> Iterator[str]:
        for key, value in node.items():
            if key in ELSEWHERE and value:
                yield f"{key}: {value}"
            elif isinstance(value, dict):
                yield from outside(value)

    read = ("pretrained_cfg", "model_args") if "pretrained_cfg" in config else config  # timm's older form is flat
    found = list(outside({key: config[key] for key in read if key in config}))
    if found:
        raise InputError(
            f"{path} points outside its own folder ({', '.join(found)}), and is not followed: a model's weights lie "
            f"beside its config.json, in {WEIGHTS}. Take that line out if you trust it."
        )


def _check_weights(path: Path, source: str) -> None:
    """Refuse damaged weights. Of the Hub's cache they are removed, so that the next try fetches them anew."""
    # The cache calls it by its hash. That may be a link itself, to where all repositories share what came over Xet, by
    # names that are hashes of another kind.
    blob = path.parent / os.readlink(path) if path.is_symlink() else path
    try:
        with safe_open(path, "pt"):
            pass
        if not re.fullmatch("[0-9a-f]{64}", blob.name) or sha256(path) == blob.name:
            return
        damage = "it has another hash than on the Hub"
    except SafetensorError as error:
        damage = str(error)
    if source.startswith("local-dir:"):
        raise InputError(f"{path} is damaged ({damage}): copy it again, or save the model again.")
    try:
        path.resolve().unlink()
        blob.unlink(missing_ok=True)
        mend = "It was taken out of the cache: try again"
    except OSError:
        mend = f"Delete {blob} and try again"
    raise InputError(
        f"{source}: {WEIGHTS} is damaged ({damage}). {mend}; if that does not help, it is damaged on the Hub too."
    )


def _answer(error: BaseException) -> str:
    """What the Hub answered, where it did: `` (it answers 429, too many requests)``."""
    for seen in (error, error.__cause__, error.__context__):
        status = getattr(getattr(seen, "response", None), "status_code", None)
        if status is not None:
            kind = {401: ", log in with hf auth login", 403: ", no right to read", 429: ", too many requests"}
            return f" (it answers {status}{kind.get(status, '')})"
    return ""


def _checkout(name: str) -> str:
    """The second mend of a name whose weights are declared: ``, or hub/<arch.tag> of a checkout``."""
    if ":" in name or not weights_source(name):
        return ""
    cfg = timm.models.get_pretrained_cfg(name)
    return f", or hub/{cfg.architecture}.{cfg.tag} of a checkout"


def _first_lines(error: BaseException) -> str:
    return " ".join(line.strip() for line in str(error).strip().splitlines()[:2]).rstrip(":.") + "."
