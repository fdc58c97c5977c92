"""What a results file keeps of runs; and finished runs side by side.

    python -m benchmarks.collect runs/a runs/b --out benchmarks/masks-ferplus.json

Writes each run's figures, pooled and by class, with configuration, data, rule, split, seed and versions.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from fmpn_timm.files import portable, write_text

__all__ = ["collect"]

KEPT = ("data", "rule", "split", "samples", "seed", "best_epoch", "metrics", "recipe", "priors", "parameters",
        "training_seconds", "versions")
OWN = ("output", "root", "progress", "resume")  # of the machine, not of the result


def collect(summary: dict[str, Any]) -> dict[str, Any]:
    """Configuration and figures of a run, without what is its machine's own.

    Args:
        summary: The contents of a run's ``summary.json``.
    """
    config = portable({k: v for k, v in summary["config"].items() if k not in OWN})
    return {"config": config, **{k: summary[k] for k in KEPT}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    results = {run.name: collect(json.loads((run / "summary.json").read_text())) for run in options.runs}
    write_text(options.out, json.dumps(results, indent=1) + "\n")
