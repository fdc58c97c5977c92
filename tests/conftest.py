"""Settings of all tests: on the CPU, where what they say bit for bit holds."""

import os
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if sys.platform == "darwin":
    os.environ.setdefault("ACCELERATE_USE_CPU", "true")

import pytest
import torch
from accelerate.state import AcceleratorState

torch.set_num_threads(1)  # the tests' networks are tiny: threads would cost more than they give


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Accelerate keeps its precision for the life of a process; the tests' runs have several."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
