"""The nets that are measured whole, by name: an architecture, the batches of each pass, and how exact it can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cnnlib.graph import Input, Node
from cnnlib.init import RNG, as_generator
from cnnlib.layers import Add, AvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU
from cnnlib.model import Model, Sequential
from cnnlib.models import lenet5, vgg_mini

__all__ = ["NETS", "NamedNet", "cifar", "resnet18"]

LENET_BATCHES = (1, 8, 16, 37, 64, 256, 1024)


@dataclass(frozen=True)
class NamedNet:
    """An architecture; its passes, "train" or "predict", with their batches; the largest error of a gradient."""

    name: str
    title: str
    build: Callable[..., Model]
    passes: tuple[tuple[str, int], ...]
    tolerance: float


def cifar(rng: RNG = None) -> Sequential:
    """`vgg_mini` for images of 3 × 32 × 32: [Conv 3×3, BatchNorm, ReLU] × 2 and a pool, three times, then Linear.

    >>> cifar().graph.nodes[-1].shape, sum(p.data.size for p in cifar().parameters().values())
    ((10,), 307946)
    """
    return vgg_mini((3, 32, 32), rng=rng)


def resnet18(rng: RNG = None) -> Model:
    """ResNet-18 for images of 3 × 224 × 224 and 1000 classes.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016.

    >>> resnet18().graph.nodes[-1].shape, sum(p.data.size for p in resnet18().parameters().values())
    ((1000,), 11689512)
    """
    rng = as_generator(rng)
    image = Input((3, 224, 224), "image")
    node: Node = MaxPool2d(3, stride=2, padding=1)(ReLU()(_normalised(image, 64, 7, 2, rng=rng)))
    for width, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        conv = partial(_normalised, rng=rng)
        residual = conv(ReLU()(conv(node, width, 3, stride)), width, 3)
        shortcut = node if node.shape == residual.shape else conv(node, width, 1, stride)
        node = ReLU()(Add()(residual, shortcut))
    return Model(image, Linear(512, 1000, rng=rng)(Flatten()(AvgPool2d(7)(node))))


def _normalised(node: Node, channels: int, kernel: int, stride: int = 1, *, rng: RNG) -> Node:
    """Return a convolution, padded to keep the size but for the stride, and its batch normalisation."""
    conv = Conv2d(node.shape[0], channels, kernel, stride, kernel // 2, bias=False, init="he_normal", rng=rng)
    normalised: Node = BatchNorm2d(channels)(conv(node))
    return normalised


NETS: dict[str, NamedNet] = {
    net.name: net
    for net in (
        NamedNet(
            "lenet5",
            "LeNet-5",
            lenet5,
            tuple((which, batch) for which in ("train", "predict") for batch in LENET_BATCHES),
            1e-4,
        ),
        NamedNet("cifar", "CIFAR net with BN", cifar, (("train", 64), ("predict", 64)), 2e-2),
        NamedNet("resnet18", "ResNet-18", resnet18, (("train", 4), ("predict", 4)), 5e-2),
    )
}
