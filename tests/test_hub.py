"""Tests of model folders, on disk and on a Hub on this machine."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants, file_download
from timm.models import _registry

from fmpn_timm import cli, hub, zoo
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.faces.detectors import DETECTORS
from fmpn_timm.models import FMPN
from tests.hub_server import READER, WRITER, Fault, LocalHub

CLASSES = ("fear", "anger", "neutral")
REPO = "someone/a-model"
NAME = f"hf-hub:{REPO}"
FACES = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    torch.manual_seed(0)
    generator = dict(generator_width=4, generator_blocks=1)
    return timm.create_model("fmpn", backbone="test_resnet", num_classes=3, **generator).eval()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_round_trip_is_exact(model, tmp_path, memory_format):
    model = model.to(memory_format=memory_format)
    hub.save_model(model, tmp_path / "m", CLASSES, size=48, crop_pct=0.9, files={"results.json": {"n": 1}})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["config.json", "model.safetensors", "results.json"]
    loaded = hub.load_model(f"local-dir:{tmp_path / 'm'}").eval()
    x = torch.rand(2, 3, 48, 48)
    assert torch.equal(loaded(x), model.to(memory_format=torch.contiguous_format)(x))
    assert hub.class_names(loaded) == CLASSES
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert "num_classes" not in config["model_args"]  # transformers
    assert config["pretrained_cfg"]["interpolation"] == "bilinear"  # as faces are resized here, whatever the backbone's
    cfg = loaded.pretrained_cfg
    assert tuple(cfg["input_size"]) == (3, 48, 48) and cfg["crop_pct"] == 0.9


def test_a_model_of_ones_own_need_not_say_that_it_takes_colors(model, tmp_path):
    del model.in_chans
    hub.save_model(model, tmp_path / "m", CLASSES, size=48, crop_pct=0.9)
    assert hub.read_config(tmp_path / "m/config.json")["pretrained_cfg"]["input_size"] == [3, 48, 48]


def test_recipe_travels_with_the_model(model, tmp_path):
    recipe = Recipe(size=48, margin=0.1)
    hub.save_model(model, tmp_path / "m", CLASSES, 48, 1.0, recipe=recipe)
    hub.save_model(model, tmp_path / "none", CLASSES, 48, 1.0)
    assert hub.recipe_of(f"local-dir:{tmp_path / 'm'}") == recipe
    assert hub.recipe_of(f"local-dir:{tmp_path / 'none'}") is None and hub.recipe_of("fmpn_resnet18") is None
    assert timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).num_classes == 3  # timm does not mind it


def test_a_folder_is_named_by_itself_but_never_stands_for_a_timm_name(model, tmp_path, monkeypatch):
    hub.save_model(model, tmp_path / "m", CLASSES, 48, 0.9)
    shutil.copytree(tmp_path / "m", tmp_path / "fmpn_resnet18")
    monkeypatch.chdir(tmp_path)
    for name in ("m", "./m", str(tmp_path / "m"), "./fmpn_resnet18"):
        assert hub.load_model(name).num_classes == 3 and hub.model_folder(name).samefile(name)
    assert hub.load_model(Path("m")).num_classes == 3 and hub.results_of(Path("m")) == hub.results_of("m")
    assert hub.model_folder("local-dir:m") == Path("m")
    assert hub.model_folder("fmpn_resnet18") is None and hub.model_folder("hf-hub:owner/m") is None


def test_saving_again_replaces_the_folder(model, tmp_path):
    hub.save_model(model, tmp_path / "m", CLASSES, 48, 0.9, {"old.json": {}})
    hub.save_model(model, tmp_path / "m", CLASSES, 64, 0.9)
    assert not (tmp_path / "m" / "old.json").exists()
    assert json.loads((tmp_path / "m" / "config.json").read_text())["pretrained_cfg"]["input_size"] == [3, 64, 64]


def test_failed_save_leaves_the_folder_as_it_was(model, tmp_path, monkeypatch):
    hub.save_model(model, tmp_path / "m", CLASSES, 48, 0.9)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "save_for_hf", fail)
    with pytest.raises(OSError, match="No space"):
        hub.save_model(model, tmp_path / "m", CLASSES, 64, 0.9)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    hub.load_model(f"local-dir:{tmp_path / 'm'}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("local-dir:/nowhere", "/nowhere holds no config.json"),
        ("fmpn_resnet18", "fmpn_resnet18.*local-dir"),
        ("no_such_model", "no_such_model.*local-dir"),
    ],
)
def test_models_that_cannot_be_loaded(name, message):
    with pytest.raises(InputError, match=message):
        hub.load_model(name)


@pytest.fixture
def folder(model, tmp_path) -> Path:
    hub.save_model(model, tmp_path / "folder", CLASSES, 48, 0.9)
    return tmp_path / "folder"


@pytest.fixture
def server(monkeypatch, tmp_path):
    with LocalHub() as server:
        server.connect(monkeypatch, tmp_path / "cache")
        yield server


@pytest.fixture
def declared(monkeypatch):
    """A tag with weights, as a line in ``default_cfgs`` declares it."""
    cfg = dataclasses.replace(timm.models.get_pretrained_cfg("fmpn_resnet18_small"), hf_hub_id=REPO, tag="ours")
    for name in ("fmpn_resnet18_small", "fmpn_resnet18_small.ours"):
        monkeypatch.setitem(_registry._model_pretrained_cfgs, name, cfg)
    return "fmpn_resnet18_small.ours"


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(FACES)


def changed(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    for key, value in values.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))


def test_pull_is_exact_and_offline_from_the_cache(server, folder, model, monkeypatch):
    server.add(REPO, folder)
    for load in (hub.load_model, lambda name: timm.create_model(name, pretrained=True)):
        assert torch.equal(logits(load(NAME)), logits(model))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        server.seen.clear()
        assert torch.equal(logits(load(NAME)), logits(model)) and not server.seen
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert hub.class_names(hub.load_model(NAME)) == CLASSES


def test_a_chosen_revision(server, folder, model):
    first, before = server.add(REPO, folder), logits(model)
    torch.nn.init.ones_(model.backbone.get_classifier().weight)
    hub.save_model(model, folder, CLASSES, 48, 0.9, recipe=Recipe(size=48))
    server.add(REPO, folder)
    assert torch.equal(logits(hub.load_model(f"{NAME}@{first}")), before)
    assert torch.equal(logits(hub.load_model(f"{NAME}@main")), logits(model)) and not torch.equal(logits(model), before)
    assert hub.recipe_of(f"{NAME}@{first}") is None and hub.recipe_of(NAME) == Recipe(size=48)


def test_config_and_weights_are_of_one_commit(server, folder, model, monkeypatch):
    first, before, fetch = server.add(REPO, folder), logits(model), hub._file

    def published_again_meanwhile(source, file, *args):
        path = fetch(source, file, *args)
        if list(server.repos[REPO].commits) == [first]:
            torch.nn.init.ones_(model.backbone.get_classifier().weight)
            hub.save_model(model, folder, CLASSES, 48, 0.9)
            server.add(REPO, folder)
        return path

    monkeypatch.setattr(hub, "_file", published_again_meanwhile)
    assert torch.equal(logits(hub.load_model(NAME)), before)


@pytest.mark.parametrize("where", ["hub", "folder"])
def test_pull_into_another_shape(server, folder, model, where):
    server.add(REPO, folder)
    name = NAME if where == "hub" else f"local-dir:{folder}"
    other = hub.load_model(name, num_classes=5)
    assert logits(other).shape == (2, 5)
    assert torch.equal(other.backbone.conv1[0].weight, model.backbone.conv1[0].weight)
    grey = FACES[:, :1]
    with torch.no_grad():
        of_grey = hub.load_model(name, in_chans=1).eval()(grey)
        torch.testing.assert_close(of_grey, model(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
        maps = hub.load_model(name, features_only=True).eval()(FACES)
        assert torch.equal(maps[-1], model.forward_intermediates(FACES, intermediates_only=True)[-1])
        assert torch.equal(hub.load_model(name, num_classes=0).eval()(FACES),
                           model.forward_head(model.forward_features(FACES), pre_logits=True))


def test_weights_given_as_a_file(folder, model):
    arguments = dict(backbone="test_resnet", num_classes=3, generator_width=4, generator_blocks=1)
    overlay = dict(file=str(folder / "model.safetensors"), num_classes=3)
    loaded = timm.create_model("fmpn", pretrained=True, pretrained_cfg_overlay=overlay, **arguments)
    assert torch.equal(logits(loaded), logits(model))


def small(tmp_path, fill: float) -> FMPN:
    """A model whose arguments are not its architecture's defaults, saved to a folder."""
    torch.manual_seed(0)
    model = timm.create_model("fmpn_resnet18_small", num_classes=3, generator_width=4, generator_blocks=1,
                              backbone_kwargs={"layers": [1, 1, 1, 1]})
    torch.nn.init.constant_(model.backbone.get_classifier().bias, fill)
    hub.save_model(model, tmp_path, CLASSES, 48, 1.0, recipe=Recipe(size=48))
    return model


