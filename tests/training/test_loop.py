"""Tests of whole runs, on a handful of drawn faces and a tiny backbone."""

import copy
import csv
import dataclasses
import errno
import json
import math
import resource
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
import torch.nn.functional as F

from fmpn_timm.data import folds
from fmpn_timm.data.readers import read_faces
from fmpn_timm.errors import InputError
from fmpn_timm.hub import results_of
from fmpn_timm.models import FMPN
from fmpn_timm.priors import MaskSet
from fmpn_timm.tasks import FMPNTask, MaskTask, mask_error
from fmpn_timm.training import TrainConfig, loop, systems, train
from fmpn_timm.training.evaluation import evaluate
from fmpn_timm.training.metrics import summarize
from tests.training.runs import train_until, watch_stages


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    """A run of seconds: 2 + 2 epochs of 40 faces."""
    return TrainConfig(
        name="tiny",
        output=str(tmp_path / "runs"),
        data_options={"subjects": 8, "takes": 1, "size": 36},
        valid_split="valid",
        test_split="test",
        cache=True,
        backbone="test_resnet",
        generator_width=4,
        generator_blocks=1,
        size=32,
        load_size=36,
        mask_epochs=2,
        mask_lr=1e-3,
        mask_batch_size=8,
        epochs=2,
        lr=1e-3,
        batch_size=8,
        optimizer="adamw",
        schedule="cosine",
        clip=1.0,
        ema=0.9,
        progress=False,
    )


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    model = timm.create_model(f"local-dir:{config.folder / 'model'}", pretrained=True)
    return model.state_dict()


def test_run_writes_everything_and_the_model_loads(config):
    summary = train(config)
    folder = config.folder
    for name in ("summary.json", "summary.csv", "config.json", "confusion.png", "masks.png", "priors.png"):
        assert (folder / name).stat().st_size > 0, name
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert summary["seed"] == 0 and summary["versions"]["timm"] == timm.__version__
    assert summary["metrics"]["n"] == 16 and set(summary["metrics"]["per_class"]) == set(summary["metrics"]["classes"])
    assert summary["split"] == {"train": "train", "selected on": "valid", "reported on": "test"}
    assert len((folder / "summary.csv").read_text().splitlines()) == 5

    model = timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True)
    assert model.pretrained_cfg["label_names"] == summary["metrics"]["classes"]
    again = evaluate(model, read_faces("drawn", None, "test", **config.data_options))
    assert again["confusion"] == summary["metrics"]["confusion"]
    assert MaskSet.load(folder / "model" / "priors.safetensors").classes == tuple(summary["metrics"]["classes"])


def test_the_best_epoch_is_found_beyond_the_digits_that_are_reported(config, monkeypatch):
    right = iter((20000, 20001))

    def evaluate(self, faces, loader):
        hits = torch.arange(40000) < next(right)
        return summarize(torch.stack((hits, ~hits), 1).float(), torch.zeros(40000, dtype=torch.long), ("a", "b"))

    monkeypatch.setattr(loop.Run, "_evaluate", evaluate)
    config = dataclasses.replace(config, arm="cnn", test_split=None)
    assert train(config)["best_epoch"] == 2


def test_stage_one_trains_the_generator_alone_and_stage_two_everything(config, monkeypatch):
    seen = watch_stages(monkeypatch)
    train(config)
    assert seen == {"mask": {"mask_generator"}, "joint": {"mask_generator", "fusion", "backbone"}}


