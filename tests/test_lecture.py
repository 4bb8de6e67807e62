"""The lecture, row by row in the order of its slides: each test is named after the row that it holds the library to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import cnnlib
from cnnlib import (
    SGD,
    Add,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    BCELoss,
    Concat,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Input,
    L1Loss,
    LeakyReLU,
    Linear,
    MaxNorm,
    MaxPool2d,
    Model,
    MSELoss,
    PReLU,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Standardize,
    Tanh,
    Trainer,
    datasets,
    drawing,
    models,
    plots,
    recalibrate_batchnorm,
)
from cnnlib.errors import ShapeError, TrainingError
from cnnlib.shapes import output_size

Array = np.ndarray[Any, Any]


def steps(layer: Any, x: Any, dy: Any) -> tuple[Array, Array]:
    """Return output and input gradient of a layer on float64 arrays."""
    y = layer.forward(np.asarray(x, float), training=True)
    return y, layer.backward(np.broadcast_to(np.asarray(dy, float), y.shape).copy())


def cells(model: Model) -> list[list[str]]:
    """Return the rows of a chain's summary, each as its texts."""
    lines = model.summary().splitlines()[2 : 2 + len(model.graph.nodes)]
    return [re.split(" {2,}", line) for line in lines]


def test_every_row_of_the_lecture_has_a_test() -> None:
    rows = [f"L{number:02}" for number in range(1, 44)]
    tested = {name[5:8] for name, value in globals().items() if name.startswith("test_L") and callable(value)}
    assert sorted(tested) == rows


# 1. Computational graphs of linear models


def test_L01_linear_regression(rng) -> None:
    w, b = np.array([2.0, -1.0, 0.5]), 3.0
    x = rng.normal(size=(500, 3))
    y = (x @ w + b + rng.normal(0, 0.1, 500))[:, None]
    model = Sequential(Linear(3, 1, rng=0, dtype=np.float64), input_shape=3)
    Trainer(model, MSELoss(), SGD(0.1)).fit((x, y), epochs=20, verbose=0)
    weight, bias = (parameter.data for parameter in model.parameters().values())
    np.testing.assert_allclose(weight[0], w, atol=0.02)
    np.testing.assert_allclose(bias, b, atol=0.02)
    assert "Linear (3 → 1)" in drawing.draw(model).svg()


def test_L01_the_bias_is_a_weight_on_a_constant_input(rng) -> None:
    x, dy = rng.normal(size=(5, 3)), rng.normal(size=(5, 1))
    linear, drawn = Linear(3, 1, rng=0, dtype=np.float64), Linear(4, 1, bias=False, dtype=np.float64)
    assert linear.bias is not None
    drawn.weight.data[:] = np.concatenate([linear.bias.data, linear.weight.data[0]])
    with_x0 = np.hstack([np.ones((5, 1)), x])
    np.testing.assert_allclose(drawn.forward(with_x0, training=True), linear.forward(x, training=True))
    drawn.backward(dy)
    linear.backward(dy)
    assert drawn.weight.grad is not None
    np.testing.assert_allclose(drawn.weight.grad[:, :1], [linear.bias.grad])


def test_L02_logistic_regression(rng) -> None:
    x, target = rng.normal(size=(8, 3)), rng.integers(0, 2, (8, 1))
    model = Sequential(Linear(3, 1, rng=0, dtype=np.float64), Sigmoid(), input_shape=3)
    y = model.layers["0"].forward(x)
    sigma = 1 / (1 + np.exp(-y))
    by_hand = (-target * np.log(sigma) - (1 - target) * np.log(1 - sigma)).mean()
    plain, fused = BCELoss(), BCELoss(from_logits=True)
    assert plain.forward(model.forward(x), target) == pytest.approx(by_hand)
    assert fused.forward(y, target) == pytest.approx(by_hand)
    scores = np.array([1000.0, -1000.0, 1000.0, -1000.0])
    assert fused.forward(scores, np.array([1, 0, 0, 1])) == (0 + 0 + 1000 + 1000) / 4
    assert fused.backward().tolist() == [0, 0, 0.25, -0.25]


def test_L03_softmax_regression_two_ways(rng) -> None:
    x, target = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
    linear, softmax = Linear(4, 3, rng=0, dtype=np.float64), Softmax()
    y = linear.forward(x, training=True)
    p = softmax.forward(y, training=True)
    plain, fused = CrossEntropyLoss(from_logits=False), CrossEntropyLoss()
    assert plain.forward(p, target) == pytest.approx(-np.log(p[np.arange(6), target]).mean())
    assert fused.forward(y, target) == pytest.approx(plain.forward(p, target), rel=1e-14)
    np.testing.assert_allclose(softmax.backward(plain.backward()), fused.backward(), atol=1e-15)


# 2. Fully-connected layer and back-propagation


def test_L04_fully_connected_layer(rng) -> None:
    linear, x = Linear(3, 2, rng=0, dtype=np.float64), rng.normal(size=3)
    assert linear.weight.data.shape == (2, 3)
    assert linear.bias is not None
    np.testing.assert_allclose(linear.forward(x[None])[0], linear.weight.data @ x + linear.bias.data)


