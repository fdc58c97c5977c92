"""The processes that a launcher (``accelerate launch``, ``torchrun``) has started together, to share work."""

import os
from datetime import timedelta

import torch

from .errors import InputError

__all__ = ["is_first", "lost_process", "place", "wait"]


def place() -> tuple[int, int]:
    """Rank of this process, and how many there are; several are connected."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=timedelta(days=1))  # for a slow one may lag far behind
    return int(os.environ.get("RANK", 0)) if processes > 1 else 0, processes


def is_first() -> bool:
    """Whether this is the only process, or the one of several that speaks for all."""
    return int(os.environ.get("RANK", 0)) == 0


def wait(processes: int) -> None:
    """Wait until every process is here.

    Raises:
        InputError: One of them has ended.
    """
    if processes == 1:
        return
    try:
        torch.distributed.barrier()
    except RuntimeError as error:
        if not lost_process(error):
            raise
        raise InputError(f"Process {os.environ.get('RANK', 0)} has lost another process that shares the work: see what "
                         "ended that one, then give the same command again.") from error


def lost_process(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone, or has not answered in time."""
    said = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting")
    return isinstance(error, torch.distributed.DistError) or any(words in str(error) for words in said)
