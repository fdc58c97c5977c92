"""Tests of the guards."""

import json
import signal
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from fmpn_timm.interrupt import Interrupt
from fmpn_timm.training import TrainConfig, guards
from fmpn_timm.training.guards import LossGuard, Watch, out_of_memory


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_no_number_is_wrong_at_once(bad):
    assert LossGuard().wrong(bad)


def test_an_explosion_is_wrong_once_there_is_something_to_judge_by():
    guard = LossGuard()
    assert not guard.wrong(1e6)  # the first may be anything
    for loss in (2.0, 1.9, 2.1, 1.7, 30.0, 1.6, 1.5, 1.6, 1.4):
        assert not guard.wrong(loss)
    assert guard.wrong(1e5) and guard.wrong(1e5)  # and it does not get used to it
    assert guard.wrong(-1e5)
    assert not guard.wrong(1e3)


def test_a_hard_face_after_a_perfect_fit_is_no_explosion():
    guard = LossGuard()
    assert not any(guard.wrong(1e-7) for _ in range(50))
    assert not guard.wrong(20.0)


def test_out_of_memory_is_known_by_type_and_by_word():
    with pytest.raises((RuntimeError, MemoryError)) as error:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert out_of_memory(error.value)
    assert out_of_memory(MemoryError()) and out_of_memory(torch.OutOfMemoryError("Tried to allocate 2 GiB"))
    assert not out_of_memory(RuntimeError("shape mismatch")) and not out_of_memory(ValueError("out of memory"))


def watch(tmp_path, numbers: int = 10, max_broken: float = 0.2) -> Watch:
    """The watch of a run on ten faces, the third and the last of which are broken."""

    def picture(path: str) -> np.ndarray:
        if path in ("2.png", "9.png"):
            raise InputError(f"{path}: broken picture. Fetch it again.")
        return np.zeros((8, 8, 3), np.uint8)

    samples = tuple(Sample(f"{i}.png", partial(picture, f"{i}.png"), "fear") for i in range(numbers))
    config = TrainConfig(name="run", output=str(tmp_path), max_broken=max_broken)
    config.folder.mkdir()
    return Watch(config, Accelerator(cpu=True), FaceSet("folder", "train", ("fear",), samples), Interrupt().__enter__())


def seen(*index: int, stand_ins: tuple[int, ...] = ()) -> list[torch.Tensor]:
    return [torch.tensor([index, [int(i in stand_ins) for i in index]])]


@pytest.fixture
def no_signals():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("no_signals")
class TestWatch:
    def test_broken_faces_are_counted_once_and_listed(self, tmp_path, capsys):
        it = watch(tmp_path)
        one, fine = [torch.tensor(1.0)], torch.tensor(0.5)
        assert it.check("joint 1/1", one, fine, seen(0, 1)) == 0 and not it.skipped()
        assert it.check("joint 1/1", one, fine, seen(2, 3, stand_ins=(2,))) == 0
        assert it.check("joint 1/1", one, fine, seen(2, 4, stand_ins=(2,))) == 0
        listed = json.loads((it.config.folder / "skipped.json").read_text())
        assert listed == it.skipped() == [{"source": "2.png", "reason": "2.png: broken picture. Fetch it again."}]
        assert capsys.readouterr().err.count("1 of 10 training faces are broken") == 1

    def test_a_broken_neutral_face_is_named_and_not_the_sound_face_beside_it(self, tmp_path):
        it = watch(tmp_path, max_broken=1.0)
        nines = tuple(replace(s, subject="9") for s in it.faces.samples[8:])
        it.faces = FaceSet("folder", "train", ("neutral", "fear"), nines[:1],
                           neutral=(replace(nines[1], expression="neutral"),))
        it.check("neutral 1/1", [torch.tensor(1.0)], torch.tensor(0.5), seen(0, stand_ins=(0,)))
        assert it.skipped() == [{"source": "8.png", "reason": "9.png: broken picture. Fetch it again."}]

    def test_fp16_leaves_out_updates_of_infinite_gradients_but_says_the_norm_of_a_bad_loss(self, tmp_path):
        it = watch(tmp_path)
        it.config.precision = "fp16"
        assert it.check("joint 1/1", [torch.tensor(1.0)], torch.tensor(float("inf")), seen(0)) == 0
        with pytest.raises(InputError, match="norm of the gradient 7"):
            it.check("joint 1/1", [torch.tensor(float("nan"))], torch.tensor(7.0), seen(0))

    def test_fp16_that_leaves_out_every_update_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(guards, "LEFT_OUT", 3)
        it = watch(tmp_path)
        it.config.precision = "fp16"
        one, infinite = [torch.tensor(1.0)], torch.tensor(float("inf"))
        for norm in (infinite, infinite, torch.tensor(1.0), infinite, infinite, infinite):
            it.check("joint 1/1", one, norm, seen(0))
        with pytest.raises(InputError, match=r"norm of the gradient inf.*\(--clip 1\), or use --precision no\.$"):
            it.check("joint 1/1", one, infinite, seen(0))
        it.config.precision = "no"
        with pytest.raises(InputError, match=r"or clip gradients \(--clip 1\)\.$"):
            it.check("joint 1/1", one, infinite, seen(0))

    def test_too_many_broken_faces_end_the_run(self, tmp_path):
        it = watch(tmp_path, max_broken=0.15)
        it.check("joint 1/1", [torch.tensor(1.0)], torch.tensor(0.5), seen(2, stand_ins=(2,)))
        with pytest.raises(InputError, match="2 of 10 .*9.png: broken.*--max_broken 0.15.*skipped.json"):
            it.check("joint 1/1", [torch.tensor(1.0)], torch.tensor(0.5), seen(9, stand_ins=(9,)))
        assert len(it.skipped()) == 2

    @pytest.mark.parametrize(("losses", "norm"), [((1.0, float("nan")), 1.0), ((1.0, 1.0), float("inf"))])
    def test_a_bad_batch_is_written_down(self, tmp_path, losses, norm):
        it = watch(tmp_path)
        with pytest.raises(InputError, match="joint 2/3.*0.png, 5.png.*bad_batch.json.*--lr"):
            it.check("joint 2/3", [torch.tensor(loss) for loss in losses], torch.tensor(norm), seen(0) + seen(5))
        bad = json.loads((it.config.folder / "bad_batch.json").read_text())
        assert bad["title"] == "joint 2/3" and bad["processes"][0]["faces"] == ["0.png", "5.png"]

    def test_a_signal_is_handed_on(self, tmp_path):
        it = watch(tmp_path)
        signal.raise_signal(signal.SIGTERM)
        assert it.check("joint 1/1", [torch.tensor(1.0)], torch.tensor(0.5), seen(0)) == signal.SIGTERM == it.asked()
