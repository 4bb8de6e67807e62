"""Limits that a step keeps to: of the gradients before it, and of the weights after it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cnnlib.arrays import number
from cnnlib.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from cnnlib.layers.parameter import Parameter

__all__ = ["MaxNorm", "clip_grad_norm", "clip_grad_value"]


def clip_grad_norm(parameters: Mapping[str, Parameter], max_norm: float) -> float:
    """Scale all gradients down together, in place, if their common norm is above `max_norm`; return what it was.

    With ‖g‖ the root of the sum of squares over all parameters::

        g ← g · min(1, max_norm / (‖g‖ + 1e-6))

    Source: Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, in the form of
    ``torch.nn.utils.clip_grad_norm_``. To be called between backward and the optimizer's step; a Trainer does it with
    ``clip_norm=``.

    Raises ConfigError for a max_norm that is not positive; TrainingError, and changes nothing, if the norm is NaN or
    infinite.

    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([0.0, 0.0]))
    >>> w.grad = np.array([30.0, 40.0])
    >>> clip_grad_norm({"w": w}, max_norm=1.0), w.grad.round(6)
    (50.0, array([0.6, 0.8]))
    """
    max_norm = _positive("clip_grad_norm: max_norm", max_norm)
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None and not p.frozen}
    # einsum adds in one order, where BLAS would split a long sum among its threads.
    squares = {
        n: float(np.einsum("i,i->", g.reshape(-1), g.reshape(-1), dtype=np.float64)) for n, g in gradients.items()
    }
    norm = math.sqrt(sum(squares.values()))
    if not math.isfinite(norm):
        bad = [name for name, square in squares.items() if not math.isfinite(square)]
        raise TrainingError(f"clip_grad_norm: the gradient of {', '.join(bad)} has NaN, infinite or huge elements")
    if norm > max_norm:
        for gradient in gradients.values():
            gradient *= min(1.0, max_norm / (norm + 1e-6))
    return norm


def clip_grad_value(parameters: Mapping[str, Parameter], clip_value: float) -> None:
    """Bring every element of every gradient, in place, into -clip_value … clip_value; a NaN stays one.

    In the form of ``torch.nn.utils.clip_grad_value_``. To be called between backward and the optimizer's step; a
    Trainer does it with ``clip_value=``. The direction of the step changes; that of `clip_grad_norm` does not.

    Raises ConfigError for a clip_value that is not positive.

    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([0.0, 0.0]))
    >>> w.grad = np.array([0.5, -40.0])
    >>> clip_grad_value({"w": w}, clip_value=1.0)
    >>> w.grad
    array([ 0.5, -1. ])
    """
    clip_value = _positive("clip_grad_value: clip_value", clip_value)
    for parameter in parameters.values():
        if parameter.grad is not None and not parameter.frozen:
            np.clip(parameter.grad, -clip_value, clip_value, out=parameter.grad)


class MaxNorm:
    """A constraint: the weights that come into one neuron have a norm of at most `c`.

    For each row w of a Linear layer's weight, and each filter w of a convolution's::

        w ← w · min(1, c / ‖w‖)

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014, section 5.1,
    where c is tuned between 3 and 4 beside dropout and a high learning rate. To be applied after each step of the
    optimizer; a Trainer does it with ``constraint=MaxNorm(c)``.

    Biases and all else that has no rows are left alone, and so are frozen parameters.

    >>> from cnnlib.layers.parameter import Parameter
    >>> w = Parameter(np.array([[3.0, 4.0], [0.3, 0.4]]))
    >>> MaxNorm(1.0).apply({"weight": w})
    >>> w.data
    array([[0.6, 0.8],
           [0.3, 0.4]])

    Raises ConfigError for a `c` that is not positive.
    """

    def __init__(self, c: float) -> None:
        self.c = _positive("MaxNorm: c", c)

    def apply(self, parameters: Mapping[str, Parameter]) -> None:
        """Shorten, in place, the rows that are too long."""
        for parameter in parameters.values():
            if parameter.data.ndim < 2 or parameter.frozen:
                continue
            rows = parameter.data.reshape(len(parameter.data), -1)
            norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
            long = norms > self.c
            if long.any():
                rows[long] *= (self.c / norms[long])[:, None]

    def __repr__(self) -> str:
        return f"MaxNorm({self.c:g})"


def _positive(name: str, value: float) -> float:
    found = number(value, name)
    if not 0 < found < math.inf:
        raise ConfigError(f"{name} = {value!r}: expected a positive number")
    return found
