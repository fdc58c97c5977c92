"""The ``fmpn`` command, and what ``train.py`` runs."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fmpn_timm.errors import InputError
from fmpn_timm.version import __version__

if TYPE_CHECKING:
    from fmpn_timm.data.samples import FaceSet
    from fmpn_timm.faces import Recipe
    from fmpn_timm.priors import MaskSet

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["command_parser", "crossval_parser", "main", "parse_crossval", "train_main"]

FLIP = dict(action=argparse.BooleanOptionalAction, default=True,
            help="average each face and its mirror image (default)")
MODEL = "a timm name with weights, hf-hub:owner/name or a folder"


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the ``fmpn`` command."""
    args = list(sys.argv[1:] if args is None else args)
    if args[:1] == ["train"]:  # its options are the fields of the configuration
        return train_main(args[1:], prog="fmpn train")
    if args[:1] == ["crossval"]:  # and these beside its own
        return _guarded(lambda: _crossval(args[1:]))
    options = command_parser().parse_args(args)
    _guarded(lambda: options.run(options))


def train_main(args: Sequence[str] | None = None, prog: str = "fmpn train") -> None:
    """Entry point of ``train.py`` and ``fmpn train``."""
    from accelerate import PartialState

    from fmpn_timm.training import parse_config, train
    from fmpn_timm.training.config import refuse_overridden

    def run() -> None:
        config = parse_config(args, prog)
        refuse_overridden(config, args)
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
    except OSError as error:
        if error.filename is None:  # not about somebody's file
            raise
        from fmpn_timm.files import FULL

        mend = "Make room" if error.errno in FULL else "Give another path, or see to who may use this one"
        sys.exit(f"error: {error.filename}: {(error.strerror or str(error)).lower()}. {mend}, then run it again.")
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


class IntermixedParser(argparse.ArgumentParser):
    """Takes options between positional arguments too, of which argparse otherwise loses those after an optional one."""

    _within = False  # of the method that does it, which calls the plain one in turn

    def parse_known_args(self, args=None, namespace=None):
        if self._within:
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False


