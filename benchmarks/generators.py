"""The mask generators side by side: the masks they learn, what the classifier makes of them, what they cost.

    python -m benchmarks.generators --config ict_hard --augment device --root OUT --seeds 0,1,2 --folds 0-4
    python -m benchmarks.generators --config ferplus --init local-dir:MODEL --root DIR --seeds 0,1,2

Takes the options of ``fmpn crossval``, and ``--generators`` (names; all if left out). Each generator has its own width
and number of blocks (the paper's: 64 and 4), whatever the configuration says; ``lite-half`` is the lite one at half of
the resolution that it usually works at. Given again, it goes on where it was
stopped, and with other folds or seeds it adds to what is there. Each generator is a cross-validation of its own,
``<name>-generators-<generator>``; the backbone alone is trained beside the first, ``lite``.

Writes ``benchmarks/<name>-generators.md`` and ``.json``.
"""

import csv
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.variants import Key, asked_for, fold_gains, without_root
from fmpn_timm.cli import parse_crossval
from fmpn_timm.errors import InputError
from fmpn_timm.files import write_text
from fmpn_timm.hub import load_model
from fmpn_timm.markdown import markdown_table
from fmpn_timm.models import stride_for
from fmpn_timm.training.config import TrainConfig
from fmpn_timm.training.crossval import cross_validate, report, run_folder
from fmpn_timm.training.statistics import corrected_t_test
from fmpn_timm.zoo import model_size

__all__ = ["GENERATORS", "compare_generators"]

GENERATORS = ("lite", "lite-half", "basis", "paper")
BACKBONE = "backbone alone"


def compare_generators(args: Sequence[str], out: Path) -> dict[str, Any]:
    """Train what is not trained yet, and write the table.

    Args:
        args: Options of ``fmpn crossval``, and ``--generators``; ``--report`` trains nothing.
        out: Folder of the results.

    Returns:
        ``plan`` (data, folds, seeds, configuration of the last), ``runs`` (accuracy, macro F1 and mask error of each
        seed and fold, by generator), ``rows`` (what the table says) and ``versions``. The mask error is the mean L_M
        on the faces that select the epoch, after stage 1.

    Raises:
        InputError: A generator is unknown, nothing is trained, or what ``cross_validate`` says.
    """
    wanted, args = asked_for(args, "--generators", GENERATORS, "python -m benchmarks.generators")
    options = parse_crossval(args, "python -m benchmarks.generators")
    name = options.config.name.removesuffix("-crossval")
    runs, sizes = {}, {}
    for generator in GENERATORS:
        config = replace(_with_generator(options.config, generator), name=f"{name}-generators-{generator}")
        arms = ("cnn", "fmpn") if generator == GENERATORS[0] else ("fmpn",)
        if generator in wanted and not options.report:
            found = cross_validate(config, arms, options.seeds, options.folds)
        elif config.folder.is_dir():
            found = report(config.folder)
        else:
            continue
        for arm, label in (("cnn", BACKBONE), ("fmpn", generator)):
            of = [run for run in found["runs"] if run["arm"] == arm]
            if not of:
                continue
            folders = [run_folder(config.folder, arm, run["seed"], run["fold"]) for run in of]
            runs[label] = {(run["seed"], run["fold"]): _figures(run, folder)
                           for run, folder in zip(of, folders, strict=True)}
            model = load_model(f"local-dir:{folders[0] / 'model'}").eval()
            sizes[label] = model_size(model, model.pretrained_cfg["input_size"])
            first = of[0]
    if not runs:
        raise InputError("Nothing is trained yet: leave --report out.")
    share = first["samples"]["test"] / first["samples"]["train"]
    rows = [{"generator": label, "runs": len(of), **sizes[label], **_means(of),
             "gain": {other: _gain(of, runs[other], share) for other in (BACKBONE, "paper")
                      if other in runs and other != label}}
            for label, of in runs.items()]
    result = {
        "plan": found["plan"],
        "runs": {label: {f"seed {s} fold {f}": figures for (s, f), figures in sorted(of.items())}
                 for label, of in runs.items()},
        "rows": rows,
        "versions": first["versions"],
    }
    stored = without_root(json.dumps(result, indent=1), options.config.root)
    write_text(out / f"{name}-generators.json", stored + "\n")
    write_text(out / f"{name}-generators.md", _text(rows) + "\n")
    return result


