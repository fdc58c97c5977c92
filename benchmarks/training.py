"""A training step of each system, in time and memory: the bare backbone, FMPN with each mask generator, the plain loop.

    OMP_NUM_THREADS=1 python -m benchmarks.training --json benchmarks/training.json
    python -m benchmarks.training --batch 64 --compile --json benchmarks/training-gpu.json          # on a GPU

A step is forward, backward and Adam's update on random faces with masks. The baseline is `benchmarks/reference.py`
trained as its authors do, in plain eager float32 (TF32 allowed on a GPU); `float32` is the package's network in the
same way, `bf16` under autocast and channels-last, as `--precision bf16 --channels_last true` trains it, `checkpointed`
with `--grad_checkpointing true` as well (Inception v3 has none itself: mask and fused face alone). Peak memory is
that of one step in a fresh process, without what the process held before its model was built; on a GPU, what PyTorch
allocated. Timed as `benchmarks/measure.py` says.

The floor of a step is the longer of two times: its operations at the rate that this machine multiplies large matrices
at, and, at the rate that it copies memory at, what a step must at the least move (what the backward pass needs of the
forward pass, written and read once, and the parameters, gradients and moments of Adam's update).
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fmpn_timm  # noqa: F401 registers the models
from benchmarks.measure import interleaved, peak_memory, reset_peak, summary, write_json
from benchmarks.reference import BACKBONES, reference_fmpn
from fmpn_timm.tasks import ClassificationTask, FMPNTask

PLAIN = "paper network, plain"
GENERATORS = ("paper", "lite", "basis")
VARIANTS = (PLAIN, *(f"{system}, {precision}" for system in ("bare backbone", *(f"{g} generator" for g in GENERATORS))
                     for precision in ("float32", "bf16")),
            *(f"{g} generator, bf16, checkpointed" for g in GENERATORS))
CLASSES = 7
#: Float32 numbers moved for each parameter: read in both passes; gradient written and read; weight and two moments
#: read and written.
UPDATE = 2 + 2 + 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default="benchmarks/training.json")
    parser.add_argument("--backbone", choices=BACKBONES, default=BACKBONES[0])
    parser.add_argument("--size", type=int, default=299)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="compile what runs in bf16")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="variants to measure beside the plain one")
    parser.add_argument("--memory", choices=VARIANTS, help="print what a step of this one takes, and measure no time")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if options.memory:
        print(json.dumps(cost(options.memory, options)))
        return
    names = [name for name in VARIANTS if name == PLAIN or name in (options.only or VARIANTS)]
    costs = {name: of_process(name, options) for name in names}
    rates = {precision: machine_rates(precision) for precision in ("float32", "bf16")}
    results = {key: getattr(options, key) for key in ("backbone", "size", "batch", "compile")}
    seconds = interleaved({name: trainer(name, options, options.compile)[1] for name in names}, options.rounds)
    results |= {"rates": rates, "steps": summary(seconds, PLAIN, options.batch)}
    for name, figures in results["steps"].items():
        rate, step = rates["bf16" if is_low(name) else "float32"], statistics.median(seconds[name])
        operations = costs[name]["GFLOP"] / rate["GFLOP a second"]
        memory = costs[name]["GB moved"] / rate["GB a second"]
        figures |= {
            "faces a second": round(options.batch / step, 3),
            "memory, MB": costs[name]["MB"],
            "GFLOP a face": round(costs[name]["GFLOP"] / options.batch, 2),
            "GB moved a face": round(costs[name]["GB moved"] / options.batch, 4),
            "floor, ms a face": round(max(operations, memory) * 1e3 / options.batch, 3),
            "times the floor": round(step / max(operations, memory), 2),
            "share of the matrix rate": round(operations / step, 3),
        }
    write_json(options.json, results)


def is_low(name: str) -> bool:
    """Whether a variant runs in bf16."""
    return "bf16" in name


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def trainer(name: str, options: argparse.Namespace, compiled: bool) -> tuple[nn.Module, Callable[[], None]]:
    """What is trained, and one step of its training."""
    low = is_low(name)
    layout = torch.channels_last if low else torch.contiguous_format
    task = (reference_task(options.backbone) if name == PLAIN else package_task(name, options.backbone)).train()
    task = task.to(device(), memory_format=layout)
    if low and compiled:
        nn.Module.compile(task)
    optimizer = torch.optim.Adam(task.parameters(), 1e-4, fused=None if name == PLAIN else True)
    faces = torch.rand(options.batch, 3, options.size, options.size, device=device()).contiguous(memory_format=layout)
    batch = {
        "target": torch.eye(CLASSES, device=device())[torch.arange(options.batch) % CLASSES],
        "mask": torch.rand(options.batch, 1, options.size, options.size, device=device()),
    }

    def step() -> None:
        with torch.autocast(device().type, torch.bfloat16, enabled=low):
            loss = task(faces, batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device().type == "cuda":
            torch.cuda.synchronize()

    return task, step


class ReferenceTask(nn.Module):
    """Equation (5) of the paper on the reference network."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, faces: torch.Tensor, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logits, mask, _ = self.model(faces)
        return {"loss": 0.1 * F.mse_loss(mask, batch["mask"]) + F.cross_entropy(logits, batch["target"])}


