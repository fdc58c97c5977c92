"""The training loop: the stages of a system, one look at the test split, and a model folder at the end."""

import csv
import dataclasses
import io
import itertools
import json
import math
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import broadcast_object_list, gather_object, is_tensorboard_available, set_seed
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from tqdm import tqdm

from fmpn_timm.data.augment import DRAWS, BatchAugment, BatchMix
from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.sampler import EpochSampler, mix_seeds
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.data.transforms import LoadSize, eval_transform, train_transform
from fmpn_timm.errors import InputError
from fmpn_timm.files import FULL, portable, write_json, write_text
from fmpn_timm.hub import save_model
from fmpn_timm.interrupt import Interrupt, ignore_signals
from fmpn_timm.launched import lost_process
from fmpn_timm.priors import draw_sheet

from .checkpoint import Checkpoints
from .config import ORIGIN, TrainConfig
from .data import Data, paired_faces, prepare_data
from .evaluation import gathered, joined, leave_out_broken, predict
from .guards import LossGuard, Watch, out_of_memory
from .metrics import summarize, versions
from .pictures import draw_pictures
from .predictions import predictions_csv
from .processes import create_accelerator
from .systems import Stage, create_model, create_stages

__all__ = ["train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train as configured.

    What a run learns is a function of its configuration and the number of its processes alone: data order,
    augmentation and dropout are drawn from (seed, epoch, face or batch), so that a run that was killed and resumed ends
    with the weights of one that was not, bit for bit on a CPU.

    Writes to ``<output>/<name>``: ``config.json``, ``summary.csv`` (one row an epoch), TensorBoard events (where it is
    installed), ``checkpoints/``, ``skipped.json`` (training faces with broken pictures, if any), and at the end
    ``summary.json``, ``predictions.csv`` (each sample reported on), ``confusion.png``, ``priors.png``, ``masks.png``
    (faces with their masks), ``mean_masks.png`` (mean mask of each class), for DeRL ``neutral.png`` (faces with their
    neutral faces) instead, for MSCA ``embedding.png`` (a map of the embeddings), and ``model/``, which
    ``timm.create_model("local-dir:<...>/model", pretrained=True)`` loads.

    Returns:
        The contents of ``summary.json``.

    Raises:
        InputError: Bad input, or a run that cannot go on; the message names it and the mend.
        KeyboardInterrupt: Ctrl-C; a checkpoint is written.
        SystemExit: SIGTERM; a checkpoint is written, and the status is 143.
    """
    config = _checked(config.of_arm(config.arm))
    accelerator = create_accelerator(
        config.timeout,
        mixed_precision=config.precision,
        gradient_accumulation_steps=config.accumulate,
        log_with="tensorboard" if is_tensorboard_available() else None,
        project_dir=config.output,
    )
    if config.sync_bn and accelerator.device.type != "cuda":
        raise InputError("--sync_bn needs GPUs: leave it out, or take a backbone without batch norm.")
    config = _choose_folder(config, accelerator)
    folder = config.folder
    if (folder / "summary.json").is_file():
        summary = json.loads((folder / "summary.json").read_text())
        _check_unchanged(folder / "summary.json", summary["config"], config.decisive())
        accelerator.print(f"{folder} is finished; its summary stands.")
        return summary
    set_seed(config.seed)

    again = f"with the same options and --name {config.name} --resume auto."
    try:
        with Interrupt() as interrupt:
            summary = _train(config, accelerator, interrupt)
    except InputError:
        if accelerator.is_main_process:
            with suppress(OSError):  # the folder of a run that has begun is not empty, and stays
                folder.rmdir()
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Go on {again}") from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise InputError(
            f"The disk is full ({error}). The checkpoints are whole: make room, then go on {again}"
        ) from error
    except RuntimeError as error:
        if not lost_process(error):
            raise
        how = f"waited {config.timeout} s in vain for" if "Timed out" in str(error) else "lost"
        raise InputError(
            f"Process {accelerator.process_index} has {how} another process of the run: see what ended that one, then "
            f"go on {again}"
        ) from error
    accelerator.end_training()
    return summary


def _checked(config: TrainConfig) -> TrainConfig:
    """The configuration of an arm, whose options go together; without epochs it has no stage 1 either."""
    if config.batch_size % config.accumulate:
        raise InputError(f"--batch_size {config.batch_size} must be a multiple of --accumulate {config.accumulate}.")
    if config.size > config.load_size:
        raise InputError(f"--size {config.size} cannot be cropped from --load_size {config.load_size}: raise that.")
    if config.epochs:
        return config
    if config.init is None:
        raise InputError("--epochs 0 reports on weights as they are: name them with --init, or train for some.")
    return dataclasses.replace(config, mask_epochs=0)


def _train(config: TrainConfig, accelerator: Accelerator, interrupt: Interrupt) -> dict[str, Any]:
    checkpoints = Checkpoints(config.folder / "checkpoints", accelerator)
    checkpoint = checkpoints.last() if config.resume == "auto" else None
    state = checkpoints.state(checkpoint) if checkpoint else {}
    if state:
        _check_unchanged(checkpoint, state["config"], _comparable(config, accelerator))
    data = prepare_data(config, accelerator)
    model = create_model(config, data.classes, data.train.recipe, data.masks)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if config.grad_checkpointing:
        try:
            model.set_grad_checkpointing()
        except AssertionError:  # timm's way to say that a model cannot; another arm of the same comparison may
            accelerator.print(f"warning: {type(model).__name__} has no gradient checkpointing; it trains without.",
                              file=sys.stderr)
    _check_size(config, model)
    run = Run(config, accelerator, data, model, checkpoints, Watch(config, accelerator, data.train, interrupt))
    if state:
        _check_same_data(checkpoint, state.get("data", {}), data.fingerprint)
        run.resume(checkpoint, state)
    stages = [stage for stage in create_stages(config, model, data.classes, data.train.recipe) if stage.epochs]
    for stage in stages:
        if config.sync_bn:
            convert_sync_batchnorm(stage.task)  # in place, and the model that is in it
        if stage.batch_size % (config.accumulate * accelerator.num_processes):
            raise InputError(f"The batch of stage {stage.name}, {stage.batch_size} faces, must be a multiple of "
                             f"{accelerator.num_processes} processes x --accumulate {config.accumulate}.")
        faces = data.train
        if stage.neutral:
            faces = paired_faces(data.train)
            paired_faces(data.valid)  # refused now, not at the stage's end
        if len(faces) < stage.batch_size:
            raise InputError(f"{len(faces)} training faces do not fill a batch of {stage.batch_size} in stage "
                             f"{stage.name}: lower --{stage.batch_option}.")
    if config.progress:
        accelerator.print(_begins(config, data, model, accelerator))
    if accelerator.is_main_process:  # only now: a run that is refused leaves nothing
        write_json(config.folder / "config.json", dataclasses.asdict(config))
        if data.priors is not None:
            data.priors.save(config.folder / "priors.safetensors")
            draw_sheet(data.priors, config.folder / "priors.png")
    # TensorBoard drops what was logged after the checkpoint that the run goes on from
    accelerator.init_trackers(config.name, init_kwargs={"tensorboard": {"purge_step": run.done + 1}})
    before = 0
    for stage in stages:
        run.stage(stage, before)
        before += stage.epochs
    return run.finish()


def _begins(config: TrainConfig, data: Data, model: nn.Module, accelerator: Accelerator) -> str:
    """What a run is about to do, in a line."""
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    processes = f", {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    report = f", {len(data.test)} to report on" if data.test else ""
    return (f"{config.arm} ({type(model).__name__}, {millions:.1f} M parameters) learns {len(data.classes)} classes "
            f"from {len(data.train)} faces of {config.dataset}, {len(data.valid)} to select on{report}; "
            f"{accelerator.device.type}{processes}, in {config.folder}")


@dataclass
class UnderWay:
    """A stage as it is trained, and what Accelerate has prepared for it."""

    stage: Stage
    before: int  # epochs of the stages before it
    per_step: int  # faces of a step on each process
    task: nn.Module
    optimizer: AcceleratedOptimizer
    scheduler: LambdaLR
    ema: ModelEmaV3 | None
    mix: BatchMix | None  # what mixes its faces with one another
    train_loader: DataLoader
    sampler: EpochSampler
    valid: FaceSet
    valid_loader: DataLoader


@dataclass
class Run:
    """One training run: what its stages share."""

    config: TrainConfig
    accelerator: Accelerator
    data: Data
    model: nn.Module
    checkpoints: Checkpoints
    watch: Watch
    done: int = 0  # epochs finished, over all stages
    batches: int = 0  # of the epoch under way, on each process
    sums: dict[str, torch.Tensor] = field(default_factory=dict)  # of the losses of these batches, on this process
    best: int = 0  # the best epoch of those that classify, counted over all stages
    best_score: float = -math.inf
    seconds: float = 0.0  # spent on finished epochs
    elapsed: float = 0.0  # spent on the epoch under way before this start
    history: list[dict[str, Any]] = field(default_factory=list)
    evaluated: nn.Module | None = None  # what is evaluated: the model, or its moving average
    resumed_from: Path | None = None

    @cached_property
    def augment(self) -> BatchAugment | None:
        """What augments batches, where the loader leaves that to the device."""
        if self.config.augment == "loader":
            return None
        cfg = self.model.pretrained_cfg
        augment = BatchAugment(self.config.size, cfg["mean"], cfg["std"], **self.config.augmentation)
        return augment.to(self.accelerator.device)

    def resume(self, checkpoint: Path, state: dict[str, Any]) -> None:
        """Take up the progress of a checkpoint; the stage that it belongs to takes up the rest."""
        self.done, self.batches = state["done"], state["batches"]
        sums = state["sums"][self.accelerator.process_index]
        self.sums = {key: torch.tensor(value, device=self.accelerator.device) for key, value in sums.items()}
        self.best, self.best_score = state["best"], state["best_score"]
        self.watch.broken = dict(state["broken"])
        self.history, self.seconds, self.elapsed = state["history"], state["seconds"], state["elapsed"]
        self.resumed_from = checkpoint
        place = f" and {self.batches} batches" if self.batches else ""
        self.accelerator.print(f"Resuming {self.config.folder} after {self.done} epochs{place}.")

    def stage(self, stage: Stage, before: int) -> None:
        """Train one stage, from where the run stands.

        Args:
            stage: The stage.
            before: Epochs of the stages before it.
        """
        model = self.model
        if self.done >= before + stage.epochs:
            if self.resumed_from:  # a later stage loads its own state over this
                self.checkpoints.load_evaluated(self.resumed_from, model)
            return
        under_way = self._begin(stage, before)
        for epoch in range(self.done - before, stage.epochs):
            self._run_epoch(under_way, epoch)
        self.resumed_from = None
        if under_way.ema and not stage.classifies:
            model.load_state_dict(under_way.ema.module.state_dict())  # the next stage starts from the averaged weights
        model.requires_grad_(True)

    def _begin(self, stage: Stage, before: int) -> UnderWay:
        """Prepare a stage, with the state of the checkpoint that the run goes on from, if it is of this stage."""
        config, accelerator, model = self.config, self.accelerator, self.model
        accelerator.free_memory()
        self.watch.losses = LossGuard()
        model.requires_grad_(False)
        for parameter in (p for group in stage.groups for p in group["params"]):
            parameter.requires_grad_(True)
        optimizer = _create_optimizer(config, stage)
        per_step = stage.batch_size // config.accumulate // accelerator.num_processes
        train, valid = self.data.train, self.data.valid
        if stage.neutral:
            train, valid = paired_faces(train), paired_faces(valid)
            accelerator.print(f"Stage {stage.name}: {len(self.data.train) - len(train)} of {len(self.data.train)} "
                              "training faces have no neutral face of their subject and are left out.")
        self.watch.faces = train
        train_loader = self._loader(train, per_step, train=True, with_mask=stage.masks, with_neutral=stage.neutral)
        sampler = train_loader.sampler
        with_mask, with_neutral = (carried and not stage.classifies for carried in (stage.masks, stage.neutral))
        valid_loader = self._loader(valid, per_step, train=False, with_mask=with_mask, with_neutral=with_neutral)
        prepared = accelerator.prepare(stage.task, optimizer, train_loader, valid_loader)
        task, optimizer, train_loader, valid_loader = prepared
        if config.compile:
            nn.Module.compile(task)  # in place: the names of the weights stay
        updates = len(train_loader) // config.accumulate
        scheduler = _create_scheduler(config, optimizer.optimizer, updates, stage.epochs)
        ema = ModelEmaV3(model, decay=config.ema, use_warmup=True) if config.ema else None
        self.evaluated = ema.module if ema else model
        mixed = stage.classifies and (config.mixup or config.cutmix)
        mix = BatchMix(config.mixup, config.cutmix) if mixed else None

        if self.resumed_from and (self.done, self.batches) > (before, 0):
            try:
                accelerator.load_state(str(self.resumed_from))
            except ValueError as error:  # torch's, of groups of parameters that are no longer the same
                raise InputError(f"{self.resumed_from} was written by another version of fmpn-timm or timm ({error}): "
                                 "go on with that, or begin anew under another --name.") from error
            scheduler.load_state_dict(self.checkpoints.state(self.resumed_from)["scheduler"])
            if ema:
                self.checkpoints.load_evaluated(self.resumed_from, ema.module)
        return UnderWay(
            stage, before, per_step, task, optimizer, scheduler, ema, mix, train_loader, sampler, valid, valid_loader
        )

    def _run_epoch(self, under_way: UnderWay, epoch: int) -> None:
        """Train the rest of an epoch, look at the validation faces, write a checkpoint."""
        stage, before = under_way.stage, under_way.before
        clock = time.time() - self.elapsed
        under_way.train_loader.set_epoch(before + epoch)
        under_way.sampler.start = self.batches * under_way.per_step * self.accelerator.num_processes
        title = f"{stage.name} {epoch + 1}/{stage.epochs}"
        try:
            losses = self._learn(under_way, title, clock)
            row = {"stage": stage.name, "epoch": epoch + 1, "lr": under_way.scheduler.get_last_lr()[-1], **losses}
            self._share_buffers()
            if not stage.classifies:
                row["valid_loss"] = self._error(stage, under_way.valid, under_way.valid_loader)
            else:
                metrics = self._evaluate(under_way.valid, under_way.valid_loader)
                row |= {"valid_accuracy": metrics["accuracy"], "valid_macro_f1": metrics["macro_f1"]}
                hits = sum(counts[k] for k, counts in enumerate(metrics["confusion"]))
                score = hits / metrics["n"]  # its accuracy is rounded
                if score > self.best_score:
                    self.best, self.best_score = before + epoch + 1, score
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise InputError(_smaller_batch(self.config, stage, title, under_way.per_step)) from error
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(f"{title}: batch norm cannot learn from {under_way.per_step} face a step on each process. "
                             f"Lower --accumulate, or raise --{stage.batch_option}.") from error
        row["seconds"] = round(time.time() - clock, 1)
        self.seconds += row["seconds"]
        self.done, self.batches, self.sums, self.elapsed = before + epoch + 1, 0, {}, 0.0
        self.history.append(row)
        self._report(row)
        self._save(under_way.scheduler)
        self._stop_if(self.watch.asked())

    def _loader(
            self,
            faces: FaceSet,
            batch_size: int,
            train: bool,
            with_mask: bool = False,
            with_neutral: bool = False,
    ) -> DataLoader:
        config = self.config
        mean, std = self.model.pretrained_cfg["mean"], self.model.pretrained_cfg["std"]
        later = train and self.augment is not None
        if later:
            transform = LoadSize(config.load_size)
        elif train:
            transform = train_transform(config.size, config.load_size, mean, std, **config.augmentation)
        else:
            transform = eval_transform(config.size, config.load_size, mean, std)
        dataset = FaceDataset(
            faces,
            self.data.classes,
            transform,
            masks=self.data.masks if with_mask else None,
            soft=train and config.soft_labels,
            cache=config.cache,
            neutral=with_neutral,
            stand_in=True,
            draws=DRAWS if later else 0,
        )
        of_update = batch_size * self.accelerator.num_processes * config.accumulate
        whole = len(dataset) // of_update * of_update  # what would fill a part of an update is left out
        return DataLoader(
            dataset,
            batch_size=batch_size if train else 2 * batch_size,
            sampler=EpochSampler(len(dataset), config.seed, whole) if train else None,
            drop_last=train,
            generator=torch.Generator(),  # or else each pass draws a random number that others miss
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            worker_init_fn=ignore_signals,
            pin_memory=self.accelerator.device.type == "cuda",
        )

    def _learn(self, under_way: UnderWay, title: str, clock: float) -> dict[str, float]:
        """The updates of an epoch that are still to do; the mean of each loss over the whole epoch."""
        config, accelerator = self.config, self.accelerator
        task, optimizer, scheduler, ema = under_way.task, under_way.optimizer, under_way.scheduler, under_way.ema
        task.train()
        show = config.progress and accelerator.is_main_process
        bar = tqdm(under_way.train_loader, desc=title, unit="batch", disable=None if show else True, leave=False,
                   initial=self.batches)
        losses, seen = [], []  # of the update under way
        for batch in bar:
            set_seed(mix_seeds(config.seed, self.done, self.batches, accelerator.process_index))  # dropout, mixing
            if self.augment is not None:
                batch = self.augment(batch)
            if under_way.mix is not None:
                batch = under_way.mix(batch)
            faces = batch["image"]
            if config.channels_last:
                faces = faces.contiguous(memory_format=torch.channels_last)
            with accelerator.accumulate(task):
                result = task(faces, batch)
                accelerator.backward(result["loss"])
                losses.append(result["loss"].detach())
                seen.append(torch.stack((batch["index"], batch["broken"].long())))
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(task.parameters(), config.clip or math.inf)
                    asked = self.watch.check(title, losses, norm, seen)
                    losses, seen = [], []
                optimizer.step()
                optimizer.zero_grad()
            for key, value in result.items():
                if key.endswith("loss"):
                    self.sums[key] = self.sums.get(key, 0) + value.detach().float()
            self.batches += 1
            if show and self.batches % 10 == 0:
                bar.set_postfix(loss=f"{float(self.sums['loss']) / self.batches:.4f}")
            if accelerator.sync_gradients:
                scheduler.step()
                updates = scheduler.last_epoch  # of the stage, as torch calls them
                if ema:
                    ema.update(self.model, step=updates)
                if asked or (config.checkpoint_every and updates % config.checkpoint_every == 0):
                    self.elapsed = time.time() - clock
                    self._save(scheduler)
                    self._stop_if(asked)
        means = {key: accelerator.reduce(value / self.batches, "mean") for key, value in self.sums.items()}
        return {f"train_{key}": round(float(mean), 6) for key, mean in means.items()}

    def _save(self, scheduler: LambdaLR) -> None:
        sums = gather_object([{key: float(value) for key, value in self.sums.items()}])
        self.checkpoints.save({
            "done": self.done, "batches": self.batches, "sums": sums, "best": self.best, "best_score": self.best_score,
            "broken": list(self.watch.broken.items()), "history": self.history, "seconds": self.seconds,
            "elapsed": self.elapsed, "scheduler": scheduler.state_dict(),
            "config": _comparable(self.config, self.accelerator), "data": self.data.fingerprint,
        }, self.evaluated)

    def _stop_if(self, asked: int) -> None:
        """End the run, just after a checkpoint, if a signal has asked for it."""
        if asked == signal.SIGTERM:
            self.accelerator.end_training()
            if self.accelerator.is_main_process:
                print(f"Stopped by SIGTERM; a checkpoint is written. Go on with the same options and --name "
                      f"{self.config.name} --resume auto.", file=sys.stderr, flush=True)
            raise SystemExit(128 + asked)
        if asked:
            raise KeyboardInterrupt

    def _share_buffers(self) -> None:
        """Give all processes the statistics of batch norm of the first, which are the ones that are kept."""
        if self.accelerator.num_processes > 1:
            for buffer in self.evaluated.buffers():
                torch.distributed.broadcast(buffer, 0)

    def _evaluate(self, faces: FaceSet, loader: DataLoader) -> dict[str, Any]:
        return summarize(*self._predict(faces, loader), self.data.classes)

    def _predict(self, faces: FaceSet, loader: DataLoader) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and labels of all faces; none may be broken."""
        config = self.config
        logits, labels = predict(
            self.evaluated, loader, self.accelerator, flip=config.flip_test, progress=config.progress,
            channels_last=config.channels_last, precision=config.precision,
        )
        return leave_out_broken(faces, logits, labels)[:2]

    @torch.inference_mode()
    def _error(self, stage: Stage, faces: FaceSet, loader: DataLoader) -> float:
        """Mean error of the validation faces, in a stage that does not classify yet."""
        self.evaluated.eval()
        error = partial(stage.valid_error, self.evaluated)
        errors, labels = joined(gathered(error, loader, self.accelerator, self.config.precision))
        errors, _, _ = leave_out_broken(faces, errors, labels)
        return round(float(errors.mean()), 6)

    def _report(self, row: dict[str, Any]) -> None:
        """One line on stderr, the row in summary.csv, the figures in the tracker."""
        self.accelerator.log({f"{row['stage']}/{k}": v for k, v in row.items() if isinstance(v, float)}, step=self.done)
        if not self.accelerator.is_main_process:
            return
        if self.config.progress:
            line = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
            tqdm.write(line, file=sys.stderr)
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(k for r in self.history for k in r)))
        writer.writeheader()
        writer.writerows(self.history)
        write_text(self.config.folder / "summary.csv", text.getvalue())

    def finish(self) -> dict[str, Any]:
        """Load the best epoch, if any, look at the test split, write results, pictures and the model folder."""
        config, accelerator, data, model = self.config, self.accelerator, self.data, self.model
        accelerator.wait_for_everyone()
        if self.best:
            self.checkpoints.load_best(self.best, model)
        self.evaluated = model.to(accelerator.device)

        def loader(faces: FaceSet, **options: Any) -> DataLoader:
            options = {"batch_size": config.batch_size // config.accumulate // accelerator.num_processes, **options}
            return self._loader(faces, train=False, **options)

        shown = data.test or data.valid
        logits, labels = self._predict(shown, accelerator.prepare(loader(shown)))
        reported = valid = summarize(logits, labels, data.classes)
        if data.test is not None:
            valid = self._evaluate(data.valid, accelerator.prepare(loader(data.valid)))
        summary = self._summary(shown, reported, valid)
        draw_pictures(model, shown, data.classes, reported, loader, accelerator, config)
        if accelerator.is_main_process:
            self._save_model(summary)
            said = predictions_csv(shown, logits, labels, data.classes, config.root)
            write_text(config.folder / "predictions.csv", said)
            write_json(config.folder / "summary.json", summary)  # last: with it the run is finished
        accelerator.wait_for_everyone()
        return summary

    def _summary(self, shown: FaceSet, reported: dict[str, Any], valid: dict[str, Any]) -> dict[str, Any]:
        """What ``summary.json`` says."""
        config, data = self.config, self.data
        return {
            "data": {"dataset": data.train.dataset, **data.train.options},
            "rule": data.train.options.get("rule"),
            "split": {"train": data.train.split, "selected on": data.valid.split, "reported on": shown.split},
            "samples": {"train": len(data.train), "valid": len(data.valid), "test": len(data.test or ())},
            "skipped": self.watch.skipped(),
            "seed": config.seed,
            "arm": config.arm,
            "best_epoch": self.history[self.best - 1]["epoch"] if self.best else 0,
            "metrics": reported,
            "valid": valid,
            "recipe": data.train.recipe and data.train.recipe.as_dict(),
            "priors": data.priors and {"data": data.priors.data, "pairs": data.priors.pairs},
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "training_seconds": round(self.seconds),
            "versions": versions(),
            "config": dataclasses.asdict(config),
        }

    def _save_model(self, summary: dict[str, Any]) -> None:
        """Write the model folder, with results and masks beside the weights."""
        config, data, folder = self.config, self.data, self.config.folder / "model"
        results = {k: summary[k] for k in ("data", "rule", "split", "seed", "arm", "metrics", "versions")}
        results["origin"] = portable({k: getattr(config, k) for k in ORIGIN})
        save_model(self.model, folder, data.classes, config.size, config.size / config.load_size,
                   {"results.json": results}, data.train.recipe)
        if data.priors is not None:
            data.priors.save(folder / "priors.safetensors")


def _create_optimizer(config: TrainConfig, stage: Stage) -> torch.optim.Optimizer:
    groups = [group for group in stage.groups if group["params"]]
    if config.optimizer == "sgd":
        # fused, an update that fp16 leaves out would leave the momentum uninitialised
        return torch.optim.SGD(groups, lr=stage.lr, momentum=config.beta1, fused=config.precision != "fp16")
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=stage.lr, betas=(config.beta1, 0.999), fused=True)


