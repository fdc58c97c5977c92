"""The three arms of the paper's Table I on one data set: the tables in the README.

    python benchmarks/arms.py --config drawn
    fmpn train --config ferplus --root DIR --arm cnn --name ferplus-backbone --compile true
    python benchmarks/arms.py --config ferplus --root DIR --compile true --epochs 6 --lr 1e-3 \
        --init local-dir:runs/ferplus-backbone/model

Takes the options of train.py, trains each arm in a run of its own (``--resume auto`` goes on after a stop), and
writes ``benchmarks/arms-<name>.json`` and ``.md``: figures pooled and by class, data, rule, split, seed, versions.
"""

import json
import sys
from pathlib import Path

from fmpn_timm.training.arms import compare_arms
from fmpn_timm.training.tables import arms_table

KEPT = ("data", "rule", "split", "samples", "seed", "best_epoch", "metrics", "recipe", "priors", "parameters",
        "training_seconds", "versions")

if __name__ == "__main__":
    summaries = compare_arms(sys.argv[1:])
    config = {k: v for k, v in summaries["fmpn"]["config"].items() if k not in ("output", "root", "progress", "resume")}
    if (config["init"] or "").startswith("local-dir:"):  # the run's name, not where it lies on this machine
        config["init"] = "local-dir:" + "/".join(Path(config["init"]).parts[-2:])
    results = {"config": config, "arms": {arm: {k: s[k] for k in KEPT} for arm, s in summaries.items()}}
    stem = Path(__file__).with_name(f"arms-{config['name'].removesuffix('-fmpn')}")
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    stem.with_suffix(".md").write_text(arms_table(summaries) + "\n")
