r"""When does the prior help? FMPN against its backbone and against FMPN without L_M, one thing varied at a time.

    python -m benchmarks.study --config ict_hard --generator lite --generator_width 24 --generator_blocks 3 \
        --augment device --root OUT --seeds 0 --folds 0-4

Takes the options of ``fmpn crossval``, and ``--variants`` (names, such as ``quarter,48px``; all if left out). Given
again, it goes on where it was stopped, and with other variants, folds or seeds it adds to what is there. Each variant
is a cross-validation of its own, ``<name>-study-<variant>``; a share of the training subjects gets as many more epochs
as it has fewer faces, so that all learn for the same number of updates.

Writes ``benchmarks/study.md``, ``.json`` and ``.png``.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.variants import Key, asked_for, fold_gains, without_root
from fmpn_timm.cli import parse_crossval
from fmpn_timm.errors import InputError
from fmpn_timm.files import save_figure, write_text
from fmpn_timm.markdown import markdown_table
from fmpn_timm.training.crossval import cross_validate, report
from fmpn_timm.training.statistics import corrected_t_test
from fmpn_timm.training.tables import arm_label

__all__ = ["STUDIES", "Variant", "study"]

ARMS = ("cnn", "no_prior", "fmpn")
PAIRS = (("no_prior", "cnn"), ("fmpn", "cnn"), ("fmpn", "no_prior"))


@dataclass(frozen=True)
class Variant:
    """One value of what is varied: how it is told, and which arms it makes a difference to (all, or FMPN alone)."""

    value: str
    name: str = "base"
    options: tuple[str, ...] = ()
    arms: tuple[str, ...] = ARMS


BASE = Variant("as in the command")

#: What is varied. The options of the base stand in the command.
STUDIES: dict[str, tuple[Variant, ...]] = {
    "training subjects": (
        Variant("a quarter", "quarter", ("--train_fraction", "0.25", "--epochs", "40", "--mask_epochs", "12")),
        Variant("half", "half", ("--train_fraction", "0.5", "--epochs", "20", "--mask_epochs", "6")),
        Variant("all"),
    ),
    "size in pixels": (
        Variant("24", "24px", ("--size", "24", "--load_size", "27")),
        Variant("32"),
        Variant("48", "48px", ("--size", "48", "--load_size", "54")),
    ),
    "lambda_1": (
        Variant("0.1", "lambda-0.1", ("--mask_weight", "0.1"), ("fmpn",)),
        Variant("1"),
        Variant("10", "lambda-10", ("--mask_weight", "10"), ("fmpn",)),
    ),
    "stage 1": (
        Variant("none", "no-stage-1", ("--mask_epochs", "0"), ("fmpn",)),
        Variant("3 epochs"),
    ),
    "backbone": (
        Variant("resnet18_small"),
        Variant("regnetx_002", "regnetx", ("--backbone", "regnetx_002", "--backbone_kwargs", "{output_stride: 8}")),
    ),
}

Accuracies = dict[Key, float]


def study(args: Sequence[str], out: Path) -> dict[str, Any]:
    """Train what is not trained yet, and write table and picture.

    Args:
        args: Options of ``fmpn crossval``, and ``--variants``; ``--report`` trains nothing.
        out: Files to write, without their endings.

    Returns:
        ``plan`` (data, folds, seeds, configuration of the base), ``runs`` (accuracies of each variant, arm, seed and
        fold), ``rows`` (what the table says) and ``versions``.

    Raises:
        InputError: A variant is unknown, or what ``cross_validate`` says.
    """
    variants = {v.name: v for v in (BASE, *(v for of in STUDIES.values() for v in of))}
    wanted, args = asked_for(args, "--variants", variants, "python -m benchmarks.study")
    options = parse_crossval(args, "python -m benchmarks.study", ARMS)
    found = {}
    for name, variant in variants.items():
        config = parse_crossval([*args, *variant.options], "python -m benchmarks.study", ARMS).config
        config = replace(config, name=f"{options.config.name.removesuffix('-crossval')}-study-{name}")
        if name in wanted and not options.report:
            found[name] = cross_validate(config, variant.arms, options.seeds, options.folds)
        elif config.folder.is_dir():
            found[name] = report(config.folder)
    if not found.get("base", {}).get("runs"):
        raise InputError("Nothing of the base is trained yet: leave --report out, and name base in --variants.")
    accuracies = {name: _accuracies(of) for name, of in found.items()}
    run = found["base"]["runs"][0]
    shares = {name: _share(of["runs"]) for name, of in found.items()}
    rows = [_row("nothing", BASE, accuracies, _shared([BASE], accuracies), shares["base"])]
    for thing, of in STUDIES.items():
        trained = [variant for variant in of if variant.name in accuracies]
        if all(variant.name == BASE.name for variant in trained):
            continue  # nothing to compare with yet
        shared = _shared(trained, accuracies)  # the rows of one thing stand on the same runs
        rows += [_row(thing, variant, accuracies, shared, shares[variant.name]) for variant in trained]
    result = {
        "plan": found["base"]["plan"],
        "runs": {name: {arm: {f"seed {s} fold {f}": a for (s, f), a in runs.items()} for arm, runs in of.items()}
                 for name, of in accuracies.items()},
        "rows": rows,
        "versions": run["versions"],
    }
    stored = without_root(json.dumps(result, indent=1), options.config.root)
    write_text(out.with_suffix(".json"), stored + "\n")
    write_text(out.with_suffix(".md"), _text(rows) + "\n")
    _draw(rows, out.with_suffix(".png"))
    return result


def _share(runs: Sequence[Mapping[str, Any]]) -> float:
    """Test faces for each training face, which the corrected t test asks for; more where fewer are learnt from."""
    return sum(run["samples"]["test"] for run in runs) / sum(run["samples"]["train"] for run in runs)


def _accuracies(found: Mapping[str, Any]) -> dict[str, Accuracies]:
    by_arm = defaultdict(dict)
    for run in found["runs"]:
        by_arm[run["arm"]][run["seed"], run["fold"]] = run["accuracy"]
    return dict(by_arm)


def _by_arm(variant: Variant, accuracies: Mapping[str, dict[str, Accuracies]]) -> dict[str, Accuracies]:
    """Accuracies of a variant's runs; those of the base for arms to which it makes no difference."""
    return {arm: accuracies[variant.name if arm in variant.arms else "base"].get(arm, {}) for arm in ARMS}


