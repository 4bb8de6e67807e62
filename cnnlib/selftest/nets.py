"""Small nets and data for the promises: one of each kind that training has to treat rightly."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cnnlib.callbacks import Callback
from cnnlib.graph import Input
from cnnlib.layers import (
    Add,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
)
from cnnlib.losses import CrossEntropyLoss
from cnnlib.model import Model, Sequential
from cnnlib.models import lenet5
from cnnlib.optim import SGD, Adam
from cnnlib.schedules import CosineLR
from cnnlib.trainer import Trainer

__all__ = ["NETS", "build", "digest", "images", "trainer"]

Array = NDArray[Any]

NETS = ("lenet5", "normalized", "residual")


def build(net: str, dtype: DTypeLike = np.float32) -> Model:
    """Return the net of that name, for 28 × 28 images of 10 classes, the same each time."""
    rng = np.random.default_rng(7)
    own: dict[str, Any] = {"rng": rng, "dtype": dtype}
    if net == "lenet5":
        return lenet5(rng=rng, dtype=dtype)
    if net == "normalized":
        convolutions = [Conv2d(1, 6, 3, padding=1, bias=False, **own), BatchNorm2d(6, dtype=dtype), ReLU()]
        classifier = [Flatten(), Dropout(0.3, rng=rng), Linear(6 * 49, 10, **own)]
        return Sequential(*convolutions, MaxPool2d(4), *classifier, input_shape=(1, 28, 28))
    x = Input((1, 28, 28))
    stem = ReLU()(Conv2d(1, 17, 5, stride=2, padding=2, **own)(x))
    block = Conv2d(17, 17, 3, padding=1, **own)(ReLU()(Conv2d(17, 17, 3, padding=1, groups=17, **own)(stem)))
    top = GlobalAvgPool2d()(ReLU()(Conv2d(17, 24, 1, **own)(AvgPool2d(2)(Add()(stem, block)))))
    return Model(x, Linear(24, 10, **own)(Flatten()(top)))


def images(n: int, seed: int = 0) -> tuple[Array, Array]:
    """Return n pictures of noise around one of ten patterns, as uint8, and which pattern it is."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(10, size=n)
    patterns = np.random.default_rng(1).integers(0, 128, size=(10, 1, 28, 28))
    return (patterns[labels] + rng.integers(0, 128, size=(n, 1, 28, 28))).astype(np.uint8), labels


def trainer(model: Model, *callbacks: Callback, adam: bool = False, epochs: int = 3) -> Trainer:
    """Return a trainer with momentum, or moments, and a schedule: all the state that an optimizer has."""
    optimizer = Adam(CosineLR(0.01, epochs)) if adam else SGD(CosineLR(0.05, epochs), momentum=0.9, weight_decay=1e-4)
    return Trainer(model, CrossEntropyLoss(), optimizer, callbacks=callbacks)


def digest(model: Model, history: dict[str, list[float]] | None = None) -> str:
    """Return a hash of all bits of a model, and of a history but for its times."""
    bits = hashlib.sha256()
    for name, array in model.state_dict().items():
        bits.update(name.encode() + array.tobytes())
    for name, values in (history or {}).items():
        if name not in ("seconds", "images_per_second"):
            bits.update(name.encode() + np.array(values).tobytes())
    return bits.hexdigest()[:16]
