"""The optimizer's step in the same pass as a weight's gradient: the same bits, and no gradient that lies."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnlib.config import using
from cnnlib.errors import ShapeError, TrainingError
from cnnlib.graph import Input
from cnnlib.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU
from cnnlib.losses import CrossEntropyLoss, MSELoss
from cnnlib.model import Model, Sequential
from cnnlib.optim import SGD, Adam, AdamW, Optimizer
from cnnlib.trainer import Trainer

OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": lambda: SGD(0.1),
    "decay": lambda: SGD(0.1, weight_decay=0.01),
    "momentum": lambda: SGD(0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: Adam(0.01, weight_decay=0.01),
    "adamw": lambda: AdamW(0.01, betas=(0.8, 0.99)),
}


@pytest.fixture(autouse=True)
def _all_weights_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for rule in (SGD, Adam):
        monkeypatch.setattr(rule, "large", 0)


def net(dtype: Any = np.float64) -> Model:
    layers = Conv2d(1, 6, 3, rng=0, dtype=dtype), ReLU(), MaxPool2d(2), Flatten()
    head = Linear(150, 70, rng=1, dtype=dtype), ReLU(), Linear(70, 10, bias=False, rng=2, dtype=dtype)
    return Sequential(*layers, *head, input_shape=(1, 12, 12))


def train(model: Model, optimizer: Optimizer, keep_gradients: bool) -> list[bytes]:
    """Return the bits of losses, weights and the optimizer's state after steps with ragged batches."""
    rng = np.random.default_rng(0)
    trainer = Trainer(model, CrossEntropyLoss(), optimizer, keep_gradients=keep_gradients)
    shapes = [model.graph.nodes[i].shape for i in model.graph.inputs]
    losses = []
    for n in (9, 40, 3, 9):
        xs = [rng.normal(size=(n, *shape)) for shape in shapes]
        losses.append(trainer.train_step(xs[0] if len(xs) == 1 else xs, rng.integers(0, 10, n)))
    state = {**model.state_dict(), **optimizer.state_dict()}
    return [np.array(losses).tobytes(), *(np.asarray(state[name]).tobytes() for name in sorted(state))]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_every_bit_is_that_of_steps_apart(make: Callable[[], Optimizer], dtype: type, threads: int) -> None:
    with using(threads=threads):
        model = net(dtype)
        together = train(model, make(), keep_gradients=False)
        missing = [name for name, parameter in model.parameters().items() if parameter.grad is None]
        assert missing == ["4.weight", "6.weight"]
        model = net(dtype)
        assert together == train(model, make(), keep_gradients=True)
        assert all(parameter.grad is not None for parameter in model.parameters().values())


def twice() -> Model:
    layer, x = Linear(10, 10, rng=0, dtype=np.float64), Input(10)
    return Model(x, layer(ReLU()(layer(x))))


def tied(what: str) -> Model:
    first, second, x = Linear(10, 10, rng=0), Linear(10, 10, rng=1), Input(10)
    if what == "data":
        second.weight.data = first.weight.data
    else:
        second.weight = first.weight
    return Model(x, second(ReLU()(first(x))))


def frozen() -> Model:
    model = net()
    model["4"].freeze()
    return model


SHARED = {"layer": twice, "parameter": lambda: tied("parameter"), "values": lambda: tied("data"), "frozen": frozen}


@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED.keys())
def test_shared_weights_wait_and_frozen_ones_stay(make: Callable[[], Model]) -> None:
    model = make()
    before = model.state_dict()
    assert train(model, SGD(0.1, momentum=0.9), False) == train(make(), SGD(0.1, momentum=0.9), True)
    stays = [name for name, array in model.state_dict().items() if np.array_equal(array, before[name])]
    assert stays == (["4.weight", "4.bias"] if make is frozen else [])


def test_a_gradient_from_before_counts() -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(4, 1, 12, 12)), rng.normal(size=(4, 10))
    results = []
    for together in (True, False):
        model, optimizer = net(), SGD(0.1, momentum=0.9)
        parameters = model.parameters()
        for part in (slice(0, 2), slice(2, 4)):
            model.forward(x[part], training=True)
            updates = optimizer.during_backward(parameters) if together and part.start else None
            model.backward(dy[part], input_grad=False, updates=updates)
        optimizer.step(parameters)
        assert all(parameter.grad is not None for parameter in parameters.values())
        results.append([array.tobytes() for array in model.state_dict().values()])
    assert results[0] == results[1]


def test_what_may_do_something_else_steps_apart() -> None:
    class Halved(SGD):
        def _update(self, data: Any, grad: Any, state: Any, step: int, lr: float) -> None:
            super()._update(data, grad, state, step, lr / 2)

    class Doubled(Linear):
        def apply(self, x: Any, *, training: bool = False, out: Any = None) -> Any:
            return super().apply(2 * x, training=training, out=out)

    assert Halved(0.1).during_backward(net().parameters()) is None
    model = Sequential(Doubled(10, 10, rng=0), input_shape=10)
    train(model, SGD(0.1), keep_gradients=False)
    assert model.parameters()["0.weight"].grad is not None


def test_clipping_needs_all_gradients() -> None:
    model = net()
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1), clip_norm=0.1)
    trainer.train_step(np.ones((3, 1, 12, 12)), np.zeros(3, int))
    assert all(parameter.grad is not None for parameter in model.parameters().values())


def test_small_weights_keep_their_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    model = Sequential(Linear(512, 512, rng=0), ReLU(), Linear(512, 511, rng=1), input_shape=512)
    trainer = Trainer(model, MSELoss(), SGD(0.1))
    trainer.train_step(np.ones((3, 512), np.float32), np.zeros((3, 511), np.float32))
    assert [p.grad is None for p in model.parameters().values()] == [True, False, False, False]


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_a_bad_loss_changes_nothing(make: Callable[[], Optimizer]) -> None:
    model, optimizer = net(), make()
    trainer = Trainer(model, CrossEntropyLoss(), optimizer)
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    with pytest.raises(TrainingError, match="NaN"):
        trainer.train_step(np.full((3, 1, 12, 12), np.nan), np.zeros(3, int))
    assert before == {name: array.tobytes() for name, array in model.state_dict().items()}
    assert set(optimizer.state_dict()) == {"epoch"}


def test_a_state_of_another_shape_is_named() -> None:
    optimizer = SGD(0.1, momentum=0.9)
    train(Sequential(Linear(10, 10), input_shape=10), optimizer, False)
    with pytest.raises(ShapeError, match=r"velocity of parameter '0\.weight'"):
        train(Sequential(Linear(12, 10), input_shape=12), optimizer, False)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_nothing_is_allocated_after_the_first_step(make: Callable[[], Optimizer]) -> None:
    model = Sequential(Linear(300, 400, rng=0), ReLU(), Linear(400, 10, rng=1), input_shape=300)
    trainer = Trainer(model, CrossEntropyLoss(), make())
    x, y = np.ones((20, 300), np.float32), np.zeros(20, int)
    tracemalloc.start()
    try:
        start, _ = tracemalloc.get_traced_memory()
        trainer.train_step(x, y)
        first, _ = tracemalloc.get_traced_memory()
        trainer.train_step(x, y)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        trainer.train_step(x, y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    weight, buffers = model["0"].parameters()["weight"].data.nbytes, 4 * 20 * (2 * 400 + 2 * 10)
    assert peak - before < 12_000
    assert first - start < len(trainer.optimizer.slots) * 1.1 * weight + 2 * buffers  # no room for a gradient
