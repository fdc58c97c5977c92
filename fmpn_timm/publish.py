"""Publish a trained model: a folder with weights, config, card, masks and pictures, and its upload to the Hub."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id, yaml_dump
from safetensors.torch import load_file, save_file

from . import zoo
from .card import benchmark_results, model_card
from .errors import InputError
from .files import partial_name, portable, whole, write_json
from .hub import HTTP_ERROR, WEIGHTS, class_names, load_model, read_config, refuse_to_replace
from .priors import MaskSet
from .version import __version__

__all__ = ["FILES", "Publication", "publish", "publish_all"]

FIGURES = ("confusion.png", "mean_masks.png", "priors.png")
RESULTS = ".eval_results/fmpn-timm.yaml"
#: All that is ever published. masks.png is not: it shows faces of the data set. Pickles are not.
FILES = ("README.md", "config.json", WEIGHTS, "results.json", "priors.safetensors", *FIGURES, RESULTS)


@dataclass(frozen=True)
class Publication:
    """What was published, or would be.

    Attributes:
        repo_id: ``owner/name``.
        folder: The folder, if it was kept.
        files: Size of each file in bytes, by name.
        left_out: Files that lie beside them and do not go.
        url: The commit on the Hub; None if nothing was uploaded.
    """

    repo_id: str
    folder: Path | None
    files: dict[str, int]
    left_out: tuple[str, ...]
    url: str | None


def publish(
        source: str | Path,
        repo_id: str,
        private: bool = False,
        dry_run: bool = False,
        out: str | Path | None = None,
        license: str | None = None,
        benchmark: str | None = None,
        float16: bool = False,
) -> Publication:
    """Publish a run or a model folder.

    The source is not changed. On the Hub it becomes one commit: files of an earlier publication are replaced, or
    removed if there are none now; what else lies there stays.

    Args:
        source: A run (``runs/<name>``), or a model folder: a run's ``model/``, or ``hub/<arch.tag>``. A README.md that
            lies beside the weights goes as it is.
        repo_id: ``owner/name`` on the Hub; it is made if there is none.
        private: Make it private.
        dry_run: Write the folder, upload nothing.
        out: Folder to write; a temporary one if None, which stays after a dry run only.
        license: Licence of the weights for the metadata of the card that is written; by the training data if None.
        benchmark: ``owner/dataset`` or ``owner/dataset:task`` of the Hub's benchmark that the figures are of.
        float16: Write all weights of two or more dimensions in half precision; biases and norms stay as they are.

    Raises:
        InputError: The folder is not fit to be published, or the upload failed; the message says what to do.
    """
    _check_repo_id(repo_id)
    out = Path(out).resolve() if out else None
    if out:
        refuse_to_replace(out)
    staged = partial_name(out) if out else Path(tempfile.mkdtemp(prefix="fmpn-publish-"))
    kept = None
    try:
        try:
            left_out = _stage(Path(source), repo_id, staged, license, benchmark, float16)
            if out:
                _install(staged, out)
        except OSError as error:
            raise InputError(f"{error.filename or staged} cannot be read or written "
                             f"({(error.strerror or str(error)).lower()}). {source} is as it was.") from error
        folder = out or staged
        files = {name: (folder / name).stat().st_size for name in FILES if (folder / name).is_file()}
        url = None if dry_run else _upload(folder, repo_id, private, source)
        kept = folder if out or dry_run else None
        return Publication(repo_id, kept, files, left_out, url)
    finally:
        if kept != staged:
            shutil.rmtree(staged, ignore_errors=True)


def publish_all(private: bool = False, dry_run: bool = False) -> list[Publication]:
    """Publish every folder ``hub/<arch.tag>`` of the checkout, to the repository that its line in the models declares.

    Raises:
        InputError: A folder is not declared, is of another architecture, or its upload failed.
    """
    targets = {}
    for config in sorted(zoo.CHECKOUT.glob("[!.]*/config.json")):
        name = config.parent.name
        try:
            repo_id = timm.get_pretrained_cfg(name).hf_hub_id
        except (AttributeError, RuntimeError):
            repo_id = None
        arch = name.split(".", 1)[0]
        if not repo_id:
            raise InputError(
                f'hub/{name} is not declared: add the line "{name}": fmpn_cfg("<backbone>", hf_hub_id="<owner>/{name}")'
                f" (of other systems _cfg(...)) to default_cfgs, in the file of {arch} in fmpn_timm/models."
            )
        if read_config(config)["architecture"] != arch:
            raise InputError(f"{config} is of another architecture than {arch}: name the folder <arch>.<tag>.")
        targets[config.parent] = repo_id
    return [publish(folder, repo_id, private, dry_run, folder) for folder, repo_id in targets.items()]


def _check_repo_id(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"--repo-id {repo_id}: {error}") from error
    if repo_id.count("/") != 1:
        raise InputError(f"--repo-id {repo_id}: give owner/name.")


def _stage(
        source: Path,
        repo_id: str,
        folder: Path,
        license: str | None,
        benchmark: str | None,
        float16: bool,
) -> tuple[str, ...]:
    """Write everything that is published to a folder of its own; the names of the files that are left out."""
    source = source.resolve()
    places = (source, source.parent) if source.name == "model" else (source,)  # of a run, or of its model/
    run = next((place for place in places if (place / "summary.json").is_file()), None)
    model = run / "model" if run else source
    if not (model / "config.json").is_file():
        raise InputError(f"{source} is neither a finished run (summary.json, model/) nor a model folder (config.json).")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("README.md", WEIGHTS, "priors.safetensors", *FIGURES, RESULTS):
        found = next((place / name for place in (model, run) if place and (place / name).is_file()), None)
        if found:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(found, folder / name)

    if license and (folder / "README.md").is_file():
        raise InputError(f"--license {license}: {source} has a README.md of its own, which says the licence. Edit it, "
                         "or remove it.")
    if float16:
        _halve(folder / WEIGHTS)
    summary = {}
    if run or (model / "results.json").is_file():
        summary = read_config(run / "summary.json" if run else model / "results.json")
    config = _complete_config(read_config(model / "config.json"), summary, folder)
    write_json(folder / "config.json", config)
    _check_model(folder, model)
    if (model / "results.json").is_file():
        write_json(folder / "results.json", portable(read_config(model / "results.json")))
    if benchmark:
        if "metrics" not in summary:
            raise InputError(f"--benchmark {benchmark}: {source} has no results to report.")
        (folder / RESULTS).parent.mkdir(exist_ok=True)
        entries = benchmark_results(benchmark, repo_id, summary)
        (folder / RESULTS).write_text(yaml_dump(entries, sort_keys=False), encoding="utf-8")
    if not (folder / "README.md").is_file():
        files = [path.name for path in folder.iterdir()]
        (folder / "README.md").write_text(model_card(repo_id, config, summary, files, license), encoding="utf-8")
    beside = {path.name for place in (model, run) if place for path in place.iterdir() if path.is_file()}
    return tuple(sorted(beside - set(FILES)))


def _halve(weights: Path) -> None:
    """Rewrite weights with all but vectors and scalars in half precision."""
    if not weights.is_file():
        return  # the check that follows says so
    tensors = {k: v.half() if v.ndim > 1 and v.is_floating_point() else v for k, v in load_file(weights).items()}
    with whole(weights) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})


def _complete_config(config: dict[str, Any], summary: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A model's config.json with what it does not say by itself: the prior masks."""
    if (folder / "priors.safetensors").is_file():
        masks = MaskSet.load(folder / "priors.safetensors")
        name = summary.get("config", {}).get("priors") or config.get("priors", {}).get("name", "priors.safetensors")
        config = {**config, "priors": {"name": portable(name), "data": masks.data, "classes": list(masks.classes),
                                       "pairs": masks.pairs, "file": "priors.safetensors"}}
    return config