def _with_generator(config: TrainConfig, name: str) -> TrainConfig:
    generator, _, half = name.partition("-")
    config = replace(config, generator=generator, generator_width=None, generator_blocks=None)
    if not half:
        return config
    coarser = {"stride": 2 * stride_for(config.size)}
    return replace(config, model_kwargs={**config.model_kwargs, "generator_kwargs": coarser})


def _figures(run: Mapping[str, Any], folder: Path) -> dict[str, float]:
    with open(folder / "summary.csv", newline="") as file:
        errors = [float(row["valid_loss"]) for row in csv.DictReader(file) if row.get("valid_loss")]
    figures = {"accuracy": run["accuracy"], "macro_f1": run["macro_f1"]}
    return {**figures, "mask_error": errors[-1]} if errors else figures


def _means(of: Mapping[Key, Mapping[str, float]]) -> dict[str, list[float]]:
    """Of each figure the mean over folds, by seed."""
    figures = [f for f in ("accuracy", "macro_f1", "mask_error") if all(f in run for run in of.values())]
    return {figure: _by_seed({key: run[figure] for key, run in of.items()}) for figure in figures}


def _gain(
        of: Mapping[Key, Mapping[str, float]],
        other: Mapping[Key, Mapping[str, float]],
        share: float,
) -> dict[str, Any]:
    """How much more accurate one is than another on the runs that both have: by seed, and an interval over folds."""
    of, other = ({key: run["accuracy"] for key, run in runs.items()} for runs in (of, other))
    shared = sorted(set(of) & set(other))
    test = corrected_t_test(fold_gains(of, other, shared), share)
    by_seed = _by_seed({key: of[key] - other[key] for key in shared})
    return {"runs": len(shared), "by_seed": by_seed, "interval": test and [test.low, test.high]}


def _by_seed(values: Mapping[Key, float]) -> list[float]:
    seeds = sorted({seed for seed, _ in values})
    return [statistics.mean(value for key, value in values.items() if key[0] == seed) for seed in seeds]


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ["generator", "runs", "parameters, M", "GMAC a face", "L_M on held-out faces", "accuracy, %",
              "macro F1, %", "above the backbone, points", "above the paper's, points"]
    lines = []
    for row in rows:
        lines.append([
            row["generator"], str(row["runs"]), f"{row['parameters'] / 1e6:.2f}", f"{row['gmacs']:.3f}",
            _spread(row["mask_error"], 1, ".4f") if "mask_error" in row else "",
            _spread(row["accuracy"], 100, ".1f"), _spread(row["macro_f1"], 100, ".1f"),
            *(_told(row["gain"].get(other), row["runs"]) for other in (BACKBONE, "paper")),
        ])
    return markdown_table(header, lines)


def _told(gain: Mapping[str, Any] | None, runs: int) -> str:
    if not gain or not gain["by_seed"]:
        return ""
    text = _spread(gain["by_seed"], 100, "+.1f")
    if gain["interval"]:
        text += "; {:+.1f} to {:+.1f} over folds".format(*(100 * end for end in gain["interval"]))
    return text if gain["runs"] == runs else f"{text}; on {gain['runs']} of the runs"


def _spread(values: Sequence[float], unit: float, digits: str) -> str:
    """The mean, and each seed's value where there are more than one."""
    mean = f"{unit * statistics.mean(values):{digits}}"
    if len(values) == 1:
        return mean
    return f"{mean} ({', '.join(f'{unit * value:{digits}}' for value in values)})"


if __name__ == "__main__":
    try:
        compare_generators(sys.argv[1:], Path(__file__).parent)
    except InputError as error:
        sys.exit(f"error: {error}")
