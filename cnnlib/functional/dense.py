"""The linear map and its gradients."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, output, several, wanted
from cnnlib.errors import ShapeError
from cnnlib.functional.shared import instance
from cnnlib.reference import Array, Gradients, Needs, Outs

__all__ = ["linear", "linear_backward"]


def linear(x: Array, weight: Array, bias: Array | None = None, *, out: Array | None = None) -> Array:
    """Return x weightᵀ + bias.

    Shapes: x (N, n), weight (C, n), bias (C,) or None, result (N, C).

    >>> import numpy as np
    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.5, 0.0])).tolist()
    [[11.5, 17.0]]
    """
    x, weight = _linear_arrays(x, weight)
    if bias is not None:
        bias = as_array(bias, "bias", 1, x)
        expect_shape(bias, "bias", weight.shape[:1], "one value for each row of weight")
    result = output(out, "out", (x.shape[0], weight.shape[0]), x, weight, bias)
    instance(_kernels.linear_forward, x)(result.reshape(-1), x.reshape(-1), weight, bias, (len(x), False, False, False))
    return result


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
    x, weight = _linear_arrays(x, weight)
    grad_output = as_array(grad_output, "grad_output", 2, x)
    shape = (x.shape[0], weight.shape[0])
    expect_shape(grad_output, "grad_output", shape, f"linear's output for x {x.shape} and weight {weight.shape}")
    needs, out = wanted(needs, 3), several(out, "out", 3)
    grad_x = grad_weight = grad_bias = None
    if needs[0]:
        grad_x = output(out[0], "out[0]", x.shape, grad_output, x, weight)
    if needs[1]:
        grad_weight = output(out[1], "out[1]", weight.shape, grad_output, x, weight, grad_x)
    if needs[2]:
        grad_bias = output(out[2], "out[2]", weight.shape[:1], grad_output, x, weight, grad_x, grad_weight)
    flat = None if grad_x is None else grad_x.reshape(-1)
    options = (len(x), False, False, False)
    instance(_kernels.linear_backward, x)(
        flat, grad_weight, grad_bias, grad_output.reshape(-1), x.reshape(-1), weight, None, options
    )
    return grad_x, grad_weight, grad_bias


def _linear_arrays(x: Array, weight: Array) -> tuple[Array, Array]:
    x = as_array(x, "x", 2)
    weight = as_array(weight, "weight", 2, x)
    if x.shape[1] != weight.shape[1]:
        raise ShapeError(
            f"x of shape {x.shape} has {x.shape[1]} features, weight of shape {weight.shape} takes {weight.shape[1]}"
        )
    return x, weight
