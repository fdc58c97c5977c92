"""The three arms of the paper's Table I, side by side: backbone alone, FMPN without the prior, FMPN."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .config import parse_config
from .loop import train

__all__ = ["ARMS", "compare_arms", "table"]

ARMS = {"cnn": "CNN (backbone alone)", "no_prior": "FMPN without L_M", "fmpn": "FMPN"}


def compare_arms(args: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Train all arms with the same options and print their table.

    Args:
        args: Options of ``train.py``; each arm's name is added to the run's.

    Returns:
        The summary of each arm.
    """
    config = parse_config(args)
    summaries = {}
    for arm in ARMS:
        print(f"== {ARMS[arm]}", flush=True)
        summaries[arm] = train(dataclasses.replace(config, arm=arm, name=f"{config.name}-{arm}"))
    print(table(summaries))
    folder = Path(summaries["fmpn"]["config"]["output"]) / summaries["fmpn"]["config"]["name"]
    print(f"pictures: {folder / 'masks.png'}  {folder / 'priors.png'}  {folder / 'confusion.png'}")
    return summaries


def table(summaries: dict[str, dict[str, Any]]) -> str:
    """The arms as a Markdown table, with what the figures are of."""
    first = next(iter(summaries.values()))
    rule = f", {first['rule']} rule" if first["rule"] else ""
    lines = [
        f"{first['data']['dataset']}, {first['split']['reported on']}{rule}, n = {first['metrics']['n']}, "
        f"{first['config']['backbone']}, seed {first['seed']}",
        "",
        "| arm | accuracy, % | macro F1, % | parameters, M | training, s |",
        "|---|---|---|---|---|",
    ]
    for arm, s in summaries.items():
        figures = (f"{100 * s['metrics']['accuracy']:.2f}", f"{100 * s['metrics']['macro_f1']:.2f}",
                   f"{s['parameters'] / 1e6:.2f}", str(s["training_seconds"]))
        lines.append(f"| {' | '.join((ARMS[arm], *figures))} |")
    return "\n".join(lines)
