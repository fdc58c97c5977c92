"""Kill, full disk, NaN, damaged checkpoint, broken data, on one and on two processes: no run is lost, none is changed.

By ``make test-faults``.
"""

import csv
import dataclasses
import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fmpn_timm.training import TrainConfig
from tests.faults.faults import (
    full_disk,
    killed_at,
    killed_while_saving,
    no_number,
    resumed,
    run,
    terminated_at,
    tiny_config,
)

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module", params=[1, 2], ids=["one_process", "two_processes"])
def whole(request, tmp_path_factory) -> TrainConfig:
    """A run that nothing befell."""
    folder = tmp_path_factory.mktemp("faults")
    config = tiny_config(folder, request.param)
    outcome = run(config, request.param)
    assert outcome.codes == [0] * request.param, outcome.said
    return config


@pytest.fixture
def processes(request, whole) -> int:
    return int(whole.output[-1])


@pytest.fixture
def config(whole, request) -> TrainConfig:
    """A run of the same options under a name of its own."""
    return dataclasses.replace(whole, name=request.node.name.split("[")[0])


def assert_same(whole: TrainConfig, other: TrainConfig) -> None:
    """Weights bit for bit, the rows of each epoch, and what the tracker was told."""
    expected, got = (load_file(c.folder / "model" / "model.safetensors") for c in (whole, other))
    assert expected.keys() == got.keys()
    assert [key for key in expected if not torch.equal(expected[key], got[key])] == []
    assert rows(whole) == rows(other)
    assert told(whole) == told(other)
    first, second = (json.loads((c.folder / "summary.json").read_text()) for c in (whole, other))
    assert all(first[key] == second[key] for key in ("metrics", "valid", "best_epoch", "skipped"))


def rows(config: TrainConfig) -> list[dict[str, str]]:
    with open(config.folder / "summary.csv") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def told(config: TrainConfig) -> dict[str, list]:
    """What a reader of the tracker's files sees: step and value of each figure."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(config.folder)).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.endswith("seconds")]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def checkpoints(config: TrainConfig) -> list[str]:
    return sorted(path.name for path in (config.folder / "checkpoints").iterdir())


@pytest.mark.parametrize("update", [1, 4, 6, 13])
def test_killed_at_any_update(whole, config, processes, update):
    config = dataclasses.replace(config, name=f"{config.name}-{update}")
    outcome = run(config, processes, killed_at(update), rank=processes - 1)
    assert outcome.codes[-1] == -signal.SIGKILL
    if processes == 2:
        assert outcome.codes[0] == 1 and outcome.said.count("has lost another process of the run") == 1
    outcome = run(resumed(config), processes)
    assert outcome.codes == [0] * processes, outcome.said
    assert_same(whole, config)


def test_killed_while_a_checkpoint_is_written(whole, config, processes):
    assert run(config, processes, killed_while_saving(4)).codes[0] == -signal.SIGKILL
    assert ".epoch-0001-000004.partial" in checkpoints(config)
    outcome = run(resumed(config), processes)
    assert outcome.codes == [0] * processes, outcome.said
    assert_same(whole, config)
    assert not any("partial" in name for name in checkpoints(config))


def test_full_disk(whole, config, processes):
    outcome = run(config, processes, full_disk(3))
    assert outcome.codes == [1] * processes
    assert "could not be written" in outcome.said and "epoch-0000-000008 is whole" in outcome.said
    assert checkpoints(config) == ["epoch-0000-000004", "epoch-0000-000008"]
    outcome = run(resumed(config), processes)
    assert outcome.codes == [0] * processes, outcome.said
    assert_same(whole, config)


def test_nan(whole, config, processes):
    outcome = run(config, processes, no_number(7), rank=processes - 1)
    assert outcome.codes == [1] * processes
    assert "The loss is nan" in outcome.said and "--lr" in outcome.said
    bad = json.loads((config.folder / "bad_batch.json").read_text())
    assert len(bad["processes"]) == processes and sum(len(p["faces"]) for p in bad["processes"]) == 8
    outcome = run(resumed(config), processes)  # the face is mended
    assert outcome.codes == [0] * processes, outcome.said
    assert_same(whole, config)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_damaged_checkpoint(whole, config, processes, damage):
    config = dataclasses.replace(config, name=f"{config.name}-{damage}")
    run(config, processes, killed_at(10))
    newest = config.folder / "checkpoints" / checkpoints(config)[-1]
    assert newest.name == "epoch-0001-000008"
    spoil(newest / "optimizer.bin", damage)
    outcome = run(resumed(config), processes)
    assert outcome.codes == [0] * processes, outcome.said
    assert f"{newest} is damaged (optimizer.bin" in outcome.said and "Trying epoch-0001-000004" in outcome.said
    assert_same(whole, config)


def spoil(file: Path, damage: str) -> None:
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


def test_broken_data(whole, config, processes, tmp_path):
    shutil.copytree(config.root, tmp_path / "data")
    broken = tmp_path / "data" / "train" / "fear" / "07.png"
    broken.write_bytes(broken.read_bytes()[:100])
    config = dataclasses.replace(config, root=str(tmp_path / "data"), max_broken=0.03)
    outcome = run(config, processes)
    assert outcome.codes == [0] * processes, outcome.said
    assert outcome.said.count("warning: 1 of 40 training faces are broken") == 1
    skipped = json.loads((config.folder / "skipped.json").read_text())
    assert [s["source"] for s in skipped] == [str(broken)] and "broken picture" in skipped[0]["reason"]
    assert json.loads((config.folder / "summary.json").read_text())["skipped"] == skipped

    killed = dataclasses.replace(config, name=f"{config.name}-killed")
    run(killed, processes, killed_at(9))
    outcome = run(resumed(killed), processes)
    assert outcome.codes == [0] * processes, outcome.said
    assert_same(config, killed)

    outcome = run(dataclasses.replace(config, name="strict", max_broken=0.02), processes)
    assert outcome.codes == [1] * processes and "more than --max_broken 0.02" in outcome.said
    other = tmp_path / "data" / "valid" / "fear" / "03.png"
    other.write_bytes(b"")
    outcome = run(dataclasses.replace(config, name="evaluated"), processes)
    assert outcome.codes == [1] * processes and f"are broken or missing: {other}" in outcome.said


@pytest.mark.parametrize("update", [8])
def test_sigterm(whole, config, processes, update):
    outcome = run(config, processes, terminated_at(update), rank=processes - 1)  # one process is told, all stop
    assert outcome.codes == [128 + signal.SIGTERM] * processes, outcome.said
    assert outcome.said.count("--resume auto") == 1
    assert checkpoints(config)[-1] == f"epoch-0001-{2 * (update - 5):06d}"
    outcome = run(resumed(config), processes)
    assert outcome.codes == [0] * processes, outcome.said
    assert_same(whole, config)


def test_another_number_of_processes_is_refused(whole, config, processes):
    run(config, processes, killed_at(5))
    outcome = run(resumed(config), 3 - processes)
    assert outcome.codes == [1] * (3 - processes) and f"processes: {processes} -> {3 - processes}" in outcome.said
