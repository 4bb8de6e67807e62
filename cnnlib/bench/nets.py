"""Whole nets: a training step and a prediction, by cnnlib and by the definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import reference
from cnnlib.bench.architectures import NamedNet
from cnnlib.bench.definition import Definition
from cnnlib.bench.work import Contestant, Results, error_of
from cnnlib.layers.normalization import BatchNorm
from cnnlib.losses import CrossEntropyLoss
from cnnlib.model import Model
from cnnlib.optim import SGD
from cnnlib.reference import Array
from cnnlib.trainer import Trainer

__all__ = ["LEARNING_RATE", "MOMENTUM", "NetTask", "State"]

# Small, so that thousands of steps on the same batch leave the numbers ordinary.
LEARNING_RATE, MOMENTUM = 1e-3, 0.9

PREDICTION_TOLERANCE = 1e-4

State = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class NetTask:
    """A net on one batch: `train` is forward, loss, backward and an SGD step with momentum, `predict` the logits."""

    net: NamedNet
    which: str
    batch: int

    @property
    def layer(self) -> str:
        """Its name in the table."""
        return self.net.name

    @property
    def shape(self) -> str:
        """Its shape in words."""
        channels, height, _ = self.input_shape
        return f"{self.batch}×{channels}×{height}²"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """An image's shape."""
        return self.model.graph.nodes[0].shape

    @property
    def flops(self) -> int:
        """Two for each multiply-add, three passes when training, but no gradient for the image."""
        graph, forward, of_the_image = self.model.graph, 0, 0
        for node, sources in zip(graph.nodes, graph.sources, strict=True):
            if node.layer is not None:
                operations = 2 * self.batch * node.layer.multiply_adds(*(source.shape for source in node.inputs))
                forward += operations
                of_the_image += operations if sources == graph.inputs else 0
        return 3 * forward - of_the_image if self.which == "train" else forward

    @property
    def bytes(self) -> int:
        """Not counted: what has to move depends on what is fused."""
        return 0

    @property
    def tolerance(self) -> float:
        """The largest error that rounding explains."""
        return self.net.tolerance if self.which == "train" else PREDICTION_TOLERANCE

    @cached_property
    def data(self) -> tuple[Array, Array]:
        """Images and labels."""
        rng = np.random.default_rng(371)
        classes = self.model.graph.nodes[-1].shape[0]
        return rng.standard_normal((self.batch, *self.input_shape), np.float32), rng.integers(0, classes, self.batch)

    @cached_property
    def model(self) -> Model:
        """The architecture with its initial weights; every contestant has a copy."""
        model, rng = self.net.build(rng=0), np.random.default_rng(371)
        for layer in model:
            if isinstance(layer, BatchNorm):  # no zeros and ones, with which a wrong formula could still be right
                for array in (layer.weight.data, layer.running_var):
                    array[:] = rng.uniform(0.5, 1.5, array.shape)
                for array in (layer.bias.data, layer.running_mean):
                    array[:] = rng.normal(0, 0.1, array.shape)
        return model

    @cached_property
    def state(self) -> State:
        """The initial weights and running estimates by name."""
        return self.model.state_dict()

    @cached_property
    def expected(self) -> Results:
        """The results in float64."""
        return self._reference(np.float64).run()  # type: ignore[no-any-return]

    def contestant(self, name: str) -> Contestant:
        """Return "cnnlib" or "reference"."""
        if name == "reference":
            return self._reference(np.float32)
        (x, labels), model = self.data, self.net.build(rng=0)
        model.load_state_dict(self.state)
        if self.which == "predict":
            return Contestant(lambda: (model.predict(x, batch_size=self.batch),))
        optimizer = SGD(LEARNING_RATE, momentum=MOMENTUM)
        trainer, names = Trainer(model, CrossEntropyLoss(), optimizer), list(model.parameters())

        def loss_and_gradients(loss: float) -> Results:
            """A first step's gradients are its velocities, wherever else they were kept."""
            state = optimizer.state_dict()
            return loss, *(state[f"{name}.velocity"] for name in names)

        return Contestant(lambda: trainer.train_step(x, labels), loss_and_gradients)

    def error(self, results: Results) -> float:
        """Return the error of the logits; of a training step, the worst gradient's deviation over its own length.

        A gradient is not continuous where a ReLU's input is 0. In a deep net some inputs are so near that they round to
        the other side, which may change single elements of gradients a lot.
        """
        if self.which == "train":
            return error_of(results, self.expected, np.linalg.norm)
        return error_of(results, self.expected)

    def _reference(self, dtype: DTypeLike) -> Contestant:
        (x, labels), names = self.data, list(self.model.parameters())
        net, images = Definition(self.model.graph, self.state, dtype), x.astype(dtype)
        if self.which == "predict":
            return Contestant(lambda: (net.forward(images)[-1],))
        velocity = {name: np.zeros_like(net.tensors[name]) for name in names}

        def train_step() -> Results:
            values = net.forward(images, training=True)
            loss, grad = reference.cross_entropy(values[-1], labels)
            grads = net.backward(grad, values)
            for name in names:
                reference.sgd_step(net.tensors[name], grads[name], velocity[name], LEARNING_RATE, MOMENTUM)
            return (loss, *(grads[name] for name in names))

        return Contestant(train_step)
