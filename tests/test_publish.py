"""Tests of publishing, against a Hub on this machine."""

import hashlib
import json
import tempfile
from pathlib import Path

import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.torch import load_file
from timm.models import PretrainedCfg, _registry

from fmpn_timm import cli, hub, publish, zoo
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.priors import MaskSet
from tests.hub_server import READER, WRITER, Fault, LocalHub, Repo
from tests.test_card import CLASSES, summary_of

REPO = "someone/fmpn_test.drawn"
ALL = {"README.md", "config.json", "model.safetensors", "results.json", "priors.safetensors", "confusion.png",
       "mean_masks.png", "priors.png"}


@pytest.fixture
def server(monkeypatch, tmp_path):
    with LocalHub() as server:
        server.connect(monkeypatch, tmp_path / "cache")
        yield server


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A finished run, as training leaves it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    folder = tmp_path / "runs" / "drawn"
    torch.manual_seed(0)
    model = timm.create_model("fmpn", backbone="test_resnet", num_classes=3, generator_width=4)
    results = {k: v for k, v in summary_of(folder).items() if k != "config"}
    hub.save_model(model, folder / "model", CLASSES, 32, 0.9, {"results.json": results}, Recipe(size=32))
    MaskSet(torch.rand(3, 8, 8), CLASSES, data="drawn train").save(folder / "model" / "priors.safetensors")
    (folder / "checkpoints").mkdir()
    for name in ("confusion.png", "mean_masks.png", "priors.png", "masks.png", "checkpoints/x.pth", "model/old.bin"):
        (folder / name).write_bytes(f"the picture {name}".encode())
    (folder / "summary.json").write_text(json.dumps(summary_of(folder)))
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_dry_run_writes_all_that_would_go_and_sends_nothing(server, run, tmp_path, capsys):
    results = json.loads((run / "model" / "results.json").read_text())
    origin = {"init": f"local-dir:{run / 'model'}"}
    (run / "model" / "results.json").write_text(json.dumps({**results, "origin": origin}))
    before = hashes(run)
    out = tmp_path / "out"
    cli.main(["publish", str(run), "--repo-id", REPO, "--dry-run", "--out", str(out)])
    assert not server.seen and hashes(run) == before
    assert {path.name for path in out.iterdir()} == ALL
    printed = capsys.readouterr().out
    assert all(name in printed for name in ALL) and "left out: masks.png, old.bin, summary.json" in printed

    config = json.loads((out / "config.json").read_text())
    assert config["label_names"] == list(CLASSES) and config["recipe"]["hash"] == Recipe(size=32).hash
    assert config["model_args"]["generator_blocks"] == 4 and config["model_args"]["backbone"] == "test_resnet"
    assert config["priors"]["data"] == "drawn train" and config["priors"]["name"] == "build"
    assert MaskSet.load(out / "priors.safetensors").classes == CLASSES
    for name in ("README.md", "config.json", "results.json"):
        assert str(tmp_path) not in (out / name).read_text()
    models = [hub.load_model(f"local-dir:{folder}").eval() for folder in (out, run / "model")]
    assert torch.equal(*(model(torch.ones(1, 3, 32, 32)) for model in models))


@torch.no_grad()
def test_half_precision_halves_the_file_and_keeps_the_answers(server, run, tmp_path):
    out = tmp_path / "out"
    cli.main(["publish", str(run), "--repo-id", REPO, "--dry-run", "--float16", "--out", str(out)])
    whole, half = run / "model", out
    assert (half / "model.safetensors").stat().st_size < 0.6 * (whole / "model.safetensors").stat().st_size
    kinds = {(v.ndim > 1, v.dtype) for v in load_file(half / "model.safetensors").values() if v.is_floating_point()}
    assert kinds == {(True, torch.float16), (False, torch.float32)}  # biases and norms stay as they are
    faces = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = [timm.create_model(f"local-dir:{f}", pretrained=True).eval()(faces) for f in (whole, half)]
    assert logits[1].dtype == torch.float32
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=5e-3)