def test_L05_scalar_graph(monkeypatch) -> None:
    a, b, c = (Input((), name=name) for name in "abc")
    u = b * c
    v = a + u
    model = Model([a, b, c], 3 * v)
    runs: Counter[str] = Counter()
    for name, layer in model.layers.items():

        def counted(*args: Any, name: str = name, gradients: Any = layer.gradients) -> Any:
            runs[name] += 1
            return gradients(*args)

        monkeypatch.setattr(layer, "gradients", counted)
    j = model.forward([np.array([value], float) for value in (5, 3, 2)], training=True)
    derivatives = model.backward(np.ones(1))
    assert (j.tolist(), [d.tolist() for d in derivatives]) == ([33.0], [[3.0], [6.0], [9.0]])
    assert runs == dict.fromkeys(["multiply", "add", "affine"], 1)


def test_L06_cross_entropy_gradient() -> None:
    p, loss = np.array([[0.2, 0.5, 0.3]]), CrossEntropyLoss(from_logits=False)
    loss.forward(p, np.array([1]))
    np.testing.assert_allclose(loss.backward(), [[0, -1 / 0.5, 0]])
    soft = np.array([[0.1, 0.6, 0.3]])
    loss.forward(p, soft)
    np.testing.assert_allclose(loss.backward(), -soft / p)


def test_L07_softmax_jacobian(rng) -> None:
    y = rng.normal(size=(1, 4))
    p, _ = steps(Softmax(), y, 0)
    jacobian = np.stack([steps(Softmax(), y, np.eye(4)[i])[1][0] for i in range(4)])
    np.testing.assert_allclose(jacobian, np.diag(p[0]) - np.outer(p, p), atol=1e-16)


def test_L08_softmax_and_cross_entropy_together(rng) -> None:
    y, target = rng.normal(size=(1, 5)), np.array([3])
    loss = CrossEntropyLoss()
    loss.forward(y, target)
    np.testing.assert_allclose(loss.backward(), Softmax().forward(y) - np.eye(5)[target], atol=1e-16)


def test_L09_linear_gradients(rng) -> None:
    linear, x, dy = Linear(3, 2, rng=0, dtype=np.float64), rng.normal(size=(1, 3)), rng.normal(size=(1, 2))
    _, dx = steps(linear, x, dy)
    np.testing.assert_allclose(linear.weight.grad, np.outer(dy, x))
    assert linear.bias is not None
    np.testing.assert_allclose(linear.bias.grad, dy[0])
    np.testing.assert_allclose(dx[0], linear.weight.data.T @ dy[0])


LOSSES = [CrossEntropyLoss(), CrossEntropyLoss(False), BCELoss(), BCELoss(True), MSELoss(), L1Loss()]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_L10_a_batch_is_the_mean_of_its_samples(rng, loss) -> None:
    x = rng.normal(size=(6, 4))
    target = Softmax().forward(rng.normal(size=(6, 3)))
    linear = Linear(4, 3, rng=0, dtype=np.float64)
    model = Sequential(linear, Softmax(), input_shape=4)

    def value_and_gradient(samples: slice) -> tuple[float, Array]:
        linear.weight.zero_grad()
        value = loss.forward(model.forward(x[samples], training=True), target[samples])
        model.backward(loss.backward())
        assert linear.weight.grad is not None
        return value, linear.weight.grad.copy()

    values, gradients = zip(*(value_and_gradient(slice(i, i + 1)) for i in range(6)), strict=True)
    value, gradient = value_and_gradient(slice(0, 6))
    assert value == pytest.approx(np.mean(values))
    np.testing.assert_allclose(gradient, np.mean(gradients, axis=0), atol=1e-15)