def test_a_tag_takes_the_checkout_then_the_hub_then_names_both(server, declared, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "CHECKOUT", tmp_path / "hub")
    for load in (hub.load_model, lambda name: timm.create_model(name, pretrained=True)):
        with pytest.raises((InputError, RuntimeError), match=f"{declared}.*(online|there is no such).*") as failed:
            load(declared)
        if load is not hub.load_model:
            assert f"hub/{declared}" in str(failed.value) and NAME in str(failed.value)

    on_hub = small(tmp_path / "there", 1.0)
    server.add(REPO, tmp_path / "there")
    for name in (declared, "fmpn_resnet18_small"):
        assert torch.equal(logits(timm.create_model(name, pretrained=True)), logits(on_hub))
        assert torch.equal(logits(hub.load_model(name)), logits(on_hub))
    assert hub.recipe_of(declared) == Recipe(size=48)

    here = small(tmp_path / "hub" / declared, 2.0)
    server.seen.clear()
    loaded = timm.create_model(declared, pretrained=True)
    assert torch.equal(logits(loaded), logits(here)) and torch.equal(logits(hub.load_model(declared)), logits(here))
    assert hub.class_names(loaded) == CLASSES and not server.seen
    assert timm.create_model(declared, pretrained=True, num_classes=5).num_classes == 5

    hub.save_model(loaded, tmp_path / "again", CLASSES, 48, 1.0)  # it knows how it was built
    assert torch.equal(logits(hub.load_model(f"local-dir:{tmp_path / 'again'}")), logits(here))


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("msca_resnet18_small", {"backbone_kwargs": {"layers": [1, 1, 1, 1]}, "branch_width": 4, "embed_dim": 8}),
        ("derl", {"width": 2, "local_width": 4, "img_size": 32}),
        ("derl_unet", {"width": 2, "local_width": 4, "img_size": 32}),
        ("fn2en", {"pools": 3, "hidden_size": 4}),
    ],
)
@torch.inference_mode()
def test_a_tag_of_each_system_is_built_as_its_own_config_says(arch, options, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "CHECKOUT", tmp_path)
    with pytest.raises(RuntimeError, match=f"No pretrained weights exist for {arch}"):
        timm.create_model(arch, pretrained=True)
    cfg = dataclasses.replace(timm.models.get_pretrained_cfg(arch), hf_hub_id=f"someone/{arch}.ours", tag="ours")
    monkeypatch.setitem(_registry._model_pretrained_cfgs, f"{arch}.ours", cfg)
    model = timm.create_model(arch, num_classes=3, **options).eval()
    hub.save_model(model, tmp_path / f"{arch}.ours", CLASSES, 32, 1.0)
    for load in (hub.load_model, lambda name: timm.create_model(name, pretrained=True)):
        loaded = load(f"{arch}.ours").eval()
        assert torch.equal(loaded(FACES[..., :32, :32]), model(FACES[..., :32, :32]))
        assert hub.class_names(loaded) == CLASSES


