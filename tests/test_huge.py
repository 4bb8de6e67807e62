"""Sizes beyond 32 bits, and products of sizes beyond 64: the right result or one of cnnlib's refusals, never a wrap.

CNNLIB_TEST_HUGE=1 computes with more than 2³¹ elements: half a minute, up to 9 GB.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Array, normal
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from cnnlib import SGD, CrossEntropyLoss, Input, Sequential, Trainer, functional, reference
from cnnlib.errors import CNNError
from cnnlib.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d
from cnnlib.shapes import output_size, pair

HUGE = (2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**32, 2**33 + 1, 2**61, 2**62, 2**63 - 1, 2**63, 2**64, 2**64 + 3, 10**30)
IMAGE, FILTER = np.ones((1, 2, 4, 4), np.float32), np.ones((2, 2, 3, 3), np.float32)
HUGE_MEMORY = os.environ.get("CNNLIB_TEST_HUGE") == "1"


@pytest.fixture(autouse=True)
def four_gigabytes() -> Iterator[None]:
    """What asks for more is refused here as it is on a small machine."""
    if sys.platform != "linux" or "CNNLIB_SANITIZED" in os.environ or HUGE_MEMORY:
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def attempt(call: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    """What a call returns, or None if it is refused by an error of cnnlib's or for want of memory, as it must be."""
    try:
        return call(*args, **settings)
    except (CNNError, MemoryError):
        return None