def test_L11_an_iteration_goes_up_then_down_then_updates(monkeypatch, rng) -> None:
    class Plain(Linear):  # a plan has an operation of its own for Linear itself
        pass

    layers = [Plain(3, 4, rng=0, name="low"), Sigmoid(name="middle"), Plain(4, 2, rng=1, name="top")]
    model = Sequential(*layers, input_shape=3)
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.5))
    trace = []

    def traced(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            trace.append(step)
            return function(*args, **options)

        return call

    for layer in layers:
        monkeypatch.setattr(layer, "apply", traced(f"{layer.name} forward", layer.apply))
        monkeypatch.setattr(layer, "gradients", traced(f"{layer.name} backward", layer.gradients))
    monkeypatch.setattr(trainer.loss, "forward", traced("loss", trainer.loss.forward))
    monkeypatch.setattr(trainer.optimizer, "step", traced("update", trainer.optimizer.step))
    before = model.state_dict()
    trainer.train_step(rng.normal(size=(5, 3)), rng.integers(0, 2, 5))
    up = ["low forward", "middle forward", "top forward", "loss"]
    assert trace == [*up, "top backward", "middle backward", "low backward", "update"]
    for name, parameter in model.parameters().items():
        np.testing.assert_allclose(parameter.data, before[name] - np.float32(0.5) * parameter.grad, rtol=1e-6)


def test_L12_linear_layers_collapse_to_one(rng) -> None:
    x = rng.normal(size=(50, 3))
    first, second = Linear(3, 8, rng=0, dtype=np.float64), Linear(8, 2, rng=1, dtype=np.float64)
    (w1, b1), (w2, b2) = ([p.data for p in layer.parameters().values()] for layer in (first, second))
    collapsed = x @ (w2 @ w1).T + (w2 @ b1 + b2)
    np.testing.assert_allclose(Sequential(first, second).predict(x), collapsed, atol=1e-12)
    for between in (ReLU(), Sigmoid(), Softmax()):
        assert np.abs(Sequential(first, between, second).predict(x) - collapsed).max() > 0.1


def test_L12_what_lies_between_makes_exclusive_or_learnable() -> None:
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0])
    right = {}
    for between in ([], [Tanh()]):
        model = Sequential(Linear(2, 8, rng=0), *between, Linear(8, 2, rng=1), input_shape=2)
        Trainer(model, CrossEntropyLoss(), SGD(0.5, momentum=0.9)).fit((x, y), epochs=200, batch_size=4, verbose=0)
        right[len(between)] = int((model.predict(x).argmax(axis=1) == y).sum())
    assert right[0] < 4 == right[1]


@pytest.mark.skipif(datasets.find("mnist") is None, reason="needs the full MNIST in CNNLIB_DATA or the cache")
def test_L13_mnist_has_60000_and_10000_images() -> None:
    (x_train, y_train), (x_test, y_test) = datasets.mnist(pad=2, download=False)
    assert (x_train.shape, x_test.shape) == ((60000, 1, 32, 32), (10000, 1, 32, 32))
    assert (y_train.shape, y_test.shape) == ((60000,), (10000,))


def test_L13_a_three_layer_mlp_learns_vectors_of_1024() -> None:
    (plain, _), _ = datasets.mnist_sample()
    (x, y), test = datasets.mnist_sample(pad=2)
    assert x.shape[1:] == (1, 32, 32)
    np.testing.assert_array_equal(x[:, :, 2:30, 2:30], plain)
    assert x.sum(dtype=np.int64) == plain.sum(dtype=np.int64)  # nothing but zeros around it
    model = models.mlp([1024, 128, 64, 10], input_shape=(1, 32, 32), rng=0)
    assert [row[0] for row in cells(model) if row[0].startswith("Linear")] == [
        "Linear (1024 → 128)",
        "Linear (128 → 64)",
        "Linear (64 → 10)",
    ]
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1, momentum=0.9))
    trainer.fit((x, y), epochs=3, verbose=0)
    assert trainer.evaluate(test)["accuracy"] > 0.88


def test_L14_learned_weights_and_features_can_be_seen() -> None:
    train, test = datasets.mnist_sample()
    x, y = (array[:200] for array in test)
    model = models.classic(channels=(4, 8), hidden=(32,), rng=0)
    Trainer(model, CrossEntropyLoss(), SGD(0.05, momentum=0.9)).fit(train, epochs=2, verbose=0)
    low, high = "0", "8"  # the first convolution, and what the last layer reads

    drawn = plots.filters(model).axes[0].images[0].get_array()
    np.testing.assert_array_equal(drawn[:3, :3], model[low].parameters()["weight"].data[0, 0])
    mlp = models.mlp([784, 16, 10], input_shape=(1, 28, 28), rng=0)
    drawn = plots.filters(mlp).axes[0].images[0].get_array()
    np.testing.assert_array_equal(drawn[:28, :28], mlp["1"].parameters()["weight"].data[0].reshape(28, 28))

    features = model.features(x, at=["input", low, high])
    top = model[-1]
    np.testing.assert_allclose(top.forward(features[high]), model.predict(x), rtol=1e-5, atol=1e-5)
    pixels, filtered, learned = (plots.separability(values.reshape(len(x), -1), y) for values in features.values())
    assert learned > max(pixels, filtered) + 0.1

    titles = [ax.get_title() for ax in plots.projection(model, x, y, at=["input", low, high]).axes[1:]]
    assert titles == [f"{n}: separability {s:.1%}" for n, s in zip(features, (pixels, filtered, learned), strict=True)]


# 3. Other layers of modern networks


def test_L15_sigmoid() -> None:
    y, dx = steps(Sigmoid(), [[-1000, 0, np.log(3), 1000]], 2)
    np.testing.assert_allclose(y, [[0, 0.5, 0.75, 1]])
    np.testing.assert_allclose(dx, [[0, 2 * 0.25, 2 * 0.75 * 0.25, 0]])


def test_L16_tanh() -> None:
    y, dx = steps(Tanh(), [[-1000, 0, np.log(3) / 2, 1000]], 2)
    np.testing.assert_allclose(y, [[-1, 0, 0.5, 1]])
    np.testing.assert_allclose(dx, [[0, 2, 2 * (1 - 0.25), 0]])


