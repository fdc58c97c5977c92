"""``fmpn evaluate`` and ``fmpn calibrate``: a model over the faces of a data set."""

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from .common import FLIP, MODEL, Commands, picture_name, read_options

if TYPE_CHECKING:
    from fmpn_timm.data.samples import FaceSet

__all__ = ["add_calibrate", "add_evaluate"]


def add_evaluate(commands: Commands) -> None:
    evaluate = _on_faces(commands, "evaluate", _evaluate, "test", "evaluate a model on a data set")
    evaluate.add_argument("--masks", type=picture_name, metavar="PNG",
                          help="draw the mean motion mask of each class to a picture file")


def _evaluate(options: argparse.Namespace) -> None:
    from fmpn_timm.hub import load_model, temperature_of
    from fmpn_timm.launched import is_first
    from fmpn_timm.training.evaluation import evaluate

    faces = _faces(options)
    result = evaluate(load_model(options.model), faces, temperature=temperature_of(options.model),
                      masks_path=options.masks, **_how(options))
    if not is_first():
        return
    result = {"model": options.model, **result}
    if options.json:
        print(json.dumps(result))
        return

    def figure(name: str) -> str:
        ends = result[f"{name}_interval"]
        return f"{100 * result[name]:.2f} %" + (f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else "")

    print(f"{options.model} on {_of(result)}: accuracy {figure('accuracy')}, macro F1 {figure('macro_f1')}, "
          f"n = {result['n']}; calibration error "
          f"{100 * result['ece']:.1f} %, NLL {result['nll']:.3f} at temperature {result['temperature']:g}")
    for name, row in result["per_class"].items():
        if row["n"]:
            print(f"  {name:10} n = {row['n']:5}  recall {row['recall']:.3f}  F1 {row['f1']:.3f}")


def add_calibrate(commands: Commands) -> None:
    calibrate = _on_faces(commands, "calibrate", _calibrate, "valid", "fit a model's temperature, so that its "
                          "probabilities hold; a model folder keeps it in its config.json")
    calibrate.add_argument("--picture", type=picture_name, metavar="PNG",
                           help="draw the reliability before and after to a picture file")


def _calibrate(options: argparse.Namespace) -> None:
    from fmpn_timm.hub import load_model, model_folder
    from fmpn_timm.launched import is_first
    from fmpn_timm.training.calibration import calibrate, keep_temperature

    folder = model_folder(options.model)
    faces = _faces(options)
    result = calibrate(load_model(options.model), faces, picture=options.picture, **_how(options))
    if not is_first():
        return
    kept = folder / "config.json" if folder else None
    if kept:
        keep_temperature(folder, result)
    if options.json:
        print(json.dumps({"model": options.model, **result, "kept": kept and str(kept)}))
        return
    print(f"{options.model} on {_of(result)}, n = {result['n']}: temperature {result['temperature']:.4f}; "
          f"calibration error {100 * result['ece_before']:.2f} -> {100 * result['ece_after']:.2f} %, "
          f"NLL {result['nll_before']:.4f} -> {result['nll_after']:.4f}, accuracy {100 * result['accuracy']:.2f} %")
    for row in result["coverage"]:
        right = "" if row["accuracy"] is None else f", {100 * row['accuracy']:.1f} % of them right"
        print(f"  P >= {row['probability']:.1f}: {100 * row['coverage']:.1f} % of the faces{right}")
    print(f"kept in {kept}" if kept else "kept nowhere, as this is no folder: calibrate a copy of the model's folder, "
                                         "whose config.json keeps it")


def _on_faces(commands: Commands, name: str, run: Callable, split: str, help: str) -> argparse.ArgumentParser:
    """A command that runs a model over a split of a data set."""
    command = commands.add_parser(name, help=help)
    command.add_argument("model", help=MODEL)
    command.add_argument("--dataset", required=True, help="name of the data set")
    command.add_argument("--root", help="its folder; drawn faces have none")
    command.add_argument("--split", default=split, help=f"(default: {split})")
    command.add_argument("--rule", help="label rule, for FERPlus: majority (default) or argmax")
    command.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="further reader option")
    command.add_argument("--without", metavar="SPLIT[:RULE]", help="leave out faces whose picture is in this split of "
                         "the data set too, by this label rule of it (default: by the same)")
    command.add_argument("--flip", **FLIP)
    command.add_argument("--shared-classes", action="store_true",
                         help="leave out samples of classes the model lacks")
    command.add_argument("--any-recipe", action="store_true", help="take faces that were aligned in another way")
    command.add_argument("--batch-size", type=int, default=64, help="faces the model sees at once (default: 64)")
    command.add_argument("--workers", type=int, default=0, help="processes that load faces (default: 0)")
    command.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no", help="(default: no, float32)")
    command.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    command.set_defaults(run=run)
    return command


def _faces(options: argparse.Namespace) -> "FaceSet":
    """The faces that a model is to be run on, which must be cut as it wants them."""
    from fmpn_timm.data.readers import read_faces
    from fmpn_timm.data.splits import without_copies
    from fmpn_timm.faces import check_recipe
    from fmpn_timm.hub import recipe_of

    reader_options = read_options(options.option)
    if options.rule:
        reader_options["rule"] = options.rule
    faces = read_faces(options.dataset, options.root, options.split, **reader_options)
    check_recipe(faces.recipe, recipe_of(options.model), options.model, options.any_recipe)
    if options.without:
        split, _, rule = options.without.partition(":")
        reader_options |= {"rule": rule} if rule else {}
        faces = without_copies(faces, read_faces(options.dataset, options.root, split, **reader_options))
    return faces


def _how(options: argparse.Namespace) -> dict:
    """How a model is to be run on faces, as ``answer`` takes it."""
    names = ("flip", "shared_classes", "batch_size", "workers", "precision")
    return {name: getattr(options, name) for name in names}


def _of(result: dict) -> str:
    """What the figures of a model on faces are of."""
    without = result["options"].get("without")
    return (f"{result['dataset']} {result['split']}" + (f", {result['rule']} rule" if result["rule"] else "")
            + (f", without {without['copies']} copies of pictures of {without['split']}" if without else ""))