def test_a_tag_out_of_reach_is_one_error_with_both_mends(server, declared, monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "CHECKOUT", tmp_path / "hub")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in (declared, "fmpn_resnet18_small"):
        with pytest.raises(InputError, match=f"{name}.*Go online once.*hub/{declared} of a checkout"):
            hub.load_model(name)
        with pytest.raises(RuntimeError, match=f"{name}.*go online once.*hub/{declared} of a checkout"):
            timm.create_model(name, pretrained=True)


def test_a_name_without_weights_says_what_there_is():
    with pytest.raises(RuntimeError, match="weights exist for fmpn_resnet18.*hf-hub.*pretrained_backbone"):
        timm.create_model("fmpn_resnet18", pretrained=True)
    with pytest.raises(InputError, match="nonsense.*fmpn_resnet18.*local-dir"):
        hub.load_model("fmpn_resnet18.nonsense")


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        ("hf-hub:someone/nothing", WRITER, "no such repository.*private"),
        ("hf-hub:someone/nothing", None, "no such repository.*private"),
        (f"{NAME}@no-such-branch", WRITER, "no such revision"),
        ("hf-hub:someone/gated", READER, "gated.*Ask for access.*log in"),
        ("hf-hub:someone/gated", None, "gated.*Ask for access.*log in"),
        ("hf-hub:someone/a/b", WRITER, "names no repository"),
        ("hf-hub:someone/a@b@c", WRITER, "someone/a@b@c"),
        ("someone/a-model", WRITER, "hf-hub:someone/a-model"),
    ],
)
def test_what_the_hub_does_not_give_out(server, folder, tmp_path, monkeypatch, name, token, message):
    server.add(REPO, folder)
    server.add("someone/gated", folder, gated=True)
    server.connect(monkeypatch, tmp_path / "cache", token)
    for load in (hub.load_model, hub.recipe_of):
        with pytest.raises(InputError, match=message) as failed:
            load(name)
        assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("HEAD .*", status=429), "out of reach.*429, too many requests"),
        (Fault("HEAD .*", status=500), "out of reach.*500"),
        (Fault("GET .*safetensors", status=429), "429"),
        (Fault("GET .*safetensors", cut=1000), "out of reach"),
        (Fault("GET .*safetensors", cut=0), "out of reach"),
    ],
)
def test_a_busy_hub_and_a_cut_line(server, folder, model, tmp_path, monkeypatch, fault, message):
    server.add(REPO, folder)
    fault.times = 2  # is tried again by itself
    server.faults = [fault]
    assert torch.equal(logits(hub.load_model(NAME)), logits(model)) and fault.times == 0
    server.connect(monkeypatch, tmp_path / "another cache")
    fault.times = 10_000
    with pytest.raises(InputError, match=message):
        hub.load_model(NAME)
    fault.times = 0
    assert torch.equal(logits(hub.load_model(NAME)), logits(model))


