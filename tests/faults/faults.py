"""Runs of two epochs in processes of their own, and what may befall them.

The processes are forks of the test's, which has imported everything already; to each other, and to the kernel, they are
processes like any other.
"""

import dataclasses
import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fmpn_timm.cli.common import guarded
from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.priors import MaskSet
from fmpn_timm.training import TrainConfig, checkpoint, train
from fmpn_timm.training.guards import Watch

CLASSES = ("happiness", "fear")
SECONDS = 1800  # what no run may outlast, on a machine that does other work beside


@dataclass
class Outcome:
    """How the processes of a run ended.

    Attributes:
        codes: Exit code of each, by rank; -9 for SIGKILL.
        said: What they wrote on stderr, in order of rank.
    """

    codes: list[int]
    said: str


def run(config: TrainConfig, processes: int = 1, fault: Callable[[], None] | None = None, rank: int = 0) -> Outcome:
    """Train in new processes; the fault is set up in the one of the given rank."""

    def work(r: int) -> None:
        if fault is not None and r == rank:
            fault()
        guarded(lambda: train(config))

    return in_processes(work, processes, Path(config.output) / config.name)


def in_processes(work: Callable[[int], None], processes: int, log: Path) -> Outcome:
    """Do some work, which is told its rank, in processes that find each other as those of a launcher do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log.parent.mkdir(parents=True, exist_ok=True)
    logs = [log.with_name(f"{log.name}-{rank}.log") for rank in range(processes)]
    fork = multiprocessing.get_context("fork")
    children = [
        fork.Process(target=_begin, args=(work, processes, rank, port, logs[rank])) for rank in range(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(SECONDS)
    late = [child for child in children if child.is_alive()]
    for child in late:
        child.kill()
        child.join()
    said = "".join(log.read_text() for log in logs)
    assert not late, f"a process never ended: {said}"
    return Outcome([child.exitcode for child in children], said)


def _begin(work: Callable[[int], None], processes: int, rank: int, port: int, log: Path) -> None:
    sys.stdout = sys.stderr = log.open("w", buffering=1)
    os.dup2(sys.stderr.fileno(), 1)
    os.dup2(sys.stderr.fileno(), 2)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    if processes > 1:
        os.environ |= {"WORLD_SIZE": str(processes), "RANK": str(rank), "LOCAL_RANK": str(rank),
                       "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    work(rank)


def tiny_config(folder: Path, processes: int = 1) -> TrainConfig:
    """Both stages of FMPN on 40 faces, 15 updates of two steps, with all that draws random numbers or keeps count."""
    data = folder / "data"
    if not data.is_dir():
        _draw_faces(data)
    return TrainConfig(
        name="whole", output=str(folder / f"runs-{processes}"), progress=False, checkpoint_every=2, timeout=300,
        dataset="folder", root=str(data), valid_split="valid", test_split="test",
        priors=str(folder / "priors.safetensors"), backbone="test_resnet", backbone_kwargs={"drop_block_rate": 0.2},
        generator_width=4, generator_blocks=1, size=32, load_size=36, rotate=10, jitter=0.2, erase=0.3, mask_epochs=1,
        mask_lr=1e-3, mask_batch_size=8, epochs=2, lr=1e-3, batch_size=8, accumulate=2, optimizer="adamw",
        schedule="cosine", clip=1.0, ema=0.9,
    )


def _draw_faces(folder: Path) -> None:
    """Noise, brighter for one class; 40 faces to train on, 11 and 9 others so that processes get uneven shares."""
    draw = np.random.default_rng(0)
    for split, number in (("train", 40), ("valid", 11), ("test", 9)):
        for i in range(number):
            path = folder / split / CLASSES[i % 2] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 200, (36, 36, 3), dtype=np.uint8) + np.uint8(50 * (i % 2))).save(path)
    MaskSet(torch.rand(2, 36, 36, generator=torch.Generator().manual_seed(0)), CLASSES).save(
        folder.parent / "priors.safetensors")


def before_call(owner: object, name: str, number: int, happen: Callable[[], None]) -> Callable[[], None]:
    """A fault: something happens before the given call of a function, counted from 1."""

    def set_up() -> None:
        function, calls = getattr(owner, name), []

        def counted(*args, **kwargs):
            calls.append(name)
            if len(calls) == number:
                happen()
            return function(*args, **kwargs)

        setattr(owner, name, counted)

    return set_up


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(update: int) -> Callable[[], None]:
    """SIGKILL after the gradient of an update, before the weights move."""
    return before_call(Watch, "check", update, kill)


def killed_while_saving(number: int) -> Callable[[], None]:
    """SIGKILL while a checkpoint is written: some of its files are there, some are not."""
    return before_call(checkpoint, "save_file", number, kill)


def terminated_at(update: int) -> Callable[[], None]:
    return before_call(Watch, "check", update, lambda: os.kill(os.getpid(), signal.SIGTERM))


def full_disk(number: int) -> Callable[[], None]:
    """From the given checkpoint on no file grows beyond 64 kilobytes."""
    limit = (1 << 16, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    return before_call(checkpoint.Checkpoints, "save", number, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))


def no_number(index: int) -> Callable[[], None]:
    """One training face comes out of the loader as NaN."""

    def set_up() -> None:
        item = FaceDataset._item

        def poisoned(self, i):
            result = item(self, i)
            if self.faces.split == "train" and i == index:
                result["image"] = torch.full_like(result["image"], float("nan"))
            return result

        FaceDataset._item = poisoned

    return set_up


def resumed(config: TrainConfig) -> TrainConfig:
    return dataclasses.replace(config, resume="auto")
