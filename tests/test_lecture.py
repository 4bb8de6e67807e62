"""The lecture, row by row: each test is named after the row that it holds the library to.

Begun here with the rows of graphs, losses, activations, merging, batch normalisation and dropout; the remaining rows
follow.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from cnnlib import (
    Add,
    BatchNorm1d,
    BCELoss,
    Concat,
    CrossEntropyLoss,
    Dropout,
    Input,
    L1Loss,
    LeakyReLU,
    Linear,
    Model,
    MSELoss,
    PReLU,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from cnnlib.recalibrate import recalibrate_batchnorm, use_statistics

Array = np.ndarray[Any, Any]


def steps(layer: Any, x: Any, dy: Any) -> tuple[Array, Array]:
    """Return output and input gradient of a layer on float64 arrays."""
    y = layer.forward(np.asarray(x, float), training=True)
    return y, layer.backward(np.broadcast_to(np.asarray(dy, float), y.shape).copy())


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


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), BCELoss(True), MSELoss(), L1Loss()], ids=repr)
def test_L10_a_batch_is_the_mean_of_its_samples(rng, loss) -> None:
    x = rng.normal(size=(6, 4))
    target = Softmax().forward(rng.normal(size=(6, 3)))
    linear = Linear(4, 3, rng=0, dtype=np.float64)

    def gradient(samples: slice) -> Array:
        linear.weight.zero_grad()
        loss.forward(linear.forward(x[samples], training=True), target[samples])
        linear.backward(loss.backward())
        assert linear.weight.grad is not None
        return linear.weight.grad.copy()

    singles = [gradient(slice(i, i + 1)) for i in range(6)]
    np.testing.assert_allclose(gradient(slice(0, 6)), np.mean(singles, axis=0), atol=1e-15)


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


def test_L26_batch_normalisation(rng) -> None:
    x, norm = rng.normal(3, 5, size=(50, 4)), BatchNorm1d(4, dtype=np.float64)
    gamma, beta = rng.normal(size=(2, 4))
    norm.weight.data[:], norm.bias.data[:] = gamma, beta
    expected = gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5) + beta
    np.testing.assert_allclose(norm.forward(x, training=True), expected, rtol=1e-12, atol=1e-12)


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
    use_statistics(model, "batch")
    np.testing.assert_allclose(norm.forward(batch), normed(batch.mean(axis=0), batch.var(axis=0)), atol=1e-12)
    use_statistics(model, "running")
    recalibrate_batchnorm(model, x, batch_size=32)
    np.testing.assert_allclose(norm.forward(batch), normed(below.mean(axis=0), below.var(axis=0, ddof=1)), atol=1e-12)
    assert deviation() < 0.02 < running


def test_L30_dropout(rng) -> None:
    drop, x = Dropout(0.25, rng=0), np.ones((500, 400))
    y, dx = steps(drop, x, 3)
    assert set(np.unique(y)) == {0, 1 / 0.75}
    assert abs((y == 0).mean() - 0.25) < 0.01
    assert abs(y.mean() - 1) < 0.01
    np.testing.assert_array_equal(dx, 3 * y)
    np.testing.assert_array_equal(Dropout(0.25, rng=0).forward(x, training=True), y)
    assert drop.forward(x) is x