def test_gradient_checkpointing_learns_from_the_same_losses(config, capsys):
    plain = dataclasses.replace(config, mask_epochs=1, epochs=1, ema=0.0)
    saving = dataclasses.replace(plain, name="saving", grad_checkpointing=True)
    losses = []
    for of in (plain, saving):
        train(of)
        with open(of.folder / "summary.csv", newline="") as file:
            losses.append([float(row["train_loss"]) for row in csv.DictReader(file)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    train(dataclasses.replace(saving, name="none", arm="cnn", backbone="dla46_c", size=64, load_size=64))
    assert "warning: DLA has no gradient checkpointing; it trains without" in capsys.readouterr().err


def test_stage_one_lowers_the_mask_loss(config, monkeypatch):
    def error(model, batch):
        assert not model.training  # or else the validation faces move its statistics
        return mask_error(model, batch)

    monkeypatch.setattr(systems, "mask_error", error)
    config = dataclasses.replace(config, mask_epochs=6, epochs=1, ema=0.0, mask_lr=3e-3)
    train(config)
    rows = (config.folder / "summary.csv").read_text().splitlines()
    column = rows[0].split(",").index("train_loss")
    losses = [float(row.split(",")[column]) for row in rows[1:7]]
    assert losses[-1] < 0.95 * losses[0]  # the masks of a class differ, so the loss has a floor


@pytest.mark.parametrize("arm", ["cnn", "no_prior"])
def test_other_arms(config, arm):
    summary = train(dataclasses.replace(config, arm=arm, ema=0.0, epochs=1))
    assert summary["arm"] == arm and summary["priors"] is None
    assert not (config.folder / "priors.safetensors").exists()
    names = set(weights(config))
    assert any(n.startswith("mask_generator") for n in names) == (arm == "no_prior")


@pytest.mark.parametrize("epochs_done", [1, 2, 3])
def test_interrupted_run_resumes_to_the_same_weights(config, monkeypatch, epochs_done):
    whole = dataclasses.replace(config, name="whole")
    train(whole)

    config = dataclasses.replace(config, resume="auto")
    train_until(config, epochs_done, monkeypatch)
    assert not list(config.folder.glob("**/.*partial*"))
    train(config)
    expected, got = weights(whole), weights(config)
    assert all(torch.equal(expected[k], got[k]) for k in expected)


def test_batches_augmented_on_the_device_resume_to_the_same_weights(config, monkeypatch):
    config = dataclasses.replace(config, augment="device", rotate=10, erase=0.5, mask_epochs=1, epochs=2)
    whole = dataclasses.replace(config, name="whole")
    train(whole)
    config = dataclasses.replace(config, resume="auto")
    train_until(config, 2, monkeypatch)
    train(config)
    expected, got = weights(whole), weights(config)
    assert all(torch.equal(expected[k], got[k]) for k in expected)


def test_mixed_faces_are_for_the_classes_alone(config, monkeypatch):
    config = dataclasses.replace(config, mixup=0.4, cutmix=0.4, mask_epochs=1, epochs=2)
    mixed, forward = [], loop.BatchMix.forward

    def watched(self, batch):
        mixed.append(forward(self, batch))
        return mixed[-1]

    whole = dataclasses.replace(config, name="whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop.BatchMix, "forward", watched)
        train(whole)
    assert len(mixed) == 2 * 5  # of the epochs that classify
    assert any(((batch["target"] > 0).sum(1) > 1).any() for batch in mixed)
    config = dataclasses.replace(config, resume="auto")
    train_until(config, 2, monkeypatch)
    train(config)
    expected, got = weights(whole), weights(config)
    assert all(torch.equal(expected[k], got[k]) for k in expected)


@pytest.mark.parametrize(
    ("update", "number", "error", "checkpoint"),
    [(3, signal.SIGTERM, SystemExit, "epoch-0000-000006"), (10, signal.SIGINT, KeyboardInterrupt, "epoch-0001-000010")],
)
def test_stopped_within_an_epoch_resumes_to_the_same_weights(config, monkeypatch, update, number, error, checkpoint):
    config = dataclasses.replace(config, accumulate=2, mask_epochs=1, epochs=1, rotate=10)  # two epochs of 5 updates
    whole = dataclasses.replace(config, name="whole")
    train(whole)

    check, calls = loop.Watch.check, []

    def stopped(self, *args):
        calls.append(args[0])
        if len(calls) == update:
            signal.raise_signal(number)
        return check(self, *args)

    config = dataclasses.replace(config, resume="auto")
    with monkeypatch.context() as patch, pytest.raises(error) as stop:
        patch.setattr(loop.Watch, "check", stopped)
        train(config)
    assert str(stop.value) == "143" or "--resume auto" in str(stop.value)
    assert (config.folder / "checkpoints" / checkpoint).is_dir()
    train(dataclasses.replace(config, workers=1))  # nor does it matter who loads the faces
    expected, got = weights(whole), weights(config)
    assert all(torch.equal(expected[k], got[k]) for k in expected)
    rows = [[{**row, "seconds": 0} for row in csv.DictReader((run.folder / "summary.csv").open())]
            for run in (whole, config)]
    assert rows[0] == rows[1]


def test_out_of_memory_names_the_batch_size_to_try(config, monkeypatch):
    def forward(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(FMPN, "forward_motion", forward)
    with pytest.raises(InputError, match="joint 1/2, with 8 faces a step.*Try 4: .*--accumulate 2, .*--batch_size 4"):
        train(dataclasses.replace(config, mask_epochs=0))


def test_a_size_that_the_network_does_not_bear_is_refused_before_the_run_has_begun(config):
    config = dataclasses.replace(config, backbone="inception_v3", arm="cnn")  # which pools faces of 32 pixels away
    with pytest.raises(InputError, match="inception_v3 does not take faces of --size 32 .*Give a size that it takes"):
        train(config)
    assert not config.folder.exists()


def test_batch_norm_over_one_face_names_the_batch(config):
    config = dataclasses.replace(config, arm="cnn", backbone="resnet10t", batch_size=4, accumulate=4)
    with pytest.raises(InputError, match="batch norm cannot learn from 1 face a step.*--accumulate.*--batch_size"):
        train(config)


def test_finished_run_is_not_trained_again(config, monkeypatch):
    summary = train(config)
    monkeypatch.setattr(loop.Run, "stage", None)
    assert train(dataclasses.replace(config, resume="auto")) == json.loads(json.dumps(summary))


def test_same_seed_same_weights_and_another_seed_others(config):
    runs = [dataclasses.replace(config, name=name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for run in runs:
        train(run)
    a, b, c = (weights(run) for run in runs)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_existing_run_is_never_overwritten(config):
    first = train(dataclasses.replace(config, arm="cnn", epochs=1))
    second = train(dataclasses.replace(config, arm="cnn", epochs=1, seed=1))
    assert second["config"]["name"] == "tiny-2"
    assert json.loads((config.folder / "summary.json").read_text())["seed"] == first["seed"] == 0


def test_runs_that_begin_at_once_take_folders_of_their_own(config):
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: loop._claim_name(config), range(40)))
    assert names == {"tiny", *(f"tiny-{number}" for number in range(2, 41))}


def test_resume_with_other_options_is_refused_with_the_difference(config, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    config = dataclasses.replace(config, resume="auto", mask_epochs=0, epochs=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Run, "finish", stop)
        train(config)
    with pytest.raises(InputError, match=r"lr: 0.001 -> 0.5"):
        train(dataclasses.replace(config, lr=0.5))


def test_run_from_before_an_option_existed_resumes_at_its_default(config, monkeypatch):
    config = dataclasses.replace(config, resume="auto", mask_epochs=0, epochs=2)
    train_until(config, 1, monkeypatch)
    decisive = TrainConfig.decisive
    with monkeypatch.context() as patch:
        patch.setattr(TrainConfig, "decisive", lambda self: {**decisive(self), "younger": self.label_smoothing})
        with pytest.raises(InputError, match="younger: 0.0 -> 0.1"):
            train(dataclasses.replace(config, label_smoothing=0.1))
        train(config)
    with open(config.folder / "summary.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_checkpoint_of_a_version_with_other_parameter_groups_is_refused(config, monkeypatch):
    config = dataclasses.replace(config, resume="auto", mask_epochs=0, epochs=2)
    with monkeypatch.context() as patch:
        patch.setattr(systems, "param_groups_weight_decay", lambda module, *_, **__: [{"params": module.parameters()}])
        train_until(config, 1, monkeypatch)
    with pytest.raises(InputError, match="epoch-0001 was written by another version.*parameter group.*another --name"):
        train(config)


def test_nan_loss_names_batch_and_mend_and_keeps_the_last_checkpoint(config, monkeypatch):
    run_epoch = loop.Run._run_epoch

    def poisoned(self, under_way, epoch):
        if (under_way.stage.name, epoch) == ("joint", 1):
            with torch.no_grad():
                self.model.backbone.get_classifier().weight.fill_(float("nan"))
        run_epoch(self, under_way, epoch)

    monkeypatch.setattr(loop.Run, "_run_epoch", poisoned)
    with pytest.raises(InputError, match=r"loss is nan in joint 2/2.*drawn:.*--lr"):
        train(config)
    assert sorted(p.name for p in (config.folder / "checkpoints").iterdir()) == ["epoch-0002", "epoch-0003"]
    bad = json.loads((config.folder / "bad_batch.json").read_text())
    assert bad["title"] == "joint 2/2" and [len(p["faces"]) for p in bad["processes"]] == [8]


def test_full_disk_keeps_the_checkpoint_before(config, monkeypatch):
    save = loop.Checkpoints.save

    def full(self, state, *args):
        if state["done"] < 3:
            return save(self, state, *args)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # every longer write fails, as on a full disk
        try:
            save(self, state, *args)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(loop.Checkpoints, "save", full)
    message = r"epoch-0003: the checkpoint could not be written.*epoch-0002 is whole.*resume"
    with pytest.raises(InputError, match=message):
        train(config)
    assert sorted(p.name for p in (config.folder / "checkpoints").iterdir()) == ["epoch-0001", "epoch-0002"]
    monkeypatch.undo()
    train(dataclasses.replace(config, resume="auto"))


def test_full_disk_beside_the_checkpoints_is_named(config, monkeypatch):
    write_text = loop.write_text

    def full(path, text):
        if path.name == "summary.csv":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_text(path, text)

    monkeypatch.setattr(loop, "write_text", full)
    with pytest.raises(InputError, match="disk is full.*summary.csv.*--resume auto"):
        train(dataclasses.replace(config, arm="cnn", epochs=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(backbone="resnet1"), "Unknown backbone 'resnet1'.*resnet18"),
        (dict(backbone="resnet1", arm="cnn"), "Unknown backbone 'resnet1'"),
        (dict(backbone_kwargs={"wings": 2}), "wings"),
        (dict(dataset="ferplus"), "--root"),
        (dict(priors="nowhere"), "No mask set 'nowhere'"),
        (dict(batch_size=9, accumulate=2), "multiple of --accumulate"),
        (dict(mask_batch_size=9, accumulate=2), "stage mask, 9 faces, must be a multiple of 1 proc"),
        (dict(batch_size=64), "lower --batch_size"),
        (dict(epochs=0), "--epochs 0 reports on weights as they are: name them with --init"),
        (dict(size=64, load_size=48), "--load_size 48"),
        (dict(mask_box=(0.5, 0.0, 0.2, 1.0)), "mask_box"),
        (dict(init="fmpn_resnet18"), "fmpn_resnet18"),
    ],
)
def test_bad_options_give_one_clear_error(config, options, message):
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(config, **options))
    assert not config.folder.exists()  # so that the next try has the name


def test_mask_set_without_a_class(config, tmp_path):
    MaskSet(torch.rand(1, 8, 8), ("fear",)).save(tmp_path / "fear.safetensors")
    with pytest.raises(InputError, match=r"no mask for happiness, .*contempt, only neutral, fear"):
        train(dataclasses.replace(config, priors=str(tmp_path / "fear.safetensors")))


def test_a_run_does_not_go_on_with_other_faces(config, monkeypatch):
    """``root`` decides nothing about a run, since data may be moved; what lies there does."""
    train_until(config, 1, monkeypatch)
    read = folds.read_faces

    def one_less(name, root, split, **options):
        faces = read(name, root, split, **options)
        return dataclasses.replace(faces, samples=faces.samples[1:])

    monkeypatch.setattr(folds, "read_faces", one_less)
    with pytest.raises(InputError, match=r"learnt from other data \(training faces: \d+ -> \d+\)"):
        train(dataclasses.replace(config, resume="auto"))


def test_modern_recipe_options_run_together(config):
    config = dataclasses.replace(
        config, precision="bf16", channels_last=True, accumulate=2, layer_decay=0.8, weight_decay=0.05, warmup_epochs=1,
        label_smoothing=0.1, rotate=10, scale=0.1, jitter=0.2, erase=0.5, crop="random", flip_test=True,
        valid_split=None, valid_fraction=0.3, test_split=None, mask_epochs=1,
    )
    summary = train(config)
    assert summary["split"]["selected on"] == summary["split"]["reported on"] == "0.3 of train (seed 0)"


def test_a_finished_run_stands_for_its_own_options_alone(config):
    config = dataclasses.replace(config, resume="auto", epochs=1)
    assert train(config) == train(dataclasses.replace(config, workers=0))
    with pytest.raises(InputError, match=r"belongs to another configuration \(lr: .*Give the same options"):
        train(dataclasses.replace(config, lr=0.5))


def test_accumulated_steps_are_the_updates_of_whole_batches(config):
    """As many of them, with the same rates, though the faces do not come out even."""
    done = {}
    for accumulate in (1, 4):
        of = dataclasses.replace(config, name=f"by-{accumulate}", arm="cnn", epochs=1, batch_size=12,
                                 accumulate=accumulate)
        train(of)
        state, = (of.folder / "checkpoints").glob("*/state.json")
        done[accumulate] = json.loads(state.read_text())["scheduler"]["last_epoch"]
    assert done[1] == done[4] > 1
    with pytest.raises(InputError, match="do not fill a batch of 1000"):
        train(dataclasses.replace(of, name="large", batch_size=1000, accumulate=100))


def test_fine_tuning_from_a_saved_model(config):
    train(dataclasses.replace(config, epochs=1))
    tuned = dataclasses.replace(config, name="tuned", init=f"local-dir:{config.folder / 'model'}", lr=0.0, mask_lr=0.0,
                                generator_lr=0.0, ema=0.0)
    train(tuned)
    before, after = weights(config), weights(tuned)
    parameters = [k for k in before if "running" not in k and "num_batches" not in k]
    assert all(torch.equal(before[k], after[k]) for k in parameters)


def test_the_first_of_the_best_epochs_on_the_validation_faces_is_kept(config, monkeypatch):
    evaluate, seen = loop.Run._evaluate, []

    def scored(self, faces, loader):
        found = evaluate(self, faces, loader)
        if len(seen) == 3:  # the last look, after the training
            return found
        assert faces is self.data.valid
        seen.append({name: value.clone() for name, value in self.evaluated.state_dict().items()})
        return {**found, "confusion": [[(2, 9, 9)[len(seen) - 1]]], "n": 10}

    monkeypatch.setattr(loop.Run, "_evaluate", scored)
    assert train(dataclasses.replace(config, mask_epochs=0, epochs=3))["best_epoch"] == 2
    kept = weights(config)
    assert all(torch.equal(value, kept[name]) for name, value in seen[1].items() if name in kept)
    assert not all(torch.equal(value, kept[name]) for name, value in seen[2].items() if name in kept)


def test_the_largest_seed_bears_a_second_stage(config):
    assert train(dataclasses.replace(config, seed=2**32 - 1, mask_epochs=1, epochs=1))["seed"] == 2**32 - 1


def test_no_epochs_report_on_weights_as_they_are(config):
    trained = train(dataclasses.replace(config, mask_epochs=0, epochs=1))
    as_is = dataclasses.replace(config, name="as-is", init=f"local-dir:{config.folder / 'model'}", epochs=0)
    assert as_is.mask_epochs  # the configuration's, which would change the mask generator
    summary = train(as_is)
    assert summary["metrics"] == trained["metrics"] and summary["best_epoch"] == 0
    assert all(torch.equal(value, weights(config)[name]) for name, value in weights(as_is).items())
    assert results_of(str(as_is.folder / "model"))["metrics"] == summary["metrics"]
    assert (as_is.folder / "confusion.png").is_file() and (as_is.folder / "mean_masks.png").is_file()


def test_a_classifier_gives_its_weights_to_the_backbone(config):
    alone = dataclasses.replace(config, name="alone", arm="cnn", epochs=1, ema=0.0)
    train(alone)
    still = dataclasses.replace(config, init=f"local-dir:{alone.folder / 'model'}", lr=0.0, epochs=1, ema=0.0)
    train(still)
    before, after = weights(alone), weights(still)
    parameters = [k for k in before if "running" not in k and "num_batches" not in k]
    assert all(torch.equal(before[k], after[f"backbone.{k}"]) for k in parameters)
    with pytest.raises(InputError, match="not of --backbone resnet10t"):
        train(dataclasses.replace(still, name="other", backbone="resnet10t"))
    back = dataclasses.replace(alone, name="back", init=f"local-dir:{still.folder / 'model'}", lr=0.0)
    train(back)  # and FMPN gives its backbone to the arm that is a backbone alone
    assert all(torch.equal(before[k], weights(back)[k]) for k in parameters)


def test_rates_follow_the_paper(config):
    config = dataclasses.replace(config, schedule="linear", warmup_epochs=0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = loop._create_scheduler(config, optimizer, updates=10, epochs=20)
    rates = []
    for _ in range(200):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[:101] == [1.0] * 101
    assert rates[150] == pytest.approx(0.5) and scheduler.get_last_lr()[0] == pytest.approx(0.0)


def test_both_stages_are_the_plain_loop_on_the_same_batches(config, monkeypatch):
    """In torch alone: rates, accumulation, clipping, weight decay, moving average, and what learns when."""
    config = dataclasses.replace(
        config, data_options={"subjects": 5, "takes": 1, "size": 36}, test_split=None, mask_epochs=1, epochs=1,
        mask_batch_size=4, batch_size=4, accumulate=2, mask_lr=4e-3, lr=2e-3, generator_lr=5e-4, beta1=0.5,
        weight_decay=0.5, warmup_epochs=0.5, clip=1e-3, ema=0.5, fusion_init="face",
        backbone="test_vit",  # batch norm over two small maps, or an all but flat fused face, amplifies rounding
    )
    start, seen, create = [], {MaskTask: [], FMPNTask: []}, loop.create_model

    def created(*args):
        start.append(create(*args))
        return copy.deepcopy(start[0])

    monkeypatch.setattr(loop, "create_model", created)
    for task, batches in seen.items():
        def forward(self, input, target, batches=batches, forward=task.forward):
            learning = {name.split(".")[0] for name, p in self.model.named_parameters() if p.requires_grad}
            parts = ("mask_generator",) if isinstance(self, MaskTask) else ("mask_generator", "fusion", "backbone")
            assert learning == set(parts)
            batches.append((input, target["target"], target["mask"]))
            return forward(self, input, target)

        monkeypatch.setattr(task, "forward", forward)
    train(config)

    model = start[0]
    for task, rates in ((MaskTask, {"mask_generator": 4e-3}),
                        (FMPNTask, {"mask_generator": 5e-4, "fusion": 2e-3, "backbone": 2e-3})):
        groups = [
            dict(params=[p for name, p in getattr(model, part).named_parameters()
                         if (p.ndim > 1 and name not in model.backbone.no_weight_decay()) == decays],
                 lr=rate, weight_decay=0.5 if decays else 0.0)
            for part, rate in rates.items() for decays in (True, False)
        ]
        optimizer = torch.optim.AdamW(groups, betas=(0.5, 0.999), fused=True)
        rates = [group["lr"] for group in groups]
        average, batches = copy.deepcopy(model.train()), seen[task]
        assert len(batches) == 2 * 6 and len(batches[0][0]) == 2
        for update in range(6):
            model.zero_grad()
            for faces, labels, masks in batches[2 * update:2 * update + 2]:
                if task is MaskTask:
                    loss = F.mse_loss(model.motion_mask(faces), masks)
                else:
                    output = model.forward_motion(faces)
                    loss = 0.1 * F.mse_loss(output.motion_mask, masks) + F.cross_entropy(output.logits, labels)
                (loss / 2).backward()
            assert torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3) > 1e-3
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (0.5 if update == 0 else (1 + math.cos(math.pi * (update - 1) / 5)) / 2)
            optimizer.step()
            decay = min(0.5, 1 - (1 + update) ** (-2 / 3))  # timm's warm-up of the average
            for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                mean.copy_(decay * mean + (1 - decay) * value if mean.is_floating_point() else value)
        model = average
    expected, got = model.state_dict(), weights(config)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-3, atol=1e-4)


def test_fold_of_a_protocol(config):
    options = dict(config.data_options, subjects=12)
    config = dataclasses.replace(config, fold=3, data_options=options, valid_fraction=0.2, epochs=1, mask_epochs=1)
    summary = train(config)
    assert summary["split"] == {"train": "fold 3 train", "selected on": "0.2 of fold 3 train (seed 0)",
                                "reported on": "fold 3 test"}
    assert summary["samples"] == {"train": 72, "valid": 16, "test": 8}
    with pytest.raises(InputError, match="--fold 10.*folds 0 to 9"):
        train(dataclasses.replace(config, fold=10))