def test_nothing_but_a_model_is_replaced(run, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").write_text("mine")
    for out in (tmp_path / "notes", run):
        with pytest.raises(InputError, match="is there already and is no model folder: give another name"):
            publish.publish(run, REPO, dry_run=True, out=out)
    assert (tmp_path / "notes" / "README.md").read_text() == "mine"


def test_a_folder_written_again_keeps_nothing_of_ours_that_is_old(run, tmp_path):
    publish.publish(run, REPO, dry_run=True, out=tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (run / "confusion.png").unlink()
    publish.publish(run, REPO, dry_run=True, out=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == ALL - {"confusion.png"} | {"notes.txt"}


def test_a_folder_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file.* cannot be read or written .*is as it was"):
        publish.publish(run, REPO, dry_run=True, out=tmp_path / "file" / "out")


def test_dry_run_names_its_temporary_folder(run, tmp_path, capsys):
    cli.main(["publish", str(run), "--repo-id", REPO, "--dry-run"])
    folder = Path(capsys.readouterr().out.splitlines()[0].rpartition("from ")[2])
    assert {path.name for path in folder.iterdir()} == ALL and folder.is_relative_to(tmp_path / "temporary")


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_push_and_pull_is_exact_and_one_commit(server, run, tmp_path, memory_format):
    model = hub.load_model(f"local-dir:{run / 'model'}").to(memory_format=memory_format).eval()
    hub.save_model(model, run / "model", CLASSES, 32, 0.9)
    published = publish.publish(run, REPO)
    commits = list(server.repos[REPO].commits)
    assert len(commits) == 2 and published.url.endswith(commits[-1]) and published.folder is None
    assert not list((tmp_path / "temporary").iterdir())
    assert set(server.files(REPO)) == {*ALL - {"results.json", "priors.safetensors"}, ".gitattributes"}
    pulled, x = hub.load_model(f"hf-hub:{REPO}").eval(), torch.rand(2, 3, 32, 32)
    assert torch.equal(pulled(x), model.to(memory_format=torch.contiguous_format)(x))
    assert ModelCard(server.files(REPO)["README.md"].decode()).data.library_name == "timm"


def test_publishing_again_replaces_ours_and_keeps_theirs(server, run):
    publish.publish(run, REPO)
    publish.publish(run, REPO)
    repo = server.repos[REPO]
    assert len(repo.commits) == 2  # nothing had changed
    repo.commit({**server.files(REPO), "notes.txt": b"theirs", "masks/my.png": b"theirs"})
    (run / "confusion.png").write_bytes(b"a new picture")
    (run / "priors.png").unlink()
    publish.publish(run, REPO)
    files = server.files(REPO)
    assert len(repo.commits) == 4 and files["confusion.png"] == b"a new picture" and "priors.png" not in files
    assert files["notes.txt"] == files["masks/my.png"] == b"theirs" and ".gitattributes" in files
    assert b"priors.png" not in files["README.md"]


def test_a_folder_that_was_published_goes_as_it_is(server, run, tmp_path):
    out = tmp_path / "hub" / "a.tag"
    publish.publish(run, REPO, dry_run=True, out=out)
    (out / "README.md").write_text((out / "README.md").read_text() + "\nA line of our own.\n")
    (out / "notes.txt").write_text("not ours")
    before = hashes(out)
    publish.publish(out, REPO, out=out)
    assert hashes(out) == before
    there = server.files(REPO)
    assert set(there) == {*ALL, ".gitattributes"} and b"A line of our own." in there["README.md"]
    publish.publish(run, REPO, dry_run=True, out=out)
    assert (out / "notes.txt").exists() and "A line of our own." not in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("token", "fault", "message"),
    [
        (None, None, "log in with a token that may write"),
        (READER, None, "you may not write to someone .403.*--repo-id"),
        (WRITER, Fault("repos/create", status=500), "the Hub answers 500: wait"),
        (WRITER, Fault("commit", status=503), "the Hub answers 503: wait"),
        (WRITER, Fault("PUT", status=500, times=99), "the Hub answers 500: wait"),
        (WRITER, Fault("validate-yaml", status=400), "the Hub refused it"),
        (WRITER, Fault("commit", cut=0), "out of reach"),
    ],
)
def test_a_failed_upload_says_what_to_do_and_loses_nothing(server, run, tmp_path, monkeypatch, token, fault, message):
    server.connect(monkeypatch, tmp_path / "cache", token)
    server.faults = [fault] if fault else []
    before = hashes(run)
    with pytest.raises(InputError, match=f"{REPO} was not published: .*{message}.* is as it was") as failed:
        publish.publish(run, REPO, out=tmp_path / "out")
    assert "\n" not in str(failed.value)
    assert hashes(run) == before and {path.name for path in (tmp_path / "out").iterdir()} == ALL
    server.connect(monkeypatch, tmp_path / "cache")
    server.faults = []
    publish.publish(run, REPO)
    assert set(server.files(REPO)) >= ALL


def test_no_network(run, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match="out of reach.*network"):
        publish.publish(run, REPO)


def test_private(server, run):
    publish.publish(run, REPO, private=True)
    assert server.repos[REPO].private
    server.repos["someone/public"] = Repo()
    server.repos["someone/public"].commit({})
    with pytest.raises(InputError, match="someone/public is there and is public"):
        publish.publish(run, "someone/public", private=True)
    assert not server.files("someone/public")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "model" / "config.json").unlink(), "neither a finished run"),
        (lambda run: (run / "model" / "model.safetensors").rename(run / "model" / "pytorch_model.bin"), "pickled"),
        (lambda run: (run / "model" / "model.safetensors").write_bytes(b"x"), "model/model.safetensors is damaged"),
        (lambda run: (run / "model" / "priors.safetensors").write_bytes(b"x"), "priors.safetensors is no mask set"),
        (lambda run: rename_classes(run, ["one"]), "names 1 classes for 3 logits"),
        (lambda run: rename_classes(run, None), "no label_names"),
    ],
)
def test_what_is_not_fit_to_be_published(server, run, tmp_path, spoil, message):
    spoil(run)
    with pytest.raises(InputError, match=message):
        publish.publish(run, REPO, out=tmp_path / "out")
    assert not server.seen and not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".*"))