def _create_scheduler(config: TrainConfig, optimizer: torch.optim.Optimizer, updates: int, epochs: int) -> LambdaLR:
    """Factor on the rates after each update: warm-up, then the paper's linear decay or a cosine."""
    total = updates * epochs
    warmup = min(round(updates * config.warmup_epochs), total // 4)  # a short stage 1 must not be all warm-up

    def factor(update: int) -> float:
        if update < warmup:
            return (update + 1) / (warmup + 1)
        if config.schedule == "linear":
            return min(1.0, 2 * (total - update) / total)  # constant for the first half
        return 0.5 * (1 + math.cos(math.pi * (update - warmup) / max(total - warmup, 1)))

    return LambdaLR(optimizer, factor)


def _choose_folder(config: TrainConfig, accelerator: Accelerator) -> TrainConfig:
    """Make the run's folder: the named one to resume, else one that is not there yet, so that no run is lost."""
    names = [config.name]
    if accelerator.is_main_process:
        if config.resume is not None:
            config.folder.mkdir(parents=True, exist_ok=True)
        else:
            names[0] = _claim_name(config)
    broadcast_object_list(names)
    return dataclasses.replace(config, name=names[0])


def _claim_name(config: TrainConfig) -> str:
    """Make the run's folder, under its name or with the first number that nobody has, and say that name."""
    for name in itertools.chain([config.name], (f"{config.name}-{number}" for number in itertools.count(2))):
        with suppress(FileExistsError):  # asking first would let two runs that begin at once take the same
            dataclasses.replace(config, name=name).folder.mkdir(parents=True)
            return name


def _comparable(config: TrainConfig, accelerator: Accelerator) -> dict[str, Any]:
    """What must be the same to resume a run."""
    return {**config.decisive(), "processes": accelerator.num_processes}


def _check_same_data(checkpoint: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [f"{key}: {then[key]} -> {now[key]}" for key in now if then.get(key, now[key]) != now[key]]
    if changed:
        raise InputError(
            f"{checkpoint} learnt from other data ({'; '.join(changed)}). Give the same to resume, or another --name."
        )


def _check_unchanged(checkpoint: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    then = TrainConfig.decided(then)
    changed = [f"{key}: {then.get(key)} -> {now[key]}" for key in now if then.get(key) != now[key]]
    if changed:
        raise InputError(
            f"{checkpoint} belongs to another configuration ({'; '.join(changed)}). Give the same options to "
            "resume, or another --name."
        )


def _check_size(config: TrainConfig, model: nn.Module) -> None:
    """Refuse a size that the network does not bear, before the run has begun.

    Raises:
        InputError: One face of that size does not go through it.
    """
    try:
        with torch.no_grad():  # not inference mode: what a network keeps of its first pass must bear gradients
            model.eval()(torch.zeros(1, 3, config.size, config.size))
    except (AssertionError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise InputError(f"--backbone {config.backbone} does not take faces of --size {config.size} ({error}). Give a "
                         "size that it takes.") from error


def _smaller_batch(config: TrainConfig, stage: Stage, title: str, per_step: int) -> str:
    """What to say when the memory has run out."""
    said = f"Out of memory in {title}, with {per_step} faces a step on each process."
    if per_step == 1:
        return f"{said} Lower --size, or take a smaller --backbone."
    return (f"{said} Try {per_step // 2}: the same updates in smaller steps with --accumulate {2 * config.accumulate}, "
            f"or smaller ones with --{stage.batch_option} {stage.batch_size // 2}; under another --name, as a run "
            "keeps its own.")