def _shared(variants: Sequence[Variant], accuracies: Mapping[str, dict[str, Accuracies]]) -> list[Key]:
    """Seeds and folds that all arms of all variants have, variants without any left aside."""
    of = [set.intersection(*(set(runs) for runs in _by_arm(v, accuracies).values())) for v in variants]
    return sorted(set.intersection(*filter(None, of))) if any(of) else []


def _row(
        thing: str,
        variant: Variant,
        accuracies: Mapping[str, dict[str, Accuracies]],
        shared: Sequence[Key],
        share: float,
) -> dict[str, Any]:
    """Means over the shared runs, and the differences over folds with their intervals."""
    of = _by_arm(variant, accuracies)
    shared = [key for key in shared if all(key in of[arm] for arm in ARMS)]
    row = {"varied": thing, "value": variant.value, "runs": len(shared), "folds": len({fold for _, fold in shared})}
    row |= {arm: float(np.mean([of[arm][key] for key in shared])) if shared else None for arm in ARMS}
    for first, second in PAIRS:
        folds = fold_gains(of[first], of[second], shared)
        test = corrected_t_test(folds, share)
        row[f"{first} - {second}"] = {
            "mean": float(np.mean(folds)) if folds else None, "interval": test and [test.low, test.high],
            "p": test and test.p,
        }
    return row


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ["varied", "value", "runs an arm", *(f"{arm_label(arm)}, %" for arm in ARMS),
              *(f"{arm_label(a)} - {arm_label(b)}, points" for a, b in PAIRS)]
    lines = []
    for row in rows:
        means = ["" if row[arm] is None else f"{100 * row[arm]:.1f}" for arm in ARMS]
        lines.append([row["varied"], row["value"], str(row["runs"]), *means,
                      *(_difference(row[f"{a} - {b}"]) for a, b in PAIRS)])
    return markdown_table(header, lines)


def _difference(found: Mapping[str, Any]) -> str:
    if found["mean"] is None:
        return ""
    ends = found["interval"] and "{:+.1f} to {:+.1f}".format(*(100 * end for end in found["interval"]))
    return f"{100 * found['mean']:+.1f}" + (f" ({ends})" if ends else "")


def _draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    things = list(dict.fromkeys(row["varied"] for row in rows))
    figure = Figure(figsize=(3 * len(things), 3.2), layout="tight")
    axes = figure.subplots(1, len(things), sharey=True, squeeze=False)
    for axis, thing in zip(axes[0], things, strict=True):
        of = [row for row in rows if row["varied"] == thing]
        for i, (a, b) in enumerate(PAIRS):
            places = [k + 0.2 * (i - 1) for k in range(len(of))]
            found = [row[f"{a} - {b}"] for row in of]
            means = np.array([np.nan if f["mean"] is None else 100 * f["mean"] for f in found])
            ends = np.array([[100 * end for end in f["interval"]] if f["interval"] else [m, m]
                             for f, m in zip(found, means, strict=True)])
            axis.errorbar(places, means, yerr=abs(ends.T - means), fmt="o", markersize=4, capsize=3, linewidth=1,
                          label=f"{arm_label(a)} - {arm_label(b)}")
        axis.axhline(0, color="0.6", linewidth=0.8)
        axis.set_xticks(range(len(of)), [row["value"] for row in of])
        axis.set_xlim(-0.5, len(of) - 0.5)
        axis.set_xlabel(thing)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("difference in accuracy, points\n(95 %, corrected t over folds)", fontsize=8)
    axes[0][0].legend(fontsize=7, frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    try:
        study(sys.argv[1:], Path(__file__).with_suffix(""))
    except InputError as error:
        sys.exit(f"error: {error}")
