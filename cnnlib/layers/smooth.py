"""Smooth activations: sigmoid and tanh."""

from __future__ import annotations

from typing import Any

from cnnlib import functional
from cnnlib.graph import Shape
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.registry import register

__all__ = ["Sigmoid", "Tanh"]


@register
class Sigmoid(Layer):
    """Sigmoid, element by element (lecture: L02, L15).

    Forward, without overflow at any z::

        σ(z) = 1 / (1 + e^-z)

    Backward::

        ∂J/∂z = ∂J/∂σ σ (1 - σ)

    Input and output: N × any shape. Saved for backward: σ. For training on a probability, BCELoss on the scores
    themselves is exact where σ is 0 or 1 by rounding.

    >>> import numpy as np
    >>> sigmoid = Sigmoid()
    >>> sigmoid.forward(np.array([[-1000, 0, 1000]], dtype=np.float32), training=True).tolist()
    [[0.0, 0.5, 1.0]]
    >>> sigmoid.backward(np.array([[4, 4, 4]], dtype=np.float32)).tolist()
    [[0.0, 1.0, 0.0]]
    """

    by_channel = True

    def output_shape(self, x: Shape) -> Shape:
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = functional.sigmoid(x, out=out)
        return y, y if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (functional.sigmoid_backward(dy, saved, out=outs[0]) if needs[0] else None,)


@register
class Tanh(Layer):
    """Hyperbolic tangent, element by element (lecture: L16).

    Forward::

        tanh z = (e^z - e^-z) / (e^z + e^-z)

    Backward::

        ∂J/∂z = ∂J/∂y (1 - tanh² z)

    Input and output: N × any shape. Saved for backward: tanh z.

    >>> import numpy as np
    >>> tanh = Tanh()
    >>> tanh.forward(np.array([[-1000, 0, 1000]], dtype=np.float32), training=True).tolist()
    [[-1.0, 0.0, 1.0]]
    >>> tanh.backward(np.array([[5, 5, 5]], dtype=np.float32)).tolist()
    [[0.0, 5.0, 0.0]]
    """

    by_channel = True

    def output_shape(self, x: Shape) -> Shape:
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = functional.tanh(x, out=out)
        return y, y if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (functional.tanh_backward(dy, saved, out=outs[0]) if needs[0] else None,)
