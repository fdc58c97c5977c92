"""Tests of cross-validation; most of them with runs that guess in place of runs that train."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys

import pytest
import torch

pytest.importorskip("scipy")

from fmpn_timm import cli
from fmpn_timm.errors import InputError
from fmpn_timm.training import TrainConfig, crossval
from fmpn_timm.training.claims import claim_path, started
from fmpn_timm.training.crossval import cross_validate, report
from fmpn_timm.training.predictions import Predictions
from fmpn_timm.training.statistics import corrected_t_test, mean_interval
from tests.data.readers.base import write_picture
from tests.training.runs import guess

SKILL = {"cnn": 0.5, "no_prior": 0.6, "fmpn": 0.9}


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    return TrainConfig(name="cv", output=str(tmp_path / "runs"), data_options={"subjects": 20, "takes": 2, "size": 36},
                       backbone="test_resnet", progress=False)


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """Names of the runs that were trained, by a training that guesses with the skill of the arm."""
    names = []

    def train(config: TrainConfig) -> None:
        names.append(config.name)
        assert config.resume == "auto" and claim_path(config.folder).is_file()
        guess(config, SKILL[config.arm])

    monkeypatch.setattr(crossval, "train", train)
    return names


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_all_of_it(config, trained):
    found = cross_validate(config, ["fmpn", "cnn"], seeds=[0, 1])
    assert len(trained) == 40 and trained[:3] == ["cv/cnn/seed0-fold0", "cv/fmpn/seed0-fold0", "cv/cnn/seed0-fold1"]
    assert not found["missing"] and not list(config.folder.glob("*/*.claim"))
    for arm in ("cnn", "fmpn"):
        measured = found["arms"][arm]
        runs = [run["accuracy"] for run in found["runs"] if run["arm"] == arm]
        assert measured["runs"] == len(runs) == 20 and measured["n"] == 2 * 320
        assert measured["fold_mean"] == pytest.approx(sum(runs) / 20, abs=1e-5)  # folds of one size: pooled is the mean
        assert measured["pooled"] == pytest.approx(measured["fold_mean"], abs=1e-5)
        assert sum(map(sum, measured["confusion"])) == 640
        low, high = measured["fold_interval"]
        assert low < measured["fold_mean"] < high and abs(measured["fold_mean"] - SKILL[arm]) < 0.1
    (pair,) = found["comparisons"]
    assert pair["arms"] == ["cnn", "fmpn"] and pair["shared_runs"] == 20
    difference = found["arms"]["fmpn"]["fold_mean"] - found["arms"]["cnn"]["fold_mean"]
    assert pair["fold_mean"] == pytest.approx(difference, abs=1e-5) and pair["folds"]["p"] < 0.001
    assert [test["seed"] for test in pair["mcnemar"]] == [0, 1] and pair["wilcoxon"] < 0.01
    assert json.loads((config.folder / "crossval.json").read_text()) == json.loads(json.dumps(found))
    for name in ("table.md", "table.tex", "confusion-cnn.png", "confusion-fmpn.png", "folds.png"):
        assert (config.folder / name).stat().st_size > 100, name
    assert "Prior masks: built from" in found["text"] and "10 of 10 folds, seeds 0, 1, test_resnet" in found["text"]
    assert "FMPN: 20 runs, 320 tested faces, 640 predictions" in found["text"]


def result(right: tuple[int, ...], test: int = 4, train: int = 6) -> crossval.Result:
    """A run that was tested on two faces of each of two people, and was right about some."""
    wrong = 1 - torch.tensor(right)
    said = Predictions(("fear", "anger"), ("1a", "1b", "2a", "2b"), ("1", "1", "2", "2"), torch.zeros(4).long(), wrong,
                       torch.eye(2)[wrong])
    return crossval.Result({"samples": {"test": test, "train": train}}, said)


def test_figures_are_those_of_the_runs():
    runs = {("cnn", 0, 0): (1, 1, 0, 0), ("cnn", 0, 1): (1, 0, 0, 0), ("cnn", 1, 0): (1, 1, 1, 0),
            ("cnn", 1, 1): (1, 1, 1, 0), ("fmpn", 0, 0): (1, 1, 1, 0), ("fmpn", 0, 1): (0, 1, 1, 1)}
    results = {key: result(right) for key, right in runs.items()}
    subjects = ["1", "1", "2", "2"]
    alone = crossval._measure(crossval._of_arm(results, "cnn"))
    assert alone["folds"] == {"0": 0.625, "1": 0.5} and alone["seeds"] == {"0": 0.375, "1": 0.75}
    assert alone["seed_std"] == pytest.approx(0.375 / 2**0.5, abs=1e-6)  # half their distance, times the root of 2
    hits = [hit for right in list(runs.values())[:4] for hit in right]
    assert alone["subject_interval"] == pytest.approx(mean_interval(hits, 4 * subjects), abs=1e-6)
    pair = crossval._compare(results, "cnn", "fmpn")
    assert pair["shared_runs"] == 2 and pair["fold_mean"] == pair["pooled"] == 0.375
    assert [(t["seed"], t["only_first"], t["only_second"]) for t in pair["mcnemar"]] == [(0, 1, 4)]
    assert pair["folds"] == pytest.approx(corrected_t_test([0.25, 0.5], 4 / 6)._asdict(), abs=1e-6)
    assert pair["pooled_interval"] == pytest.approx(mean_interval([0, 0, 1, 0, -1, 1, 1, 1], 2 * subjects), abs=1e-6)


def test_parts_of_it_go_into_one_report_and_nothing_is_trained_twice(config, trained):
    part = cross_validate(config, ["cnn"], [0], folds=[0, 1, 2])
    assert "3 of 10 folds" in part["text"] and not part["missing"]
    whole = cross_validate(config, ["fmpn"], [0], folds=[2, 3])
    assert trained == ["cv/cnn/seed0-fold0", "cv/cnn/seed0-fold1", "cv/cnn/seed0-fold2", "cv/fmpn/seed0-fold2",
                       "cv/fmpn/seed0-fold3"]
    assert whole["comparisons"][0]["shared_runs"] == 1 and whole["comparisons"][0]["folds"] is None
    assert [(m["arm"], m["fold"], m["state"]) for m in whole["missing"]] == [
        ("fmpn", 0, "not begun"), ("fmpn", 1, "not begun"), ("cnn", 3, "not begun")]
    assert "Missing 3 of 8 runs" in whole["text"]
    assert "different folds" in whole["text"] and "different folds" not in part["text"]
    cross_validate(config, ["cnn", "fmpn"], [0], folds=[0, 1, 2, 3])
    assert len(trained) == 8 and not report(config.folder)["missing"]


def test_claimed_run_is_left_to_its_owner(config, trained):
    claim = config.folder / "cnn/seed0-fold0.claim"
    claim.parent.mkdir(parents=True)
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": started(os.getpid())}
    claim.write_text(json.dumps(mine))
    found = cross_validate(config, ["cnn"], [0], [0, 1])
    assert trained == ["cv/cnn/seed0-fold1"] and claim.is_file()
    assert f"claimed by process {os.getpid()}" in found["missing"][0]["state"] and str(claim) in found["text"]

    claim.write_text(json.dumps({**mine, "host": "elsewhere", "pid": dead_process()}))
    cross_validate(config, ["cnn"], [0], [0, 1])
    assert len(trained) == 1 and claim.is_file()  # of other machines nobody knows who lives

    claim.write_text("")  # killed, or the power gone, between creating and writing
    assert str(claim) in cross_validate(config, ["cnn"], [0], [0, 1])["text"]


@pytest.mark.parametrize("needs", [
    {"teacher": "local-dir:{runs}/cnn/seed{seed}-fold{fold}/model,local-dir:elsewhere"},
    {"init": "local-dir:{runs}/cnn/seed{seed}-fold{fold}/model"},
    {"priors": "{runs}/cnn/seed{seed}-fold{fold}/priors.safetensors"},
    {"priors": "{runs}/cnn/seed{seed}-fold{fold}/model/priors.safetensors"},
])
def test_what_learns_from_a_claimed_run_waits_for_it(config, trained, capsys, needs):
    config = dataclasses.replace(config, per_arm={"fmpn": needs})
    claim = config.folder / "cnn/seed0-fold0.claim"
    claim.parent.mkdir(parents=True)
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1"}))
    cross_validate(config, ["cnn", "fmpn"], [0], [0, 1])
    assert trained == ["cv/cnn/seed0-fold1", "cv/fmpn/seed0-fold1"]
    assert "1 runs start or learn from runs that others are training" in capsys.readouterr().err
    claim.unlink()
    assert not cross_validate(config, ["cnn", "fmpn"], [0], [0, 1])["missing"]


def test_a_run_that_another_finished_meanwhile_is_not_trained_again(config, trained, monkeypatch):
    claim = crossval.claim

    @contextlib.contextmanager
    def late(folder, run):
        guess(dataclasses.replace(config, name="cv/cnn/seed0-fold0", arm="cnn", fold=0), 0.5)
        with claim(folder, run) as mine:
            yield mine

    monkeypatch.setattr(crossval, "claim", late)
    assert not cross_validate(config, ["cnn"], [0], [0])["missing"] and trained == []


@pytest.mark.parametrize("reused", [False, True])
def test_claim_of_a_killed_process_is_taken_over(config, trained, reused):
    claim = config.folder / "cnn/seed0-fold0.claim"
    claim.parent.mkdir(parents=True)
    pid = os.getpid() if reused else dead_process()
    claim.write_text(json.dumps({"host": socket.gethostname(), "pid": pid, "started": "another time"}))
    assert not cross_validate(config, ["cnn"], [0], [0])["missing"]
    assert trained == ["cv/cnn/seed0-fold0"] and not claim.exists()


def test_stopped_run_gives_its_claim_back_and_is_named(config, monkeypatch):
    def fail(run: TrainConfig):
        run.folder.mkdir(parents=True)
        raise InputError("The loss is nan.")

    monkeypatch.setattr(crossval, "train", fail)
    with pytest.raises(InputError, match="cv/cnn/seed0-fold4: The loss is nan"):
        cross_validate(config, ["cnn"], [0], [4])
    assert not list(config.folder.glob("*/*.claim"))
    found = report(config.folder)
    assert found["missing"][0]["state"] == "stopped" and found["arms"] == {} and "Missing 1 of 1" in found["text"]


def test_each_run_may_start_from_weights_and_masks_of_its_own_fold(config, monkeypatch):
    seen = []
    monkeypatch.setattr(crossval, "train", lambda run: seen.append((run.seed, run.fold, run.init, run.teacher,
                                                                    run.priors)))
    options = dict(init="local-dir:runs/backbone/{arm}/seed{seed}-fold{fold}/model", priors="ck-{fold}.safetensors",
                   teacher="local-dir:{runs}/cnn/seed{seed}-fold{fold}/model")
    cross_validate(dataclasses.replace(config, **options), ["cnn"], [5], [2, 3])
    assert seen == [
        (5, n, f"local-dir:runs/backbone/cnn/seed5-fold{n}/model", f"local-dir:{config.folder}/cnn/seed5-fold{n}/model",
         f"ck-{n}.safetensors") for n in (2, 3)]


@pytest.mark.parametrize(("options", "published"), [({}, True), ({"sequences": "all"}, False)])
def test_published_figures_stand_beside_their_own_samples_alone(config, options, published):
    plan = crossval.Plan("mmi", "fmpn", (0,), (0,), (0,), ("fmpn",), {
        **dataclasses.asdict(config), "dataset": "mmi", "data_options": options})
    measured = {"fold_mean": 0.8, "pooled": 0.8, "macro_f1": 0.8, "fold_interval": None, "subject_interval": None,
                "runs": 1, "n": 20, "faces": 20, "seeds": {"0": 0.8}, "folds": [0], "classes": ["neutral"] * 6}
    text = crossval._text(plan, {"arms": {"fmpn": measured}, "missing": [], "comparisons": {}})
    assert ("82.74" in text) == published and ("with other samples" in text) != published


def test_what_else_sets_the_arms_apart_is_said(config, trained):
    text = cross_validate(config, ["fmpn", "no_prior"], [0], [0])["text"]
    assert "without L_M it learns at lr" in text


def test_an_arm_may_have_options_of_its_own_and_the_report_says_so(config, monkeypatch):
    seen = []

    def train(run: TrainConfig) -> None:
        seen.append((run.arm, run.lr, run.loss, run.per_arm))
        guess(run, 0.5)

    monkeypatch.setattr(crossval, "train", train)
    own = {"msca": {"lr": 0.5, "loss": "center_cosine"}, "derl": {"size": 32}}
    config = dataclasses.replace(config, per_arm=own)
    text = cross_validate(config, ["msca", "cnn"], [0], [0])["text"]
    assert "Prior masks" not in text and "test_resnet at" in text
    assert seen == [("cnn", config.lr, "cross_entropy", {}), ("msca", 0.5, "center_cosine", {})]
    assert 'MSCA, in other ways than the others: {"lr": 0.5, "loss": "center_cosine"}' in text and "DeRL" not in text
    with pytest.raises(InputError, match="another configuration .per_arm: "):
        cross_validate(dataclasses.replace(config, per_arm={}), ["cnn"], [0], [0])


def test_a_data_set_with_splits_of_its_own_is_one_fold(config, trained, tmp_path):
    names = [f"{part}_{n:04d}" for part in ("train", "test") for n in range(14)]
    for seed, name in enumerate(names):
        write_picture(tmp_path / "rafdb/Image/aligned" / f"{name}_aligned.jpg", seed)
    (tmp_path / "rafdb/EmoLabel").mkdir()
    lines = (f"{name}.jpg {1 + n % 7}\n" for n, name in enumerate(names))
    (tmp_path / "rafdb/EmoLabel/list_patition_label.txt").write_text("".join(lines))
    config = dataclasses.replace(config, dataset="rafdb", root=str(tmp_path / "rafdb"), data_options={})
    with pytest.raises(InputError, match="rafdb has no protocol with folds"):
        cross_validate(config, ["cnn"], [0])
    found = cross_validate(dataclasses.replace(config, test_split="test"), ["cnn", "fmpn"], [0, 1])
    assert trained == ["cv/cnn/seed0-fold0", "cv/fmpn/seed0-fold0", "cv/cnn/seed1-fold0", "cv/fmpn/seed1-fold0"]
    assert found["arms"]["fmpn"]["n"] == 28 and found["arms"]["cnn"]["fold_interval"] is None
    assert "rafdb, train and test, seeds 0, 1, test_resnet" in found["text"] and "MSCA | image | 89.63" in found["text"]


@pytest.mark.parametrize(
    ("options", "arms", "folds", "message"),
    [
        ({}, ["leg"], None, "--arms: unknown arm leg; choose from .*cnn"),
        ({}, [], None, "--arms"),
        ({}, ["cnn"], [3, 10, 11], "--folds 10, 11: protocol ten-folds of drawn has folds 0 to 9"),
        ({"fold": 3}, ["cnn"], None, "--fold 3: cross-validation takes --folds"),
        ({"dataset": "ferplus", "root": "/nowhere"}, ["cnn"], None, "ferplus has no protocol with folds"),
        ({"protocol": "mine"}, ["cnn"], None, "drawn has no protocol 'mine'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(config, options, arms, folds, message):
    with pytest.raises(InputError, match=message):
        cross_validate(dataclasses.replace(config, **options), arms, [0], folds)
    assert not config.folder.exists()


def test_another_configuration_is_refused_with_the_difference(config, trained):
    cross_validate(config, ["cnn"], [0], [0])
    with pytest.raises(InputError, match=r"cv is a cross-validation of another configuration \(lr: 0.0001 -> 0.5\)"):
        cross_validate(dataclasses.replace(config, lr=0.5), ["cnn"], [0], [0])
    cross_validate(dataclasses.replace(config, workers=2, seed=7), ["cnn"], [0], [0])  # of no consequence
    (config.folder / "cnn/seed0-fold0/config.json").write_text("{}")
    with pytest.raises(InputError, match="seed0-fold0 is a run of its own"):
        cross_validate(dataclasses.replace(config, name="cv/cnn/seed0-fold0"), ["cnn"], [0], [0])


def test_a_plan_of_which_nothing_has_begun_may_change(config, monkeypatch):
    def refuse(run: TrainConfig):
        raise InputError("No such backbone.")

    monkeypatch.setattr(crossval, "train", refuse)
    with pytest.raises(InputError, match="No such backbone"):
        cross_validate(config, ["cnn"], [0], [0])
    monkeypatch.setattr(crossval, "train", lambda run: guess(run, 0.5))
    found = cross_validate(dataclasses.replace(config, backbone="resnet18"), ["fmpn"], [1], [0])
    assert not found["missing"] and [run["arm"] for run in found["runs"]] == ["fmpn"]


def test_arms_that_were_tested_on_different_samples_are_not_compared(config, trained):
    cross_validate(config, ["cnn", "fmpn"], [0], [0])
    path = config.folder / "fmpn/seed0-fold0/predictions.csv"
    header, first, *others = path.read_text().splitlines()
    path.write_text("\n".join([header, *others, first]) + "\n")
    with pytest.raises(InputError, match="cnn and fmpn, seed 0, fold 0, were tested on different samples"):
        report(config.folder)


def test_launchers_are_refused(config, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="start the same command several times"):
        cross_validate(config, ["cnn"], [0])


def test_command_line(config, trained, capsys):
    command = ["crossval", "--data_options.subjects", "20", "--folds", "0,2-3", "--output", config.output, "--seeds=1",
               "--lr", "0.5", "--arms", "cnn"]
    cli.main([*command, "--name", "cv"])
    out = capsys.readouterr().out
    assert trained == [f"cv/cnn/seed1-fold{n}" for n in (0, 2, 3)] and "3 of 10 folds, seed 1, resnet18" in out
    assert json.loads((config.folder / "plan.json").read_text())["config"]["lr"] == 0.5
    cli.main(["crossval", "--report", "--name", "cv", "--output", config.output])
    assert capsys.readouterr().out == out
    cli.main(command)
    assert trained[3] == "drawn-crossval/cnn/seed1-fold0"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--folds", "0-x"], "--folds 0-x: give numbers and ranges"),
        (["--folds", "5-2"], "--folds 5-2"),
        (["--seeds", "one"], "--seeds one: give numbers"),
        (["--arm", "cnn"], "--arm: cross-validation takes --arms"),
        (["--report", "--output", "/nowhere"], "holds no plan.json"),
    ],
)
def test_bad_options_are_one_line(args, message):
    with pytest.raises(SystemExit) as exit:
        cli.main(["crossval", *args])
    assert str(exit.value.code).startswith("error: ") and message in str(exit.value.code)


def test_help_lists_its_own_options_and_points_to_the_others(capsys):
    with pytest.raises(SystemExit):
        cli.main(["crossval", "--help"])
    out = capsys.readouterr().out
    assert "--folds" in out and "--seeds" in out and "fmpn train --help" in " ".join(out.split())


def test_runs_that_train(config):
    config = dataclasses.replace(
        config, data_options={"subjects": 10, "takes": 1, "size": 36}, size=32, load_size=36, cache=True, epochs=1,
        mask_epochs=1, lr=1e-3, batch_size=8, mask_batch_size=8, generator_width=4, generator_blocks=1,
    )
    found = cross_validate(config, ["fmpn"], [0], [0])
    run = config.folder / "fmpn/seed0-fold0"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["split"]["reported on"] == "fold 0 test" and summary["metrics"]["n"] == 8
    assert found["arms"]["fmpn"]["confusion"] == summary["metrics"]["confusion"]
    assert found["runs"][0]["accuracy"] == summary["metrics"]["accuracy"]
