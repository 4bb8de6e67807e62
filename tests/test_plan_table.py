"""What `model.plan` says: every step once, shares that add up, the algorithm that is in use."""

from __future__ import annotations

import numpy as np
import pytest

import cnnlib
from cnnlib import config
from cnnlib.models import lenet5, resnet_mini


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batch", [1, 64])
def test_lenet_is_five_steps(batch: int, training: bool) -> None:
    model = lenet5(rng=0)
    table = model.plan(batch, training=training, rounds=2)
    assert sum(row.predicted for row in table.rows) == pytest.approx(1)
    assert sum(row.measured for row in table.rows) == pytest.approx(1)
    # The summary's multiply-adds, for the batch.
    assert sum(row.multiply_adds for row in table.rows) == batch * (392_000 + 4_900_000 + 1_225_000 + 5_000)
    assert all(row.forward_ms > 0 for row in table.rows)
    assert all((row.backward_ms is None) is not training for row in table.rows)
    if batch == 64:
        layouts = ["NCHW → lanes", "lanes → lanes", "lanes → lanes", "lanes → NC", "NC → NC"]
        assert [row.layout for row in table.rows] == layouts
        assert table.rows[0].runs == "Conv2d 1→20 + ReLU + MaxPool2d 2"
        assert table.rows[0].bytes == 64 * 20 * 14 * 14 * 4
    text = str(table).splitlines()
    assert len(text) == 2 + len(table.rows)
    assert text[0].startswith(f"batch {batch}, float32, {'training' if training else 'inference'}")


def test_the_algorithm_is_shown() -> None:
    model, before = lenet5(rng=0), config.get_algorithm()
    try:
        for name, shown in (("direct", "direct"), ("accurate", "tiles 7×7"), ("fast", "tiles 8×8")):
            cnnlib.set_algorithm(name)
            assert [row.algorithm for row in model.plan(16, rounds=1).rows][:2] == ["direct", shown]
    finally:
        cnnlib.set_algorithm(before)


def test_any_graph_has_a_table() -> None:
    rows = resnet_mini(rng=0).plan(32, training=True, rounds=1).rows  # more than half of any lanes
    assert any(row.runs == "Add" for row in rows)
    assert any("lanes" in row.layout for row in rows)


def test_planning_leaves_the_model_as_it_was() -> None:
    model = lenet5(rng=0)
    state = model.state_dict()
    model.plan(4, training=True, rounds=1)
    assert all(parameter.grad is None for parameter in model.parameters().values())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
