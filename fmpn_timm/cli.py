"""The ``fmpn`` command, and what ``train.py`` runs."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fmpn_timm.errors import InputError

__all__ = ["main", "train_main"]


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the ``fmpn`` command."""
    args = list(sys.argv[1:] if args is None else args)
    if args[:1] == ["train"]:  # its options are the fields of the configuration
        return train_main(args[1:], prog="fmpn train")
    options = _parser().parse_args(args)
    _guarded(lambda: options.run(options))


def train_main(args: Sequence[str] | None = None, prog: str = "fmpn train") -> None:
    """Entry point of ``train.py`` and ``fmpn train``."""
    from accelerate import PartialState

    from fmpn_timm.training import parse_config, train

    config = parse_config(args, prog)

    def run() -> None:
        summary = train(config)
        if PartialState().is_main_process:
            _print_result(summary)

    _guarded(run)


def _guarded(run: Callable[[], None]) -> None:
    """Print bad input, and an interruption, as one line."""
    try:
        run()
    except InputError as error:
        # One that was raised in a data-loading process comes with that process's traceback.
        sys.exit(f"error: {str(error).rsplit('InputError: ', 1)[-1].strip()}")
    except KeyboardInterrupt as interrupt:
        print(f"\nInterrupted. {interrupt}", file=sys.stderr)
        sys.exit(130)


def _print_result(summary: dict) -> None:
    config, metrics = summary["config"], summary["metrics"]
    folder = Path(config["output"]) / config["name"]
    rule = f", {summary['rule']} rule" if summary["rule"] else ""
    print(
        f"{summary['arm']}: accuracy {100 * metrics['accuracy']:.2f} %, macro F1 {100 * metrics['macro_f1']:.2f} % "
        f"({config['dataset']} {summary['split']['reported on']}{rule}, n = {metrics['n']}, seed {summary['seed']})"
    )
    print(f"results, pictures and the model are in {folder}; load it with "
          f"timm.create_model('local-dir:{folder / 'model'}', pretrained=True)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fmpn", description="Facial expression recognition for timm.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("train", help="train a model; fmpn train --help lists the options")

    demo = commands.add_parser("demo", help="train the three arms on drawn faces and compare them")
    demo.add_argument("--output", default="runs", help="folder of all runs (default: runs)")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)

    evaluate = commands.add_parser("evaluate", help="evaluate a model on a data set")
    evaluate.add_argument("model", help="a timm name with weights, hf-hub:owner/name or local-dir:folder")
    evaluate.add_argument("--dataset", required=True)
    evaluate.add_argument("--root")
    evaluate.add_argument("--split", default="test")
    evaluate.add_argument("--rule", help="label rule, for FERPlus: majority or argmax")
    evaluate.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="further reader option")
    evaluate.add_argument("--flip", action="store_true", help="average each face and its mirror image")
    evaluate.add_argument("--shared-classes", action="store_true", help="leave out samples of classes the model lacks")
    evaluate.add_argument("--batch-size", type=int, default=64)
    evaluate.add_argument("--workers", type=int, default=0)
    evaluate.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no")
    evaluate.add_argument("--masks", metavar="PNG", help="draw the mean motion mask of each class to a picture file")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    evaluate.set_defaults(run=_evaluate)

    data = commands.add_parser("data", help="look at data sets")
    verbs = data.add_subparsers(required=True, metavar="VERB")
    folds = verbs.add_parser("folds", help="print the folds of a protocol")
    folds.add_argument("name", help="data set")
    folds.add_argument("root", nargs="?", help="its folder; drawn faces need none")
    folds.add_argument("--protocol", help="which of the data set's protocols (default: its first)")
    folds.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="reader option")
    folds.add_argument("--json", action="store_true", help="print subjects and samples of each fold as one JSON object")
    folds.set_defaults(run=_data_folds)

    priors = commands.add_parser("priors", help="build, import and show prior masks")
    verbs = priors.add_subparsers(required=True, metavar="VERB")
    show = verbs.add_parser("show", help="draw a sheet of a mask set")
    show.add_argument("masks", nargs="?", help="a safetensors file, or the name of a set that comes with the package")
    show.add_argument("--out", type=Path, help="picture file (default: <masks>.png)")
    show.set_defaults(run=_priors_show)
    imported = verbs.add_parser("import", help="import the masks the FMPN authors published")
    imported.add_argument("folder", type=Path, help="folder of <class>.png, or of folds <fold>/<class>.png")
    imported.add_argument("--layout", required=True, choices=("ckplus", "mmi"), help="which class each number is")
    imported.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    imported.set_defaults(run=_priors_import)
    build = verbs.add_parser("build", help="build masks from neutral/expressive pairs (equation 1)")
    build.add_argument("--dataset", default="drawn")
    build.add_argument("--root")
    build.add_argument("--split", default="train")
    build.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="further reader option")
    build.add_argument("--size", type=int, default=72, help="height and width of the masks in pixels (default: 72)")
    build.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    build.set_defaults(run=_priors_build)
    return parser


