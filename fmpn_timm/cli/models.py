"""``fmpn models``, ``export``, ``convert``, ``average``, ``fetch`` and ``publish``."""

import argparse
import json
from pathlib import Path

from fmpn_timm.errors import InputError

from .common import MODEL, Commands

__all__ = ["add_average", "add_convert", "add_export", "add_fetch", "add_models", "add_publish"]


def add_models(commands: Commands) -> None:
    models = commands.add_parser("models", help="list the named models and where their weights are")
    form = models.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    form.add_argument("--markdown", action="store_true", help="print the table of docs/models.md")
    models.set_defaults(run=_models)


def _models(options: argparse.Namespace) -> None:
    from fmpn_timm.zoo import list_zoo, models_table

    rows = list_zoo()
    if options.json:
        print(json.dumps({"models": rows}))
    elif options.markdown:
        print(models_table(rows))
    else:
        width = max(len(row["name"]) for row in rows)
        print(f"{'name':{width}}  input  parameters    GMACs  weights")
        for row in rows:
            figures = f"{row['input_size'][-1]:5}  {row['parameters'] / 1e6:8.2f} M  {row['gmacs']:7.2f}"
            print(f"{row['name']:{width}}  {figures}  {row['weights']}")


def add_export(commands: Commands) -> None:
    export = commands.add_parser("export", help="write a model to one file that runs without this package")
    export.add_argument("model", help=MODEL)
    export.add_argument("--format", choices=("onnx", "torchscript", "pt2"), default="onnx", help="(default: onnx)")
    export.add_argument("--out", type=Path, required=True, help="file to write")
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from fmpn_timm.inference.export import export

    exported = export(options.model, options.out, options.format)
    print(f"{exported.path}: {options.format}, {exported.path.stat().st_size / 1e6:.1f} MB, "
          f"classes {', '.join(exported.metadata['classes'])}, temperature {exported.metadata['temperature']:g}")
    for name, difference in exported.differences.items():
        print(f"  {name}: at most {difference:.1e} from the model's own, on {exported.faces} random faces")
    if not exported.metadata["recipe_recorded"]:
        print("  the model records no alignment recipe: the file names the package's default")


def add_convert(commands: Commands) -> None:
    convert = commands.add_parser("convert", help="turn a checkpoint of the FMPN authors' code into a model folder")
    convert.add_argument("--fmg", type=Path, required=True, metavar="PTH", help="mask generator, *_net_resface.pth")
    convert.add_argument("--pfn", type=Path, required=True, metavar="PTH", help="fusion net, *_net_fusion.pth")
    convert.add_argument("--cn", type=Path, required=True, metavar="PTH", help="classifier, *_net_cls.pth")
    convert.add_argument("--backbone", default="inception_v3",
                         help="inception_v3 (default), resnet50, resnet152 or densenet121")
    convert.add_argument("--num-classes", type=int, default=7, help="7 as for CK+ (default), 6 as for MMI, or other")
    convert.add_argument("--classes", metavar="NAME,NAME...",
                         help="class names in the order of the logits (default: the authors', for CK+ or MMI)")
    convert.add_argument("--size", type=int, default=299,
                         help="crop it was trained for, in pixels (default: 299, Inception's)")
    convert.add_argument("--load-size", type=int, default=320, help="size before that crop, in pixels (default: 320)")
    convert.add_argument("--out", type=Path, required=True, help="model folder to write")
    convert.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> None:
    from fmpn_timm.convert import convert_checkpoint

    classes = convert_checkpoint(
        options.fmg,
        options.pfn,
        options.cn,
        options.out,
        backbone=options.backbone,
        num_classes=options.num_classes,
        classes=options.classes.split(",") if options.classes else None,
        size=options.size,
        load_size=options.load_size,
    )
    print(f"{options.out}: fmpn_{options.backbone}, classes {', '.join(classes)}; load it with "
          f"timm.create_model('local-dir:{options.out}', pretrained=True). "
          "It names no alignment recipe: the authors published none.")


