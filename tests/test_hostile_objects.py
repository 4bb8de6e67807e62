"""What docs/arrays.md states, for layers, losses, metrics, models and data sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnlib import Sequential, Trainer, augment, layers, losses, metrics, optim
from cnnlib.layers import Linear, registered
from tests.helpers import Array
from tests.rows import ROWS
from tests.test_hostile_arrays import (
    EMPTY,
    MATRIX,
    NO_NUMBERS,
    OTHER_NUMBERS,
    REFUSED,
    TAKEN,
    assert_as_its_copy,
    assert_refused,
)

RNG = np.random.default_rng(11)


def some(*shape: int) -> Array:
    return (0.1 + 0.8 * RNG.random(shape)).astype(np.float32)


def violations(run: Callable[[Any], Any], array: Array, refused: dict[str, Any], taken: dict[str, Any]) -> list[str]:
    """Return what does not go as it should, kind by kind."""
    wrong = []
    for kinds, check in ((taken, assert_as_its_copy), (refused, assert_refused)):
        for kind, make in kinds.items():
            if kind.startswith("empty") and int(kind[-1]) >= array.ndim:
                continue
            try:
                check(run, make(array))
            except Exception as error:
                wrong.append(f"{kind}: {type(error).__name__}: {str(error)[:200]}")
    return wrong


def kinds_for(array: Array) -> dict[str, Any]:
    return {**TAKEN, **(MATRIX if array.ndim == 2 else {})}


def test_every_layer_has_a_row() -> None:
    own = {name for name, layer in registered().items() if layer.__module__.startswith("cnnlib.")}
    assert {type(layer).__name__ for layer in map(made, ROWS)} >= own


def made(name: str) -> Any:
    row = ROWS[name]
    return row.make(dtype=np.float32) if row.parameters else row.make()


@pytest.mark.parametrize("name", ROWS)
def test_layers(name: str) -> None:
    xs = [some(4, *shape) for shape in ROWS[name].shapes]

    def forward(odd: Any) -> Any:
        return made(name).forward(odd, *xs[1:])

    def step(odd: Any) -> Any:
        layer = made(name)
        y = layer.forward(odd, *xs[1:], training=True)
        gradients = layer.backward(np.ones_like(y))
        return [y, *(gradients if isinstance(gradients, tuple) else (gradients,))]

    def backward(odd: Any) -> Any:
        layer = made(name)
        layer.forward(*xs, training=True)
        return layer.backward(odd)

    y = made(name).forward(*xs, training=True)
    wrong = [f"forward, {w}" for w in violations(forward, xs[0], REFUSED, kinds_for(xs[0]))]
    wrong += [f"step, {w}" for w in violations(step, xs[0], REFUSED, kinds_for(xs[0]))]
    wrong += [f"backward, {w}" for w in violations(backward, np.array(y), REFUSED, kinds_for(y))]
    assert not wrong, "\n".join(wrong)


LOSSES = [
    losses.CrossEntropyLoss(),
    losses.CrossEntropyLoss(False),
    losses.BCELoss(),
    losses.MSELoss(),
    losses.L1Loss(),
]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_losses(loss: Any) -> None:
    x = some(4, 3)
    x /= x.sum(axis=1, keepdims=True)
    t = np.roll(x, 1, axis=0).copy()

    def run(odd: Any, target: Any) -> Any:
        return loss.forward(odd, target), loss.backward()

    wrong = violations(lambda odd: run(odd, t), x, REFUSED, kinds_for(x))
    wrong += violations(lambda odd: run(x, odd), t, {**NO_NUMBERS, **EMPTY}, kinds_for(t) | OTHER_NUMBERS)
    w = some(4)
    refused = {kind: make for kind, make in {**NO_NUMBERS, **EMPTY}.items() if kind != "None"}
    wrong += violations(
        lambda odd: (loss.forward(x, t, odd), loss.backward()), w, refused, kinds_for(w) | OTHER_NUMBERS
    )
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "metric",
    [metrics.Accuracy(), metrics.TopKAccuracy(2), metrics.BinaryAccuracy()],
    ids=lambda metric: type(metric).__name__,
)
def test_metrics(metric: Any) -> None:
    x = some(4, 3)
    t = some(4, 3)

    def run(prediction: Any, target: Any) -> Any:
        metric.reset()
        metric.update(prediction, target)
        return metric.compute()

    wrong = violations(lambda odd: run(odd, t), x, {**NO_NUMBERS, **EMPTY}, kinds_for(x) | OTHER_NUMBERS)
    wrong += violations(lambda odd: run(x, odd), t, {**NO_NUMBERS, **EMPTY}, kinds_for(t) | OTHER_NUMBERS)
    assert not wrong, "\n".join(wrong)


TRANSFORMS = [
    augment.RandomHorizontalFlip(),
    augment.RandomCrop(4, 1),
    augment.RandomAffine(20, (0.2, 0.1)),
    augment.ElasticTransform(9, 1),
    augment.GaussianNoise(),
    augment.MixUp(1.0, num_classes=2),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
def test_transforms(transform: Any) -> None:
    x, labels = some(4, 2, 5, 4), np.arange(4) % 2
    strange = {"byte-swapped", "float16", "longdouble", "int64", "bool"}
    refused = {**NO_NUMBERS, **EMPTY, **{kind: OTHER_NUMBERS[kind] for kind in strange}}
    wrong = violations(lambda odd: transform(odd, labels), x, refused, kinds_for(x))
    assert not wrong, "\n".join(wrong)


def net() -> Sequential:
    return Sequential(
        layers.Conv2d(1, 2, 3, rng=0), layers.ReLU(), layers.Flatten(), Linear(8, 3, rng=1), input_shape=(1, 4, 4)
    )


def fitted(x: Any, y: Any) -> Any:
    model = net()
    trainer = Trainer(model, losses.CrossEntropyLoss(), optim.SGD(0.1), check_finite=False)
    trainer.fit((x, y), epochs=1, batch_size=2, verbose=0)
    return list(model.state_dict().values())


def test_models() -> None:
    x, y, model = some(4, 1, 4, 4), np.array([0, 1, 2, 0]), net()
    taken = kinds_for(x) | OTHER_NUMBERS

    def backward(odd: Any) -> Any:
        model.forward(x, training=True)
        return model.backward(odd)

    runs = {
        "forward": (model.forward, x),
        "predict": (model.predict, x),
        "features": (lambda odd: model.features(odd, at=0), x),
        "a fresh Sequential": (lambda odd: Sequential(layers.Flatten()).forward(odd), x),
        "fit": (lambda odd: fitted(odd, y), x),
        "load_state_dict": (lambda odd: net().load_state_dict({**model.state_dict(), "3.weight": odd}), some(3, 8)),
        "standardize": (lambda odd: layers.Standardize((1, 4, 4)).fit(odd).buffers(), x),
    }
    wrong = []
    for name, (run, array) in runs.items():
        refused = {**NO_NUMBERS, **EMPTY} if name != "load_state_dict" else NO_NUMBERS
        kinds = taken if name != "load_state_dict" else kinds_for(array)
        wrong += [f"{name}, {w}" for w in violations(run, array, refused, kinds)]
    dy = some(4, 3)
    wrong += [f"backward, {w}" for w in violations(backward, dy, {**NO_NUMBERS, **EMPTY}, kinds_for(dy))]
    assert not wrong, "\n".join(wrong)