@pytest.mark.parametrize("name", ["padding", "stride", "dilation"])
@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize("groups", [1, 2])
def test_huge_settings_of_a_convolution(name, value, groups, isa) -> None:
    weight = np.ones((2, 2 // groups, 3, 3), np.float32)
    for setting in (value, (value, 0 if name == "padding" else 1)):
        settings = {"padding": 1, name: setting, "groups": groups}
        y = attempt(functional.conv2d, IMAGE, weight, None, **settings)
        if y is None:
            continue
        # A stride beyond the image leaves one window along its axis.
        assert name == "stride"
        small = settings | {"stride": tuple(min(s, 8) for s in np.broadcast_to(setting, 2).tolist())}
        np.testing.assert_array_equal(y, reference.conv2d(IMAGE, weight, None, **small))
        expected = reference.conv2d_backward(y, IMAGE, weight, **small)
        for one, other in zip(functional.conv2d_backward(y, IMAGE, weight, **settings), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def taps_inside(padding: int, stride: int) -> list[int]:
    """How many taps of each window along an axis of IMAGE meet it."""
    starts = (o * stride - padding for o in range(output_size(4, 3, stride, padding)))
    return [sum(0 <= start + tap < 4 for tap in range(3)) for start in starts]


@pytest.mark.parametrize(("padding", "stride"), [(2**30 - 1, 2**30), (2**29, 2**29), (2**22, 2**18), (2**16, 2**16)])
def test_padding_of_which_few_windows_are_taken(padding, stride, isa, dtype) -> None:
    """The padded image's size leaves 64 bits, or memory; the output's does not."""
    x = IMAGE.astype(dtype)
    for groups, (pads, strides) in product((1, 2), ((padding, stride), ((padding, 1), (stride, 1)))):
        weight = FILTER[:, : 2 // groups].astype(dtype)
        y = attempt(functional.conv2d, x, weight, None, strides, pads, groups=groups)
        if y is not None:
            inside = (taps_inside(*axis) for axis in zip(pair(pads, ""), pair(strides, ""), strict=True))
            np.testing.assert_array_equal(y, np.broadcast_to(2 // groups * np.outer(*inside), y.shape))


@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize("pool", [functional.max_pool2d, functional.avg_pool2d])
def test_huge_windows_of_a_pool(pool, value, isa) -> None:
    assert attempt(pool, IMAGE, value) is None
    assert attempt(pool, IMAGE, value, 1, value // 2) is None
    assert attempt(pool, IMAGE, (value, 1), 1, (value // 2 + 1, 0)) is None
    y = attempt(pool, IMAGE, 2, value)
    np.testing.assert_array_equal(pool(IMAGE, 2, 8) if y is None else y, pool(IMAGE, 2, 8))


def test_windows_far_beyond_the_image(isa, dtype, rng) -> None:
    """Each of them sees all of the image: its padding takes neither time nor memory."""
    x, kernel = normal(rng, 2, 3, 4, 5, dtype=dtype), 40_000
    y = functional.max_pool2d(x, kernel, 1, kernel // 2)
    np.testing.assert_array_equal(y, np.broadcast_to(x.max((2, 3), keepdims=True), (2, 3, 5, 6)))
    dx = functional.max_pool2d_backward(np.ones_like(y), x, kernel, 1, kernel // 2)
    np.testing.assert_array_equal(dx, np.where(x == x.max((2, 3), keepdims=True), 30, 0))
    mean = functional.avg_pool2d(x, kernel, 1, kernel // 2, count_include_pad=False)
    np.testing.assert_allclose(mean, np.broadcast_to(x.mean((2, 3), keepdims=True), mean.shape), rtol=1e-5)


@pytest.mark.parametrize("value", HUGE)
def test_huge_layers_are_refused_before_they_take_memory(value) -> None:
    for make in (
        lambda: Conv2d(1, 1, value),
        lambda: Conv2d(value, value, 3),
        lambda: Conv2d(3, 3, 3, padding=value)(Input((3, 4, 4))),
        lambda: Linear(value, value),
        lambda: Sequential(Flatten(), input_shape=(value, value, value)),
        lambda: Sequential(MaxPool2d(value), input_shape=(1, 4, 4)),
        lambda: Sequential(AvgPool2d(value, 1, value // 2), input_shape=(1, 4, 4)),
    ):
        assert attempt(make) is None


def giant(*shape: int) -> Array:
    """An array whose strides say that it is one number again and again."""
    return as_strided(np.zeros(1, np.float32), shape, (0,) * len(shape))


def test_giants_of_one_number() -> None:
    weight = np.ones((1, 1, 3, 3), np.float32)
    for call in (
        lambda: functional.relu(giant(2**42)),
        lambda: functional.add(giant(2**21, 2**21), giant(2**21, 2**21)),
        lambda: functional.conv2d(giant(2**30, 1, 64, 64), weight),
        lambda: functional.conv2d(giant(1, 1, 2**30, 2**30), weight),
        lambda: functional.max_pool2d(giant(2**20, 2**20, 8, 8), 2),
        lambda: functional.avg_pool2d_backward(giant(1, 1, 2**30, 2**30), (1, 1, 2**31, 2**31), 2),
        lambda: functional.linear(giant(2**30, 2**30), giant(1, 2**30)),
        lambda: functional.batch_moments(giant(2**40, 4)),
        lambda: functional.softmax(giant(2**21, 2**21)),
        lambda: functional.dropout(giant(2**42), 0.5, 1),
        lambda: functional.sgd_step(giant(2**42), giant(2**42), None, 0.1),
        lambda: Sequential(Conv2d(1, 1, 3), input_shape=(1, 8, 8)).predict(giant(2**40, 1, 8, 8)),
        lambda: Sequential(Conv2d(1, 1, 3), input_shape=(1, 8, 8)).forward(giant(2**40, 1, 8, 8), training=True),
        lambda: Trainer(
            Sequential(Flatten(), Linear(64, 2), input_shape=(1, 8, 8)), CrossEntropyLoss(), SGD(0.1)
        ).train_step(giant(2**40, 1, 8, 8), np.zeros(2**10, np.int64)),
    ):
        assert attempt(call) is None


def test_strides_that_lie_are_read_as_numpy_reads_them(isa, dtype, rng) -> None:
    base, weight = normal(rng, 1, 2, 9, 9, dtype=dtype), normal(rng, 3, 2, 3, 3, dtype=dtype)
    step = base.itemsize
    for x in (
        as_strided(base, (1, 2, 9, 9), (10**15, *base.strides[1:])),  # of an axis with one place
        as_strided(base, (4, 2, 9, 9), (0, *base.strides[1:])),
        as_strided(base, (3, 2, 5, 5), (step, 0, 9 * step, step)),
        np.moveaxis(sliding_window_view(base[0, 0], (4, 4)).reshape(1, 36, 4, 4), 0, 1)[:2].transpose(1, 0, 2, 3),
        base[:, ::-1, ::-1, ::-1],
        np.broadcast_to(base[0, 0, 0, 0], (2, 2, 6, 7)),
    ):
        plain = np.array(x, order="C", copy=True)
        for call in (
            lambda a: functional.conv2d(a, weight),
            lambda a: functional.max_pool2d(a, 2),
            lambda a: functional.avg_pool2d(a, 2),
            functional.relu,
            lambda a: functional.batch_moments(a)[1],
            lambda a: functional.linear(a.reshape(len(a), -1), np.ones((2, a[0].size), dtype)),
        ):
            np.testing.assert_array_equal(call(x), call(plain))


@pytest.mark.skipif(not HUGE_MEMORY, reason="CNNLIB_TEST_HUGE=1 computes with 9 GB")
def test_more_than_32_bits_of_elements() -> None:
    n = 2**31 + 24
    x = np.zeros(n, np.float32)  # pages that nobody wrote take no memory
    x[[5, 2**31 - 1, 2**31, n - 1]] = 1, 2, 3, 4
    weight = x.reshape(1, n)
    np.testing.assert_array_equal(functional.linear(weight, weight), [[30]])
    mean, _ = functional.batch_moments(x.reshape(2, 1, n // 2))
    np.testing.assert_allclose(mean, [10 / n])
    planes = x.reshape(1, 2, 4, n // 8)
    mean = functional.avg_pool2d(planes, planes.shape[2:]).ravel()
    np.testing.assert_allclose(mean, [2 / n, 18 / n], rtol=1e-6)
    maxima = functional.max_pool2d(x.reshape(n // 8, 1, 2, 4), (2, 4)).ravel()
    np.testing.assert_array_equal(maxima[[0, 1, 2**28 - 1, 2**28, -2, -1]], [1, 0, 2, 3, 0, 4])
    y = functional.affine(x, 2.0, 0.0, out=x)
    np.testing.assert_array_equal(y[[4, 5, 2**31 - 1, 2**31, n - 1]], [0, 2, 4, 6, 8])
    assert functional.relu(y, out=y)[n - 1] == 8