def test_L17_relu() -> None:
    y, dx = steps(ReLU(), [[-3, 0, 4]], 7)
    assert (y.tolist(), dx.tolist()) == ([[0, 0, 4]], [[0, 0, 7]])


def test_L18_leaky_relu() -> None:
    y, dx = steps(LeakyReLU(0.25), [[-4, 4]], 8)
    assert (y.tolist(), dx.tolist()) == ([[-1, 4]], [[2, 8]])


def test_L19_prelu_learns_its_slope() -> None:
    x = np.array([[-4.0, -8.0], [1.0, -2.0]])
    for count, slopes in ((1, [-4 - 8 - 2]), (2, [-4, -8 - 2])):
        prelu = PReLU(count, dtype=np.float64)
        y, dx = steps(prelu, x, 1)
        assert (y.tolist(), dx.tolist()) == ([[-1, -2], [1, -0.5]], [[0.25, 0.25], [1, 0.25]])
        assert prelu.weight.grad is not None
        assert prelu.weight.grad.tolist() == slopes


def test_L20_mse_is_half_the_square_over_n() -> None:
    loss, z, target = MSELoss(), np.array([[1.0, 4.0], [2.0, 0.0]]), np.array([[0.0, 1.0], [2.0, 2.0]])
    assert loss.forward(z, target) == (1 + 9 + 0 + 4) / (2 * 2)
    np.testing.assert_array_equal(loss.backward(), (z - target) / 2)


def test_L21_l1() -> None:
    loss, z, target = L1Loss(), np.array([[1.0, 4.0], [2.0, 0.0]]), np.array([[0.0, 1.0], [2.0, 2.0]])
    assert loss.forward(z, target) == (1 + 3 + 0 + 2) / 2
    assert loss.backward().tolist() == [[0.5, 0.5], [0, -0.5]]


def test_L21_an_outlier_pulls_the_mean_but_not_the_median() -> None:
    # The best constant under J is where its gradients add up to 0.
    target = np.array([[1.0], [2], [3], [4], [90]])
    for loss, best in ((MSELoss(), 20.0), (L1Loss(), 3.0)):
        loss.forward(np.full((5, 1), best), target)
        assert loss.backward().sum() == pytest.approx(0)


def kinks(model: Model) -> int:
    """Count where the slope of a piecewise linear function of [0, 1] changes, at multiples of 1/1024."""
    y = model.predict(np.linspace(0, 1, 1025)[:, None])[:, 0]
    return int((np.abs(np.diff(y, 2)) > 1e-9).sum())


def numbers(model: Model) -> int:
    return sum(parameter.data.size for parameter in model.parameters().values())


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_L22_depth_saves_exponentially_many_neurons(depth: int) -> None:
    # Each layer of two neurons folds [0, 1] once more: t(x) = 2 relu(x) - 4 relu(x - 1/2), a sawtooth of 2^depth edges.
    fold = [Linear(1 if i == 0 else 2, 2, dtype=np.float64) for i in range(depth)]
    deep = Sequential(*(part for layer in fold for part in (layer, ReLU())), Linear(2, 1, dtype=np.float64))
    for i, linear in enumerate(deep.layers.values()):
        if isinstance(linear, Linear):
            linear.weight.data[:] = [2, -4] if i else 1
            linear.bias.data[:] = [0, -0.5] if linear.bias.data.size == 2 else 0
    # A hidden neuron bends the line in one place: the same function in one layer takes a neuron for each edge.
    n = 2**depth
    shallow = Sequential(Linear(1, n, dtype=np.float64), ReLU(), Linear(n, 1, dtype=np.float64))
    first, second = shallow.layers["0"], shallow.layers["2"]
    first.weight.data[:], first.bias.data[:] = 1, -np.arange(n) / n
    second.weight.data[:], second.bias.data[:] = 2 * n * (-1.0) ** np.arange(n), 0
    second.weight.data[0, 0] = n
    x = np.linspace(0, 1, 1025)[:, None]
    np.testing.assert_allclose(deep.predict(x), shallow.predict(x), atol=1e-12)
    assert kinks(deep) == kinks(shallow) == n - 1
    assert (numbers(deep), numbers(shallow)) == (6 * depth + 1, 3 * 2**depth + 1)


def test_L23_gradients_of_branches_add(rng) -> None:
    x, dys = Input(3), [rng.normal(size=(4, 2)), rng.normal(size=(4, 5))]
    shared = Linear(3, 3, rng=0, dtype=np.float64)
    branches = [Linear(3, c, rng=c, dtype=np.float64) for c in (2, 5)]
    hidden = shared(x)
    model = Model(x, [branch(hidden) for branch in branches])
    model.forward(rng.normal(size=(4, 3)), training=True)
    dx = model.backward(dys)
    through = sum(dy @ branch.weight.data for dy, branch in zip(dys, branches, strict=True))
    np.testing.assert_allclose(dx, through @ shared.weight.data)


