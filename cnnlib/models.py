"""Architectures by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from cnnlib.errors import ConfigError
from cnnlib.init import DEFAULT, RNG, as_generator
from cnnlib.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from cnnlib.model import Sequential
from cnnlib.shapes import IntPair

__all__ = ["MODELS", "classic", "lenet5", "mlp"]


def lenet5(num_classes: int = 10, *, init: str = DEFAULT, rng: RNG = None, dtype: DTypeLike = np.float32) -> Sequential:
    """LeNet-5 as the lecture has it (L42), for images of 1 × 28 × 28.

    rng: the generator or seed from which the weights are drawn, by the scheme `init`. Returns logits.

    >>> model = lenet5(rng=0)
    >>> model.predict(np.zeros((2, 1, 28, 28), np.uint8)).shape
    (2, 10)
    """
    rng = as_generator(rng)
    return Sequential(
        Conv2d(1, 20, 5, padding=2, init=init, rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2d(2, stride=2),
        Conv2d(20, 50, 5, padding=2, init=init, rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2d(2, stride=2),
        Flatten(),
        Linear(2450, 500, init=init, rng=rng, dtype=dtype),
        ReLU(),
        Linear(500, num_classes, init=init, rng=rng, dtype=dtype),
        input_shape=(1, 28, 28),
    )


def mlp(
    sizes: Sequence[int],
    *,
    input_shape: int | Sequence[int] | None = None,
    init: str = DEFAULT,
    rng: RNG = None,
    dtype: DTypeLike = np.float32,
) -> Sequential:
    """A multi-layer perceptron (L12): Flatten, then a linear layer from each of `sizes` to the next, ReLU in between.

    input_shape: a shape of sizes[0] elements, such as (1, 28, 28); without it, vectors. Returns logits.

    >>> mlp([784, 100, 10], input_shape=(1, 28, 28), rng=0)
    Sequential(
      (0): Flatten()
      (1): Linear(784, 100)
      (2): ReLU()
      (3): Linear(100, 10)
    )
    """
    if len(sizes) < 2:
        raise ConfigError(f"sizes = {list(sizes)}: expected at least two, input and output")
    shape = (sizes[0],) if input_shape is None else input_shape
    if not isinstance(shape, int) and prod(shape) != sizes[0]:
        raise ConfigError(f"sizes[0] = {sizes[0]}: input_shape {tuple(shape)} has {prod(shape)} elements")
    return Sequential(Flatten(), *_fully_connected(sizes, init, as_generator(rng), dtype), input_shape=shape)


def classic(
    input_shape: tuple[int, int, int] = (1, 28, 28),
    channels: Sequence[int] = (32, 64),
    hidden: Sequence[int] = (128,),
    num_classes: int = 10,
    *,
    kernel_size: IntPair = 3,
    pool_size: IntPair = 2,
    init: str = DEFAULT,
    rng: RNG = None,
    dtype: DTypeLike = np.float32,
) -> Sequential:
    """The classic architecture (L41): [Conv, ReLU, MaxPool] for each of `channels`, Flatten, [Linear, ReLU] for each
    of `hidden`, Linear. Convolutions keep the image's size (odd kernels), pools divide it. Returns logits.

    >>> [layer.describe() for layer in classic(channels=(8,), hidden=(), rng=0).layers.values()]
    ['Conv (C_out=8, K=3, P=1, S=1)', 'ReLU', 'MaxPool (K=2, S=2)', 'Flatten', 'Linear (1568 → 10)']
    """
    rng = as_generator(rng)
    layers: list[Layer] = []
    shape: tuple[int, ...] = tuple(input_shape)
    for out_channels in channels:
        conv = Conv2d(shape[0], out_channels, kernel_size, padding="same", init=init, rng=rng, dtype=dtype)
        pool = MaxPool2d(pool_size)
        shape = pool.output_shape(conv.output_shape(shape))
        layers += [conv, ReLU(), pool]
    sizes = [prod(shape), *hidden, num_classes]
    return Sequential(*layers, Flatten(), *_fully_connected(sizes, init, rng, dtype), input_shape=input_shape)


def _fully_connected(sizes: Sequence[int], init: str, rng: np.random.Generator, dtype: DTypeLike) -> list[Layer]:
    layers: list[Layer] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Linear(inputs, outputs, init=init, rng=rng, dtype=dtype), ReLU()]
    return layers[:-1]


#: Builders by name, for the command line: each takes ``rng`` and ``dtype`` and makes a model from images of
#: 1 × 28 × 28 to the logits of 10 classes.
MODELS: dict[str, Callable[..., Sequential]] = {
    "lenet5": lenet5,
    "mlp": partial(mlp, (784, 512, 10), input_shape=(1, 28, 28)),
    "classic": classic,
}
