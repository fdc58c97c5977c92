r"""The three arms of the paper's Table I on one data set: the tables in docs/figures.md.

    python -m benchmarks.arms --config drawn
    fmpn train --config ferplus --root DIR --arm cnn --name ferplus-backbone --compile true
    python -m benchmarks.arms --config ferplus --root DIR --compile true --epochs 6 --lr 1e-3 \
        --init local-dir:runs/ferplus-backbone/model

Takes the options of train.py, trains each arm in a run of its own (``--resume auto`` goes on after a stop), and
writes ``benchmarks/arms-<name>.json`` and ``.md``: figures pooled and by class, data, rule, split, seed, versions.
"""

import json
import sys
from pathlib import Path

from benchmarks.collect import collect
from fmpn_timm.files import write_text
from fmpn_timm.training.arms import compare_arms
from fmpn_timm.training.tables import arms_table

if __name__ == "__main__":
    summaries = compare_arms(sys.argv[1:])
    arms = {arm: collect(summary) for arm, summary in summaries.items()}
    config = arms["fmpn"]["config"]
    for figures in arms.values():
        del figures["config"]  # the arms differ in nothing else
    results = {"config": config, "arms": arms}
    stem = Path(__file__).with_name(f"arms-{config['name'].removesuffix('-fmpn')}")
    write_text(stem.with_suffix(".json"), json.dumps(results, indent=1) + "\n")
    write_text(stem.with_suffix(".md"), arms_table(summaries) + "\n")