def reference_task(backbone: str) -> nn.Module:
    return ReferenceTask(reference_fmpn(backbone, CLASSES))


def package_task(name: str, backbone: str) -> nn.Module:
    generator = name.split()[0]
    if generator not in GENERATORS:
        return ClassificationTask(timm.create_model(backbone, num_classes=CLASSES))
    model = timm.create_model("fmpn", backbone=backbone, generator=generator, num_classes=CLASSES)
    if name.endswith("checkpointed"):
        model.set_grad_checkpointing()
    return FMPNTask(model)


def of_process(name: str, options: argparse.Namespace) -> dict[str, float]:
    """``cost`` in a process of its own, as memory that another variant has left is not given back."""
    rest = ["--batch", options.batch, "--size", options.size, "--backbone", options.backbone]
    command = [sys.executable, "-m", "benchmarks.training", "--memory", name, *map(str, rest)]
    command += ["--compile"] if options.compile else []
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    print(name, found, flush=True)
    return found


def cost(name: str, options: argparse.Namespace) -> dict[str, float]:
    """What a step takes: MB at the peak, GFLOP, GB that must be moved."""
    before = reset_peak()
    task, step = trainer(name, options, options.compile)
    if device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step()
    step()  # beside the moments that the first one has made
    megabytes = torch.cuda.max_memory_allocated() / 2**20 if device().type == "cuda" else peak_memory(before)
    if options.compile:
        task, step = trainer(name, options, False)  # which can be looked into
    saved, weights = {}, {p.untyped_storage().data_ptr() for p in task.parameters()}

    def note(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return x

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        step()
    moved = 2 * sum(saved.values()) + UPDATE * sum(4 * p.numel() for p in task.parameters())
    return {"MB": megabytes, "GFLOP": counter.get_total_flops() / 1e9, "GB moved": moved / 1e9}


def machine_rates(precision: str) -> dict[str, float]:
    """What this machine reaches at its best: products of large matrices, copies of memory."""
    size, dtype = 8192 if device().type == "cuda" else 2048, torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.rand(2, size, size, device=device(), dtype=dtype)
    source = torch.rand(2**26, device=device())  # 256 MB
    target = torch.empty_like(source)

    def synchronized(run: Callable) -> None:
        run()
        if device().type == "cuda":
            torch.cuda.synchronize()

    runs = {"product": partial(torch.matmul, a, b), "copy": partial(target.copy_, source)}
    seconds = interleaved({name: partial(synchronized, run) for name, run in runs.items()}, 5)
    return {
        "GFLOP a second": round(2 * size**3 / min(seconds["product"]) / 1e9, 1),
        "GB a second": round(2 * source.nbytes / min(seconds["copy"]) / 1e9, 1),
    }


if __name__ == "__main__":
    main()
