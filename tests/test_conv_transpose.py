"""Transposed convolutions, and convolutions of series: the definition, the gradients, PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Array, assert_close, assert_same_bits_for_any_threads, check_gradient, normal, poisoned

from cnnlib import Sequential, functional, reference
from cnnlib.layers import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d

# x shape, weight shape, stride, padding, output_padding, groups, dilation: each differs by axis somewhere
CASES = [
    ((1, 1, 1, 1), (1, 1, 1, 1), 1, 0, 0, 1, 1),
    ((2, 3, 4, 5), (3, 2, 3, 3), 1, 0, 0, 1, 1),
    ((2, 3, 4, 5), (3, 2, 3, 3), 2, 1, 1, 1, 1),
    ((1, 4, 3, 2), (4, 3, 3, 2), (2, 3), (1, 0), (1, 2), 2, (1, 2)),
    ((3, 6, 2, 7), (6, 1, 4, 4), 2, 1, 0, 6, 1),
    ((2, 2, 3, 3), (2, 5, 2, 3), (1, 2), (2, 1), (2, 0), 1, (4, 1)),  # room for windows more than there are pixels
    ((1, 1, 2, 3), (1, 2, 2, 2), 5, 0, 3, 1, 1),  # gaps that no filter covers
    ((17, 8, 5, 6), (8, 16, 3, 3), 1, 1, 0, 1, 1),
    ((3, 16, 7, 7), (16, 8, 2, 2), 2, 0, 0, 1, 1),
    ((1, 9, 5, 33), (9, 17, 5, 5), (1, 2), 2, (0, 1), 1, 1),
]


def by_loops(x: Array, weight: Array, stride: Any, padding: Any, extra: Any, groups: int, dilation: Any) -> Array:
    (s, t), (top, left), (below, right), (d, e) = (
        value if isinstance(value, tuple) else (value, value) for value in (stride, padding, extra, dilation)
    )
    n, channels, height, width = x.shape
    _, group, kh, kw = weight.shape
    whole = np.zeros((n, group * groups, (height - 1) * s + d * (kh - 1) + 1, (width - 1) * t + e * (kw - 1) + 1))
    for image, c, i, j in np.ndindex(*x.shape):
        first = c // (channels // groups) * group
        for k, p, q in np.ndindex(group, kh, kw):
            whole[image, first + k, i * s + p * d, j * t + q * e] += x[image, c, i, j] * weight[c, k, p, q]
    whole = np.pad(whole, ((0, 0), (0, 0), (0, below), (0, right)))
    return whole[:, :, top : whole.shape[2] - top, left : whole.shape[3] - left]


@pytest.mark.parametrize("case", CASES[:7], ids=str)
def test_the_definition(case: tuple[Any, ...], rng: np.random.Generator) -> None:
    x_shape, weight_shape, *settings = case
    x, weight = normal(rng, *x_shape), normal(rng, *weight_shape)
    bias = normal(rng, weight.shape[1] * settings[3])
    y = reference.conv_transpose2d(x, weight, bias, *settings)
    assert_close(y, by_loops(x, weight, *settings) + bias[:, None, None], weight[:, 0].size)
    for which, array in enumerate((x, weight, bias)):
        check_gradient(
            lambda: reference.conv_transpose2d(x, weight, bias, *settings),
            lambda g, i=which: reference.conv_transpose2d_backward(g, x, weight, *settings)[i],
            array,
        )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_give_what_the_definition_says(
    isa: str, case: tuple[Any, ...], rng: np.random.Generator, dtype: type
) -> None:
    x_shape, weight_shape, *settings = case
    x, weight = normal(rng, *x_shape, dtype=dtype), normal(rng, *weight_shape, dtype=dtype)
    bias = normal(rng, weight.shape[1] * settings[3], dtype=dtype)
    exact = [array.astype(np.float64) for array in (x, weight, bias)]
    expected = reference.conv_transpose2d(*exact, *settings)
    out = poisoned(expected.shape, dtype)
    assert functional.conv_transpose2d(x, weight, bias, *settings, out=out) is out
    assert_close(out, expected, weight[:, 0].size, term=1)
    grad = normal(rng, *expected.shape, dtype=dtype)
    truths = reference.conv_transpose2d_backward(grad.astype(np.float64), *exact[:2], *settings)
    outs = tuple(poisoned(array.shape, dtype) for array in (x, weight, bias))
    results = functional.conv_transpose2d_backward(grad, x, weight, *settings, out=outs)
    for result, truth, length in zip(results, truths, (weight[0].size, x.size, grad.size), strict=True):
        assert_close(result, truth, length, term=1)
    for i in range(3):
        needs = tuple(i == j for j in range(3))
        alone = functional.conv_transpose2d_backward(grad, x, weight, *settings, needs=needs)
        assert [result is not None for result in alone] == list(needs)
        np.testing.assert_array_equal(alone[i], results[i])


def test_it_is_the_adjoint_of_a_convolution(rng: np.random.Generator) -> None:
    x, weight = normal(rng, 2, 3, 7, 9), normal(rng, 4, 3, 3, 3)
    y = functional.conv2d(x, weight, None, 2, 1)
    dy = normal(rng, *y.shape)
    np.testing.assert_allclose((y * dy).sum(), (functional.conv_transpose2d(dy, weight, None, 2, 1) * x).sum())


def test_same_bits_for_any_threads(isa: str, rng: np.random.Generator, dtype: type) -> None:
    x, weight, bias = (normal(rng, *shape, dtype=dtype) for shape in ((9, 32, 14, 13), (32, 16, 3, 3), (16,)))
    grad = normal(rng, 9, 16, 28, 26, dtype=dtype)
    settings = (2, 1, 1)
    assert_same_bits_for_any_threads(
        lambda: (
            functional.conv_transpose2d(x, weight, bias, *settings),
            *functional.conv_transpose2d_backward(grad, x, weight, *settings),
        )
    )


PAIRS = [
    (ConvTranspose2d, (4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, True, (1, 2)), (4, 5, 6)),
    (ConvTranspose2d, (3, 5, 4), (3, 2, 7)),
    (ConvTranspose1d, (4, 6, 3, 2, 1, 1, 2, False), (4, 9)),
    (Conv1d, (4, 6, 3, 2, 1, 2, 2), (4, 13)),
    (Conv1d, (3, 5, 5, 1, "same"), (3, 8)),
    (Conv2d, (4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2), (4, 7, 8)),
]


@pytest.mark.parametrize(("kind", "settings", "shape"), PAIRS)
def test_layers_give_pytorchs_numbers(
    kind: Any, settings: tuple[Any, ...], shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind.__name__)(*settings).double()
    ours = kind(*settings, dtype=np.float64, rng=0)
    assert {name: p.data.shape for name, p in ours.parameters().items()} == {
        name: tuple(p.shape) for name, p in theirs.named_parameters()
    }
    for name, parameter in theirs.named_parameters():
        ours.parameters()[name].data[...] = parameter.detach().numpy()
    x = normal(rng, 3, *shape)
    given = torch.from_numpy(x.copy()).requires_grad_()
    wanted = theirs(given)
    y = ours.forward(x, training=True)
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=1e-11, atol=1e-12)
    assert y.shape[1:] == ours.output_shape(shape)
    dy = normal(rng, *y.shape)
    wanted.backward(torch.from_numpy(dy))
    np.testing.assert_allclose(ours.backward(dy), given.grad.numpy(), rtol=1e-11, atol=1e-12)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(ours.parameters()[name].grad, parameter.grad.numpy(), rtol=1e-11, atol=1e-11)


def test_default_weights_are_drawn_as_pytorch_draws_them() -> None:
    for layer, fan_in in ((ConvTranspose2d(40, 30, 3, groups=2, rng=0), 15 * 9), (Conv1d(40, 30, 5, rng=0), 200)):
        for parameter in layer.parameters().values():
            assert 0.9 < np.abs(parameter.data).max() * fan_in**0.5 <= 1


def test_what_a_summary_says() -> None:
    model = Sequential(
        Conv2d(1, 4, 3, padding=1), ConvTranspose2d(4, 2, 4, 2, 1), Conv2d(2, 1, 3), input_shape=(1, 8, 8)
    )
    rows = [line for line in model.summary().splitlines() if "Conv" in line]
    assert "3 × 3" in rows[0]
    assert "ConvTranspose (C_out=2, K=4, P=1, S=2)" in rows[1]
    assert f"{8 * 8 * 4 * 2 * 16:,}" in rows[1]
    assert all("–" in row for row in rows[1:])  # outputs see windows of different kinds
    assert repr(ConvTranspose2d(4, 2, 4, 2, 1, 1)) == "ConvTranspose2d(4, 2, 4, stride=2, padding=1, output_padding=1)"
