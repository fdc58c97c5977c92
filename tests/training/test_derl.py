"""Tests of whole runs of DeRL, on drawn faces."""

import dataclasses

import pytest
import timm
import torch
from torch.utils.data import DataLoader

from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.transforms import eval_transform
from fmpn_timm.errors import InputError
from fmpn_timm.hub import load_model
from fmpn_timm.models import to_grey
from fmpn_timm.tasks import neutral_error
from fmpn_timm.training import TrainConfig, loop, parse_config, train
from fmpn_timm.training.data import paired_faces
from fmpn_timm.training.evaluation import evaluate
from fmpn_timm.training.systems import create_stages
from tests.training.runs import train_until, watch_stages


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    """A run of seconds: 1 + 1 epochs of 24 faces."""
    return TrainConfig(
        name="tiny",
        output=str(tmp_path / "runs"),
        arm="derl",
        model_kwargs={"width": 4, "local_width": 4},
        data_options={"subjects": 5, "takes": 1, "size": 36},
        valid_split="valid",
        test_split="test",
        cache=True,
        size=32,
        load_size=36,
        mask_epochs=1,
        mask_lr=1e-3,
        mask_batch_size=8,
        epochs=1,
        lr=1e-3,
        batch_size=8,
        progress=False,
    )


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_model(f"local-dir:{config.folder / 'model'}").state_dict()


def test_run_writes_everything_and_the_model_evaluates(config, monkeypatch):
    seen = watch_stages(monkeypatch)
    summary = train(config)
    # frozen and unchanged in stage 2, batch norm statistics and all
    assert seen == {"neutral": {"generator"}, "residue": {"local", "head"}}
    folder = config.folder
    for name in ("summary.json", "summary.csv", "confusion.png", "neutral.png", "model/config.json"):
        assert (folder / name).stat().st_size > 0, name
    assert not (folder / "masks.png").exists() and summary["priors"] is None
    header, *rows = (folder / "summary.csv").read_text().splitlines()
    assert len(rows) == 2 and {"train_l1_loss", "valid_loss", "train_local_loss"} <= set(header.split(","))
    model = load_model(f"local-dir:{folder / 'model'}")
    assert model.pretrained_cfg["label_names"] == summary["metrics"]["classes"]
    again = evaluate(model, read_faces("drawn", None, "test", **config.data_options))
    assert again["confusion"] == summary["metrics"]["confusion"]


@pytest.mark.parametrize("epochs_done", [1, 3])
def test_interrupted_run_resumes_to_the_same_weights(config, monkeypatch, epochs_done):
    config = dataclasses.replace(config, ema=0.9, mask_epochs=2, epochs=2)
    whole = dataclasses.replace(config, name="whole")
    train(whole)
    config = dataclasses.replace(config, resume="auto")
    train_until(config, epochs_done, monkeypatch)
    train(config)
    expected, got = weights(whole), weights(config)
    assert all(torch.equal(expected[k], got[k]) for k in expected)


def test_a_generator_trained_elsewhere_is_taken_as_it_is(config):
    first = dataclasses.replace(config, name="first")
    train(first)
    options = dict(config.data_options, seed=1)  # other people
    second = dataclasses.replace(config, init=f"local-dir:{first.folder / 'model'}", mask_epochs=0,
                                 data_options=options)
    summary = train(second)
    assert summary["best_epoch"] == 1 and "neutral" not in (second.folder / "summary.csv").read_text()
    before, after = weights(first), weights(second)
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("generator."))
    assert not torch.equal(before["head.fc.weight"], after["head.fc.weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(mask_epochs=0), "--mask_epochs 0.*--init"),
        (dict(size=48, load_size=48), "img_size=48.*--size"),
        (dict(model_kwargs={"wings": 2}), "wings.*--model_kwargs"),
    ],
)
def test_bad_options_give_one_clear_error(config, options, message):
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(config, **options))


def test_initial_weights_of_another_system_are_refused(config):
    other = dataclasses.replace(config, name="other", arm="cnn", backbone="test_resnet", model_kwargs={})
    train(other)
    with pytest.raises(InputError, match="a ResNet cannot be trained as --arm derl"):
        train(dataclasses.replace(config, init=f"local-dir:{other.folder / 'model'}"))


