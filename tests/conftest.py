"""Settings of all tests: on the CPU, where what they say bit for bit holds."""

import os
import signal
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if sys.platform == "darwin":
    os.environ.setdefault("ACCELERATE_USE_CPU", "true")

import pytest
import torch
from accelerate.state import AcceleratorState

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a shell's background, for the programs too that tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # the tests' networks are tiny: threads would cost more than they give


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Accelerate keeps its precision for the life of a process; the tests' runs have several."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