def _options(pairs: Sequence[str]) -> dict:
    """``KEY=VALUE`` arguments; values are JSON where they can be, else text."""
    options = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise InputError(f"--option {pair}: give KEY=VALUE.")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options


def _demo(options: argparse.Namespace) -> None:
    from fmpn_timm.training.arms import compare_arms

    compare_arms(["--config", "drawn", "--output", options.output, "--seed", str(options.seed)])


def _evaluate(options: argparse.Namespace) -> None:
    from fmpn_timm.data.readers import read_faces
    from fmpn_timm.hub import load_model
    from fmpn_timm.training.evaluation import evaluate

    reader_options = _options(options.option)
    if options.rule:
        reader_options["rule"] = options.rule
    faces = read_faces(options.dataset, options.root, options.split, **reader_options)
    result = evaluate(
        load_model(options.model),
        faces,
        flip=options.flip,
        shared_classes=options.shared_classes,
        batch_size=options.batch_size,
        workers=options.workers,
        precision=options.precision,
        masks_path=options.masks,
    )
    result = {"model": options.model, **result}
    if options.json:
        print(json.dumps(result))
        return
    rule = f", {result['rule']} rule" if result["rule"] else ""
    print(f"{options.model} on {result['dataset']} {result['split']}{rule}: accuracy {100 * result['accuracy']:.2f} %, "
          f"macro F1 {100 * result['macro_f1']:.2f} %, n = {result['n']}")
    for name, row in result["per_class"].items():
        if row["n"]:
            print(f"  {name:10} n = {row['n']:5}  recall {row['recall']:.3f}  F1 {row['f1']:.3f}")


def _data_folds(options: argparse.Namespace) -> None:
    from fmpn_timm.data.protocols import file_names, get_protocol

    protocol = get_protocol(options.name, options.protocol)
    faces = protocol.read(options.root, **_options(options.option))
    folds, names = protocol.cut(faces), file_names(faces)
    if options.json:
        print(json.dumps({"folds": {
            str(n): {
                "subjects": sorted({s.subject for s in fold.test.samples if s.subject is not None}),
                "samples": sorted(names[s.source] for s in fold.test.samples),
            }
            for n, fold in folds.items()
        }}))
        return
    subjects = {s.subject for s in faces.samples}
    print(f"{options.name}, protocol {protocol.name}: {len(faces)} samples of {len(subjects)} subjects in {len(folds)} "
          f"folds ({protocol.source})")
    for n, fold in folds.items():
        tested = {s.subject for s in fold.test.samples}
        print(f"  fold {n}: test on {len(fold.test)} samples of {len(tested)} subjects, train on {len(fold.train)}")


def _priors_show(options: argparse.Namespace) -> None:
    from fmpn_timm.priors import MaskSet, draw_sheet, list_assets

    if options.masks is None:
        print("\n".join(list_assets()))
        return
    masks = MaskSet.load(options.masks)
    out = options.out or Path(f"{Path(options.masks).stem}.png")
    draw_sheet(masks, out)
    height, width = masks.masks.shape[1:]
    print(f"{options.masks}: {len(masks.classes)} masks of {width} x {height} from {masks.data}")
    for name in masks.classes:
        print(f"  {name}" + (f" ({masks.pairs[name]} pairs)" if name in masks.pairs else ""))
    print(f"drawn to {out}")


def _priors_import(options: argparse.Namespace) -> None:
    from fmpn_timm.priors import import_masks

    masks = import_masks(options.folder, options.layout)
    masks.save(options.out)
    print(f"{options.out}: {', '.join(masks.classes)} from {masks.data}")


def _priors_build(options: argparse.Namespace) -> None:
    from fmpn_timm.data.readers import read_faces
    from fmpn_timm.priors import build_masks

    masks = build_masks(
        read_faces(options.dataset, options.root, options.split, **_options(options.option)), options.size
    )
    masks.save(options.out)
    pairs = ", ".join(f"{name} {n}" for name, n in masks.pairs.items())
    print(f"{options.out}: {len(masks.classes)} masks from {masks.data} (pairs: {pairs})")


if __name__ == "__main__":
    main()
