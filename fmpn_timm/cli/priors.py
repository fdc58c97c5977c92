"""``fmpn priors``: prior masks built, imported, shown and compared."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fmpn_timm.errors import InputError

from .common import Commands, read_options

if TYPE_CHECKING:
    from fmpn_timm.data.samples import FaceSet
    from fmpn_timm.priors import MaskSet

__all__ = ["add_priors"]


def add_priors(commands: Commands) -> None:
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
    print(f"{options.masks}: {_count(masks)} of {width} x {height} from {masks.data}")
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

    reader_options = read_options(options.option)
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


def _count(masks: "MaskSet") -> str:
    return f"{len(masks.classes)} mask{'s' if len(masks.classes) > 1 else ''}"


def _report_masks(masks: "MaskSet", path: Path, data: str | None = None) -> None:
    """Write a mask set and its sheet, and say what went into it."""
    from fmpn_timm.priors import draw_sheet

    masks = replace(masks, data=data) if data else masks
    masks.save(path)
    sheet = path.with_suffix(".png")
    draw_sheet(masks, sheet)
    print(f"{path}: {_count(masks)} from {masks.data}, drawn to {sheet}")
    for name in masks.classes:
        outside = masks.quality["artefacts"][name]
        print(f"  {name:10} {masks.pairs[name]:6} pairs, {100 * outside:.0f} % of the mask outside the face")
    refused = masks.quality["refused"]
    for pair in refused[:10]:
        print(f"  refused {pair['source']}: {pair['reason']}", file=sys.stderr)
    if len(refused) > 10:
        print(f"  and {len(refused) - 10} more, listed in {path}", file=sys.stderr)
