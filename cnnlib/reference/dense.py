"""The dense product and its gradients."""

from __future__ import annotations

from cnnlib.reference.shared import Array, Gradients, Needs, Outs, deliver, deliver_all

__all__ = ["linear", "linear_backward"]


def linear(x: Array, weight: Array, bias: Array | None = None, *, out: Array | None = None) -> Array:
    """Return x weightᵀ + bias.

    Shapes: x (N, n), weight (C, n), bias (C,) or None, result (N, C).

    >>> import numpy as np
    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.5, 0.0])).tolist()
    [[11.5, 17.0]]
    """
    result = x @ weight.T
    if bias is not None:
        result += bias
    return deliver(result, out)


def linear_backward(
    grad_output: Array,
    x: Array,
    weight: Array,
    *,
    needs: Needs = (True, True, True),
    out: Outs = (None, None, None),
) -> Gradients:
    """Return (grad_output weight, grad_outputᵀ x, Σ_n grad_output), None where `needs` says so.

    Shapes: grad_output (N, C), x (N, n), weight (C, n); the gradients are shaped as x, weight and (C,).

    >>> import numpy as np
    >>> dx, dw, db = linear_backward(np.array([[2.0]]), np.array([[1.0, 3.0]]), np.array([[4.0, 5.0]]))
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[8.0, 10.0]], [[2.0, 6.0]], [2.0])
    """
    grad_x = grad_output @ weight if needs[0] else None
    grad_weight = grad_output.T @ x if needs[1] else None
    grad_bias = grad_output.sum(axis=0) if needs[2] else None
    return deliver_all((grad_x, grad_weight, grad_bias), out)
