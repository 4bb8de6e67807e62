"""Activations: functions that a layer applies to what another computed."""

from __future__ import annotations

from typing import Any

from cnnlib import functional
from cnnlib.graph import Shape
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.checks import check_rank
from cnnlib.layers.registry import register

__all__ = ["ReLU", "Softmax"]


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


@register
class Softmax(Layer):
    """Softmax: scores of C classes become probabilities p that sum to 1 (lecture: L03, L07).

    Forward::

        p_i = exp(y_i) / Σ_j exp(y_j)

    Backward, as ∂p_i/∂y_j = p_i (δ_ij - p_j)::

        ∂J/∂y_j = Σ_i ∂J/∂p_i p_i (δ_ij - p_j) = p_j (∂J/∂p_j - Σ_i ∂J/∂p_i p_i)

    Input and output: N × C. Saved for backward: p. For training, CrossEntropyLoss on the scores is faster and exact.

    >>> import numpy as np
    >>> softmax = Softmax()
    >>> softmax.forward(np.array([[0, 0], [1000, -1000]], dtype=np.float32), training=True).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    >>> softmax.backward(np.array([[1, 0], [1, 0]], dtype=np.float32))[0].tolist()
    [0.25, -0.25]
    """

    sees_all = True

    def output_shape(self, x: Shape) -> Shape:
        check_rank(self, x, ("C",), "put Flatten() before it")
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        p = functional.softmax(x, out=out)
        return p, p if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (functional.softmax_backward(dy, saved, out=outs[0]) if needs[0] else None,)
