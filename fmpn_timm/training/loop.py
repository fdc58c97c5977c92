"""The training loop: stage 1, stage 2, one look at the test split, and a model folder at the end."""

import csv
import dataclasses
import io
import json
import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, broadcast_object_list, set_seed
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from tqdm import tqdm

from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.data.transforms import eval_transform, train_transform
from fmpn_timm.errors import InputError
from fmpn_timm.hub import save_model
from fmpn_timm.models import FMPN
from fmpn_timm.priors import draw_sheet

from .checkpoint import Checkpoints
from .config import TrainConfig
from .data import Data, paired_faces, prepare_data
from .evaluation import autocast, mean_masks, predict
from .figures import Sheet, draw_confusion, sheet_of
from .interrupt import Interrupt
from .metrics import summarize, versions
from .predictions import predictions_csv
from .systems import PICTURES, Stage, create_model, create_stages

__all__ = ["train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train as configured.

    Writes to ``<output>/<name>``: ``config.json``, ``summary.csv`` (one row an epoch), TensorBoard events (where it is
    installed), ``checkpoints/``, and at the end ``summary.json``, ``predictions.csv`` (each sample reported on),
    ``confusion.png``, ``priors.png``, ``masks.png`` (faces with their masks), ``mean_masks.png`` (mean mask of each
    class), for DeRL ``neutral.png`` (faces with their neutral faces) instead, for MSCA ``embedding.png`` (a map of the
    embeddings), and ``model/``, which ``timm.create_model("local-dir:<...>/model", pretrained=True)`` loads.

    Returns:
        The contents of ``summary.json``.

    Raises:
        InputError: Bad input; the message names it and the mend.
    """
    if config.batch_size % config.accumulate:
        raise InputError(f"--batch_size {config.batch_size} must be a multiple of --accumulate {config.accumulate}.")
    if config.size > config.load_size:
        raise InputError(f"--size {config.size} cannot be cropped from --load_size {config.load_size}: raise it.")
    accelerator = Accelerator(
        mixed_precision=config.precision,
        gradient_accumulation_steps=config.accumulate,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=config.seed),
        log_with="tensorboard" if _has_tensorboard() else None,
        project_dir=config.output,
    )
    config = _choose_folder(config, accelerator)
    folder = config.folder
    if (folder / "summary.json").is_file():
        accelerator.print(f"{folder} is finished; its summary stands.")
        return json.loads((folder / "summary.json").read_text())
    set_seed(config.seed)

    try:
        with Interrupt() as interrupt:
            summary = _train(config, accelerator, interrupt)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Finished epochs are kept: go on with the same options and --name {config.name} --resume auto."
        ) from None
    accelerator.end_training()
    return summary


def _train(config: TrainConfig, accelerator: Accelerator, interrupt: Interrupt) -> dict[str, Any]:
    data = prepare_data(config, accelerator)
    model = create_model(config, data.classes, data.train.recipe)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    checkpoints = Checkpoints(config.folder / "checkpoints", accelerator)
    run = Run(config, accelerator, data, model, checkpoints, interrupt)
    accelerator.init_trackers(config.name)
    run.resume()
    before = 0
    for stage in create_stages(config, model):
        run.stage(stage, before)
        before += stage.epochs
    return run.finish()


@dataclass
class Run:
    """One training run: what its stages share."""

    config: TrainConfig
    accelerator: Accelerator
    data: Data
    model: nn.Module
    checkpoints: Checkpoints
    interrupt: Interrupt
    done: int = 0  # epochs finished, over both stages
    best: int = 0  # the best epoch of stage 2, counted over both stages
    best_score: float = -math.inf
    seconds: float = 0.0  # spent training before this start
    history: list[dict[str, Any]] = field(default_factory=list)
    evaluated: nn.Module | None = None  # what is evaluated: the model, or its moving average
    resumed_from: Path | None = None

    def resume(self) -> None:
        """Take up the progress of the last checkpoint, if that is asked for and there is one."""
        checkpoint = self.checkpoints.last() if self.config.resume == "auto" else None
        if checkpoint is None:
            return
        state = self.checkpoints.state(checkpoint)
        now = _comparable(self.config)
        changed = [f"{k}: {state['config'].get(k)} -> {now[k]}" for k in now if state["config"].get(k) != now[k]]
        if changed:
            raise InputError(
                f"{checkpoint} belongs to another configuration ({'; '.join(changed)}). Give the same options to "
                "resume, or another --name."
            )
        self.done, self.best, self.best_score = state["done"], state["best"], state["best_score"]
        self.history, self.seconds = state["history"], state["seconds"]
        self.resumed_from = checkpoint
        self.accelerator.print(f"Resuming {self.config.folder} after epoch {self.done}.")

    def stage(self, stage: Stage, before: int) -> None:
        """Train one stage, from where the run stands.

        Args:
            stage: The stage.
            before: Epochs of the stages before it.
        """
        config, accelerator, model = self.config, self.accelerator, self.model
        if self.done >= before + stage.epochs:
            if self.resumed_from:  # a later stage loads its own state over this
                self.checkpoints.load_evaluated(self.resumed_from, model)
            return
        set_seed(config.seed + before)  # so that a stage does not depend on how far others drew random numbers
        accelerator.free_memory()
        model.requires_grad_(False)
        for parameter in (p for group in stage.groups for p in group["params"]):
            parameter.requires_grad_(True)
        optimizer = _create_optimizer(config, stage)
        per_step = max(stage.batch_size // config.accumulate // accelerator.num_processes, 1)
        train, valid = self.data.train, self.data.valid
        if stage.neutral:
            train, valid = paired_faces(train), paired_faces(valid)
            accelerator.print(f"Stage {stage.name}: {len(self.data.train) - len(train)} of {len(self.data.train)} "
                              "training faces have no neutral face of their subject and are left out.")
        train_loader = self._loader(train, per_step, train=True, with_mask=stage.masks, with_neutral=stage.neutral)
        with_mask, with_neutral = (carried and stage.error is not None for carried in (stage.masks, stage.neutral))
        valid_loader = self._loader(valid, per_step, False, with_mask, with_neutral)
        prepared = accelerator.prepare(stage.task, optimizer, train_loader, valid_loader)
        task, optimizer, train_loader, valid_loader = prepared
        if config.compile:
            nn.Module.compile(task)  # in place: the names of the weights stay
        updates = math.ceil(len(train_loader) / config.accumulate)
        scheduler = _create_scheduler(config, optimizer.optimizer, updates, stage.epochs)
        ema = ModelEmaV3(model, decay=config.ema, use_warmup=True) if config.ema else None
        self.evaluated = ema.module if ema else model

        if self.resumed_from and self.done > before:
            accelerator.load_state(str(self.resumed_from))
            scheduler.load_state_dict(self.checkpoints.state(self.resumed_from)["scheduler"])
            if ema:
                self.checkpoints.load_evaluated(self.resumed_from, ema.module)

        for epoch in range(self.done - before, stage.epochs):
            train_loader.set_epoch(before + epoch)
            clock = time.time()
            title = f"{stage.name} {epoch + 1}/{stage.epochs}"
            losses = self._epoch(title, task, train_loader, optimizer, scheduler, ema, epoch * updates)
            row = {"stage": stage.name, "epoch": epoch + 1, "lr": scheduler.get_last_lr()[-1], **losses}
            if stage.error is not None:
                row["valid_loss"] = self._error(stage, valid_loader)
            else:
                metrics = self._evaluate(valid_loader)
                row |= {"valid_accuracy": metrics["accuracy"], "valid_macro_f1": metrics["macro_f1"]}
                if metrics["accuracy"] > self.best_score:
                    self.best, self.best_score = before + epoch + 1, metrics["accuracy"]
            row["seconds"] = round(time.time() - clock, 1)
            self.seconds += row["seconds"]
            self.done = before + epoch + 1
            self.history.append(row)
            self._report(row)
            self.checkpoints.save(self.done, self.best, self.evaluated, {
                "done": self.done, "best": self.best, "best_score": self.best_score, "history": self.history,
                "seconds": self.seconds, "scheduler": scheduler.state_dict(), "config": _comparable(config),
            })
        self.resumed_from = None
        if stage.error is not None and ema:
            model.load_state_dict(ema.module.state_dict())  # the next stage starts from the averaged weights
        model.requires_grad_(True)

    def _loader(
            self,
            faces: FaceSet,
            batch_size: int,
            train: bool,
            with_mask: bool,
            with_neutral: bool = False,
    ) -> DataLoader:
        config = self.config
        mean, std = self.model.pretrained_cfg["mean"], self.model.pretrained_cfg["std"]
        if train:
            augmentation = (config.crop, config.rotate, config.scale, config.shift, config.jitter, config.erase)
            transform = train_transform(config.size, config.load_size, mean, std, *augmentation)
        else:
            transform = eval_transform(config.size, config.load_size, mean, std)
        masks = self.data.priors.place(config.mask_box, config.load_size).masks if with_mask else None
        soft = train and config.soft_labels
        dataset = FaceDataset(faces, self.data.classes, transform, masks, soft, config.cache, with_neutral)
        if train and len(dataset) < batch_size * self.accelerator.num_processes:
            raise InputError(f"{len(dataset)} training faces do not fill a batch of {batch_size}: lower --batch_size.")
        return DataLoader(
            dataset,
            batch_size=batch_size if train else 2 * batch_size,
            shuffle=train,
            drop_last=train,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _epoch(
            self,
            title: str,
            task: nn.Module,
            loader: DataLoader,
            optimizer: torch.optim.Optimizer,
            scheduler: LambdaLR,
            ema: ModelEmaV3 | None,
            update: int,
    ) -> dict[str, float]:
        """One epoch of updates, the first of them the given one; the mean of each loss."""
        config, accelerator = self.config, self.accelerator
        task.train()
        sums, count = {}, 0
        show = config.progress and accelerator.is_main_process
        bar = tqdm(loader, desc=title, unit="batch", disable=None if show else True, leave=False)
        for batch in bar:
            self.interrupt.check()
            faces = batch["image"]
            if config.channels_last:
                faces = faces.contiguous(memory_format=torch.channels_last)
            with accelerator.accumulate(task):
                result = task(faces, batch)
                loss = result["loss"]
                if not torch.isfinite(loss):
                    sources = [loader.dataset.faces.samples[i].source for i in batch["index"][:3].tolist()]
                    raise InputError(
                        f"The loss is {loss.item()} in {title}, at a batch that starts with {', '.join(sources)}. "
                        f"Lower --lr (now {config.lr:g}), clip gradients (--clip 1) or use --precision no."
                    )
                accelerator.backward(loss)
                if accelerator.sync_gradients and config.clip:
                    accelerator.clip_grad_norm_(task.parameters(), config.clip)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                scheduler.step()
                update += 1
                if ema:
                    ema.update(self.model, step=update)
            for key, value in result.items():
                if key.endswith("loss"):
                    sums[key] = sums.get(key, 0) + value.detach()
            count += 1
            if show and count % 10 == 0:
                bar.set_postfix(loss=f"{float(sums['loss']) / count:.4f}")
        return {f"train_{key}": round(float(accelerator.reduce(v / count, "mean")), 6) for key, v in sums.items()}

    def _evaluate(self, loader: DataLoader) -> dict[str, Any]:
        return summarize(*self._predict(loader), self.data.classes)

    def _predict(self, loader: DataLoader) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.config
        how = (config.flip_test, config.progress, config.channels_last, config.precision)
        return predict(self.evaluated, loader, self.accelerator, *how)

    @torch.inference_mode()
    def _error(self, stage: Stage, loader: DataLoader) -> float:
        """Mean error of the validation faces, in a stage that does not classify yet."""
        self.evaluated.eval()
        errors = []
        for batch in loader:
            with autocast(self.accelerator, self.config.precision):
                error = stage.error(self.evaluated, batch)
            errors.append(self.accelerator.gather_for_metrics(error.float()).cpu())
        return round(float(torch.cat(errors).mean()), 6)

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
        _write(self.config.folder / "summary.csv", text.getvalue())

    def finish(self) -> dict[str, Any]:
        """Load the best epoch, look at the test split, write results, pictures and the model folder."""
        config, accelerator, data, model = self.config, self.accelerator, self.data, self.model
        accelerator.wait_for_everyone()
        self.checkpoints.load_evaluated(self.checkpoints.path(self.best), model)
        self.evaluated = model.to(accelerator.device)
        batch_size = max(config.batch_size // accelerator.num_processes, 1)

        def loader(faces: FaceSet) -> DataLoader:
            return accelerator.prepare(self._loader(faces, batch_size, train=False, with_mask=False))

        logits, labels = self._predict(loader(data.test or data.valid))
        reported = summarize(logits, labels, data.classes)
        valid = self._evaluate(loader(data.valid)) if data.test is not None else reported
        summary = {
            "data": {"dataset": config.dataset, **data.train.options},
            "rule": data.train.options.get("rule"),
            "split": {"train": data.train.split, "selected on": data.valid.split,
                      "reported on": (data.test or data.valid).split},
            "samples": {"train": len(data.train), "valid": len(data.valid), "test": len(data.test or ())},
            "seed": config.seed,
            "arm": config.arm,
            "best_epoch": self.history[self.best - 1]["epoch"],
            "metrics": reported,
            "valid": valid,
            "recipe": data.train.recipe and data.train.recipe.as_dict(),
            "priors": data.priors and {"data": data.priors.data, "pairs": data.priors.pairs},
            "parameters": sum(p.numel() for p in model.parameters()),
            "training_seconds": round(self.seconds),
            "versions": versions(),
            "config": dataclasses.asdict(config),
        }
        of = f"{config.dataset} {summary['split']['reported on']}, seed {config.seed}"
        if isinstance(model, FMPN):
            test_loader = loader(data.test or data.valid)
            masks = mean_masks(model, test_loader, accelerator, data.classes, of, config.precision)
        if config.arm in PICTURES:
            PICTURES[config.arm](model, loader(data.test or data.valid), accelerator, data.classes, of, config)
        if accelerator.is_main_process:
            folder = config.folder
            draw_confusion(reported, f"{config.name}: {config.arm}, {of}", folder / "confusion.png")
            sheet = sheet_of(model)
            if sheet is not None:
                self._draw_faces(data.test or data.valid, sheet, folder / sheet.name)
            if isinstance(model, FMPN):
                draw_sheet(masks, folder / "mean_masks.png")
            results = {k: summary[k] for k in ("data", "rule", "split", "seed", "arm", "metrics", "versions")}
            save_model(model, folder / "model", data.classes, config.size, config.size / config.load_size,
                       {"results.json": results}, data.train.recipe)
            if data.priors is not None:
                data.priors.save(folder / "model" / "priors.safetensors")
            said = predictions_csv(data.test or data.valid, logits, labels, data.classes, config.root)
            _write(folder / "predictions.csv", said)
            _write(folder / "summary.json", json.dumps(summary, indent=2))
        accelerator.wait_for_everyone()
        return summary

    def _draw_faces(self, faces: FaceSet, sheet: Sheet, path: Path) -> None:
        """Two faces of each class, evenly spread over the split; of those with a neutral face, if that is shown."""
        with_neutral = sheet.neutral and len(faces.paired()) > 0
        faces = faces.paired() if with_neutral else faces
        chosen = []
        for name in self.data.classes:
            of_class = [s for s in faces.samples if s.expression == name]
            chosen += of_class[:: max(len(of_class) // 2, 1)][:2]
        with_mask = self.data.priors is not None
        faces = dataclasses.replace(faces, samples=tuple(chosen))
        batch = next(iter(self._loader(faces, len(chosen), False, with_mask, with_neutral)))
        self.model.eval()
        sheet.draw(self.model, batch, [s.expression for s in chosen], self.data.classes, path)


def _create_optimizer(config: TrainConfig, stage: Stage) -> torch.optim.Optimizer:
    optimizers = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    groups = [group for group in stage.groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=stage.lr, momentum=config.beta1, fused=True)
    return optimizers[config.optimizer](groups, lr=stage.lr, betas=(config.beta1, 0.999), fused=True)


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
        number = 2
        while config.resume is None and (Path(config.output) / names[0]).exists():
            names[0] = f"{config.name}-{number}"
            number += 1
        config = dataclasses.replace(config, name=names[0])
        config.folder.mkdir(parents=True, exist_ok=True)
        _write(config.folder / "config.json", json.dumps(dataclasses.asdict(config), indent=2))
    broadcast_object_list(names)
    return dataclasses.replace(config, name=names[0])


def _comparable(config: TrainConfig) -> dict[str, Any]:
    """What must be the same to resume a run."""
    elsewhere = ("name", "output", "resume", "workers", "progress", "cache", "root", "compile")
    return json.loads(json.dumps({k: v for k, v in dataclasses.asdict(config).items() if k not in elsewhere}))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def _has_tensorboard() -> bool:
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        return False
    return True
