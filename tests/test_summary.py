"""The summary's receptive fields, against the pixels from which a gradient really comes (lecture: L35)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from cnnlib.graph import Input, Node
from cnnlib.layers import AvgPool2d, Concat, Conv2d, Flatten, Linear, MaxPool2d, ReLU
from cnnlib.model import Model, Sequential
from cnnlib.models import lenet5

SIZE = 40


def conv(channels: int, kernel: int | tuple[int, int], *settings: object, **options: object) -> Conv2d:
    """A convolution whose weights are positive, so that no path to a pixel cancels another or ends at a ReLU."""
    layer = Conv2d(channels, channels, kernel, *settings, rng=0, dtype=np.float64, **options)  # type: ignore[arg-type]
    for parameter in layer.parameters().values():
        np.abs(parameter.data, out=parameter.data)
    return layer


def branches(x: Node) -> Node:
    a = conv(1, 3, padding=1)(x)
    return conv(3, 3, 2)(Concat()(a, conv(1, (5, 1), padding=(2, 0))(x), x))


def off_centre(x: Node) -> Node:
    # Windows of the two branches start at different pixels: together they see more than the larger one.
    return AvgPool2d(4, 3, 1)(x) + conv(1, 4, 3)(x)


NETS: dict[str, Callable[[Node], Node]] = {
    "conv": conv(1, 3),
    "kernel-of-one": conv(1, 1, 3),
    "strides": lambda x: conv(1, 3, 2)(conv(1, 5, 2)(x)),
    "oblong": lambda x: conv(1, (1, 5), (1, 2), (0, 2))(conv(1, (3, 2), (2, 1))(x)),
    "dilation": lambda x: conv(1, 2, 1, 0, 3)(conv(1, 3, 1, 2, 2)(x)),
    "pools": lambda x: AvgPool2d(3, 2, 1)(MaxPool2d((2, 3), 2)(x)),
    "relu": lambda x: conv(1, 3, 2, 1)(ReLU()(conv(1, 3)(x))),
    "lenet-like": lambda x: MaxPool2d(2)(ReLU()(conv(1, 5, 1, 2)(MaxPool2d(2)(ReLU()(conv(1, 5, 1, 2)(x)))))),
    "many-channels": lambda x: conv(8, 3, padding=1)(conv(8, 3, padding=1)(Concat()(*8 * [x]))),
    "branches": branches,
    "off-centre": off_centre,
}


def footprints(model: Model, units: Sequence[int]) -> list[tuple[range, range]]:
    """Return the rows and the columns of the input pixels on which the units (i, i) of the output depend."""
    # Max-pools pass the gradient to one pixel of a window: over many samples, to every one.
    x = np.random.default_rng(0).random((300, 1, SIZE, SIZE))
    y = model.forward(x, training=True)
    seen = []
    for unit in units:
        dy = np.zeros_like(y)
        dy[:, 0, unit, unit] = 1
        touched = (model.backward(dy)[:, 0] != 0).any(axis=0)
        reached = [np.flatnonzero(touched.any(axis=axis)) for axis in (1, 0)]
        for pixels in reached:
            assert 0 < pixels[0] <= pixels[-1] < SIZE - 1, "the field must lie inside the image"
        rows, columns = (range(pixels[0], pixels[-1] + 1) for pixels in reached)
        seen.append((rows, columns))
    return seen


def axes(text: str, between: str) -> tuple[float, float]:
    """Return the numbers for height and for width that a cell has, once if they are equal."""
    numbers = [float(number) for number in text.split(between)]
    return numbers[0], numbers[-1]


@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
def test_a_receptive_field_is_the_footprint_of_a_gradient(net: Callable[[Node], Node], direct: None) -> None:
    x = Input((1, SIZE, SIZE))
    model = Model(x, net(x))
    header, *lines = model.summary().splitlines()
    start = header.index("Multiply-adds") + len("Multiply-adds")
    # After the rule. The nodes that a row reads, where they are told, come after the field.
    cells = re.split(" {2,}", lines[len(model.graph.nodes)][start:].strip())
    size, stride, centre = (axes(text, by) for text, by in zip(cells[:3], (" × ", " × ", ", "), strict=True))
    unit = model.graph.nodes[-1].shape[2] // 2
    here, there = footprints(model, [unit, unit + 1])
    for axis in (0, 1):
        assert len(here[axis]) == len(there[axis]) == size[axis]
        assert there[axis].start - here[axis].start == stride[axis]
        assert (here[axis].start + here[axis].stop - 1) / 2 == centre[axis] + unit * stride[axis]


def test_linear_layers_see_the_whole_input() -> None:
    model = lenet5(rng=0, dtype=np.float64)
    x = np.random.default_rng(0).random((20, 1, 28, 28))
    dy = np.zeros((20, 10))
    model.forward(x, training=True)
    dy[:, 3] = 1
    assert (model.backward(dy) != 0).any(axis=(0, 1)).all()
    assert model.summary().splitlines()[12].endswith("whole input")
    assert Sequential(Flatten(), Linear(4, 1), input_shape=(1, 2, 2)).summary().splitlines()[4].endswith("whole input")