def test_weights_spoilt_on_the_way_are_noticed_and_fetched_again(server, folder, model):
    server.add(REPO, folder)
    server.faults = [Fault("GET .*safetensors", spoil=True)]
    with pytest.raises(InputError, match="model.safetensors is damaged.*another hash.*try again"):
        hub.load_model(NAME)
    assert torch.equal(logits(hub.load_model(NAME)), logits(model))


def test_weights_in_the_store_that_repositories_share(server, folder, model):
    """What comes over Xet lies there under a hash of another kind, behind one more link."""
    server.add(REPO, folder)
    hub.load_model(NAME)
    blob, = (p for p in Path(constants.HF_HUB_CACHE).glob("models--*/blobs/*") if len(p.name) == 64)
    store = Path(constants.HF_HUB_CACHE) / "blobs" / "ab" / f"ab{'0' * 62}"
    store.parent.mkdir(parents=True)
    blob.rename(store)
    blob.symlink_to(store)
    assert torch.equal(logits(hub.load_model(NAME)), logits(model))
    content = bytearray(store.read_bytes())
    content[-1] ^= 1
    store.write_bytes(content)
    with pytest.raises(InputError, match="another hash.*try again"):
        hub.load_model(NAME)
    assert not store.exists() and not blob.is_symlink()  # else the spoilt one would be linked again
    assert torch.equal(logits(hub.load_model(NAME)), logits(model))


def test_what_was_fetched_has_its_terms_offline(server, folder, monkeypatch, capsys):
    (folder / "results.json").write_text('{"data": {"dataset": "ferplus"}}')
    server.add(REPO, folder)
    monkeypatch.setitem(DETECTORS, "yunet", lambda: None)
    cli.main(["fetch", NAME])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.results_of(NAME) == {"data": {"dataset": "ferplus"}}


def test_names_are_those_of_the_logits(folder):
    with pytest.raises(InputError, match="names 3 classes for 2 logits"):
        hub.class_names(hub.load_model(f"local-dir:{folder}", num_classes=2))


def test_weights_truncated_on_the_hub(server, folder, model):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    server.add(REPO, folder)
    for _ in range(2):
        with pytest.raises(InputError, match="damaged.*damaged on the Hub too"):
            hub.load_model(NAME)
    (folder / "model.safetensors").write_bytes(whole)
    server.add(REPO, folder)
    assert torch.equal(logits(hub.load_model(NAME)), logits(model))


def test_weights_damaged_in_a_folder(folder, monkeypatch):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(InputError, match=f"{folder}/model.safetensors is damaged"):
        hub.load_model(f"local-dir:{folder}")
    assert (folder / "model.safetensors").exists()  # a user's file is not ours to remove


