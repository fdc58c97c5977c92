"""The processes of a run: how they find each other."""

import os
import sys
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, InitProcessGroupKwargs

from fmpn_timm.errors import InputError

__all__ = ["create_accelerator"]


def create_accelerator(timeout: int = 600, **options: Any) -> Accelerator:
    """The accelerator of this process, which knows of all that a launcher has started with it.

    Args:
        timeout: Seconds that a process waits for the others before it gives them up.
        options: Further arguments of ``Accelerator``.

    Raises:
        InputError: The launcher asks for FSDP or DeepSpeed, or has started more processes than there are GPUs.
    """
    for name in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            raise InputError(f"{name} shards models that do not fit on one GPU; these do, so launch with --multi_gpu.")
    launched = "WORLD_SIZE" in os.environ
    if "MASTER_ADDR" in os.environ and not launched:
        print("warning: this is one process, however many `accelerate launch --cpu` was asked for. Several on a CPU: "
              "torchrun --nproc_per_node 2 train.py", file=sys.stderr)
    gpus = torch.cuda.device_count()
    # without a word of the CPU, Accelerate takes each process of a machine without GPUs, or of a Mac, for the only one
    cpu = launched and _kind() in (None, "mps")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if 0 < gpus < here and os.environ.get("ACCELERATE_USE_CPU", "false").lower() != "true":
        raise InputError(f"{here} processes on a machine with {gpus} GPU{'s' if gpus > 1 else ''}: start as many as "
                         "there are GPUs, or set ACCELERATE_USE_CPU=true for the CPU.")
    if "mixed_precision" in options and AcceleratorState._shared_state:  # an earlier run of this process had its own
        AcceleratorState._reset_state()
    wait = InitProcessGroupKwargs(timeout=timedelta(seconds=timeout))
    copying = DataLoaderConfiguration(non_blocking=gpus > 0)
    return Accelerator(cpu=cpu, kwargs_handlers=[wait], dataloader_config=copying, **options)


def _kind() -> str | None:
    """The kind of this machine's accelerator; None without one."""
    return torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else None
