"""What the benchmarks share: interleaved timings, ratios with their spread, the machine in words, JSON.

With one thread the clock is the processor time of this process, which other processes on the same core change little;
with more it is the wall clock, and the machine must be idle. Variants are timed in turn (A, B, C, A, B, C, ...), so
that what slows the machine down for a while slows all of them; ratios are taken within each round. Memory is the most
that the process held, less what it held before; Linux alone tells.
"""

import ctypes
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from fmpn_timm.files import write_text

__all__ = ["interleaved", "machine", "peak_memory", "reset_peak", "summary", "write_json"]


def interleaved(variants: dict[str, Callable[[], Any]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds that each variant took in each round."""
    clock = time.process_time if _of_process() else time.perf_counter
    for run in variants.values():
        for _ in range(warm_up):
            run()
    seconds = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return seconds


def summary(seconds: dict[str, list[float]], baseline: str, per: int = 1) -> dict[str, dict[str, Any]]:
    """Of each variant the median milliseconds per item, and how many times as fast as the baseline it was.

    Args:
        seconds: What ``interleaved`` gives.
        baseline: Name of the variant that the others are compared with.
        per: Items that a run worked on.

    Returns:
        ``ms`` (median), ``faster`` (median of the rounds' ratios) and ``spread`` (least and greatest ratio).
    """
    results = {}
    for name, times in seconds.items():
        ratios = [base / own for base, own in zip(seconds[baseline], times, strict=True)]
        results[name] = {
            "ms": round(statistics.median(times) * 1e3 / per, 3),
            "faster": round(statistics.median(ratios), 2),
            "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        }
    return results


def reset_peak() -> float | None:
    """Start a new peak of this process's memory; megabytes held now, None where the system does not tell."""
    gc.collect()
    with suppress(AttributeError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)  # what was freed and is still held would hide what is taken next
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _held("VmRSS")


def peak_memory(before: float | None) -> float | None:
    """Megabytes of the peak above what ``reset_peak`` gave."""
    return None if before is None else round(_held("VmHWM") - before, 1)


def machine() -> dict[str, Any]:
    """The machine and the versions, in words that name neither host nor path."""
    import timm
    import torchvision

    threads = torch.get_num_threads()
    return {
        "cpu": _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "amx": torch.cpu._is_amx_tile_supported(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": threads,
        "clock": "processor time of the process" if _of_process() else "wall clock",
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
    }


def write_json(path: str | Path, results: dict[str, Any]) -> None:
    """Write results with the machine beside them, complete or not at all, and show them."""
    text = json.dumps({**results, "machine": machine()}, indent=1) + "\n"
    write_text(path, text)
    print(text)


def _of_process() -> bool:
    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


def _held(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
