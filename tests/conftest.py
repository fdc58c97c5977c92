"""Settings of all tests."""

import pytest
import torch
from accelerate.state import AcceleratorState

torch.set_num_threads(1)  # the tests' networks are tiny: threads would cost more than they give


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Accelerate keeps its precision for the life of a process; the tests' runs have several."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