def test_faces_without_a_neutral_face_are_left_out_and_counted(config, monkeypatch, capsys):
    prepare = loop.prepare_data

    def without(*args):
        data = prepare(*args)
        missing = data.train.samples[0].subject
        data.train = data.train.where(lambda s: (s.subject, s.role) != (missing, "neutral"))
        return data

    monkeypatch.setattr(loop, "prepare_data", without)
    train(config)
    assert "7 of 23 training faces have no neutral face of their subject and are left out" in capsys.readouterr().out


def test_no_pair_to_select_on_is_refused_before_the_run_has_begun(config, monkeypatch):
    prepare = loop.prepare_data

    def without(*args):
        data = prepare(*args)
        data.valid = data.valid.where(lambda s: s.role != "neutral")
        return data

    monkeypatch.setattr(loop, "prepare_data", without)
    with pytest.raises(InputError, match="no subject with a neutral and an expressive face"):
        train(config)
    assert not config.folder.exists()


@pytest.mark.parametrize("kept", ["expressive", "neutral"])
def test_no_pair_at_all_is_refused(kept):
    faces = read_faces("drawn", None, "train", subjects=5, takes=1, size=32).where(lambda s: s.role == kept)
    with pytest.raises(InputError, match="drawn train has no subject with a neutral and an expressive face.*--init"):
        paired_faces(faces)


@pytest.mark.parametrize("unet", [False, True])
def test_stages_train_the_generator_then_all_but_it(unet):
    model = timm.create_model("derl", width=4, local_width=4, img_size=32, unet=unet)
    first, second = create_stages(TrainConfig(arm="derl", mask_lr=2e-4, lr=1e-4), model, ("neutral", "happiness"), None)
    trained = [{id(p) for group in stage.groups for p in group["params"]} for stage in (first, second)]
    generator = {id(p) for p in model.generator.parameters()}
    assert trained[0] == generator | {id(p) for p in first.task.discriminator.parameters()}
    assert trained[1] == {id(p) for p in model.parameters()} - generator
    assert (first.name, first.neutral, second.name, second.neutral) == ("neutral", True, "residue", False)
    assert not first.classifies and second.classifies


def test_options_reach_the_model_and_travel_with_it(config):
    config = dataclasses.replace(config, model_kwargs=dict(config.model_kwargs, unet=True))
    train(config)
    assert load_model(f"local-dir:{config.folder / 'model'}").generator.unet


def test_named_configuration(tmp_path):
    config = parse_config(["--config", "derl", "--model_kwargs", '{"unet": true}'])
    assert config.arm == "derl" and config.model_kwargs == {"unet": True} and config.size == 64


@pytest.mark.slow
def test_generated_neutral_is_nearer_the_true_one_than_the_face_is(config):
    """On expressive faces of people that were not trained on, in a laboratory's steady light: nobody can tell from one
    picture in what light another was taken. The U-Net, since it need not learn to draw people as well."""
    config = dataclasses.replace(
        config, model_kwargs={"width": 16, "local_width": 4, "unet": True}, crop="random", mask_epochs=15,
        mask_batch_size=16, ema=0.99, schedule="cosine",
        data_options={"subjects": 60, "takes": 1, "size": 36, "light": 0.0},
    )
    train(config)
    model = load_model(f"local-dir:{config.folder / 'model'}").eval()
    paired = read_faces("drawn", None, "test", **config.data_options).paired()
    faces = dataclasses.replace(paired, samples=tuple(s for s in paired.samples if s.role == "expressive"))
    transform = eval_transform(config.size, config.load_size, (0.0,) * 3, (1.0,) * 3)
    batch = next(iter(DataLoader(FaceDataset(faces, faces.classes, transform, neutral=True), len(faces))))
    with torch.inference_mode():
        generated = neutral_error(model, batch).mean()
    as_it_is = (to_grey(batch["image"]) - to_grey(batch["neutral"])).abs().mean()
    print(f"|G(x) - x0| = {generated:.4f}, |x - x0| = {as_it_is:.4f}")
    assert generated < as_it_is
