"""The whole net: a training step and a prediction of LeNet-5, by cnnlib and by the definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import models, reference
from cnnlib.bench.named import LAYERS
from cnnlib.bench.work import Contestant, Results
from cnnlib.losses import CrossEntropyLoss
from cnnlib.optim import SGD
from cnnlib.reference import Array
from cnnlib.trainer import Trainer

__all__ = ["LEARNING_RATE", "MOMENTUM", "NET", "NET_PASSES", "NetTask", "State"]

#: The net that is measured, and its passes with their batches.
NET, NET_PASSES = "lenet5", (("train", 64), ("predict", 64), ("predict", 1))

# Small, so that thousands of steps on the same batch leave the numbers ordinary.
LEARNING_RATE, MOMENTUM = 1e-3, 0.9

State = Mapping[str, Array]


# Its layers that have weights, from bottom to top.
WEIGHTED = ("lenet1", "lenet2", "fc1", "fc2")


@dataclass(frozen=True, eq=False)
class NetTask:
    """LeNet-5 on one batch: `train` is forward, loss, backward and an SGD step with momentum, `predict` the logits."""

    which: str
    batch: int

    layer = NET
    tolerance = 1e-4  # of the logits, or of the worst gradient

    @property
    def shape(self) -> str:
        """Its shape in words."""
        return f"{self.batch}×1×28²"

    @property
    def flops(self) -> int:
        """Two for each multiply-add, three passes when training, but no gradient for the image."""
        layers = [replace(LAYERS[name], x=(self.batch, *LAYERS[name].x[1:])) for name in WEIGHTED]
        forward = sum(layer.flops("forward") for layer in layers)
        return 3 * forward - layers[0].flops("grad_x") if self.which == "train" else forward

    @property
    def bytes(self) -> int:
        """Not counted: what has to move depends on what is fused."""
        return 0

    @cached_property
    def data(self) -> tuple[Array, Array]:
        """Images and labels."""
        rng = np.random.default_rng(371)
        return rng.standard_normal((self.batch, 1, 28, 28), np.float32), rng.integers(0, 10, self.batch)

    @cached_property
    def state(self) -> State:
        """The initial weights, by the names that PyTorch gives them, too."""
        return models.lenet5(rng=0).state_dict()

    @cached_property
    def expected(self) -> Results:
        """The results in float64."""
        return self._reference(np.float64).run()  # type: ignore[no-any-return]

    def contestant(self, name: str) -> Contestant:
        """Return "cnnlib" or "reference"."""
        if name == "reference":
            return self._reference(np.float32)
        (x, labels), model = self.data, models.lenet5(rng=0)
        if self.which == "predict":
            return Contestant(lambda: (model.predict(x),))
        trainer = Trainer(model, CrossEntropyLoss(), SGD(LEARNING_RATE, momentum=MOMENTUM))
        parameters = model.parameters()
        return Contestant(
            lambda: trainer.train_step(x, labels),
            lambda loss: (loss, *(parameters[name].grad for name in self.state)),
        )

    def _reference(self, dtype: DTypeLike) -> Contestant:
        net, (x, labels) = _ReferenceLeNet(self.state, dtype), self.data
        images = x.astype(dtype)
        if self.which == "predict":
            return Contestant(lambda: (net.forward(images)[-1],))
        return Contestant(lambda: net.train_step(images, labels))


class _ReferenceLeNet:
    """LeNet-5 written out in the functions of `cnnlib.reference`."""

    def __init__(self, state: State, dtype: DTypeLike) -> None:
        self.parameters = {name: array.astype(dtype) for name, array in state.items()}
        self.velocity = {name: np.zeros_like(array) for name, array in self.parameters.items()}

    def _weights(self, position: int) -> tuple[Array, Array]:
        return self.parameters[f"{position}.weight"], self.parameters[f"{position}.bias"]

    def forward(self, x: Array) -> list[Array]:
        """Return the input of every layer, and the logits at the end."""
        f, values = reference, [x]
        for position in (0, 3):
            values.append(f.conv2d(values[-1], *self._weights(position), padding=2))
            values.append(f.relu(values[-1]))
            values.append(f.max_pool2d(values[-1], 2))
        values.append(values[-1].reshape(len(x), -1))
        values.append(f.linear(values[-1], *self._weights(7)))
        values.append(f.relu(values[-1]))
        values.append(f.linear(values[-1], *self._weights(9)))
        return values

    def train_step(self, x: Array, labels: Array) -> Results:
        """Return the loss before the update, and the gradients by the order of the parameters."""
        f, values = reference, self.forward(x)
        loss, grad = f.cross_entropy(values[10], labels)
        grads: dict[str, Array] = {}

        def linear(position: int, grad: Array) -> Array:
            return deliver(position, f.linear_backward(grad, values[position], self._weights(position)[0]))

        def convolution(position: int, grad: Array) -> Array:
            grad = f.max_pool2d_backward(grad, values[position + 2], 2)
            grad = f.relu_backward(grad, values[position + 1])
            weight, needs = self._weights(position)[0], (position > 0, True, True)
            return deliver(position, f.conv2d_backward(grad, values[position], weight, padding=2, needs=needs))

        def deliver(position: int, gradients: Any) -> Array:
            grad_x, grads[f"{position}.weight"], grads[f"{position}.bias"] = gradients
            return grad_x  # type: ignore[no-any-return]

        grad = f.relu_backward(linear(9, grad), values[8])
        grad = convolution(3, linear(7, grad).reshape(values[6].shape))
        convolution(0, grad)
        for name, parameter in self.parameters.items():
            f.sgd_step(parameter, grads[name], self.velocity[name], LEARNING_RATE, MOMENTUM)
        return (loss, *(grads[name] for name in self.parameters))
