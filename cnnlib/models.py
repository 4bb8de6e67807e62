"""Architectures by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from cnnlib.errors import ConfigError
from cnnlib.graph import Input, Node
from cnnlib.init import DEFAULT, RNG, as_generator
from cnnlib.layers import (
    Add,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool2d,
    PReLU,
    ReLU,
    Standardize,
)
from cnnlib.layers.checks import count
from cnnlib.model import Model, Sequential
from cnnlib.shapes import IntPair

__all__ = ["MODELS", "classic", "inception_mini", "lenet5", "mlp", "modern_mlp", "resnet_mini", "vgg_mini"]


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
    shape = _checked_shape(sizes, input_shape)
    return Sequential(Flatten(), *_fully_connected(sizes, init, as_generator(rng), dtype), input_shape=shape)


def modern_mlp(
    sizes: Sequence[int],
    *,
    activation: str = "prelu",
    standardize: ArrayLike | None = None,
    input_shape: int | Sequence[int] | None = None,
    init: str = DEFAULT,
    rng: RNG = None,
    dtype: DTypeLike = np.float32,
) -> Sequential:
    """A modern multi-layer perceptron (L32): [Linear, BatchNorm, PReLU] for each of the hidden `sizes`, then Linear.

    activation: "prelu", with one slope for each neuron, or "leaky_relu". standardize: the inputs of the training set;
    the model then begins with `Standardize`, fitted on them. Other arguments as in `mlp`. Returns logits.

    >>> x = np.random.default_rng(0).normal(5, 2, (100, 20))
    >>> [layer.describe() for layer in modern_mlp([20, 8, 3], standardize=x, rng=0)]
    ['Standardize', 'Flatten', 'Linear (20 → 8)', 'BatchNorm', 'PReLU', 'Linear (8 → 3)']
    """
    if activation not in ("prelu", "leaky_relu"):
        raise ConfigError(f"activation = {activation!r}: expected 'prelu' or 'leaky_relu'")
    shape, rng = _checked_shape(sizes, input_shape), as_generator(rng)
    layers: list[Layer] = [] if standardize is None else [Standardize(shape).fit(standardize)]
    layers.append(Flatten())
    for inputs, outputs in pairwise(sizes[:-1]):
        # No bias: BatchNorm subtracts the mean, and adds a bias of its own.
        layers.append(Linear(inputs, outputs, bias=False, init=init, rng=rng, dtype=dtype))
        layers.append(BatchNorm1d(outputs, dtype=dtype))
        layers.append(PReLU(outputs, dtype=dtype) if activation == "prelu" else LeakyReLU())
    layers.append(Linear(sizes[-2], sizes[-1], init=init, rng=rng, dtype=dtype))
    return Sequential(*layers, input_shape=shape)


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


def vgg_mini(
    input_shape: tuple[int, int, int] = (1, 28, 28),
    channels: Sequence[int] = (32, 64, 128),
    num_classes: int = 10,
    *,
    init: str = "he_normal",
    rng: RNG = None,
    dtype: DTypeLike = np.float32,
) -> Sequential:
    """A small VGG: [Conv 3×3, BatchNorm, ReLU] twice and a pool that halves the image, for each of `channels`; Linear.

    Made for small colour images such as CIFAR's, 3 × 32 × 32. Returns logits.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015; with
    batch normalisation as in arXiv:1502.03167.

    >>> model = vgg_mini((3, 32, 32), rng=0)
    >>> model.graph.nodes[-1].shape, sum(p.data.size for p in model.parameters().values())
    ((10,), 307946)
    """
    rng = as_generator(rng)
    layers: list[Layer] = []
    shape: tuple[int, ...] = tuple(input_shape)
    for width in channels:
        for _ in range(2):
            # No bias: BatchNorm subtracts the mean, and adds a bias of its own.
            conv = Conv2d(shape[0], width, 3, padding=1, bias=False, init=init, rng=rng, dtype=dtype)
            shape = conv.output_shape(shape)
            layers += [conv, BatchNorm2d(width, dtype=dtype), ReLU()]
        pool = MaxPool2d(2)
        shape = pool.output_shape(shape)
        layers.append(pool)
    head = Linear(prod(shape), num_classes, init=init, rng=rng, dtype=dtype)
    return Sequential(*layers, Flatten(), head, input_shape=input_shape)


def resnet_mini(
    input_shape: tuple[int, int, int] = (1, 28, 28),
    channels: Sequence[int] = (16, 32, 64),
    blocks: int = 1,
    num_classes: int = 10,
    *,
    init: str = "he_normal",
    rng: RNG = None,
    dtype: DTypeLike = np.float32,
) -> Model:
    """A small residual net, which shows addition on images (L25): y = ReLU(x + F(x)), F = conv, BN, ReLU, conv, BN.

    For each of `channels` a stage of so many `blocks`; every stage but the first halves height and width, and a 1 × 1
    convolution of the same stride brings x to F(x)'s shape. The blocks' outputs are named block1, block2, …, what comes
    of the average over all pixels is "features". Returns logits.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016.

    >>> resnet_mini(channels=(4, 8), rng=0).features(np.zeros((2, 1, 28, 28), np.uint8), at="block2").shape
    (2, 8, 14, 14)
    """
    rng = as_generator(rng)
    conv = partial(_convolution, init=init, rng=rng, dtype=dtype)
    image = Input(input_shape, "image")
    node: Node = ReLU()(conv(image, channels[0], 3))
    number = 0
    for stage, width in enumerate(channels):
        for block in range(blocks):
            number += 1
            stride = 2 if stage and not block else 1
            residual = conv(ReLU()(conv(node, width, 3, stride)), width, 3)
            shortcut = node if node.shape == residual.shape else conv(node, width, 1, stride)
            node = ReLU(name=f"block{number}")(Add()(shortcut, residual))
    return Model(image, _classifier(node, num_classes, init, rng, dtype))


def inception_mini(
    input_shape: tuple[int, int, int] = (1, 28, 28),
    widths: Sequence[int] = (16, 24),
    num_classes: int = 10,
    *,
    init: str = "he_normal",
    rng: RNG = None,
    dtype: DTypeLike = np.float32,
) -> Model:
    """A small Inception, which shows branching and concatenation on images (L23, L24).

    Each module looks at its input with windows of 1, 3 and 5 pixels and with a pool, side by side, and concatenates the
    channels; 1 × 1 convolutions keep the wide windows cheap. A module for each of `widths`, the number of channels of
    each of its four branches, with a max pool before it. The modules' outputs are named inception1, inception2, …, what
    comes of the average over all pixels is "features". Returns logits.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2015; with batch normalisation as in arXiv:1502.03167.

    >>> inception_mini(widths=(4,), rng=0).features(np.zeros((2, 1, 28, 28), np.uint8), at="inception1").shape
    (2, 16, 14, 14)
    """
    rng = as_generator(rng)
    conv = partial(_convolution, init=init, rng=rng, dtype=dtype)
    image = Input(input_shape, "image")
    node: Node = ReLU()(conv(image, widths[0], 3))
    for number, width in enumerate(widths, 1):
        node = MaxPool2d(2)(node)
        half = max(1, width // 2)
        branches = [
            ReLU()(conv(node, width, 1)),
            ReLU()(conv(ReLU()(conv(node, half, 1)), width, 3)),
            ReLU()(conv(ReLU()(conv(node, half, 1)), width, 5)),
            ReLU()(conv(MaxPool2d(3, stride=1, padding=1)(node), width, 1)),
        ]
        node = Concat(name=f"inception{number}")(*branches)
    return Model(image, _classifier(node, num_classes, init, rng, dtype))


def _convolution(
    node: Node, channels: int, kernel: int, stride: int = 1, *, init: str, rng: np.random.Generator, dtype: DTypeLike
) -> Node:
    """Return a convolution, padded to keep the size but for the stride, and its batch normalisation."""
    conv = Conv2d(node.shape[0], channels, kernel, stride, kernel // 2, bias=False, init=init, rng=rng, dtype=dtype)
    normalised: Node = BatchNorm2d(channels, dtype=dtype)(conv(node))
    return normalised


def _classifier(node: Node, classes: int, init: str, rng: np.random.Generator, dtype: DTypeLike) -> Node:
    channels, height, width = node.shape
    features = Flatten(name="features")(AvgPool2d((height, width))(node))
    logits: Node = Linear(channels, classes, init=init, rng=rng, dtype=dtype, name="head")(features)
    return logits


def _checked_shape(sizes: Sequence[int], input_shape: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the input's shape, after checking that `sizes` begin with its number of elements."""
    if not isinstance(sizes, Sequence) or isinstance(sizes, str) or len(sizes) < 2:
        raise ConfigError(f"sizes = {sizes!r}: expected a list of at least two, input and output")
    first = count(sizes[0], "sizes[0]")
    shape = Input(first if input_shape is None else input_shape).shape
    if prod(shape) != first:
        raise ConfigError(f"sizes[0] = {first}: input_shape {shape} has {prod(shape)} elements")
    return shape


def _fully_connected(sizes: Sequence[int], init: str, rng: np.random.Generator, dtype: DTypeLike) -> list[Layer]:
    layers: list[Layer] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Linear(inputs, outputs, init=init, rng=rng, dtype=dtype), ReLU()]
    return layers[:-1]


def _perceptron(
    build: Callable[..., Sequential],
    hidden: Sequence[int],
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    **how: Any,
) -> Sequential:
    """`mlp` or `modern_mlp` as the other builders are called: from a shape and a number of classes."""
    return build((prod(input_shape), *hidden, num_classes), input_shape=input_shape, **how)


#: Builders by name, for the command line: each takes ``num_classes``, ``rng`` and ``dtype`` and makes a model from
#: images to logits; all but lenet5 take ``input_shape``. By default images are 1 × 28 × 28, of 10 classes.
MODELS: dict[str, Callable[..., Model]] = {
    "lenet5": lenet5,
    "mlp": partial(_perceptron, mlp, (512,)),
    "modern_mlp": partial(_perceptron, modern_mlp, (512, 256)),
    "classic": classic,
    "vgg_mini": vgg_mini,
    "resnet_mini": resnet_mini,
    "inception_mini": inception_mini,
}
