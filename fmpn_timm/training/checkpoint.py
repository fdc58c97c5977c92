"""Checkpoints of a run: whole or not there at all; the last two and the best are kept."""

import contextlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from fmpn_timm.errors import InputError
from fmpn_timm.files import partial_name, sha256

__all__ = ["Checkpoints"]


class Checkpoints:
    """The checkpoints of a run, in a folder that all its processes see.

    ``epoch-0007`` is written after seven epochs, counted over all stages, and ``epoch-0007-000012`` after twelve more
    batches. Each holds Accelerate's state (weights, optimiser), ``evaluated.safetensors`` (the weights that are
    evaluated: the moving average where there is one), ``state.json`` (our own progress) and, written last,
    ``manifest.json`` with the checksum of each file. It is written under another name and renamed when complete; what
    is damaged after that, by the disk or by a power cut, its checksums show.

    Args:
        folder: Folder of the run's checkpoints.
        accelerator: The run's accelerator.
    """

    def __init__(self, folder: Path, accelerator: Accelerator):
        self.folder = folder
        self.accelerator = accelerator

    def last(self) -> Path | None:
        """The newest whole checkpoint, if any; the same on all processes.

        Damaged ones are moved out of the way, to ``damaged-epoch-...``, with a line on stderr.
        """
        found = [None]
        if self.accelerator.is_main_process:
            for partial in self.folder.glob(".epoch-*.partial"):  # of a process that was killed as it wrote
                shutil.rmtree(partial, ignore_errors=True)
            found[0] = self._newest_whole()
        broadcast_object_list(found)
        return found[0]

    def _newest_whole(self) -> Path | None:
        for checkpoint in self._all():
            damage = _damage(checkpoint)
            if damage is None:
                return checkpoint
            aside = self.folder / f"damaged-{checkpoint.name}"
            shutil.rmtree(aside, ignore_errors=True)
            checkpoint.rename(aside)
            others = self._all()
            then = f"Trying {others[0].name}, the one before" if others else "There is none before: starting afresh"
            print(f"warning: checkpoint {checkpoint} is damaged ({damage}); it is now {aside.name}. {then}.",
                  file=sys.stderr, flush=True)
        return None

    def _all(self) -> list[Path]:
        """All checkpoints, the newest first."""
        return sorted(self.folder.glob("epoch-*"), reverse=True)

    def path(self, epochs: int, batches: int = 0) -> Path:
        """Where the checkpoint after so many epochs, and so many batches of the next, is."""
        return self.folder / (f"epoch-{epochs:04d}" + (f"-{batches:06d}" if batches else ""))

    def save(self, state: dict[str, Any], evaluated: nn.Module) -> None:
        """Write a checkpoint; then drop all but the last two and the best epochs that these two know of.

        Args:
            state: Our own progress, JSON-serialisable; ``done`` (epochs), ``batches`` (of the next epoch) and ``best``
                (the best epoch, 0 for none) are among it.
            evaluated: The module whose weights are evaluated.

        Raises:
            InputError: It cannot be written (a full disk, say), on all processes; those before stay as they are.
        """
        target = self.path(state["done"], state["batches"])
        partial = partial_name(target)

        def start() -> None:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)

        def complete() -> None:
            save_file(contiguous_state(evaluated), partial / "evaluated.safetensors")
            (partial / "state.json").write_text(json.dumps(state))
            files = [file for file in sorted(partial.rglob("*")) if file.is_file()]  # FSDP and DeepSpeed make folders
            manifest = {file.relative_to(partial).as_posix(): sha256(file) for file in files}
            (partial / "manifest.json").write_text(json.dumps(manifest, indent=1))
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
            self._prune()

        main = self.accelerator.is_main_process
        try:
            self._together(target, start if main else None)
            self._together(target, lambda: self.accelerator.save_state(str(partial)))
            self._together(target, complete if main else None)
        finally:
            if main:
                shutil.rmtree(partial, ignore_errors=True)

    def _together(self, target: Path, step: Callable[[], Any] | None) -> None:
        """Take a step of writing on this process, and raise if it failed on any."""
        problem = None
        try:
            if step is not None:
                step()
        except (OSError, RuntimeError, SafetensorError) as error:
            problem = str(error) or type(error).__name__
        problems = [p for p in gather_object([problem]) if p is not None]
        if problems:
            before = self._all()
            raise InputError(
                f"{target}: the checkpoint could not be written ({problems[0]}). "
                f"{f'{before[0]} is whole' if before else 'No earlier checkpoint exists'}; make room, then go on with "
                "--resume auto."
            )

    def _prune(self) -> None:
        checkpoints = self._all()
        keep = set(checkpoints[:2])
        for checkpoint in checkpoints[:2]:
            with contextlib.suppress(OSError, ValueError, KeyError):  # damaged: `last` will find out, if it is needed
                keep.add(self.path(self.state(checkpoint)["best"]))
        for checkpoint in checkpoints:
            if checkpoint not in keep:
                shutil.rmtree(checkpoint, ignore_errors=True)

    def state(self, checkpoint: Path) -> dict[str, Any]:
        """Our own progress as saved."""
        return json.loads((checkpoint / "state.json").read_text())

    def load_evaluated(self, checkpoint: Path, module: nn.Module) -> None:
        """Load the evaluated weights of a checkpoint into a module."""
        module.load_state_dict(load_file(checkpoint / "evaluated.safetensors"))

    def load_best(self, epoch: int, module: nn.Module) -> None:
        """Load the evaluated weights of the best epoch into a module.

        Raises:
            InputError: Its checkpoint is damaged.
        """
        checkpoint = self.path(epoch)
        damage = _damage(checkpoint)
        if damage is not None:
            raise InputError(f"{checkpoint}, the best epoch, is damaged ({damage}). Bring it back from a copy, or "
                             f"remove {self.folder} and train again: the same options give the same weights.")
        self.load_evaluated(checkpoint, module)


def contiguous_state(module: nn.Module) -> dict:
    """The weights of a module as safetensors takes them, whatever the memory format."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def _damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, if anything."""
    try:
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        wrong = [name for name, checksum in manifest.items() if sha256(checkpoint / name) != checksum]
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError) as error:
        return f"it cannot be read: {error}"
    return f"{', '.join(wrong)} changed since written" if wrong else None