def test_L24_concatenation(rng) -> None:
    a, b = Input(2), Input(3)
    model, x, z = Model([a, b], Concat(axis=1)(a, b)), rng.normal(size=(4, 2)), rng.normal(size=(4, 3))
    np.testing.assert_array_equal(model.forward([x, z], training=True), np.hstack([x, z]))
    dx, dz = model.backward(np.hstack([z, x]))
    np.testing.assert_array_equal(np.hstack([dx, dz]), np.hstack([z, x]))


def test_L25_addition(rng) -> None:
    x = Input(3)
    a, b = Linear(3, 2, rng=0, dtype=np.float64), Linear(3, 2, rng=1, dtype=np.float64)
    node = a(x) + b(x)
    assert isinstance(node.layer, Add)
    model, values = Model(x, node), rng.normal(size=(4, 3))
    np.testing.assert_allclose(model.forward(values, training=True), a.forward(values) + b.forward(values))
    dy = rng.normal(size=(4, 2))
    np.testing.assert_allclose(model.backward(dy), dy @ (a.weight.data + b.weight.data))


@pytest.mark.parametrize(("norm", "shape"), [(BatchNorm1d, (50, 4)), (BatchNorm2d, (5, 4, 3, 6))])
def test_L26_batch_normalisation(rng, norm, shape) -> None:
    x, layer = rng.normal(3, 5, size=shape), norm(4, dtype=np.float64)
    gamma, beta = layer.weight.data, layer.bias.data
    gamma[:], beta[:] = rng.normal(size=(2, 4))
    channels_last = np.moveaxis(x, 1, -1)
    rows = channels_last.reshape(-1, 4)
    expected = gamma * (channels_last - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-5) + beta
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(np.moveaxis(y, 1, -1), expected, rtol=1e-12, atol=1e-12)


def test_L27_running_estimates(rng) -> None:
    norm = BatchNorm1d(2, dtype=np.float64)
    assert norm.momentum == 0.1
    mean, var = np.zeros(2), np.ones(2)
    for _ in range(3):
        x = rng.normal(3, 5, size=(9, 2))
        norm.forward(x, training=True)
        mean, var = 0.9 * mean + 0.1 * x.mean(axis=0), 0.9 * var + 0.1 * x.var(axis=0, ddof=1)
    np.testing.assert_allclose(norm.running_mean, mean)
    np.testing.assert_allclose(norm.running_var, var)


def test_L28_three_choices_of_statistics_at_test_time(rng) -> None:
    linear, norm = Linear(4, 4, rng=0, dtype=np.float64), BatchNorm1d(4, dtype=np.float64)
    top = Linear(4, 4, rng=1, dtype=np.float64), BatchNorm1d(4, dtype=np.float64)
    model = Sequential(linear, norm, *top, input_shape=4)
    x = rng.normal(3, 5, size=(200, 4))
    for start in range(0, 200, 20):
        model.forward(x[start : start + 20], training=True)
    below, batch = linear.forward(x), linear.forward(x[:50])

    def normed(mean: Array, var: Array) -> Array:
        result: Array = (batch - mean) / np.sqrt(var + 1e-5)
        return result

    def deviation() -> float:
        """How far the net's outputs over all data are from mean 0 and variance 1."""
        y = model.forward(x)
        return float(np.abs(y.mean(axis=0)).max() + np.abs(y.var(axis=0) - 1).max())

    np.testing.assert_allclose(norm.forward(batch), normed(norm.running_mean, norm.running_var))
    running = deviation()
    model.eval(bn_stats="batch")
    np.testing.assert_allclose(norm.forward(batch), normed(batch.mean(axis=0), batch.var(axis=0)), atol=1e-12)
    model.eval(bn_stats="running")
    recalibrate_batchnorm(model, x, batch_size=32)
    np.testing.assert_allclose(norm.forward(batch), normed(below.mean(axis=0), below.var(axis=0, ddof=1)), atol=1e-12)
    assert deviation() < 0.02 < running