def rename_classes(run: Path, names: list[str] | None) -> None:
    path = run / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "label_names": names}))


@pytest.mark.parametrize("name", ["only-a-name", "a/b/c", "-/x", "a/b c"])
def test_names_that_are_none(run, name):
    with pytest.raises(InputError, match="--repo-id"):
        publish.publish(run, name)


def test_a_model_without_results(server, run, tmp_path):
    model = (run / "model").rename(tmp_path / "alone")
    for name in ("results.json", "priors.safetensors"):
        (model / name).unlink()
    publish.publish(model, REPO)
    assert set(server.files(REPO)) == {"README.md", "config.json", "model.safetensors", ".gitattributes"}
    with pytest.raises(InputError, match="no results"):
        publish.publish(model, REPO, benchmark="a/b")


def test_the_model_of_a_run_is_published_as_the_run(run, tmp_path):
    """With all that is known of it, such as what its weights descend from."""
    for source, out in ((run, "run"), (run / "model", "model")):
        publish.publish(source, REPO, dry_run=True, out=tmp_path / out)
    assert (tmp_path / "model/README.md").read_text() == (tmp_path / "run/README.md").read_text()


def test_results_for_a_benchmark_of_the_hub(server, run):
    publish.publish(run, REPO, benchmark="owner/faces:seven")
    read = pytest.importorskip("huggingface_hub._eval_results").parse_eval_result_entries
    (entry,) = read(yaml.safe_load(server.files(REPO)[".eval_results/fmpn-timm.yaml"]))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("owner/faces", "seven", 62.5)
    assert entry.notes == "accuracy in %, faces drawn by fmpn-timm, test, seed 3"


def test_all_folders_of_the_checkout(server, run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "CHECKOUT", tmp_path / "hub")
    cli.main(["publish", "--all"])
    assert "nothing to publish" in capsys.readouterr().out
    folder = tmp_path / "hub" / "fmpn_resnet18.ours"
    publish.publish(run, REPO, dry_run=True, out=folder)
    with pytest.raises(SystemExit, match='not declared: add the line "fmpn_resnet18.ours".*fmpn_timm/models'):
        cli.main(["publish", "--all"])
    cfg = PretrainedCfg(hf_hub_id=REPO, architecture="fmpn_resnet18", tag="ours")
    monkeypatch.setitem(_registry._model_pretrained_cfgs, "fmpn_resnet18.ours", cfg)
    with pytest.raises(SystemExit, match="of another architecture"):
        cli.main(["publish", "--all"])
    monkeypatch.setitem(_registry._model_pretrained_cfgs, "fmpn.ours", cfg)
    folder.rename(tmp_path / "hub" / "fmpn.ours")
    cli.main(["publish", "--all"])
    assert set(server.files(REPO)) == {*ALL, ".gitattributes"}


@pytest.mark.parametrize("args", [["publish"], ["publish", "runs/x"], ["publish", "--all", "--repo-id", "a/b"]])
def test_the_command_asks_for_what_it_needs(args):
    with pytest.raises(SystemExit, match="error: "):
        cli.main(args)


def test_only_safetensors_are_weights(run, tmp_path):
    publish.publish(run, REPO, dry_run=True, out=tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert path.suffix in (".md", ".json", ".png", ".safetensors")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert len(file.keys()) > 10
