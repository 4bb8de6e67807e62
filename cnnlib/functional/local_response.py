"""Local response normalisation and its gradient."""

from __future__ import annotations

import numpy as np

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, number, output, whole
from cnnlib.functional.curves import positive
from cnnlib.functional.shared import as_channels, instance, with_channels
from cnnlib.reference import Array

__all__ = ["local_response_norm", "local_response_norm_backward"]


def local_response_norm(
    x: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, out: Array | None = None
) -> Array:
    """Return x / (k + alpha/size Σ x²)^beta, the sum being over `size` neighbouring channels at the same place.

    These are channels c - ⌊size/2⌋ … c + ⌊(size - 1)/2⌋, as far as there are such: PyTorch's window, and for odd sizes
    ONNX's. Shapes: x and the result (N, C, …). Source: Krizhevsky et al., 2012.

    >>> local_response_norm(np.array([[1.0, 2.0, 2.0]]), 3, alpha=3.0, beta=0.5, k=4.0).round(4).tolist()
    [[0.3333, 0.5547, 0.5774]]
    """
    x = with_channels(x)
    options = _options(x, size, alpha, beta, k)
    result, shape = output(out, "out", x.shape, x), as_channels(x)
    instance(_kernels.local_response, x)(result.reshape(shape), None, None, x.reshape(shape), options)
    return result


def local_response_norm_backward(
    grad_output: Array,
    x: Array,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    out: Array | None = None,
) -> Array:
    """Return g / d^beta - 2 alpha beta/size x Σ g x / d^(beta + 1), where g = grad_output and y = x / d^beta.

    The sum is over the channels in whose windows this one lies.

    >>> local_response_norm_backward(np.array([[1.0]]), np.array([[1.0]]), 1, alpha=1.0, beta=1.0).tolist()
    [[0.0]]
    """
    x = with_channels(x)
    options = _options(x, size, alpha, beta, k)
    grad_output = as_array(grad_output, "grad_output", like=x)
    expect_shape(grad_output, "grad_output", x.shape, "the shape of x")
    result, shape = output(out, "out", x.shape, x, grad_output), as_channels(x)
    arrays = (array.reshape(shape) for array in (result, np.empty_like(x), grad_output, x))
    instance(_kernels.local_response, x)(*arrays, options)
    return result


def _options(x: Array, size: int, alpha: float, beta: float, k: float) -> tuple[int, int, float, float, float]:
    """Return the channels before and after the middle of a window, the factor of the sum, beta and k."""
    size, channels = whole(size, "size", 1, 2**30), x.shape[1]
    scale, beta = number(alpha, "alpha", 0) / size, number(beta, "beta", 0)
    return min(size // 2, channels), min((size - 1) // 2, channels), scale, beta, positive(k, "k")
