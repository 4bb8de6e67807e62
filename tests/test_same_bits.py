"""Whole trainings have the same bits on any number of threads, and from run to run, at every level of this machine."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from cnnlib import config
from cnnlib.selftest import nets
from cnnlib.selftest.promises import THREADS, trained


@pytest.mark.parametrize("net", nets.NETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("algorithm", config.ALGORITHMS)
@pytest.mark.parametrize("isa", config.supported_isas())
def test_training_has_the_same_bits_on_any_number_of_threads(isa: str, algorithm: str, dtype: type, net: str) -> None:
    with config.using(isa=isa, algorithm=algorithm):
        assert len({trained(net, dtype, threads) for threads in THREADS}) == 1


def test_bits_are_the_same_from_process_to_process() -> None:
    code = f"""
import numpy as np
from cnnlib.selftest.promises import trained
print(*(trained(net, np.float32, 2) for net in {nets.NETS}))
"""
    runs = {subprocess.check_output([sys.executable, "-c", code], text=True).strip() for _ in range(2)}
    assert runs == {" ".join(trained(net, np.float32, 3) for net in nets.NETS)}


def test_the_hash_sees_one_bit() -> None:
    """The tests above could not fail if it did not."""
    model = nets.build("lenet5")
    before = nets.digest(model)
    bias = model.parameters()["9.bias"].data
    bias[3] = np.nextafter(bias[3], np.float32(1))
    assert nets.digest(model) != before
    assert nets.digest(model, {"loss": [0.1]}) != nets.digest(model, {"loss": [np.nextafter(0.1, 1)]})


@pytest.mark.parametrize("net", nets.NETS)
def test_instruction_sets_differ_by_rounding_alone(net: str) -> None:
    """Vectors of other widths add in another order: what docs/guarantees.md says of it, in units of eps."""
    x, y = nets.images(37)
    outputs = {}
    for isa in config.supported_isas():
        with config.using(isa=isa):
            model = nets.build(net)
            trainer = nets.trainer(model)
            for step in range(3):
                trainer.train_step(x[step : step + 33], y[step : step + 33])
            outputs[isa] = model.predict(x)
    first, *others = outputs.values()
    for other in others:
        assert np.abs(other - first).max() / np.abs(first).max() < 50 * np.finfo(np.float32).eps
