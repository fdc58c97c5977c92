"""The three arms of the paper's Table I, side by side: backbone alone, FMPN without the prior, FMPN."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .config import parse_config
from .loop import train
from .tables import ARMS, arms_table

__all__ = ["compare_arms"]


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
    print(arms_table(summaries))
    folder = Path(summaries["fmpn"]["config"]["output"]) / summaries["fmpn"]["config"]["name"]
    print(f"pictures: {folder / 'masks.png'}  {folder / 'priors.png'}  {folder / 'confusion.png'}")
    return summaries
