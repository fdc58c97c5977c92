"""``fmpn data``: the doctor, folds, and faces found and cut."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fmpn_timm.errors import InputError

from .common import Commands, read_options

if TYPE_CHECKING:
    from fmpn_timm.faces import Recipe

__all__ = ["add_data"]


def add_data(commands: Commands) -> None:
    data = commands.add_parser("data", help="look after data sets")
    verbs = data.add_subparsers(required=True, metavar="VERB")

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
    folds = data_verb("folds", _data_folds, "print the folds of a protocol, or of a prepared set")
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
        options.name, options.root, decode=not options.quick, progress=sys.stderr.isatty(),
        **read_options(options.option)
    )
    print(json.dumps(report) if options.json else "\n".join(lines(report)))
    if not report["sound"]:
        sys.exit(1)


def _data_folds(options: argparse.Namespace) -> None:
    from fmpn_timm.data.folds import find_folds
    from fmpn_timm.data.protocols import PROTOCOLS, file_names

    found = find_folds(options.name, options.root, options.protocol, read_options(options.option))
    folds = {n: found.read(n) for n in found.numbers}
    parts = [part for fold in folds.values() for part in (fold.train, fold.valid, fold.test) if part]
    samples = {s.source: s for part in parts for s in part.samples}
    if options.json:
        names = file_names(samples)
        print(json.dumps({"folds": {
            str(n): {
                "subjects": sorted({s.subject for s in fold.test.samples if s.subject is not None}),
                "samples": sorted(names[s.source] for s in fold.test.samples),
            }
            for n, fold in folds.items()
        }}))
        return
    subjects = {s.subject for s in samples.values()}
    source = f" ({PROTOCOLS[found.dataset][found.protocol].source})" if found.protocol else ""
    print(f"{found.of}: {len(samples)} samples of {len(subjects)} subjects in {len(folds)} folds{source}")
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
    reader_options, folds = read_options(options.option), None
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
