"""Checkpoints of a run: complete or not there at all; the last and the best are kept."""

import json
import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from fmpn_timm.errors import InputError

__all__ = ["Checkpoints"]


class Checkpoints:
    """The checkpoints of a run, ``<folder>/epoch-0007`` and so on, counted over both stages.

    Each holds Accelerate's state (weights, optimiser, random states), ``evaluated.safetensors`` (the weights that are
    evaluated: the moving average where there is one) and ``state.json`` (our own progress). It is written under another
    name and renamed when complete.

    Args:
        folder: Folder of the run's checkpoints.
        accelerator: The run's accelerator.
    """

    def __init__(self, folder: Path, accelerator: Accelerator):
        self.folder = folder
        self.accelerator = accelerator

    def last(self) -> Path | None:
        """The newest complete checkpoint, if any."""
        complete = sorted(self.folder.glob("epoch-*/state.json"))
        return complete[-1].parent if complete else None

    def path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}"

    def save(self, epoch: int, best: int, evaluated: nn.Module, state: dict[str, Any]) -> None:
        """Write the checkpoint of an epoch; then drop all but this and the best.

        Args:
            epoch: Number of the epoch, over both stages.
            best: Number of the best epoch so far, 0 for none.
            evaluated: The module whose weights are evaluated.
            state: Our own progress, JSON-serialisable.

        Raises:
            InputError: It cannot be written (a full disk, say); the checkpoints before stay as they are.
        """
        target = self.path(epoch)
        partial = self.folder / f".{target.name}.partial"
        main = self.accelerator.is_main_process
        try:
            if main:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            self.accelerator.save_state(str(partial))
            self.accelerator.wait_for_everyone()
            if main:
                save_file(contiguous_state(evaluated), partial / "evaluated.safetensors")
                (partial / "state.json").write_text(json.dumps(state))
                shutil.rmtree(target, ignore_errors=True)
                partial.rename(target)
        except (OSError, RuntimeError, SafetensorError) as error:
            last = self.last()
            raise InputError(
                f"{target}: the checkpoint could not be written ({error}). "
                f"{f'{last} is whole' if last else 'No earlier checkpoint exists'}; make room, then go on with "
                "--resume auto."
            ) from error
        finally:
            if main:
                shutil.rmtree(partial, ignore_errors=True)
        if main:
            for other in self.folder.glob("epoch-*"):
                if other not in (target, self.path(best)):
                    shutil.rmtree(other)
        self.accelerator.wait_for_everyone()

    def state(self, checkpoint: Path) -> dict[str, Any]:
        """Our own progress as saved."""
        return json.loads((checkpoint / "state.json").read_text())

    def load_evaluated(self, checkpoint: Path, module: nn.Module) -> None:
        """Load the evaluated weights of a checkpoint into a module."""
        module.load_state_dict(load_file(checkpoint / "evaluated.safetensors"))


def contiguous_state(module: nn.Module) -> dict:
    """The weights of a module as safetensors takes them, whatever the memory format."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
