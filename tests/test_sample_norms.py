"""Group, instance and layer normalisation: against the definition, PyTorch and differences; no sample sees another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, check_gradient, normal, poisoned

from cnnlib import functional, layers, reference
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.model import Sequential

# name, shape of x, what is normalised together, shape of the parameters
CASES: list[tuple[str, tuple[int, ...], Any, tuple[int, ...]]] = [
    ("group_norm", (1, 1, 1, 1), 1, (1,)),
    ("group_norm", (3, 6), 2, (6,)),
    ("group_norm", (2, 6, 7), 3, (6,)),
    ("group_norm", (3, 6, 5, 7), 1, (6,)),
    ("group_norm", (2, 5, 9, 13), 5, (5,)),
    ("group_norm", (2, 34, 33, 31), 17, (34,)),
    ("layer_norm", (4, 1), 1, (1,)),
    ("layer_norm", (65, 33), (33,), (33,)),
    ("layer_norm", (2, 3, 5, 7), 7, (7,)),
    ("layer_norm", (2, 3, 5, 7), (5, 7), (5, 7)),
    ("layer_norm", (3, 4, 15, 17), (4, 15, 17), (4, 15, 17)),
]


@pytest.mark.parametrize(("name", "shape", "over", "parameters"), CASES, ids=str)
def test_against_the_definition(isa, rng, dtype, name, shape, over, parameters) -> None:
    x, grad = 2 + normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    weight, bias = normal(rng, *parameters, dtype=dtype), normal(rng, *parameters, dtype=dtype)
    forward, backward = getattr(functional, name), getattr(functional, f"{name}_backward")
    wide = [array.astype(np.float64) for array in (x, weight, bias, grad)]
    size = x.size // weight.size * np.prod(shape[1:])
    for given in ((None, None), (weight, None), (weight, bias)):
        truth = getattr(reference, name)(wide[0], over, *(None if p is None else p.astype(np.float64) for p in given))
        assert_close(forward(x, over, *given, out=poisoned(shape, dtype)), truth, size)
    for given in (None, weight):
        truths = getattr(reference, f"{name}_backward")(wide[3], wide[0], over, None if given is None else wide[1])
        outs = poisoned(shape, dtype), poisoned(parameters, dtype), poisoned(parameters, dtype)
        for actual, expected in zip(backward(grad, x, over, given, out=outs), truths, strict=True):
            assert_close(actual, expected, size, term=1.0)
        for i in range(3):
            needs = tuple(k == i for k in range(3))
            alone = backward(grad, x, over, given, needs=needs)
            assert [gradient is not None for gradient in alone] == list(needs)
            np.testing.assert_array_equal(alone[i], outs[i])


@pytest.mark.parametrize(("name", "shape", "over", "parameters"), CASES[1:5] + CASES[7:10], ids=str)
def test_definitions_are_differentiated_rightly(rng, name, shape, over, parameters) -> None:
    x, weight, bias = (normal(rng, *sizes) for sizes in (shape, parameters, parameters))
    forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
    for which, array in enumerate((x, weight, bias)):
        check_gradient(
            lambda: forward(x, over, weight, bias, 0.1), lambda g, i=which: backward(g, x, over, weight, 0.1)[i], array
        )


@pytest.mark.parametrize(("name", "shape", "over", "parameters"), CASES[1:], ids=str)
def test_as_pytorch_has_it(rng, name, shape, over, parameters) -> None:
    torch = pytest.importorskip("torch")
    arrays = [normal(rng, *sizes) for sizes in (shape, parameters, parameters)]
    theirs = [torch.from_numpy(array.copy()).requires_grad_() for array in arrays]
    grad = normal(rng, *shape)
    sizes = (over,) if name == "layer_norm" and isinstance(over, int) else over
    y = getattr(torch.nn.functional, name)(theirs[0], sizes, theirs[1], theirs[2], 1e-3)
    y.backward(torch.from_numpy(grad))
    ours = getattr(functional, name)(arrays[0], over, *arrays[1:], 1e-3)
    np.testing.assert_allclose(ours, y.detach().numpy(), rtol=1e-10, atol=1e-12)
    for dx, their in zip(
        getattr(functional, f"{name}_backward")(grad, arrays[0], over, arrays[1], 1e-3), theirs, strict=True
    ):
        np.testing.assert_allclose(dx, their.grad.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("affine", [False, True])
def test_layers_are_pytorchs(rng, affine) -> None:
    """The same names of parameters, the same order of arguments, the same numbers."""
    torch = pytest.importorskip("torch")
    x = normal(rng, 3, 6, 4, 5, dtype=np.float32)
    for ours, theirs, given in (
        (layers.GroupNorm(3, 6, 1e-4, affine), torch.nn.GroupNorm(3, 6, 1e-4, affine), x),
        (layers.InstanceNorm2d(6, 1e-4, 0.1, affine), torch.nn.InstanceNorm2d(6, 1e-4, 0.1, affine), x),
        (layers.InstanceNorm1d(6, affine=affine), torch.nn.InstanceNorm1d(6, affine=affine), x[..., 0].copy()),
        (layers.LayerNorm((4, 5), 1e-4, affine), torch.nn.LayerNorm((4, 5), 1e-4, affine), x),
        (layers.LayerNorm(5, 1e-4, affine, False), torch.nn.LayerNorm(5, 1e-4, affine, False), x),
    ):
        mine = ours.parameters()
        assert mine.keys() == theirs.state_dict().keys()
        for name, parameter in theirs.named_parameters():
            value = normal(rng, *mine[name].data.shape, dtype=np.float32)
            mine[name].data[...] = value
            parameter.data.copy_(torch.from_numpy(value))
        expected = theirs(torch.from_numpy(given)).detach().numpy()
        np.testing.assert_allclose(ours.forward(given), expected, rtol=1e-4, atol=1e-5)


def test_no_sample_sees_another(isa, rng, dtype) -> None:
    x, grad = normal(rng, 5, 6, 13, 11, dtype=dtype), normal(rng, 5, 6, 13, 11, dtype=dtype)
    weight = normal(rng, 6, dtype=dtype)
    for name, over, w in (("group_norm", 3, weight), ("group_norm", 6, weight), ("layer_norm", (6, 13, 11), None)):
        forward, backward = getattr(functional, name), getattr(functional, f"{name}_backward")
        for i in range(5):
            one = x[i : i + 1].copy()
            np.testing.assert_array_equal(forward(x, over, w)[i : i + 1], forward(one, over, w))
            dx = backward(grad, x, over, w)[0][i : i + 1]
            np.testing.assert_array_equal(dx, backward(grad[i : i + 1].copy(), one, over, w)[0])


def test_same_bits_for_any_threads(isa, rng, dtype) -> None:
    x, grad = normal(rng, 9, 12, 41, 43, dtype=dtype), normal(rng, 9, 12, 41, 43, dtype=dtype)
    weight, last = normal(rng, 12, dtype=dtype), normal(rng, 43, dtype=dtype)

    def everything() -> tuple[np.ndarray, ...]:
        groups = functional.group_norm(x, 4, weight, weight), *functional.group_norm_backward(grad, x, 4, weight)
        return *groups, functional.layer_norm(x, 43, last), *functional.layer_norm_backward(grad, x, 43, last)

    assert_same_bits_for_any_threads(everything)


def test_many_values_far_from_zero(isa, rng) -> None:
    """Means over a million values in float32 keep their digits."""
    x = (100 + normal(rng, 1, 4, 512, 512)).astype(np.float32)
    y = functional.group_norm(x, 1)
    np.testing.assert_allclose(y, reference.group_norm(x.astype(np.float64), 1), atol=2e-4)


def test_in_a_plan(rng) -> None:
    model = Sequential(
        layers.Conv2d(2, 4, 3, rng=0),
        layers.GroupNorm(2, 4),
        layers.ReLU(),
        layers.LayerNorm((4, 6, 5)),
        layers.InstanceNorm2d(4, affine=True),
        input_shape=(2, 8, 7),
    )
    x, dy = normal(rng, 32, 2, 8, 7, dtype=np.float32), normal(rng, 32, 4, 6, 5, dtype=np.float32)
    y = model.forward(x, training=True)
    dx = model.backward(dy)
    gradients = {name: parameter.grad.copy() for name, parameter in model.parameters().items()}
    alone = [node.layer for node in model.graph.nodes if node.layer is not None]
    expected, back = x, dy
    for parameter in model.parameters().values():
        parameter.zero_grad()
    for layer in alone:
        expected = layer.forward(expected, training=True)
    for layer in reversed(alone):
        back = layer.backward(back)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dx, back, rtol=1e-3, atol=1e-4)
    for name, parameter in model.parameters().items():
        np.testing.assert_allclose(gradients[name], parameter.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.GroupNorm(4, 6), ConfigError, "num_groups = 4 does not divide num_channels = 6"),
        (lambda: layers.GroupNorm(2, 6).output_shape((4, 5, 5)), ShapeError, "num_channels must be 4"),
        (lambda: layers.InstanceNorm2d(3).output_shape((3, 5)), ShapeError, "needs N × 3 × H × W"),
        (lambda: layers.InstanceNorm1d(3, track_running_stats=True), ConfigError, "no running estimates"),
        (lambda: layers.LayerNorm(()), ConfigError, "normalized_shape is empty"),
        (lambda: layers.LayerNorm((3, 0)), ConfigError, "normalized_shape = 0"),
        (lambda: layers.LayerNorm(5, eps=-1.0), ConfigError, r"eps = -1\.0"),
        (lambda: layers.LayerNorm((4, 5)).output_shape((3, 5)), ShapeError, r"ends in 4 × 5.*must be \(3, 5\)"),
        (lambda: functional.group_norm(np.ones((2, 6)), 4), ShapeError, "num_groups = 4 does not divide 6"),
        (lambda: functional.layer_norm(np.ones((2, 6)), (2, 3)), ShapeError, r"normalized_shape = \(2, 3\)"),
    ],
)
def test_refused(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make()