CLAIMS: dict[str, dict[str, Any]] = {
    "trains faster": {},
    "higher learning rates": {"lr": 3.0},
    "weights too small": {"scale": 0.1},
    "weights too large": {"scale": 10.0},
    "sigmoids": {"activation": Sigmoid},
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_L29_what_batch_normalisation_allows(claim) -> None:
    (x, y), test = datasets.mnist_sample()

    def accuracy(normed: bool, activation: Any = ReLU, lr: float = 0.1, scale: float = 1.0) -> float:
        """Return that of four hidden layers after two epochs, their first weights times `scale`."""
        rng = np.random.default_rng(0)
        layers: list[Any] = [Flatten()]
        for inputs in (784, 64, 64, 64):
            layers += [Linear(inputs, 64, rng=rng), *([BatchNorm1d(64)] if normed else []), activation()]
        layers.append(Linear(64, 10, rng=rng))
        for layer in layers:
            if isinstance(layer, Linear):
                layer.weight.data *= scale
        model = Sequential(*layers, input_shape=(1, 28, 28))
        trainer = Trainer(model, CrossEntropyLoss(), SGD(lr))
        try:
            trainer.fit((x[:2000], y[:2000]), epochs=2, batch_size=50, verbose=0)
        except TrainingError:  # the loss is no number any more
            return 0.0
        return trainer.evaluate(test)["accuracy"]

    assert accuracy(normed=False, **claim) < 0.35
    assert accuracy(normed=True, **claim) > 0.6


def test_L30_dropout(rng) -> None:
    drop, x = Dropout(0.25, rng=0), np.ones((500, 400))
    y, dx = steps(drop, x, 3)
    assert set(np.unique(y)) == {0, 1 / 0.75}
    assert abs((y == 0).mean() - 0.25) < 0.01
    assert abs(y.mean() - 1) < 0.01
    np.testing.assert_array_equal(dx, 3 * y)
    np.testing.assert_array_equal(Dropout(0.25, rng=0).forward(x, training=True), y)
    assert drop.forward(x) is x


def test_L31_dropout_and_max_norm_help_where_data_are_few() -> None:
    (x, y), test = datasets.mnist_sample()
    measured = {}
    for p, constraint in ((0.0, None), (0.5, MaxNorm(1))):
        rng = np.random.default_rng(0)
        hidden = [part for n in (784, 256) for part in (Linear(n, 256, rng=rng), ReLU(), Dropout(p))]
        model = Sequential(Flatten(), *hidden, Linear(256, 10, rng=rng), input_shape=(1, 28, 28))
        trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1, momentum=0.9), constraint=constraint)
        history = trainer.fit((x[:500], y[:500]), epochs=20, batch_size=50, verbose=0)
        rows = [np.linalg.norm(layer.weight.data, axis=1) for layer in model if isinstance(layer, Linear)]
        measured[p] = history["loss"][-1], trainer.evaluate(test)["loss"], max(norms.max() for norms in rows)
    (training, tested, longest), (dropped_training, dropped_tested, constrained) = measured[0.0], measured[0.5]
    assert dropped_training > 10 * training
    assert dropped_tested < 0.85 * tested
    assert constrained <= 1 + 1e-6 < longest


def test_L32_modern_mlp(rng, tmp_path) -> None:
    x_train, x_test = rng.normal(5, [1, 2, 30], (100, 3)), rng.normal(5, [1, 2, 30], (40, 3))
    for activation, kind in (("prelu", PReLU), ("leaky_relu", LeakyReLU)):
        model = models.modern_mlp([3, 8, 6, 2], activation=activation, standardize=x_train, rng=0, dtype=np.float64)
        block = [Linear, BatchNorm1d, kind]
        assert [type(layer) for layer in model] == [Standardize, Flatten, *block, *block, Linear]
        expected = (x_test - x_train.mean(axis=0)) / np.sqrt(x_train.var(axis=0) + model[0].eps)
        np.testing.assert_allclose(model.features(x_test, at=0), expected, rtol=1e-12)
        model.save(tmp_path / "mlp.safetensors")
        np.testing.assert_array_equal(cnnlib.load(tmp_path / "mlp.safetensors").predict(x_test), model.predict(x_test))


def test_L33_losses_at_the_top_and_at_another_layer(rng) -> None:
    x, low = Input(4), Linear(4, 8, rng=0, dtype=np.float64, name="low")
    hidden = Tanh()(low(x))
    top = Tanh()(Linear(8, 8, rng=1, dtype=np.float64)(hidden))
    heads = {"class": (top, 3), "size": (top, 1), "early": (hidden, 3)}
    outputs = {name: Linear(8, c, rng=2, dtype=np.float64)(node) for name, (node, c) in heads.items()}
    model = Model(x, outputs)
    labels, inputs = rng.integers(0, 3, 6), rng.normal(size=(6, 4))
    targets = {"class": labels, "size": rng.normal(size=(6, 1)), "early": labels}
    losses = {"class": CrossEntropyLoss(), "size": MSELoss(), "early": CrossEntropyLoss()}

    def step(weights: dict[str, float]) -> tuple[float, Array]:
        trainer = Trainer(model, losses, SGD(0.0), loss_weights=weights)
        value = trainer.train_step(inputs, targets)
        assert low.weight.grad is not None
        return value, low.weight.grad.copy()

    alone = {name: step({other: float(other == name) for other in heads}) for name in heads}
    weights = {"class": 1.0, "size": 0.5, "early": 0.25}
    value, gradient = step(weights)
    assert value == pytest.approx(sum(weight * alone[name][0] for name, weight in weights.items()))
    np.testing.assert_allclose(gradient, sum(weight * alone[name][1] for name, weight in weights.items()), atol=1e-15)
    assert all(np.abs(alone[name][1]).max() > 1e-3 for name in heads)


# 4. Convolutional networks


