"""What `model.profile` says: every step once, both passes, and the work that they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnlib.errors import CNNError
from cnnlib.layers import Conv2d, Flatten, Linear
from cnnlib.model import Sequential
from cnnlib.models import lenet5
from cnnlib.selftest import nets


@pytest.mark.parametrize("training", [True, False])
def test_a_row_a_step_and_sums_that_fit(training: bool) -> None:
    model = lenet5(rng=0)
    table = model.profile(nets.images(20)[0], training=training, rounds=3)
    assert (table.batch, table.dtype, table.rounds) == (20, "float32", 3)
    assert [row.layers for row in table.rows] == [row.names for row in model.plan(20, rounds=1).rows]
    assert sum(row.share for row in table.rows) == pytest.approx(1)
    assert sum(row.multiply_adds for row in table.rows) == 20 * (392_000 + 4_900_000 + 1_225_000 + 5_000)
    assert table.forward_ms == pytest.approx(sum(row.forward_ms for row in table.rows))
    assert (table.backward_ms is not None) == training
    text = str(table).splitlines()
    assert len(text) == 3 + len(table.rows)
    assert text[0].startswith(f"batch 20, float32, {'training' if training else 'inference'}, median of 3 rounds on ")
    assert text[-1].split()[0] == "all"


def test_backward_counts_the_gradients_that_are_computed() -> None:
    """Of the first layer the weight's alone; of a frozen one the input's, if anybody needs it."""
    model = Sequential(
        Conv2d(2, 3, 3, rng=0), Flatten(), Linear(48, 5, rng=1), Linear(5, 2, rng=2), input_shape=(2, 6, 6)
    )
    x = np.ones((4, 2, 6, 6), np.float32)

    def backward() -> list[float]:
        rows = model.profile(x, rounds=1).rows
        done = [(row.gflops or 0) * 1e6 * (row.forward_ms + (row.backward_ms or 0)) for row in rows]
        return [work / (2 * row.multiply_adds) - 1 for work, row in zip(done, rows, strict=True) if row.multiply_adds]

    assert backward() == pytest.approx([1, 2, 2])
    model["2"].freeze()
    assert backward() == pytest.approx([1, 1, 2])
    model["0"].freeze()
    assert backward() == pytest.approx([0, 0, 1])


@pytest.mark.parametrize("net", nets.NETS)
def test_the_model_stays_as_it_is(net: str) -> None:
    """Running estimates, and the masks that dropout draws next, too."""
    model, other = nets.build(net), nets.build(net)
    x, _ = nets.images(8)
    model.profile(x, rounds=2)
    assert nets.digest(model) == nets.digest(other)
    assert all(parameter.grad is None for parameter in model.parameters().values())
    np.testing.assert_array_equal(model.forward(x, training=True), other.forward(x, training=True))


@pytest.mark.parametrize("bad", [{"rounds": 0}, {"training": 1}, {"x": np.ones((4, 3))}, {"x": "text"}])
def test_nonsense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(CNNError):
        lenet5(rng=0).profile(**{"x": nets.images(4)[0], **bad})
