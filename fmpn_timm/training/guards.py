"""What tells that a run goes wrong, and stops it on all processes: losses, broken pictures, signals, memory."""

import math
import statistics
import sys
from collections import deque

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from fmpn_timm.files import write_json
from fmpn_timm.interrupt import Interrupt

from .config import TrainConfig

__all__ = ["LossGuard", "Watch", "out_of_memory"]

#: A loss has exploded when it is this many times the median of those before ...
FACTOR = 1e4
#: ... or of this floor, if the median is smaller: one hard face after a loss near zero is no explosion.
FLOOR = 1e-2
#: Losses that the median is of, and how many there must be before it counts.
MEMORY, LEAST = 101, 10
#: Updates in a row that fp16 may leave out, as its scale finds its way down.
LEFT_OUT = 100


class LossGuard:
    """Judges each loss by those before."""

    def __init__(self):
        self.before = deque(maxlen=MEMORY)

    def wrong(self, loss: float) -> bool:
        """Whether a loss is infinite, no number, or has exploded; if not, it is one to judge the next by."""
        if not math.isfinite(loss):
            return True
        if len(self.before) >= LEAST and abs(loss) > FACTOR * max(abs(statistics.median(self.before)), FLOOR):
            return True
        self.before.append(loss)
        return False


class Watch:
    """What is looked at before each update, so that all processes of a run stop together, and at the same one.

    Attributes:
        losses: Judges the losses of the stage.
        broken: Training faces that others stand in for, by source, and what is wrong with them; the same everywhere.

    Args:
        config: The run's configuration.
        accelerator: The run's accelerator.
        faces: The training faces.
        interrupt: Knows whether a signal asks to stop.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator, faces: FaceSet, interrupt: Interrupt):
        self.config = config
        self.accelerator = accelerator
        self.faces = faces
        self.interrupt = interrupt
        self.losses = LossGuard()
        self.left_out = 0  # updates in a row
        self.broken: dict[str, str] = {}

    def check(self, title: str, losses: list[torch.Tensor], norm: torch.Tensor, seen: list[torch.Tensor]) -> int:
        """Look at an update before it is made.

        Args:
            title: Stage and epoch.
            losses: The losses of its steps on this process.
            norm: Norm of its gradient.
            seen: The faces of each step on this process (2, B): index, and whether another stands in for it.

        Returns:
            The signal that asks to stop after this update, 0 if none does; the same on all processes.

        Raises:
            InputError: The loss or the gradient is no good, or too many pictures are broken; on all processes.
        """
        parts = (torch.stack(losses), norm[None], *torch.cat(seen, 1))
        told = torch.cat([part.float() for part in parts]).cpu()  # at once: each transfer has a GPU wait
        losses, (norm,), index, stand_in = (part.tolist() for part in told.split([len(part) for part in parts]))
        index = list(map(int, index))
        new = [i for i, s in zip(index, stand_in, strict=True) if s and self.faces.samples[i].source not in self.broken]
        wrong = any([self.losses.wrong(loss) for loss in losses]) or self._is_bad(norm)
        wrong, broken, asked = self._most(wrong, bool(new), self.interrupt.asked)
        if wrong:
            self._refuse(title, losses, norm, index)
        if broken:
            self._count(new)
        return asked

    def asked(self) -> int:
        """The signal that asks to stop, 0 if none does; the same on all processes."""
        return self._most(self.interrupt.asked)[0]

    def skipped(self) -> list[dict[str, str]]:
        """The broken training faces found so far: ``source`` and ``reason``."""
        return [{"source": source, "reason": reason} for source, reason in sorted(self.broken.items())]

    def _is_bad(self, norm: float) -> bool:
        """Whether a gradient is no good; fp16 leaves such updates out, and only too many in a row are bad."""
        self.left_out = 0 if math.isfinite(norm) else self.left_out + 1
        return self.left_out > (LEFT_OUT if self.config.precision == "fp16" else 0)

    def _most(self, *numbers: int) -> list[int]:
        """The greatest of each number over all processes."""
        if self.accelerator.num_processes == 1:
            return list(numbers)
        mine = torch.tensor([numbers], dtype=torch.int64, device=self.accelerator.device)
        return self.accelerator.gather(mine).amax(0).tolist()

    def _refuse(self, title: str, losses: list[float], norm: float, index: list[int]) -> None:
        faces = [self.faces.samples[i].source for i in index]
        batch = gather_object([{"loss": [str(loss) for loss in losses], "gradient_norm": str(norm), "faces": faces}])
        file = self.config.folder / "bad_batch.json"
        if self.accelerator.is_main_process:
            write_json(file, {"title": title, "processes": batch})

        def badness(process: dict) -> float:
            return max(abs(loss) if math.isfinite(loss) else math.inf for loss in map(float, process["loss"]))

        worst = max(batch, key=badness)
        loss = next((x for x in worst["loss"] if not math.isfinite(float(x))), max(worst["loss"], key=float))
        rounding = "" if self.config.precision == "no" else ", or use --precision no"
        raise InputError(
            f"The loss is {float(loss):g} in {title} (norm of the gradient {norm:g}), at a batch that starts with "
            f"{', '.join(worst['faces'][:3])}; {file} lists all of it. Look at these faces, lower --lr (now "
            f"{self.config.lr:g}) or clip gradients (--clip 1){rounding}."
        )

    def _count(self, new: list[int]) -> None:
        samples, limit = self.faces.samples, self.config.max_broken
        for i in sorted({i for found in gather_object([new]) for i in found}):
            last = self.broken[samples[i].source] = _what_is_broken(samples[i], self.faces)
        file = self.config.folder / "skipped.json"
        if self.accelerator.is_main_process:
            write_json(file, self.skipped())
        said = f"{len(self.broken)} of {len(samples)} training faces are broken, the last one: {last}"
        if len(self.broken) > limit * len(samples):
            raise InputError(f"{said} That is more than --max_broken {limit:g}. {file} lists them: mend them, then go "
                             "on with --resume auto.")
        if self.accelerator.is_main_process:
            tqdm.write(f"warning: {said} Others of their class stand in; {file} lists them.", file=sys.stderr)


def _what_is_broken(sample: Sample, faces: FaceSet) -> str:
    """Why a sample could not be shown: its picture, or that of the neutral face that stands beside it."""
    for each in filter(None, (sample, faces.neutral_by_subject().get(sample.subject))):
        try:
            each.picture()
        except InputError as error:
            return str(error)
    return f"{sample.source} could not be read, and now can be."


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the accelerator, or of the machine, has run out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    said = ("out of memory", "not enough memory", "can't allocate memory", "Cannot allocate memory")
    return isinstance(error, (RuntimeError, OSError)) and any(words in text for words in said)