def test_L34_sparse_connections_and_shared_parameters() -> None:
    conv, dense = Conv2d(1, 1, (1, 3), padding="same", bias=False, rng=0), Linear(5, 5, bias=False, rng=0)
    for layer, shape, weights, multiply_adds in ((conv, (1, 1, 5), 3, 15), (dense, (5,), 25, 25)):
        total = Sequential(layer, input_shape=shape).summary().splitlines()[-1]
        assert total.startswith(f"{weights} parameters (")
        assert total.endswith(f", {multiply_adds} multiply-adds a sample")
    # As a matrix, which a linear layer would have: each input at its turn is 1.
    matrix = conv.forward(np.eye(5, dtype=np.float32).reshape(5, 1, 1, 5))[:, 0, 0].T
    left, middle, right = conv.weight.data[0, 0, 0]
    expected = middle * np.eye(5) + left * np.eye(5, k=-1) + right * np.eye(5, k=1)
    np.testing.assert_array_equal(matrix, expected)
    assert np.count_nonzero(matrix) == 13


def test_L35_the_receptive_field_grows_with_depth() -> None:
    deep = Sequential(*(Conv2d(1, 1, 3) for _ in range(3)), input_shape=(1, 9, 9))
    assert [row[-3:] for row in cells(deep)] == [[f"{n} × {n}", "1", f"{n // 2}"] for n in (1, 3, 5, 7)]


def test_L35_size_stride_and_centre_are_the_footprint_of_a_gradient(direct) -> None:
    layers = list(models.lenet5(rng=0, dtype=np.float64).layers.values())[:6]
    x = np.random.default_rng(0).random((50, 1, 28, 28))
    for depth in range(1, 7):
        part = Sequential(*layers[:depth], input_shape=(1, 28, 28))
        size, stride, centre = cells(part)[-1][-3:]
        y = part.forward(x, training=True)
        unit = y.shape[2] // 2
        reach = []
        for i in (unit, unit + 1):
            dy = np.zeros_like(y)
            dy[:, :, i, i] = 1
            reach.append(np.flatnonzero((part.backward(dy) != 0).any(axis=(0, 1, 2))))
        (first, last), (following, _) = ((pixels[0], pixels[-1]) for pixels in reach)
        assert size == f"{last - first + 1} × {last - first + 1}"
        assert int(stride) == following - first
        assert float(centre) + unit * int(stride) == (first + last) / 2


def test_L36_each_number_is_a_dot_product_of_75_terms(rng) -> None:
    x = rng.normal(size=(1, 3, 32, 32))
    conv = Conv2d(3, 6, 5, rng=0, dtype=np.float64)
    assert Conv2d(3, 1, 5).output_shape((3, 32, 32)) == (1, 28, 28)
    y = conv.forward(x)[0]
    assert y.shape == (6, 28, 28)
    assert conv.bias is not None
    for k, i, j in ((0, 0, 0), (3, 10, 20), (5, 27, 27)):
        terms = conv.weight.data[k].ravel() * x[0, :, i : i + 5, j : j + 5].ravel()
        assert terms.size == 75
        assert y[k, i, j] == pytest.approx(terms.sum() + conv.bias.data[k])


def test_L37_output_size() -> None:
    assert [output_size(7, 3, stride) for stride in (1, 2, 3)] == [5, 3, 2]
    assert [output_size(7, 3, stride, exact=True) for stride in (1, 2)] == [5, 3]
    with pytest.raises(ShapeError, match=re.escape("(7 - 3)/3 + 1 = 2.33")):
        output_size(7, 3, 3, exact=True)
    for stride, size in ((1, 5), (2, 3), (3, 2)):
        model = Sequential(Conv2d(1, 1, 3, stride), input_shape=(1, 7, 7))
        assert model.predict(np.zeros((1, 1, 7, 7), np.float32)).shape == (1, 1, size, size)
        rim = "leaves 1 row and 1 column at the rim of its input unread"
        assert (rim in model.summary()) == (stride == 3)


def test_L38_zero_padding() -> None:
    assert output_size(7, 3, padding=1) == 7
    for kernel, padding in ((3, 1), (5, 2), (7, 3)):
        for given in (padding, (padding, padding), "same"):
            conv = Conv2d(1, 1, kernel, padding=given, rng=0)
            assert conv.output_shape((1, 32, 32)) == (1, 32, 32)
            assert f"P={padding}, S=1" in conv.describe()
    # (N + 2P - F)/stride + 1, and the border that is read is 0.
    assert output_size(32, 5, 3, padding=2) == (32 + 2 * 2 - 5) // 3 + 1 == 11
    conv = Conv2d(1, 1, 3, padding=1, bias=False)
    conv.weight.data[:] = 1
    assert conv.forward(np.ones((1, 1, 2, 2), np.float32))[0, 0].tolist() == [[4, 4], [4, 4]]


def test_L39_ten_filters_on_three_channels() -> None:
    model = Sequential(Conv2d(3, 10, 5, stride=1, padding=2), input_shape=(3, 32, 32))
    row = ["Conv (C_out=10, K=5, P=2, S=1)", "10 × 32 × 32", "10 × 3 × 5 × 5", "760", "768,000"]
    assert cells(model)[1][:5] == row
    assert model.summary().splitlines()[-1] == "760 parameters (3.0 KB as float32), 768,000 multiply-adds a sample"


