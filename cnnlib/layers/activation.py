"""Activations: functions that a layer applies to what another computed."""

from __future__ import annotations

from typing import Any

from cnnlib import functional
from cnnlib.graph import Shape
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.registry import register

__all__ = ["ReLU"]


@register
class ReLU(Layer):
    """Rectified linear unit, element by element (lecture: L17).

    Forward::

        y = max(0, x)

    Backward, with relu'(0) = 0; a NaN stays one::

        ∂J/∂x = ∂J/∂y where x > 0, else 0

    Input and output: N × any shape. Saved for backward: y, which is positive where x is.

    >>> import numpy as np
    >>> relu = ReLU()
    >>> relu.forward(np.array([[-1, 0, 2]], dtype=np.float32), training=True).tolist()
    [[0.0, 0.0, 2.0]]
    >>> relu.backward(np.array([[5, 5, 5]], dtype=np.float32)).tolist()
    [[0.0, 0.0, 5.0]]
    """

    by_channel = True

    def output_shape(self, x: Shape) -> Shape:
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = functional.relu(x, out=out)
        return y, y if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (functional.relu_backward(dy, saved, out=outs[0]) if needs[0] else None,)
