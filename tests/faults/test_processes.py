"""Runs on two processes and on two machines: the same as on one, and over at once when one is lost."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from fmpn_timm.cli.common import guarded
from fmpn_timm.data.dataset import FaceDataset
from fmpn_timm.data.prepare import prepare_faces
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.transforms import eval_transform
from fmpn_timm.launched import place
from fmpn_timm.training import TrainConfig
from fmpn_timm.training.evaluation import predict
from tests.faults.faults import CLASSES, in_processes, run, tiny_config

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parent.parent.parent


def test_two_processes_learn_what_one_does(tmp_path):
    """Weights after ten updates to 1e-5, without batch norm and dropout, which see what one process has."""
    config = dataclasses.replace(tiny_config(tmp_path), arm="cnn", backbone="test_convnext", backbone_kwargs={},
                                 accumulate=1, epochs=2, ema=0.0)
    two = dataclasses.replace(config, name="two")
    assert run(config).codes == [0] and run(two, 2).codes == [0, 0]
    one, other = (load_file(c.folder / "model" / "model.safetensors") for c in (config, two))
    apart = max(float((one[key] - other[key]).abs().max()) for key in one)
    assert apart < 1e-5
    first, second = (json.loads((c.folder / "summary.json").read_text()) for c in (config, two))
    assert first["metrics"]["confusion"] == second["metrics"]["confusion"]


def test_every_face_is_counted_once_however_the_shares_fall(tmp_path):
    config = tiny_config(tmp_path)
    faces = read_faces("folder", config.root, "valid")

    class Mean(torch.nn.Module):
        def forward(self, x):
            return x.mean((1, 2, 3))[:, None].repeat(1, 2)

    def work(rank: int) -> None:
        accelerator = Accelerator(cpu=True)
        for number in range(1, 12):
            some = dataclasses.replace(faces, samples=faces.samples[:number])
            dataset = FaceDataset(some, CLASSES, eval_transform(32, 36, (0,) * 3, (1,) * 3))
            loader = accelerator.prepare(DataLoader(dataset, batch_size=2))
            logits, labels = predict(Mean(), loader, accelerator, progress=False)
            assert labels.tolist() == dataset.labels.tolist()
            expected = torch.stack([dataset[i]["image"].mean() for i in range(number)])
            torch.testing.assert_close(logits[:, 0], expected)

    outcome = in_processes(work, 2, tmp_path / "shares")
    assert outcome.codes == [0, 0], outcome.said


def test_data_are_prepared_by_two_processes_as_by_one(tmp_path):
    faces = read_faces("folder", tiny_config(tmp_path).root, "train")
    for number in (1, 2):
        def work(rank: int, out=tmp_path / f"by-{number}") -> None:
            assert prepare_faces(faces, out, shard_size=7, progress=False)["samples"] == 40

        outcome = in_processes(work, number, tmp_path / f"log-{number}")
        assert outcome.codes == [0] * number, outcome.said
    one, two = (contents(tmp_path / f"by-{n}") for n in (1, 2))
    assert one == two and len(one) == 6 + 3  # shards, contact sheet, prepared.json, skipped.csv


def test_who_waits_for_a_dead_process_is_told_so(tmp_path):
    faces = read_faces("folder", tiny_config(tmp_path).root, "train")

    def work(rank: int) -> None:
        place()
        if rank == 1:
            os._exit(3)
        guarded(lambda: prepare_faces(faces, tmp_path / "out", progress=False))

    outcome = in_processes(work, 2, tmp_path / "log")
    assert outcome.codes[1] == 3 and outcome.codes[0], outcome.said
    assert "Process 0 has lost another process that shares the work" in outcome.said


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def launch(config: TrainConfig, launcher: list[str], **environ: str) -> subprocess.Popen:
    """A launcher on one machine, as its user starts it."""
    file = Path(config.output) / f"{config.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(dataclasses.asdict(config)))
    command = [sys.executable, "-m", *launcher, str(ROOT / "train.py"), "--config", str(file)]
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environ
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)


def launch_machine(config: TrainConfig, rank: int, port: int) -> subprocess.Popen:
    """One machine of two with a process each; its user wants no GPU."""
    launcher = ["accelerate.commands.launch", "--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no",
                "--num_machines", "2", "--num_processes", "2", "--machine_rank", str(rank),
                "--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    return launch(config, launcher, ACCELERATE_USE_CPU="true")


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 900
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_two_machines_and_a_lost_one(tmp_path):
    """Two launchers on one machine; then again, where the process of the second is killed."""
    config = dataclasses.replace(tiny_config(tmp_path, 2), accumulate=1)
    outcome = run(config, 2)
    assert outcome.codes == [0, 0], outcome.said
    nodes, port = dataclasses.replace(config, name="nodes"), free_port()
    machines = [launch_machine(nodes, rank, port) for rank in (0, 1)]
    said = [machine.communicate(timeout=900)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    expected, got = (load_file(c.folder / "model" / "model.safetensors") for c in (config, nodes))
    assert all(torch.equal(expected[key], got[key]) for key in expected)

    lost, port = dataclasses.replace(config, name="lost", epochs=500), free_port()
    machines = [launch_machine(lost, rank, port) for rank in (0, 1)]
    wait_for(lost.folder / "summary.csv")
    children = subprocess.run(["ps", "--ppid", str(machines[1].pid), "-o", "pid="], capture_output=True, text=True)
    os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
    said = [machine.communicate(timeout=600)[0] for machine in machines]
    assert all(machine.returncode for machine in machines)
    assert "another process of the run: see what ended that one" in said[0] and "--resume auto" in said[0], said[0]
    assert "SIGKILL" in said[1], said[1]


@pytest.mark.parametrize("tell", [os.kill, os.killpg], ids=["alone", "with_all_its_processes"])
def test_a_launcher_that_is_told_to_stop(tmp_path, tell):
    """SIGTERM comes as a user sends it, or as a cluster does; the processes write a checkpoint before they go."""
    config = dataclasses.replace(tiny_config(tmp_path), epochs=500, checkpoint_every=0, workers=1)
    launcher = launch(config, ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port())])
    wait_for(config.folder / "summary.csv")
    tell(launcher.pid, signal.SIGTERM)
    said = launcher.communicate(timeout=600)[0]
    assert launcher.returncode and said.count("Stopped by SIGTERM; a checkpoint is written") == 1, said
    newest = sorted((config.folder / "checkpoints").glob("epoch-*"))[-1]
    assert (newest / "manifest.json").is_file() and (newest / "random_states_1.pkl").is_file()