def _check_model(folder: Path, source: Path) -> None:
    """The model must load as its users will load it, and name its classes."""
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{source} holds no {WEIGHTS}: pickled weights are not published. Save it with timm's "
                         "save_for_hf(..., safe_serialization=True), or train it here.")
    try:
        class_names(load_model(f"local-dir:{folder}"))
    except InputError as error:
        raise InputError(str(error).replace(str(folder), str(source))) from error


def _install(staged: Path, out: Path) -> None:
    """Move the files to where they stay: ours replace ours, files of others stay."""
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (staged / name).is_file():
            (out / name).parent.mkdir(exist_ok=True)
            os.replace(staged / name, out / name)
        else:
            (out / name).unlink(missing_ok=True)


def _upload(folder: Path, repo_id: str, private: bool, source: str | Path) -> str:
    api = HfApi(library_name="fmpn-timm", library_version=__version__)
    try:
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        there = api.model_info(repo_id)
        if private and not there.private:
            raise InputError(f"{repo_id} is there and is public: make it private on the Hub, or leave out --private.")
        changes = [CommitOperationAdd(name, folder / name) for name in FILES if (folder / name).is_file()]
        stale = {file.rfilename for file in there.siblings} & set(FILES) - {c.path_in_repo for c in changes}
        changes += [CommitOperationDelete(name) for name in sorted(stale)]
        # upload_folder may split a folder into several commits
        message = f"Published with fmpn-timm {__version__}"
        return api.create_commit(repo_id, operations=changes, commit_message=message).commit_url
    except InputError:
        raise
    except (HTTP_ERROR, OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{repo_id} was not published: {_reason(error, repo_id)} {source} is as it was; run the same command again."
        ) from error


def _reason(error: BaseException, repo_id: str) -> str:
    """Why an upload failed and what to do."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    status = next((e.response.status_code for e in causes if getattr(e, "response", None) is not None), None)
    owner = repo_id.split("/")[0]
    if status == 401:
        return "log in with a token that may write (hf auth login)."
    if status in (403, 404):
        return f"you may not write to {owner} ({status}): log in as one who may (hf auth login), or change --repo-id."
    if status in (429, 500, 502, 503, 504):
        return f"the Hub answers {status}: wait a little."
    said = " ".join(str(error).split()) or type(error).__name__
    if status is not None or isinstance(error, ValueError):
        return f"the Hub refused it ({said})."
    return f"the Hub is out of reach ({said}): check the network, and HF_HUB_OFFLINE."