def test_pickles_are_not_opened(server, folder, monkeypatch):
    def load(*args, **kwargs):
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(torch, "load", load)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    server.add(REPO, folder)
    for name in (NAME, f"local-dir:{folder}"):
        with pytest.raises(InputError, match="holds no model.safetensors: weights as pickles are not opened"):
            hub.load_model(name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architecture": "fmpn_of_tomorrow"}, "'fmpn_of_tomorrow', which neither timm"),
        ({"pretrained_cfg": {"hf_hub_filename": "../../secret.bin"}}, "outside its own folder.*hf_hub_filename"),
        ({"pretrained_cfg": {"file": "/etc/passwd", "custom_load": "hf"}}, "outside its own folder.*file: /etc/passwd"),
        ({"model_args": {"backbone_kwargs": {"checkpoint_path": "/etc/x"}}}, "outside.*checkpoint_path: /etc/x"),
        ({"model_args": {"backbone": "local-dir:/etc"}}, "Unknown backbone 'local-dir:/etc'"),
        ({"model_args": {"backbone": "test_vit"}}, "do not make a model.*state_dict"),
        ({"pretrained_cfg": "test"}, "its pretrained_cfg is no JSON object"),
        ({"recipe": "yunet"}, "its recipe is no JSON object"),
        ({"model_args": {"option_of_tomorrow": 1}}, "do not make a model.*option_of_tomorrow"),
    ],
)
def test_configs_that_are_not_followed(server, folder, values, message):
    changed(folder, **values)
    server.add(REPO, folder)
    for name in (NAME, f"local-dir:{folder}"):
        with pytest.raises(InputError, match=message) as failed:
            hub.load_model(name)
        assert "\n" not in str(failed.value)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_config(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=f"{folder}/config.json"):
        hub.load_model(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "disk of .* is full: make room.*HF_HOME"), (errno.EROFS, "cannot be written.*HF_HOME"),
     (errno.EACCES, "cannot be written.*HF_HOME")],
)
def test_a_cache_that_takes_nothing(server, folder, model, monkeypatch, code, message):
    server.add(REPO, folder)

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as context:
        context.setattr(file_download, "http_get", fail)
        with pytest.raises(InputError, match=message):
            hub.load_model(NAME)
    cache = Path(constants.HF_HUB_CACHE)
    assert not list(cache.rglob("*.incomplete"))
    assert torch.equal(logits(hub.load_model(NAME)), logits(model))
    with monkeypatch.context() as context:  # and what is in the cache already needs no writing
        context.setattr(file_download, "http_get", fail)
        context.setattr(os, "makedirs", fail)
        assert torch.equal(logits(hub.load_model(NAME)), logits(model))


def test_a_cache_that_cannot_be_made(server, folder, monkeypatch, tmp_path):
    server.add(REPO, folder)
    (tmp_path / "a file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "a file" / "cache"))
    with pytest.raises(InputError, match=f"{NAME}: .*a file"):
        hub.load_model(NAME)


SCENARIO = """
import sys, torch, timm, fmpn_timm
from fmpn_timm import cli, hub
folder, repo = sys.argv[1:]
cli.main(["publish", folder, "--repo-id", repo])
cli.main(["publish", folder, "--repo-id", repo])
x = torch.rand(1, 3, 48, 48)
models = [hub.load_model(f"local-dir:{folder}"), hub.load_model(f"hf-hub:{repo}"),
          timm.create_model(f"hf-hub:{repo}", pretrained=True)]
outputs = [model.eval()(x) for model in models]
assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
cli.main(["publish", folder, "--repo-id", "nobody/" + "x" * 200])
"""


def test_a_process_of_its_own_with_its_own_endpoint(folder, tmp_path):
    with LocalHub() as server:
        env = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": WRITER,
               "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
               "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", SCENARIO, str(folder), REPO]
        result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert "\nerror: --repo-id nobody/xxx" in f"\n{result.stderr}" and result.returncode == 1, result.stderr
    assert len(server.repos[REPO].commits) == 2  # made, and one publication


def test_transformers_wrapper(folder, model):
    transformers = pytest.importorskip("transformers")
    wrapped = transformers.TimmWrapperForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.equal(wrapped(FACES).logits, logits(model))
    assert list(wrapped.config.id2label.values()) == list(CLASSES)
