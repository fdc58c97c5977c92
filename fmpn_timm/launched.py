"""The processes that a launcher (``accelerate launch``, ``torchrun``) has started together, to share work."""

import os
from datetime import timedelta

import torch

__all__ = ["place", "wait"]


def place() -> tuple[int, int]:
    """Rank of this process, and how many there are; several are connected."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=timedelta(days=1))  # for a slow one may lag far behind
    return int(os.environ.get("RANK", 0)) if processes > 1 else 0, processes


def wait(processes: int) -> None:
    """Wait until every process is here."""
    if processes > 1:
        torch.distributed.barrier()
