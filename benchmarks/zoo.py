"""All systems and the bare backbone side by side on one data set: what they score, and what they cost.

    python -m benchmarks.zoo --config ict_hard --config zoo_ict --root OUT --seeds 0,1,2
    python -m benchmarks.zoo --config ferplus --config zoo_ferplus --root DIR --seeds 0,1,2
    python -m benchmarks.zoo --config paper --config zoo_paper --name zoo-ckplus --dataset prepared --root OUT

Takes the options of ``fmpn crossval``; given again, it goes on where it was stopped, and with other folds or seeds it
adds to what is there. What a system is told in another way than the rest stands in ``per_arm`` of the second
configuration, and above the table. A system that cannot be trained on the data is named with the reason, and the
others go on.

Writes ``benchmarks/<name>.md`` and ``.json``. The time of training is that of the clock, with whatever else the machine
did; the speed is that of inference, in faces for each second of one thread's CPU time, float32, batches of 16: the
median of rounds in which the systems take turns.
"""

import csv
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.variants import without_root
from fmpn_timm.cli import parse_crossval
from fmpn_timm.errors import InputError
from fmpn_timm.files import write_text
from fmpn_timm.hub import load_model
from fmpn_timm.training.crossval import cross_validate, report, run_folder
from fmpn_timm.training.tables import arm_label, costs_table, published_table
from fmpn_timm.zoo import model_size

__all__ = ["compare_systems", "faces_per_second", "measure_costs"]

ARMS = ("cnn", "fmpn", "derl", "fn2en", "msca")  # the backbone first: FN2EN may learn from it


def compare_systems(args: Sequence[str], out: Path) -> dict[str, Any]:
    """Train what is not trained yet, and write the tables.

    Args:
        args: Options of ``fmpn crossval``.
        out: Folder of the results.

    Returns:
        What ``crossval.report`` returns, with ``costs`` and ``not_run`` (reasons), both by arm.

    Raises:
        InputError: Bad options, or none of the systems can be trained.
    """
    options = parse_crossval(args, "python -m benchmarks.zoo", ARMS)
    folder, not_run = options.config.folder, {}
    for arm in () if options.report else options.arms:
        try:
            cross_validate(options.config, [arm], options.seeds, options.folds)
        except InputError as error:
            not_run[arm] = str(error)
            print(f"== {arm_label(arm)} is left out: {not_run[arm]}", file=sys.stderr, flush=True)
            if len(not_run) == len(options.arms):
                raise
    found = report(folder)
    found |= {"costs": measure_costs(folder, found), "not_run": not_run}
    name = options.config.name.removesuffix("-crossval")
    stored = json.dumps({k: v for k, v in found.items() if k != "text"}, indent=1)
    for suffix, text in (("md", _text(name, found)), ("json", stored)):  # no folders of this machine in them
        text = without_root(text.replace(str(folder), "{runs}"), options.config.root)
        write_text(out / f"{name}.{suffix}", text + "\n")
    return found


def measure_costs(folder: Path, found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each arm of a cross-validation costs, as ``tables.costs_table`` takes it.

    Args:
        folder: Folder of the cross-validation.
        found: Its report.
    """
    runs = {arm: [run for run in found["runs"] if run["arm"] == arm] for arm in found["arms"]}
    folders = {arm: run_folder(folder, arm, of[0]["seed"], of[0]["fold"]) for arm, of in runs.items()}
    models = {arm: load_model(f"local-dir:{run / 'model'}").eval() for arm, run in folders.items()}
    speeds, costs = faces_per_second(models), {}
    for arm, model in models.items():
        with open(folders[arm] / "summary.csv", newline="") as file:
            stages = Counter(row["stage"] for row in csv.DictReader(file))
        costs[arm] = {
            "stages": dict(stages),
            "training_seconds": statistics.mean(run["training_seconds"] for run in runs[arm]),
            **model_size(model, model.pretrained_cfg["input_size"]),
            "images_per_second": speeds[arm],
        }
    return costs


@torch.inference_mode()
def faces_per_second(models: Mapping[str, nn.Module], batch: int = 16, rounds: int = 9) -> dict[str, float]:
    """Faces that each model takes in a second of one thread's CPU time, at the size of its config.

    The models take turns, so that what else the machine does befalls all of them; the first round is for warming up.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        faces = {name: torch.rand(batch, *model.pretrained_cfg["input_size"]) for name, model in models.items()}
        seconds = {name: [] for name in models}
        for _ in range(rounds + 1):
            for name, model in models.items():
                start = time.process_time()
                model(faces[name])
                seconds[name].append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return {name: batch / statistics.median(times[1:]) for name, times in seconds.items()}


def _text(name: str, found: Mapping[str, Any]) -> str:
    left_out = [f"{arm_label(arm)} was not trained, or not to the end: {reason}"
                for arm, reason in found["not_run"].items()]
    published = published_table(found["plan"]["arms"])
    return "\n\n".join([
        f"# All systems side by side: {name}", found["text"], *left_out,
        "## What they cost", costs_table(found["costs"]),
        "The seconds are of the clock, with whatever else the machine did; faces/s: inference, one thread's CPU time.",
        "## Published figures of these systems",
        "Of other faces, networks and budgets than above: no line here can be compared with one there.", published,
    ])


if __name__ == "__main__":
    try:
        print(compare_systems(sys.argv[1:], Path(__file__).parent)["text"])
    except InputError as error:
        sys.exit(f"error: {error}")