def test_L40_pooling() -> None:
    x = np.array([[[[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]], np.float32)
    assert MaxPool2d(2, stride=2).forward(x)[0, 0].tolist() == [[6, 8], [3, 4]]
    assert AvgPool2d(2, stride=2).forward(x)[0, 0].tolist() == [[13 / 4, 21 / 4], [2, 2]]
    for pool in (MaxPool2d(2), AvgPool2d(2)):
        assert pool.parameters() == {}
        assert pool.forward(np.ones((1, 64, 224, 224), np.float32)).shape == (1, 64, 112, 112)
    # Small shifts do not matter: the largest stays in its window.
    assert MaxPool2d(2).forward(x[:, :, [1, 0, 3, 2]]).tolist() == MaxPool2d(2).forward(x).tolist()


def test_L40_overlapping_and_padded_pooling(rng) -> None:
    pool = MaxPool2d(3, stride=2)  # AlexNet's
    assert pool.output_shape((96, 55, 55)) == (96, 27, 27) == (96, (55 - 3) // 2 + 1, (55 - 3) // 2 + 1)
    x = np.zeros((1, 1, 5, 5))
    x[0, 0, 2, 2] = 1  # in all four windows: their gradients add up
    y, dx = steps(pool, x, 1)
    assert y.tolist() == np.ones((1, 1, 2, 2)).tolist()
    assert dx[0, 0, 2, 2] == 4
    negative = -np.ones((1, 1, 4, 4))
    assert (MaxPool2d(2, padding=1).forward(negative) == -1).all()  # padding is never the largest
    corner, edge = AvgPool2d(2, padding=1).forward(negative)[0, 0, 0, :2]
    assert (corner, edge) == (-1 / 4, -2 / 4)  # and is 0 in a mean


def test_L41_classic_architecture() -> None:
    for n, m in ((1, 1), (2, 1), (3, 2)):
        model = models.classic((3, 32, 32), channels=[4] * n, hidden=[9] * m, rng=0)
        expected = [Conv2d, ReLU, MaxPool2d] * n + [Flatten] + [Linear, ReLU] * m + [Linear]
        assert [type(layer) for layer in model] == expected
        assert model.predict(np.zeros((2, 3, 32, 32), np.float32)).shape == (2, 10)


LENET5 = """
| Input | 1 × 28 × 28 | |
| Conv (C_out=20, K=5, P=2, S=1) | 20 × 28 × 28 | 20 × 1 × 5 × 5 |
| ReLU | 20 × 28 × 28 | |
| MaxPool (K=2, S=2) | 20 × 14 × 14 | |
| Conv (C_out=50, K=5, P=2, S=1) | 50 × 14 × 14 | 50 × 20 × 5 × 5 |
| ReLU | 50 × 14 × 14 | |
| MaxPool (K=2, S=2) | 50 × 7 × 7 | |
| Flatten | 2450 | |
| Linear (2450 → 500) | 500 | 2450 × 500 |
| ReLU | 500 | |
| Linear (500 → 10) | 10 | 500 × 10 |
"""


def test_L42_lenet5_is_the_lectures_table() -> None:
    header, _, *lines = models.lenet5(rng=0).summary().splitlines()
    assert re.split(" {2,}", header)[:3] == ["Layer", "Output size", "Weight size"]
    starts = [header.index(title) for title in ("Layer", "Output size", "Weight size", "Parameters")]
    for line, expected in zip(lines, LENET5.strip().splitlines(), strict=False):
        row = [line[start:end].strip() for start, end in pairwise(starts)]
        assert row == [cell.strip() for cell in expected.strip("|").split("|")]
    assert re.fullmatch("-+", lines[len(LENET5.strip().splitlines())])  # and no more rows


def test_L43_what_excites_a_unit_most(rng) -> None:
    cross = np.array([[-1, 1, -1], [1, 1, 1], [-1, 1, -1]], np.float32)
    images = 0.3 * rng.random((20, 1, 12, 12), np.float32)
    places = {4: (2, 7), 11: (8, 0), 17: (5, 5)}
    for strength, (image, (i, j)) in zip((1.0, 0.9, 0.8), places.items(), strict=True):
        images[image, 0, i : i + 3, j : j + 3] = strength * (cross > 0)
    conv = Conv2d(1, 1, 3, bias=False)
    conv.weight.data[0, 0] = cross
    model = Sequential(conv, ReLU(), MaxPool2d(2), Conv2d(1, 4, 3, rng=0), input_shape=(1, 12, 12))
    ax = plots.top_patches(model, images, at="1", units=[0], k=3).axes[0]
    drawn = ax.images[0].get_array()
    for number, strength in enumerate((1.0, 0.9, 0.8)):
        patch = drawn[:, 4 * number : 4 * number + 3]
        np.testing.assert_allclose(patch, strength * (cross > 0), rtol=1e-6)
    # Deeper units see more of the image: low-, mid- and high-level features.
    titles = [plots.top_patches(model, images, at=name).axes[0].get_title().splitlines()[1] for name in "023"]
    assert titles == [f"receptive field {n} × {n}" for n in (3, 4, 8)]