def command_parser() -> argparse.ArgumentParser:
    """The parser of the ``fmpn`` command."""
    parser = argparse.ArgumentParser(prog="fmpn", description="Facial expression recognition for timm.")
    parser.add_argument("--version", action="version", version=f"fmpn-timm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("train", help="train a model; fmpn train --help lists the options")
    commands.add_parser("crossval", help="train all folds of a protocol and test the arms against each other; "
                                         "fmpn crossval --help lists the options")
    for add in (
            _add_demo, _add_predict, _add_app, _add_evaluate, _add_calibrate, _add_export, _add_convert, _add_models,
            _add_average, _add_fetch, _add_publish, _add_data, _add_priors,
    ):
        add(commands)
    return parser


#: What readers and the doctor are told otherwise.
RESERVED = ("name", "dataset", "root", "split", "splits", "decode", "progress", "threads")


def _picture(name: str) -> str:
    """The name of a picture to draw; what cannot be drawn is told before the work begins."""
    if Path(name).suffix.lower() not in (".png", ".jpg", ".jpeg", ".svg", ".pdf"):
        raise argparse.ArgumentTypeError(f"{name}: give a picture's name, such as {Path(name).stem or 'picture'}.png")
    return name


def _options(pairs: Sequence[str]) -> dict:
    """``KEY=VALUE`` arguments; values are JSON where they can be, else text."""
    options = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise InputError(f"--option {pair}: give KEY=VALUE.")
        if key in RESERVED:
            raise InputError(f"--option {pair}: {key} is no option of a reader.")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options


def crossval_parser(
        prog: str = "fmpn crossval",
        arms: Sequence[str] = ("cnn", "no_prior", "fmpn"),
) -> argparse.ArgumentParser:
    """The parser of the options that ``fmpn crossval`` has beside those of ``fmpn train``.

    Args:
        prog: Name of the command in messages.
        arms: Those that are meant where none are named.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [--config CONFIG] [--protocol P] [--folds 0-9] [--seeds 0,1,2] [--arms A,B] [--name NAME] "
              "[any option of fmpn train]",
        description="Cross-validate: train every arm with every seed on every fold of a protocol, and compare the "
                    "arms. Given again, it goes on where it was stopped. Start it several times, on one machine or on "
                    "many that see the same folder, and they share the runs; or give each other --folds.",
        epilog="Every option of fmpn train is taken too, and holds for all runs: fmpn train --help lists them. In "
               "--init, --teacher and --priors, {arm}, {seed} and {fold} stand for those of the run, and {runs} for "
               "the folder of all.",
        allow_abbrev=False,
    )
    parser.add_argument("--folds", metavar="0-9", help="folds, such as 0-4 or 0,2,5 (default: all of the protocol)")
    parser.add_argument("--seeds", metavar="0,1,2", help="seeds (default: --seed)")
    parser.add_argument("--arms", metavar="A,B", help=f"arms, the values of --arm (default: {','.join(arms)})")
    parser.add_argument("--name", help="name of the folder (default: the configuration's name, and -crossval)")
    parser.add_argument("--report", action="store_true", help="train nothing: report what is finished, and what is not")
    return parser


def parse_crossval(
        args: Sequence[str],
        prog: str = "fmpn crossval",
        arms: Sequence[str] = ("cnn", "no_prior", "fmpn"),
) -> argparse.Namespace:
    """Read the options of a cross-validation.

    Args:
        args: Arguments.
        prog: Name of the command in messages.
        arms: Those that are meant where none are named.

    Returns:
        ``config``, ``arms``, ``seeds``, ``folds`` (None for all), as ``cross_validate`` takes them, and ``report``
        (whether to train nothing).

    Raises:
        InputError: An option of a single run, or numbers that are none.
    """
    own, others = crossval_parser(prog, arms).parse_known_args(args)
    if any(a.split("=")[0] == "--arm" for a in others):
        raise InputError("--arm: cross-validation takes --arms.")
    from fmpn_timm.training import parse_config

    config = parse_config(others, prog)
    return argparse.Namespace(
        config=replace(config, name=own.name or f"{config.name}-crossval"),
        arms=tuple(arms) if own.arms is None else tuple(dict.fromkeys(filter(None, own.arms.split(",")))),
        seeds=(config.seed,) if own.seeds is None else _numbers(own.seeds, "--seeds"),
        folds=None if own.folds is None else _numbers(own.folds, "--folds"),
        report=own.report,
    )


def _crossval(args: Sequence[str]) -> None:
    options = parse_crossval(args)
    from fmpn_timm.training.config import refuse_overridden
    from fmpn_timm.training.crossval import cross_validate, report

    for arm in options.arms:
        refuse_overridden(replace(options.config, arm=arm), args)
    folder = options.config.folder
    result = report(folder) if options.report else cross_validate(
        options.config, options.arms, options.seeds, options.folds
    )
    print(result["text"])
    print(f"\nfigures of each fold, tables and pictures are in {folder}")


def _numbers(text: str, option: str) -> tuple[int, ...]:
    """Numbers and ranges, such as ``0,2,5-7``."""
    numbers = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(first) > int(last or first):
            raise InputError(f"{option} {text}: give numbers and ranges, such as 0,2,5-7.")
        numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


def _add_demo(commands: "Commands") -> None:
    demo = commands.add_parser("demo", help="train the three arms on drawn faces and compare them, and predict")
    demo.add_argument("--output", default="runs", help="folder of all runs (default: runs)")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from fmpn_timm.inference.demo import predict_drawn
    from fmpn_timm.training.arms import compare_arms

    compare_arms(["--config", "drawn", "--output", options.output, "--seed", str(options.seed)])
    picture = Path(options.output) / "predicted.png"
    print(f"the model that comes with the package, trained on photos, on other drawn people ({picture}):")
    print(predict_drawn(picture, options.seed))


def _add_predict(commands: "Commands") -> None:
    predict = commands.add_parser(
        "predict", help="say what the faces in pictures and videos express",
        description="Find the faces in pictures and videos and say what they express. Every input gets a row, even "
                    "without a face. The exit code is 1 if any input cannot be read. The frames of a video have "
                    "rows with their time, and its faces are followed: a track keeps its number. Where rows go to "
                    "no file, a table is printed. accelerate launch and torchrun share the inputs among processes.")
    predict.add_argument("source", nargs="+", metavar="SRC",
                         help="picture, video, folder (with all folders in it), glob, or a camera's number, which "
                              "Ctrl-C ends")
    predict.add_argument("--model", help=f"{MODEL} (default: the one that comes with the package)")
    predict.add_argument("--csv", metavar="FILE", help="write rows as CSV")
    predict.add_argument("--json", metavar="FILE", nargs="?", const="-",
                         help="print one JSON array on stdout (then put it behind the sources); with FILE.jsonl "
                              "write JSON lines, with another an array")
    predict.add_argument("--parquet", metavar="FILE", help="write rows as Parquet")
    predict.add_argument("--draw", metavar="DIR", help="write the pictures and videos with boxes, labels and motion "
                                                       "masks, of videos also a timeline, and with --neutral a sheet")
    predict.add_argument("--masks", metavar="DIR", help="write the motion mask of each face, as large as the aligned "
                                                        "face, as DIR/<picture>.<face>.png, of a video "
                                                        "DIR/<video>/<frame>.<face>.png")
    predict.add_argument("--neutral", metavar="PHOTO", help="a picture of the neutral face of the person who is the "
                                                            "largest face, or find: find each track's in the video; "
                                                            "says how far real and predicted motion agree")
    predict.add_argument("--every", default="1", metavar="N", help="look at each N-th frame of a video, or with an s, "
                                                                   "such as 0.5s, at one in so many seconds "
                                                                   "(default: 1)")
    predict.add_argument("--gap", type=float, default=1.0, metavar="S",
                         help="seconds a face may be out of sight and keep its track (default: 1)")
    predict.add_argument("--smooth", type=float, default=0.3, metavar="S",
                         help="time constant of the smoothing of a track's probabilities (default: 0.3 s; 0: none)")
    predict.add_argument("--faces", choices=("all", "largest"), default="all", help="which faces (default: all)")
    predict.add_argument("--abstain", type=float, metavar="P",
                         help="label a face uncertain if its top probability is below P")
    predict.add_argument("--batch-size", type=int, default=32, help="faces the model sees at once (default: 32)")
    predict.add_argument("--device", help="such as cpu or cuda:1 (default: an accelerator if there is one)")
    predict.add_argument("--flip", **FLIP)
    predict.add_argument("--resume", action="store_true",
                         help="go on with a CSV or JSON lines file that an interrupted run has left; give the same "
                              "model and options")
    predict.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> None:
    from fmpn_timm.inference import DEFAULT_MODEL
    from fmpn_timm.inference.run import Outputs, Watching, predict_sources

    outputs = Outputs(options.csv, options.json, options.parquet, options.draw, options.masks, options.resume)
    try:
        counts = predict_sources(
            options.source,
            outputs,
            options.model or DEFAULT_MODEL,
            watching=Watching(options.every, options.gap, options.smooth),
            neutral=options.neutral,
            faces=options.faces,
            abstain=options.abstain,
            batch_size=options.batch_size,
            device=options.device,
            flip=options.flip,
        )
        sys.stdout.flush()
    except KeyboardInterrupt:
        once = ["--parquet"] * bool(options.parquet) + ["--json"] * bool(options.json and not outputs.lines)
        without = f", without {' and '.join(once)}, " if once else " "
        mend = f"The same line{without}with --resume goes on." if options.csv or outputs.lines else ""
        raise KeyboardInterrupt(mend) from None
    except BrokenPipeError:  # whoever read the table has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if counts is None:  # the first process speaks for all
        return
    print(counts, file=sys.stderr)
    if outputs.files or outputs.json:  # a table has said so
        for failure in counts.failures:
            print(f"  {failure}", file=sys.stderr)
    for what, folder in (("drawings", outputs.draw), ("masks", outputs.masks)):
        if folder:
            print(f"{what} are in {folder}", file=sys.stderr)
    if counts.unread:
        sys.exit(1)


def _add_app(commands: "Commands") -> None:
    app = commands.add_parser(
        "app", help="open a page that says what the faces in a picture or video express",
        description="Serve a page for the browser of this computer: give a picture, a video or the camera, and see "
                    "each face's probabilities and where it moved. Only the first start needs a network, for the face "
                    "detector; what the page was given is deleted after ten minutes and when it ends. Ctrl-C ends it.")
    app.add_argument("--model", help=f"{MODEL} (default: the one that comes with the package)")
    app.add_argument("--port", type=int, default=7860, help="(default: 7860)")
    app.add_argument("--host", default="127.0.0.1", help="address to listen at; any but 127.0.0.1 lets others in, "
                                                         "without a password (default: 127.0.0.1)")
    app.add_argument("--abstain", type=float, metavar="P",
                     help="label a face uncertain if its top probability is below P")
    app.add_argument("--device", help="such as cpu or cuda:1 (default: an accelerator if there is one)")
    app.set_defaults(run=_app)


def _app(options: argparse.Namespace) -> None:
    from fmpn_timm.inference import DEFAULT_MODEL
    from fmpn_timm.inference.app import run_app

    run_app(options.model or DEFAULT_MODEL, options.host, options.port, abstain=options.abstain, device=options.device)


def _faces(options: argparse.Namespace) -> "FaceSet":
    """The faces that a model is to be run on, which must be cut as it wants them."""
    from fmpn_timm.data.readers import read_faces
    from fmpn_timm.data.splits import without_copies
    from fmpn_timm.faces import check_recipe
    from fmpn_timm.hub import recipe_of

    reader_options = _options(options.option)
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


def _on_faces(commands: "Commands", name: str, run: Callable, split: str, help: str) -> argparse.ArgumentParser:
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


def _add_evaluate(commands: "Commands") -> None:
    evaluate = _on_faces(commands, "evaluate", _evaluate, "test", "evaluate a model on a data set")
    evaluate.add_argument("--masks", type=_picture, metavar="PNG",
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


def _add_calibrate(commands: "Commands") -> None:
    calibrate = _on_faces(commands, "calibrate", _calibrate, "valid", "fit a model's temperature, so that its "
                          "probabilities hold; a model folder keeps it in its config.json")
    calibrate.add_argument("--picture", type=_picture, metavar="PNG",
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


def _add_export(commands: "Commands") -> None:
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


def _add_convert(commands: "Commands") -> None:
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


def _add_models(commands: "Commands") -> None:
    models = commands.add_parser("models", help="list the named models and where their weights are")
    form = models.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    form.add_argument("--markdown", action="store_true", help="print the table of docs/models.md")
    models.set_defaults(run=_models)


def _models(options: argparse.Namespace) -> None:
    from fmpn_timm.zoo import list_zoo, markdown_table

    rows = list_zoo()
    if options.json:
        print(json.dumps({"models": rows}))
    elif options.markdown:
        print(markdown_table(rows))
    else:
        width = max(len(row["name"]) for row in rows)
        print(f"{'name':{width}}  input  parameters    GMACs  weights")
        for row in rows:
            figures = f"{row['input_size'][-1]:5}  {row['parameters'] / 1e6:8.2f} M  {row['gmacs']:7.2f}"
            print(f"{row['name']:{width}}  {figures}  {row['weights']}")


def _add_average(commands: "Commands") -> None:
    average = commands.add_parser("average", help="average the weights of models, one trained on from another")
    average.add_argument("models", nargs="+", metavar="MODEL", help=MODEL)
    average.add_argument("--out", type=Path, required=True, help="model folder to write")
    average.set_defaults(run=_average)


def _average(options: argparse.Namespace) -> None:
    from fmpn_timm.average import average_models

    average_models(options.models, options.out)
    print(f"{options.out}: the mean of {len(options.models)} models. Calibrate it: fmpn calibrate {options.out} ...")


def _add_fetch(commands: "Commands") -> None:
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


def _add_publish(commands: "Commands") -> None:
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


def _add_data(commands: "Commands") -> None:
    data = commands.add_parser("data", help="look after data sets")
    verbs = data.add_subparsers(required=True, metavar="VERB", parser_class=IntermixedParser)

    def data_verb(name: str, run: Callable, help: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=help)
        verb.add_argument("name", metavar="NAME", help="name of the data set")
        verb.add_argument("root", metavar="ROOT", nargs="?", help="its folder; drawn faces have none")
        verb.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="further reader option")
        verb.set_defaults(run=run)
        return verb

    doctor = data_verb("doctor", _data_doctor, "say whether this is that data set, and what is missing or odd")
    doctor.add_argument("--quick", action="store_true", help="open no picture")
    doctor.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    folds = data_verb("folds", _data_folds, "print the folds of a protocol")
    folds.add_argument("--protocol", help="which of the data set's protocols (default: its first)")
    folds.add_argument("--json", action="store_true", help="print subjects and samples of each fold as one JSON object")
    prepare = data_verb("prepare", _data_prepare, "find and align the faces once, into Parquet shards")
    prepare.add_argument("out", metavar="OUT", type=Path, help="folder of the prepared set")
    prepare.add_argument("--split", action="append", help="split to prepare, may be repeated "
                         "(default: train, or all of what has no splits)")
    prepare.add_argument("--protocol", help="read by this protocol of the data set, and write its folds")
    prepare.add_argument("--recipe", metavar="MODEL", help="cut the faces as this model expects them, to evaluate or "
                         "fine-tune it; in place of the four options that follow, but --detector for a model of a data "
                         "set's own landmarks")
    prepare.add_argument("--detector", help="yunet (default), retinaface, mtcnn, or dataset for its landmarks")
    prepare.add_argument("--size", type=int, help="height and width of the faces in pixels (default: 112)")
    prepare.add_argument("--margin", type=float, help="added on every side, as a share of the face (default: 0)")
    prepare.add_argument("--weights", type=float, nargs=5, metavar="W", help="weight of each landmark in the "
                         "alignment: eyes, nose, corners of the mouth (default: 1 each)")
    prepare.add_argument("--faces", choices=("largest", "all"), default="largest", help="which faces of a picture")
    prepare.add_argument("--missing", choices=("skip", "center"), default="skip",
                         help="a picture without a face is skipped (and listed), or its middle is taken")
    prepare.add_argument("--as-is", action="store_true", help="take the pictures as they are")
    prepare.add_argument("--workers", type=int, default=0, help="processes that work beside this one")
    prepare.add_argument("--shard-size", type=int, default=1024, help="samples of a shard (default: 1024)")


def _data_doctor(options: argparse.Namespace) -> None:
    from fmpn_timm.data.doctor import examine, lines

    report = examine(
        options.name, options.root, decode=not options.quick, progress=sys.stderr.isatty(), **_options(options.option)
    )
    print(json.dumps(report) if options.json else "\n".join(lines(report)))
    if not report["sound"]:
        sys.exit(1)


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


def _data_prepare(options: argparse.Namespace) -> None:
    from fmpn_timm.data.prepare import prepare_faces, stored_split
    from fmpn_timm.data.protocols import get_protocol
    from fmpn_timm.data.readers import learning_split, read_faces, splits_of
    from fmpn_timm.faces import FaceAligner
    from fmpn_timm.launched import is_first

    protocol = get_protocol(options.name, options.protocol) if options.protocol else None
    if protocol and options.split not in (None, ["all"]):
        raise InputError(f"--protocol {options.protocol} takes all of {options.name}: leave out --split.")
    if protocol and protocol.rule == "official":  # a row of a prepared set has one fold, and these have valid faces too
        raise InputError(f"The folds of {options.name} are its own, and a prepared set cannot hold them: train and "
                         "report on its own folder, or leave out --protocol.")
    aligner = None
    if not options.as_is:
        aligner = FaceAligner(_recipe(options), policy=options.faces, missing=options.missing)
    reader_options, folds = _options(options.option), None
    if protocol:
        sets = [protocol.read(options.root, **reader_options)]
        folds = {s.source: n for n, fold in protocol.cut(sets[0]).items() for s in fold.test.samples}
    else:
        splits = options.split or [learning_split(options.name, options.root)]
        sets = [read_faces(options.name, options.root, split, **reader_options) for split in splits]
    for faces in sets:
        entry = prepare_faces(
            faces, options.out, aligner, folds, options.root, options.shard_size, options.workers
        )
        if not is_first():  # one process speaks for all that share the work
            continue
        print(f"{options.out}, {stored_split(faces)}: {entry['samples']} faces in {len(entry['shards'])} shard(s), "
              f"{entry['skipped']} skipped, {entry['centered']} cut from the middle "
              f"(listed in {options.out / 'skipped.csv'})")
    others = [] if protocol or options.split else [s for s in splits_of(options.name, options.root) if s not in splits]
    if others and is_first():
        print(f"left out, since no --split was given: {', '.join(others)} (--split {' --split '.join(others)})")


def _recipe(options: argparse.Namespace) -> "Recipe":
    """The recipe that ``fmpn data prepare`` was asked for."""
    from fmpn_timm.faces import Recipe
    from fmpn_timm.hub import recipe_of

    fields = {name: getattr(options, name) for name in ("detector", "size", "margin", "weights")}
    given = {name: value for name, value in fields.items() if value is not None}
    if options.recipe is None:
        return Recipe(**given)
    recipe = recipe_of(options.recipe)
    if recipe is None:
        raise InputError(f"{options.recipe} does not say how its faces were cut: give --size, --margin and --weights.")
    if recipe.detector == "dataset" and given.keys() == {"detector"}:  # photos have no landmarks of a data set
        return replace(recipe, **given)
    if given:
        raise InputError(f"--recipe {options.recipe} says how faces are cut: leave out --{', --'.join(given)}.")
    return recipe


def _add_priors(commands: "Commands") -> None:
    priors = commands.add_parser("priors", help="build, import, show and compare prior masks")
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
    build.add_argument("--dataset", help="where the pairs are from (default: drawn)")
    build.add_argument("--root")
    build.add_argument("--split", help="default: train, or all of what has no splits")
    build.add_argument("--neutral", type=Path, metavar="FOLDER", help="no pairs: neutral photos, which --ict moves")
    build.add_argument("--ict", type=Path, metavar="FACEXMODEL", help="folder of ICT FaceKit's FaceXModel")
    build.add_argument("--detector", help="what finds the faces of --neutral (default: yunet)")
    build.add_argument("--seed", type=int, help="seed of the made expressions of --neutral (default: 0)")
    build.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="further reader option")
    build.add_argument("--size", type=int, default=72, help="height and width of the masks in pixels (default: 72)")
    build.add_argument("--light", choices=("none", "gain", "local"),
                       help="how the two faces' light is made alike (default: gain, one factor)")
    build.add_argument("--smooth", type=float, help="blur of the mean difference, as a share of the size (default: "
                       "0.01)")
    build.add_argument("--protocol", help="read by this protocol of the data set (default with --fold: its first); a "
                                           "prepared set has its own folds")
    build.add_argument("--fold", help="use a fold's training subjects only: its number, or all for a set of each fold")
    build.add_argument("--data", help="what the pictures are and whose, for the record")
    build.add_argument("--keep-all", action="store_true", help="refuse no pair")
    build.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    build.set_defaults(run=_priors_build)
    compare = verbs.add_parser("compare", help="say how much the masks of a set resemble those of another")
    compare.add_argument("masks", help="the set to judge, a file or a name")
    compare.add_argument("reference", help="the set to judge it by")
    compare.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    compare.set_defaults(run=_priors_compare)


def _priors_show(options: argparse.Namespace) -> None:
    from fmpn_timm.priors import MaskSet, draw_sheet, list_assets

    if options.masks is None:
        print("\n".join(list_assets()))
        return
    masks = MaskSet.load(options.masks)
    out = options.out or Path(f"{Path(options.masks).stem}.png")
    out.parent.mkdir(parents=True, exist_ok=True)
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
    from fmpn_timm.priors import LIMITS, build_masks, build_masks_from_neutral

    if options.out.suffix.lower() in (".png", ".jpg", ".jpeg"):  # the sheet would take its place
        raise InputError(f"--out {options.out}: masks are no picture; give a name such as "
                         f"{options.out.with_suffix('.safetensors')}.")
    if options.neutral or options.ict:
        if not (options.neutral and options.ict):
            raise InputError("Masks without pairs need both: --neutral FOLDER and --ict FACEXMODEL.")
        of_pairs = ("dataset", "root", "split", "protocol", "fold", "option", "light", "smooth", "keep_all")
        given = {name: getattr(options, name) for name in of_pairs}
        needless = [name for name, value in given.items() if value is not None and value is not False and value != []]
        if needless:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in needless)
            raise InputError(f"--neutral builds masks without pairs: leave out {names}.")
        masks = build_masks_from_neutral(options.neutral, options.ict, options.size, options.detector or "yunet",
                                         seed=options.seed or 0)
        return _report_masks(masks, options.out, options.data)
    for name in ("detector", "seed"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name} is of masks without pairs (--neutral): leave it out.")
    options.dataset = options.dataset or "drawn"
    sets = _faces_with_pairs(options)
    if any(faces.recipe is None for faces in sets.values()):
        print(f"warning: nothing says that the faces of {options.dataset} are aligned, as equation 1 has them: prepare "
              "them (fmpn data prepare) and build from that (--dataset prepared).", file=sys.stderr)
    limits = None if options.keep_all else LIMITS
    given = {name: getattr(options, name) for name in ("light", "smooth") if getattr(options, name) is not None}
    for path, faces in sets.items():
        _report_masks(build_masks(faces, options.size, limits=limits, **given), path, options.data)


def _faces_with_pairs(options: argparse.Namespace) -> "dict[Path, FaceSet]":
    """The faces to build masks of, by the file that the masks go to: of a split, or the training faces of folds."""
    from fmpn_timm.data.folds import find_folds
    from fmpn_timm.data.protocols import get_protocol
    from fmpn_timm.data.readers import learning_split, read_faces

    reader_options = _options(options.option)
    if options.fold is None:
        if options.protocol:
            return {options.out: get_protocol(options.dataset, options.protocol).read(options.root, **reader_options)}
        split = options.split or learning_split(options.dataset, options.root)
        return {options.out: read_faces(options.dataset, options.root, split, **reader_options)}
    folds = find_folds(options.dataset, options.root, options.protocol, reader_options)
    if options.fold == "all":
        name = options.out.name.removesuffix(".safetensors")
        return {options.out.with_name(f"{name}-{n}.safetensors"): folds.read(n).train for n in folds.numbers}
    if options.fold not in map(str, folds.numbers):
        raise InputError(f"--fold {options.fold}: {folds.of} has folds {folds.span}, or all.")
    return {options.out: folds.read(int(options.fold)).train}


def _priors_compare(options: argparse.Namespace) -> None:
    from fmpn_timm.priors import MaskSet, compare_masks

    result = compare_masks(MaskSet.load(options.masks), MaskSet.load(options.reference))
    if options.json:
        print(json.dumps(result.as_dict()))
        return
    rows = zip(result.classes, result.r, result.r_face, result.specific, result.specific_face, result.nearest,
               strict=True)
    print("class           r   face  class-specific   face  nearest")
    for name, r, r_face, specific, specific_face, nearest in rows:
        print(f"{name:10} {r:6.2f} {r_face:6.2f}          {specific:6.2f} {specific_face:6.2f}  {nearest}")
    means = result.summary()
    print(f"mean       {means['r']:6.2f} {means['r_face']:6.2f}          {means['specific']:6.2f} "
          f"{means['specific_face']:6.2f}  {means['nearest']} of {means['classes']} nearest their own class")


def _report_masks(masks: "MaskSet", path: Path, data: str | None = None) -> None:
    """Write a mask set and its sheet, and say what went into it."""
    from fmpn_timm.priors import draw_sheet

    masks = replace(masks, data=data) if data else masks
    masks.save(path)
    sheet = path.with_suffix(".png")
    draw_sheet(masks, sheet)
    print(f"{path}: {len(masks.classes)} masks from {masks.data}, drawn to {sheet}")
    for name in masks.classes:
        print(f"  {name:10} {masks.pairs[name]:6} pairs, artefacts {masks.quality['artefacts'][name]:.3f}")
    refused = masks.quality["refused"]
    for pair in refused[:10]:
        print(f"  refused {pair['source']}: {pair['reason']}", file=sys.stderr)
    if len(refused) > 10:
        print(f"  and {len(refused) - 10} more, listed in {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