def add_average(commands: Commands) -> None:
    average = commands.add_parser(
        "average", help="average the weights of models, one trained on from another",
        description="Average the weights of models. All parts of them must come from the same weights: "
                    "mask generators that began anew average to flat masks.")
    average.add_argument("models", nargs="+", metavar="MODEL", help=MODEL)
    average.add_argument("--out", type=Path, required=True, help="model folder to write")
    average.set_defaults(run=_average)


def _average(options: argparse.Namespace) -> None:
    from fmpn_timm.average import average_models

    average_models(options.models, options.out)
    print(f"{options.out}: the mean of {len(options.models)} models. Calibrate it: fmpn calibrate {options.out} ...")


def add_fetch(commands: Commands) -> None:
    fetch = commands.add_parser("fetch", help="fetch a model and the detector of its recipe, to predict offline later")
    fetch.add_argument("model", nargs="?", help=f"{MODEL} (default: the one that comes with the package)")
    fetch.set_defaults(run=_fetch)


def _fetch(options: argparse.Namespace) -> None:
    from fmpn_timm.faces import Recipe, create_detector
    from fmpn_timm.hub import load_model, recipe_of, results_of
    from fmpn_timm.inference import DEFAULT_MODEL

    model = options.model or DEFAULT_MODEL
    load_model(model)
    results_of(model)  # of which fmpn export takes the terms of the weights
    detector = (recipe_of(model) or Recipe()).photo_detector
    create_detector(detector)
    print(f"{model} and the detector {detector} are on this machine; HF_HUB_OFFLINE=1 keeps from asking the Hub again.")


def add_publish(commands: Commands) -> None:
    publish = commands.add_parser("publish", help="publish a trained model on the Hugging Face Hub")
    publish.add_argument("source", nargs="?", help="a run (runs/<name>) or a model folder")
    publish.add_argument("--repo-id", metavar="OWNER/NAME", help="repository; it is made if there is none")
    publish.add_argument("--all", action="store_true", help="every hub/<arch.tag> of the checkout to its repository")
    publish.add_argument("--private", action="store_true", help="make the repository private")
    publish.add_argument("--dry-run", action="store_true", help="write the folder and list it; upload nothing")
    publish.add_argument("--out", type=Path, help="folder to write (default: a temporary one)")
    publish.add_argument("--float16", action="store_true", help="write all but biases and norms in half precision")
    publish.add_argument("--license", help="licence of the weights, as the Hub spells it (default: by the data)")
    publish.add_argument("--benchmark", metavar="OWNER/DATASET[:TASK]", help="the Hub's benchmark the figures are of")
    publish.set_defaults(run=_publish)


def _publish(options: argparse.Namespace) -> None:
    from fmpn_timm.publish import publish, publish_all

    if options.all:
        if any((options.source, options.repo_id, options.out, options.license, options.benchmark, options.float16)):
            raise InputError("--all publishes the folders of hub/ as they are, to their own repositories: leave out "
                             "all but --private and --dry-run.")
        publications = publish_all(options.private, options.dry_run)
        if not publications:
            print("hub/ holds no model folder (hub/<arch.tag>/config.json): nothing to publish.")
    elif not options.source or not options.repo_id:
        raise InputError("Give a run or model folder and --repo-id owner/name, or --all.")
    else:
        publications = [publish(options.source, options.repo_id, options.private, options.dry_run, options.out,
                                options.license, options.benchmark, options.float16)]
    for publication in publications:
        where = f", from {publication.folder}" if publication.folder else ""
        print(f"{publication.repo_id}: {'would go' if options.dry_run else 'published'}{where}")
        for name, size in publication.files.items():
            print(f"  {name:32} {size:12,} bytes")
        if publication.left_out:
            print(f"  left out: {', '.join(publication.left_out)}")
        if publication.url:
            print(f"  {publication.url}")
