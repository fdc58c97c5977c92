"""Tests of the command line: what it prints, where, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

import fmpn_timm
from fmpn_timm import cli, hub
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.faces import DETECTORS, Recipe
from fmpn_timm.priors import MaskSet
from tests.data.readers.base import write_picture
from tests.faces.marked import Marked, marked

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
TINY = [
    "--data_options", '{"subjects": 8, "takes": 1, "size": 36}', "--backbone", "test_resnet", "--generator_width", "4",
    "--generator_blocks", "1", "--size", "32", "--load_size", "36", "--mask_epochs", "1", "--epochs", "2",
    "--precision", "no", "--mask_batch_size", "8", "--batch_size", "8",
]


@pytest.fixture
def model_folder(tmp_path) -> Path:
    return _model(tmp_path)


def _model(tmp_path: Path, recipe: Recipe | None = None) -> Path:
    torch.manual_seed(0)
    model = timm.create_model("fmpn", backbone="test_resnet", generator_width=4, generator_blocks=1, num_classes=8)
    hub.save_model(model, tmp_path / "model", EXPRESSIONS, size=32, crop_pct=0.9, recipe=recipe)
    return tmp_path / "model"


def test_evaluate_prints_one_json_object_on_stdout(model_folder, capsys):
    cli.main(["evaluate", f"local-dir:{model_folder}", "--dataset", "drawn", "--split", "test", "--json",
              "--option", "subjects=5", "--option", "takes=1"])
    result = json.loads(capsys.readouterr().out)
    assert {"accuracy", "macro_f1", "n", "per_class", "confusion", "rule", "split"} <= set(result)
    assert result["n"] == 8 and result["split"] == "test" and result["options"]["subjects"] == 5
    assert result["flip"] is True  # as fmpn predict does


def test_evaluate_without_what_was_learnt_from(model_folder, capsys):
    few = ["--option", "subjects=5", "--option", "takes=1"]
    command = ["evaluate", str(model_folder), "--dataset", "drawn", "--split", "test", *few]
    cli.main([*command, "--without", "train"])
    assert "without 0 copies of pictures of train" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="Every picture of drawn test is in test too"):
        cli.main([*command, "--without", "test"])
    with pytest.raises(SystemExit, match="rule"):
        cli.main([*command, "--without", "train:argmax"])


def test_evaluate_takes_a_folder_by_its_path_and_can_leave_mirror_images_out(model_folder, capsys):
    cli.main(["evaluate", str(model_folder), "--dataset", "drawn", "--split", "test", "--json", "--no-flip",
              "--option", "subjects=5", "--option", "takes=1"])
    assert json.loads(capsys.readouterr().out)["flip"] is False


def test_evaluate_refuses_faces_of_another_recipe(model_folder, capsys):
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps({**config, "recipe": Recipe(size=64).as_dict()}))
    command = ["evaluate", f"local-dir:{model_folder}", "--dataset", "drawn", "--split", "test", "--json",
               "--option", "subjects=5", "--option", "takes=1"]
    with pytest.raises(SystemExit, match="detector dataset instead of yunet.*--any-recipe"):
        cli.main(command)
    cli.main([*command, "--any-recipe"])
    assert json.loads(capsys.readouterr().out)["n"] == 8


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["evaluate", "local-dir:/nowhere", "--dataset", "drawn"], "/nowhere holds no config.json"),
        (["evaluate", "runs/nowhere/model", "--dataset", "drawn"], "give a run's model/ folder"),
        (["evaluate", "fmpn_resnet18", "--dataset", "nonsense"], "Unknown data set 'nonsense'"),
        (["evaluate", "fmpn_resnet18", "--dataset", "drawn", "--rule", "majority"], "rule"),
        (["evaluate", "fmpn_resnet18", "--dataset", "ferplus", "--root", "/nowhere"], "/nowhere is not a folder"),
        (["priors", "show", "nowhere"], "No mask set 'nowhere'"),
        (["priors", "build", "--dataset", "folder", "--out", "m"], "Where is folder?"),
        (["priors", "build", "--out", "/dev/null/m.safetensors", "--option", "subjects=5"], "/dev/null"),
        (["data", "prepare", "tfd", "/nowhere", "/nowhere/out", "--protocol", "official"], "cannot hold them"),
        (["crossval", "--config", "ferplus_inception", "--arms", "cnn", "--epochs", "3"], "own --epochs (13)"),
        (["priors", "import", "/nowhere", "--layout", "mmi", "--out", "x.safetensors"], "0.png"),
    ],
)
def test_bad_input_is_one_line_and_no_traceback(args, message, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(args)
    text = str(exit.value.code)
    assert text.startswith("error: ") and message in text and "\n" not in text


def test_priors_build_and_show(tmp_path, capsys):
    out = tmp_path / "masks.safetensors"
    cli.main(["priors", "build", "--option", "subjects=5", "--option", "takes=1", "--size", "24", "--out", str(out)])
    assert MaskSet.load(out).masks.shape == (7, 24, 24)
    cli.main(["priors", "show", str(out), "--out", str(tmp_path / "sheet.png")])
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    assert "happiness (3 pairs)" in capsys.readouterr().out
    assert (tmp_path / "masks.png").stat().st_size > 10_000


def test_priors_of_a_fold_are_made_of_its_training_subjects(tmp_path, capsys):
    out = tmp_path / "masks.safetensors"
    few = ["--option", "subjects=10", "--option", "takes=1"]
    cli.main(["priors", "build", *few, "--protocol", "ten-folds", "--fold", "3", "--size", "24", "--out", str(out),
              "--keep-all"])
    masks = MaskSet.load(out)
    assert masks.pairs["fear"] == 9 and "fold 3 train" in masks.data
    with pytest.raises(SystemExit, match="--fold 12: protocol ten-folds of drawn has folds 0 to 9, or all"):
        cli.main(["priors", "build", *few, "--protocol", "ten-folds", "--fold", "12", "--out", str(out)])


def test_faces_are_cut_as_a_model_expects_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(DETECTORS, "yunet", Marked)
    for number in range(3):
        path = tmp_path / "photos" / "train" / "happy" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(marked((5 + number, 5, 30))).save(path)
    model = f"local-dir:{_model(tmp_path, Recipe('yunet', 40, 0.1, color='grey'))}"
    prepare = ["data", "prepare", "folder", str(tmp_path / "photos"), str(tmp_path / "out"), "--recipe"]
    cli.main([*prepare, model])
    capsys.readouterr()
    cli.main(["evaluate", model, "--dataset", "prepared", "--root", prepare[4], "--split", "train", "--json"])
    assert json.loads(capsys.readouterr().out)["n"] == 3
    with pytest.raises(SystemExit, match="says how faces are cut: leave out --size, --margin"):
        cli.main([*prepare, model, "--size", "40", "--margin", "0"])
    with pytest.raises(SystemExit, match="does not say how its faces were cut: give --size"):
        cli.main([*prepare, f"local-dir:{_model(tmp_path / 'silent')}"])
    of_landmarks = f"local-dir:{_model(tmp_path / 'given', Recipe('dataset', 40))}"  # which photos do not have
    other = [*prepare[:4], str(tmp_path / "other"), "--recipe", of_landmarks]
    with pytest.raises(SystemExit, match="Name a detector, such as yunet"):
        cli.main(other)
    cli.main([*other, "--detector", "yunet"])
    capsys.readouterr()
    cli.main(["evaluate", of_landmarks, "--dataset", "prepared", "--root", other[4], "--split", "train", "--json"])
    assert json.loads(capsys.readouterr().out)["n"] == 3


def test_data_prepare_and_folds(tmp_path, capsys):
    few = ["--option", "subjects=10", "--option", "takes=1", "--option", "size=24"]
    cli.main(["data", "prepare", "drawn", str(tmp_path / "out"), *few, "--protocol", "ten-folds", "--as-is"])
    assert "80 faces in 1 shard(s), 0 skipped" in capsys.readouterr().out
    cli.main(["data", "folds", "drawn", *few, "--json"])
    folds = json.loads(capsys.readouterr().out)["folds"]
    assert len(folds) == 10 and len(folds["3"]["samples"]) == 8 and folds["3"]["subjects"] == ["0003"]
    cli.main(["data", "folds", "prepared", str(tmp_path / "out"), "--json"])
    assert json.loads(capsys.readouterr().out)["folds"] == folds
    cli.main(["data", "folds", "prepared", str(tmp_path / "out")])
    assert "protocol ten-folds of drawn: 80 samples of 10 subjects in 10 folds" in capsys.readouterr().out
    build = ["priors", "build", "--dataset", "prepared", "--root", str(tmp_path / "out"), "--keep-all", "--size", "24"]
    cli.main([*build, "--fold", "all", "--out", str(tmp_path / "masks.safetensors")])
    masks = [MaskSet.load(tmp_path / f"masks-{n}.safetensors") for n in range(10)]
    assert all(m.pairs["fear"] == 9 for m in masks) and not masks[0].masks.equal(masks[1].masks)
    cli.main([*build, "--fold", "all", "--out", str(tmp_path / "masks-v1.2")])
    assert len(list(tmp_path.glob("masks-v1.2-?.safetensors"))) == 10
    for options, message in ((["--fold", "12", "--out", "m.safetensors"], "has folds 0 to 9, or all"),
                             (["--fold", "1", "--protocol", "ten-folds", "--out", "m"], "leave the option out"),
                             (["--out", "m.png"], "masks are no picture"),
                             (["--neutral", "a", "--ict", "b", "--out", "m", "--smooth", "0"],
                              "leave out --dataset, --root, --smooth, --keep-all")):
        with pytest.raises(SystemExit, match=message):
            cli.main([*build, *options])
    capsys.readouterr()
    cli.main(["evaluate", f"local-dir:{_model(tmp_path)}", "--dataset", "prepared", "--root", str(tmp_path / "out"),
              "--split", "test", "--option", "fold=3", "--json"])
    assert json.loads(capsys.readouterr().out)["n"] == 8


def test_what_is_fetched_is_the_model_and_its_detector(model_folder, monkeypatch, capsys):
    monkeypatch.setitem(DETECTORS, "yunet", Marked)
    cli.main(["fetch", f"local-dir:{model_folder}"])
    assert f"{model_folder} and the detector yunet are on this machine" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="error: .*no config.json"):
        cli.main(["fetch", "local-dir:/nowhere"])


def test_options_may_stand_between_names_and_folders(tmp_path, capsys):
    for i in range(3):
        write_picture(tmp_path / "faces" / "fear" / f"{i}.png")
    faces, out = str(tmp_path / "faces"), str(tmp_path / "out")
    cli.main(["data", "prepare", "folder", "--as-is", faces, "--shard-size", "2", out])
    assert f"{out}, train: 3 faces in 2 shard(s)" in capsys.readouterr().out
    cli.main(["data", "doctor", "folder", "--json", faces])
    assert json.loads(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        cli.main(["data", "doctor", "folder", faces, "--json", "another"])
    assert "unrecognized arguments: another" in capsys.readouterr().err


def test_all_of_a_set_without_splits_is_prepared(tmp_path, capsys):
    """The command of the README, without options, whatever splits there are."""
    for name in ("KA.HA1.29.png", "KA.NE1.26.png", "KL.HA1.158.png"):
        write_picture(tmp_path / "jaffe" / name)
    cli.main(["data", "prepare", "jaffe", str(tmp_path / "jaffe"), str(tmp_path / "out"), "--as-is"])
    out = capsys.readouterr().out
    assert "3 faces in 1 shard(s)" in out and "left out" not in out


def test_splits_that_were_not_asked_for_are_named(tmp_path, capsys):
    for split in ("train", "valid", "test"):
        write_picture(tmp_path / "own" / split / "fear" / "1.png")
    prepare = ["data", "prepare", "folder", str(tmp_path / "own"), str(tmp_path / "out"), "--as-is"]
    cli.main(prepare)
    assert "(--split test --split valid)" in capsys.readouterr().out
    cli.main([*prepare, "--split", "valid", "--split", "test"])
    assert "left out" not in capsys.readouterr().out


def test_priors_show_lists_the_sets_of_the_package(capsys):
    cli.main(["priors", "show"])
    assert capsys.readouterr().out.split() == ["ckplus", "drawn", "ict", "london_happiness"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_a_full_disk_behind_stdout_is_one_line(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit, match="^error: no space left on device. Make room, then run it again.$"):
            cli.main(["priors", "show"])


def test_a_closed_stdout_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    cli.main(["evaluate", str(_model(tmp_path)), "--dataset", "drawn", "--option", "subjects=5", "--split", "valid"])


def test_the_package_is_the_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    version = capsys.readouterr().out
    ran = subprocess.run([sys.executable, "-m", "fmpn_timm", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout == version == f"fmpn-timm {fmpn_timm.__version__}\n"


def test_ctrl_c_keeps_finished_epochs_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), *TINY, "--epochs", "500", "--output", str(tmp_path / "runs")]
    pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(command, cwd=ROOT, env=ONE_THREAD, **pipes)
    checkpoints = tmp_path / "runs" / "drawn" / "checkpoints"
    try:
        while not list(checkpoints.glob("epoch-*/state.json")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode not in (0, None)
    assert "--resume auto" in err and "Traceback" not in err
    assert not list(checkpoints.glob(".*")) and list(checkpoints.glob("epoch-*/state.json"))


def test_two_processes_write_one_run_and_count_every_sample_once(tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu"]
    command = [*launch, str(ROOT / "train.py"), *TINY, "--output", str(tmp_path / "runs")]
    result = subprocess.run(command, cwd=ROOT, env=ONE_THREAD, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("fmpn: accuracy") == 1
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["drawn"]
    summary = json.loads((tmp_path / "runs" / "drawn" / "summary.json").read_text())
    assert summary["metrics"]["n"] == 16 == sum(row["n"] for row in summary["metrics"]["per_class"].values())
