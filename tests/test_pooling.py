"""Pools of every setting: PyTorch's numbers, ONNX's own node tests, and the plan's against the layers'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Array, assert_close, check_gradient, normal, onnx_node_cases, poisoned, ties

from cnnlib import functional, reference
from cnnlib.errors import ConfigError
from cnnlib.graph import Graph, Input
from cnnlib.layers import (
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    Conv2d,
    GlobalMaxPool2d,
    LPPool1d,
    LPPool2d,
    MaxPool1d,
    MaxPool2d,
    ReLU,
)
from cnnlib.lowering import lower
from cnnlib.model import Model, Sequential
from cnnlib.plan import Plan

F64 = np.dtype(np.float64)
# Ours, PyTorch's by the same name and other settings where its order differs, the sample's shape.
PAIRS: list[tuple[Any, Any, tuple[int, ...]]] = [
    *((MaxPool2d(k, s, p, d, ceil_mode=c), (k, s, p, d, False, c), (3, 9, 12))
      for k, s, p, d in ((2, None, 0, 1), (3, 2, 1, 1), ((2, 4), (3, 2), (1, 2), 1), (3, 2, 1, 2), (2, 3, 0, (3, 1)))
      for c in (False, True)),
    *((AvgPool2d(k, s, p, i, ceil_mode=c), (k, s, p, c, i), (3, 9, 12))
      for k, s, p in ((2, None, 0), (3, 2, 1), ((2, 4), (3, 2), (1, 2)), (4, 5, 2))
      for c in (False, True) for i in (False, True)),
    *((MaxPool1d(k, s, p, d, ceil_mode=c), (k, s, p, d, False, c), (3, 12))
      for k, s, p, d in ((2, None, 0, 1), (3, 2, 1, 1), (4, 3, 2, 2)) for c in (False, True)),
    *((AvgPool1d(k, s, p, c, i), (k, s, p, c, i), (3, 12))
      for k, s, p in ((2, None, 0), (3, 2, 1), (5, 4, 2)) for c in (False, True) for i in (False, True)),
    *((AdaptiveMaxPool2d(size), (size,), (3, 9, 12)) for size in (1, 3, (9, 12), (4, 5), (2, 7))),
    *((LPPool2d(p, k, s), (p, k, s), (3, 9, 12)) for p, k, s in ((2, 3, None), (4, (2, 3), 2))),
    (LPPool1d(2, 3, 2), (2, 3, 2), (3, 12)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "settings", "shape"), PAIRS, ids=repr)
def test_pytorchs_numbers(layer: Any, settings: Any, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, type(layer).__name__)(*settings)
    for x in (
        (normal(rng, 2, *shape), ties(rng, 2, *shape)) if "Max" in type(layer).__name__ else (normal(rng, 2, *shape),)
    ):
        given = torch.from_numpy(x.copy()).requires_grad_()
        wanted = theirs(given)
        y = layer.forward(x, training=True)
        np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=1e-12, atol=1e-12)
        assert y.shape[1:] == layer.output_shape(shape)
        dy = normal(rng, *y.shape)
        wanted.backward(torch.from_numpy(dy))
        np.testing.assert_allclose(layer.backward(dy), given.grad.numpy(), rtol=1e-9, atol=1e-12)


def onnx_cases() -> list[Any]:
    """The node tests of pools of images and of series, of floats; those of pools that also give indices left out."""
    return [
        case
        for case in onnx_node_cases("MaxPool", "AveragePool", "LpPool")
        if len(case.model.graph.output) == 1
        and case.data_sets[0][0][0].ndim in (3, 4)
        and case.data_sets[0][0][0].dtype == np.float32
    ]


def pool_of(node: Any, shape: tuple[int, ...]) -> Any:
    """The layer for an ONNX node, whose attributes are by axis."""
    import onnx

    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    kernels = tuple(given["kernel_shape"])
    axes = len(kernels)
    strides, dilations = (tuple(given.get(name, [1] * axes)) for name in ("strides", "dilations"))
    pads = given.get("pads", [0] * 2 * axes)
    mode = given.get("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        totals = [
            max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
            for size, k, s, d in zip(shape, kernels, strides, dilations, strict=True)
        ]
        small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
        pads = small + large if mode == b"SAME_UPPER" else large + small
    padding = tuple(pads)
    ceil = bool(given.get("ceil_mode", 0))
    more = {"padding": padding, "dilation": dilations, "ceil_mode": ceil}
    kind = {"MaxPool": (MaxPool1d, MaxPool2d), "AveragePool": (AvgPool1d, AvgPool2d), "LpPool": (LPPool1d, LPPool2d)}
    if node.op_type == "LpPool":
        return kind["LpPool"][axes - 1](given.get("p", 2), kernels, strides, **more)
    if node.op_type == "AveragePool":
        more["count_include_pad"] = bool(given.get("count_include_pad", 0))
    return kind[node.op_type][axes - 1](kernels, strides, **more)


CASES = onnx_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_onnxs_node_tests(case: Any) -> None:
    for inputs, outputs in case.data_sets:
        y = pool_of(case.model.graph.node[0], inputs[0].shape[2:]).forward(inputs[0])
        np.testing.assert_allclose(y, outputs[0], rtol=max(case.rtol, 1e-5), atol=1e-6)


def test_there_are_node_tests() -> None:
    pytest.importorskip("onnx")
    names = {case.name for case in CASES}
    wanted = {"averagepool_2d_ceil_last_window_starts_on_pad", "maxpool_2d_ceil_output_size_reduce_by_one"}
    wanted |= {"averagepool_2d_dilations", "maxpool_2d_same_lower", "lppool_1d_default", "averagepool_2d_pads"}
    assert {f"test_{name}" for name in wanted} <= names
    assert len(names) >= 33


SETTINGS = [  # kernel, stride, padding, dilation, ceil_mode
    (3, 2, (0, 0, 1, 1), 1, False),
    (3, 2, (1, 0, 2, 1), 1, True),
    ((2, 3), (2, 1), 1, (2, 1), False),
    (2, 3, (1, 2, 0, 2), 3, True),
    (2, 1, 1, (4, 5), False),  # windows that have no pixel
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_lp_pool(settings: Any, p: float, rng: np.random.Generator, dtype: type) -> None:
    kernel, stride, padding, dilation, ceil_mode = settings
    x = normal(rng, 2, 3, 6, 7)
    x[0, 0] = 0
    given, more = (p, kernel, stride, ceil_mode), {"padding": padding, "dilation": dilation}
    wide = np.where(np.isfinite(x), np.abs(x) ** p, 0)
    sums = reference.avg_pool2d(wide, kernel, stride, padding, False, ceil_mode, dilation)
    ones = reference.avg_pool2d(np.ones_like(x), kernel, stride, padding, False, ceil_mode, dilation)
    y = reference.lp_pool2d(x, *given, **more)
    assert y.shape == sums.shape == ones.shape
    assert (y[0, 0] == 0).all()
    assert (y[1] >= sums[1] ** (1 / p) - 1e-12).all()  # a norm is at least the mean of powers, with its root
    out = poisoned(y.shape, dtype)
    assert functional.lp_pool2d(x.astype(dtype), *given, **more, out=out) is out
    assert_close(out, y, 12)
    grad = normal(rng, *y.shape)
    dx = reference.lp_pool2d_backward(grad, x, y, *given, **more)
    result = functional.lp_pool2d_backward(*(a.astype(dtype) for a in (grad, x, y)), *given, **more)
    assert_close(result, dx, 60)
    assert not dx[0, 0].any()
    inside = x[1:]
    check_gradient(
        lambda: reference.lp_pool2d(inside, *given, **more),
        lambda g: reference.lp_pool2d_backward(g, inside, reference.lp_pool2d(inside, *given, **more), *given, **more),
        inside,
        tolerance=1e-6,
    )


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_dilated_and_lopsided_windows_by_loops(settings: Any, rng: np.random.Generator) -> None:
    kernel, stride, padding, dilation, ceil_mode = settings
    (kh, kw), (sh, sw), (dh, dw) = ((v, v) if isinstance(v, int) else v for v in (kernel, stride, dilation))
    top, left, bottom, right = (padding,) * 4 if isinstance(padding, int) else padding
    x = ties(rng, 1, 2, 6, 7)
    y = functional.max_pool2d(x, *settings)
    means = {
        padded: functional.avg_pool2d(x, kernel, stride, padding, padded, ceil_mode, dilation)
        for padded in (False, True)
    }
    for c, i, j in np.ndindex(*y.shape[1:]):
        places = [(i * sh - top + p * dh, j * sw - left + q * dw) for p in range(kh) for q in range(kw)]
        inside = [x[0, c, h, w] for h, w in places if 0 <= h < 6 and 0 <= w < 7]
        counted = sum(h < 6 + bottom and w < 7 + right for h, w in places)
        assert y[0, c, i, j] == max(inside, default=-np.inf)
        assert np.isclose(means[False][0, c, i, j], sum(inside) / max(1, len(inside)))
        assert np.isclose(means[True][0, c, i, j], sum(inside) / max(1, counted))


def test_windows_far_larger_than_the_image_take_no_memory(rng: np.random.Generator) -> None:
    """Sizes as a hostile file may have them: nothing is padded, and no tap outside is walked over."""
    x = normal(rng, 1, 2, 3, 4)
    far = 2**29
    y = MaxPool2d((2, 3), (far, far), dilation=(far, 1), ceil_mode=True).forward(x)
    np.testing.assert_array_equal(y, x[:, :, :1, :3].max(axis=3, keepdims=True))
    for dilation in (1, 2):  # by the kernel, and by the definition
        pool = AvgPool2d((far, 2), (far, 1), 0, False, ceil_mode=True, dilation=(1, dilation))
        wanted = (x[..., :-dilation] + x[..., dilation:]).mean(axis=2, keepdims=True) / 2
        np.testing.assert_allclose(pool.forward(x), wanted)


def test_winners_of_dilated_windows_are_not_kept(rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match="dilat"):
        functional.max_pool2d_winners(normal(rng, 1, 1, 5, 5), 2, dilation=2)


POOLS = {
    "rounded up": lambda: MaxPool2d(2, ceil_mode=True),
    "rounded up, overlapping": lambda: MaxPool2d(3, 2, ceil_mode=True),
    "lopsided": lambda: MaxPool2d(2, 2, (0, 0, 1, 1)),
    "lopsided, overlapping": lambda: MaxPool2d(3, 2, (0, 1, 1, 0)),
    "dilated": lambda: MaxPool2d(2, 2, 0, 2),
    "average": lambda: AvgPool2d(3, 2, (0, 0, 1, 1), ceil_mode=True),
    "average inside": lambda: AvgPool2d(2, 2, 0, False, ceil_mode=True),
    "average dilated": lambda: AvgPool2d(2, 2, dilation=2),
    "norm": lambda: LPPool2d(2, 3, 2, padding=1),
}


@pytest.mark.parametrize("batch", [1, 3, 16, 17])
@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("name", POOLS)
def test_a_plan_pools_as_the_layers_do(name: str, size: int, batch: int, rng: np.random.Generator) -> None:
    """Between convolutions, whose values lie in lanes, and which take plain 2×2 pools along."""
    chain = [Conv2d(3, 5, 3, padding=1, rng=0, dtype=F64), ReLU(), POOLS[name](), Conv2d(5, 4, 3, rng=1, dtype=F64)]
    image = Input((3, size, size))
    node = image
    for layer in chain:
        node = layer(node)
    graph = Graph([image], [node])
    x = normal(rng, batch, 3, size, size)
    expected = x
    for layer in chain:
        expected = layer.forward(expected, training=True)
    np.testing.assert_allclose(Plan(graph, batch, F64, False).forward([x])[0], expected, rtol=1e-11, atol=1e-11)
    plan = Plan(graph, batch, F64, True)
    np.testing.assert_allclose(plan.forward([x])[0], expected, rtol=1e-11, atol=1e-11)
    dy = normal(rng, *expected.shape)
    dx: Array = dy
    for layer in reversed(chain):
        dx = layer.backward(dx)
    np.testing.assert_allclose(plan.backward([dy])[0], dx, rtol=1e-9, atol=1e-9)


def test_only_whole_pools_are_fused() -> None:
    def fused(pool: MaxPool2d, size: int) -> bool:
        image = Input((3, size, size))
        graph = Graph([image], [pool(ReLU()(Conv2d(3, 4, 3, padding=1, rng=0, dtype=F64)(image)))])
        return len(lower(graph, 1, F64, False).tasks) == 1

    assert fused(MaxPool2d(2), 8)
    assert fused(MaxPool2d(2), 9)
    assert fused(MaxPool2d(2, ceil_mode=True), 8)
    assert not fused(MaxPool2d(2, ceil_mode=True), 9)
    assert not fused(MaxPool2d(2, 2, (0, 0, 1, 1)), 9)
    assert not fused(MaxPool2d(2, 2, (1, 1, 0, 0)), 8)
    assert not fused(MaxPool2d(2, 2, 0, 2), 8)


def test_global_max_pool(rng: np.random.Generator) -> None:
    x = normal(rng, 3, 4, 20, 17)  # more pixels than a byte counts
    pool = GlobalMaxPool2d()
    np.testing.assert_array_equal(pool.forward(x, training=True), x.max(axis=(2, 3)))
    dy = normal(rng, 3, 4)
    dx = pool.backward(dy)
    np.testing.assert_array_equal(dx, np.where(x == x.max(axis=(2, 3), keepdims=True), dy[:, :, None, None], 0))


def test_what_a_summary_says() -> None:
    text = Sequential(MaxPool2d(3, 2, ceil_mode=True), AvgPool2d(2, 2, (0, 0, 1, 1)), input_shape=(1, 8, 8)).summary()
    assert "MaxPool (K=3, S=2, rounded up)" in text
    assert "AvgPool (K=2, S=2, P=0 and 1)" in text
    assert "unread" not in text
    series = Input((3, 9))
    assert Model(series, MaxPool1d(2)(series)).summary().count("unread") == 0
