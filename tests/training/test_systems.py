"""Tests of the stages that each arm is made of."""

import pytest
import timm

from fmpn_timm.training import TrainConfig
from fmpn_timm.training.systems import create_stages


@pytest.fixture
def model():
    return timm.create_model("fmpn", backbone="test_resnet", generator_width=4, generator_blocks=1)


@pytest.mark.parametrize(("arm", "expected"), [("fmpn", 1e-5), ("no_prior", 1e-4)])
def test_generator_has_its_own_rate_after_stage_one(model, arm, expected):
    stage = create_stages(TrainConfig(arm=arm, generator_lr=1e-5, lr=1e-4), model)[-1]
    generator = {id(p) for p in model.mask_generator.parameters()}
    rates = {(id(p) in generator, group["lr"]) for group in stage.groups for p in group["params"]}
    assert rates == {(True, expected), (False, 1e-4)}
    assert sum(len(group["params"]) for group in stage.groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (dict(arm="fmpn"), ["mask", "joint"]),
        (dict(arm="fmpn", mask_epochs=0), ["joint"]),
        (dict(arm="no_prior"), ["joint"]),
    ],
)
def test_stages(model, options, names):
    stages = create_stages(TrainConfig(**options), model)
    assert [stage.name for stage in stages] == names
    assert [stage.error is None for stage in stages] == [name == "joint" for name in names]
    assert stages[-1].masks == (options["arm"] == "fmpn")
