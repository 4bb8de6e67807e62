"""What every layer is: shapes, formula, gradients and parameters, and nothing about who calls it."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np

from cnnlib.errors import GraphError, TrainingError
from cnnlib.graph import Node, Shape, check_name
from cnnlib.layers.checks import Array, check_arity, check_arrays, check_gradient
from cnnlib.layers.parameter import Parameter, add_grads, grad_slots

__all__ = ["Array", "Layer", "Needs", "Outs", "Parameter", "Window", "add_grads", "grad_slots"]

Needs = tuple[bool, ...]
Outs = tuple[Array | None, ...]
Window = tuple[int, int, int, int]  # kernel, stride, padding, dilation along one axis


class Layer:
    """Base of the layers. A subclass defines `output_shape`, `apply` and `gradients`, and keeps every constructor
    argument as an attribute of the same name, from which `config` and `repr` are made.

    `apply` and `gradients` are pure: what backward needs travels in `saved`, so that one layer may stand at several
    places of a graph and serve many threads. An attribute that is a `Parameter` is learned.
    """

    #: How many inputs the layer takes; None: two or more.
    arity: ClassVar[int | None] = 1
    #: Every output sees the whole input, as in a linear layer.
    sees_all: ClassVar[bool] = False
    #: `gradients` may return `dy` itself or a view, where it is given no `out`.
    shares_gradient: ClassVar[bool] = False
    #: Every number, or every channel, is treated alike, wherever it lies in image and batch.
    by_channel: bool = False
    #: The dtype of the parameters; None for a layer that has none and takes float32 as well as float64.
    dtype: np.dtype[Any] | None = None

    def __init__(self, *, name: str | None = None) -> None:
        self.name = check_name(name)
        self._last: tuple[Any, Shape, np.dtype[Any], int] | None = None

    # What a subclass defines

    def output_shape(self, *shapes: Any, **options: Any) -> Shape:
        """Return the output's shape for inputs of `shapes`, all without N; raise ShapeError if they do not fit."""
        raise NotImplementedError

    def apply(self, *xs: Any, **options: Any) -> tuple[Array, Any]:
        """Return (y, saved) for `xs`; options training=False, out=None. `saved` is what `gradients` needs."""
        raise NotImplementedError

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        """Return the inputs' gradients, None where not needed, and add those of the parameters that learn to the
        parameters (`grad_slots`, `add_grads`)."""
        raise NotImplementedError

    # What a subclass may define

    def shares_input(self, training: bool) -> bool:
        """Whether `apply` returns its first input or a view of it."""
        return False

    def buffers(self) -> dict[str, Array]:
        """Return the arrays that are saved with the parameters but not learned."""
        return {}

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the parameters anew."""

    def reseed(self, rng: np.random.Generator | int) -> None:
        """Restart the layer's own random numbers, if it draws any while training."""

    def describe(self) -> str:
        """Return the layer with its settings as the lecture writes them."""
        return type(self).__name__

    def weight_shape(self) -> Shape:
        """Return the weight's shape as the lecture writes it, () without one."""
        weight = self.parameters().get("weight")
        return () if weight is None else weight.data.shape

    def multiply_adds(self, *shapes: Shape) -> int:
        """Return the multiply-adds of one sample, those of element-wise steps not counted."""
        return 0

    def sees_whole(self, x: Shape) -> bool:
        """Return whether every output sees the whole input, of shape x without N."""
        return self.sees_all

    def windows(self) -> tuple[Window, Window] | tuple[()] | None:
        """Return what one output sees in height and in width, None for its own place, () if that differs by place."""
        return None

    # What all layers have

    def parameters(self) -> dict[str, Parameter]:
        """Return name → Parameter."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Parameter)}

    def freeze(self, frozen: bool = True) -> None:
        """Keep the parameters as they are while the model trains; ``freeze(False)`` lets them learn again."""
        for parameter in self.parameters().values():
            parameter.frozen = frozen

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, but for rng, as JSON values."""
        arguments = {}
        for name in inspect.signature(type(self)).parameters:
            if name != "rng":
                # bias stands for its parameter; a dtype goes by its name.
                value = getattr(self, name) is not None if name == "bias" else getattr(self, name)
                arguments[name] = value.name if isinstance(value, np.dtype) else value
        return arguments

    def forward(self, *xs: Array, training: bool = False) -> Array:
        """Return the output for arrays N × input shape; with `training`, keep what `backward` needs.

        Raises ShapeError, DTypeError or DataError, naming the layer, for arrays that it cannot take.
        """
        xs = check_arrays(self, xs)
        y, saved = self.apply(*xs, training=training)
        if training:
            self._last = saved, y.shape, y.dtype, len(xs)
        return y

    def backward(self, dy: Array) -> Any:
        """Return the gradient of the last training forward's input (a tuple for several inputs) from that of its
        output, and add the parameters' gradients to ``parameter.grad``. Raises TrainingError without such a forward.
        """
        if self._last is None:
            raise TrainingError(f"{self!r}: backward before forward; call forward(x, training=True) first")
        saved, shape, dtype, inputs = self._last
        dy = check_gradient(self, dy, shape, dtype)
        gradients = self.gradients(dy, saved, (True,) * inputs, (None,) * inputs)
        return gradients[0] if inputs == 1 else gradients

    def __call__(self, *inputs: Any, training: bool = False) -> Any:
        """Add the layer to a graph if it is called on nodes; on arrays, `forward`."""
        nodes = sum(isinstance(given, Node) for given in inputs)
        if not nodes:
            return self.forward(*inputs, training=training)
        if nodes < len(inputs):
            raise GraphError(f"{self!r}: called on nodes and arrays together; give either nodes or arrays")
        check_arity(self, len(inputs))
        return Node(self, inputs, self.output_shape(*(node.shape for node in inputs)), self.name)

    def __repr__(self) -> str:
        shown = []
        signature, arguments = inspect.signature(type(self)), self.config()
        for name, value in arguments.items():
            default = signature.parameters[name].default
            if default is inspect.Parameter.empty:
                shown.append(repr(value))
            elif value != (np.dtype(default).name if name == "dtype" else default):
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"
