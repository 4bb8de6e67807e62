"""Losses, each with its gradient."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, as_labels, expect_shape, flag, output, plain, unless_same
from cnnlib.errors import ShapeError
from cnnlib.functional.shared import instance
from cnnlib.reference import Array

__all__ = ["binary_cross_entropy", "cross_entropy", "l1_loss", "mse_loss"]


def cross_entropy(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return softmax cross-entropy of logits, mean over the batch, and its gradient (p - target)/N.

    x (N, C); target (N,) integer labels, or (N, C) probabilities of x's dtype; `out` may be x.
    Raises DataError for labels outside 0 … C - 1, DTypeError for labels that are not integers.

    >>> import numpy as np
    >>> value, grad = cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    >>> round(value, 6), grad.tolist()
    (0.693147, [[0.5, -0.5]])
    """
    x = as_array(x, "x", 2)
    labels = soft = None
    target = plain(target, "target")
    if target.ndim == 1:
        labels = as_labels(target, *x.shape)
    else:
        soft = as_array(target, "target", 2, x)
        expect_shape(soft, "target", x.shape, "the shape of x, or one integer label a row")
    result = output(out, "out", x.shape, unless_same(x, out), soft)
    return instance(_kernels.cross_entropy, x)(result, x, labels, soft), result


def mse_loss(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return J = 1/(2N) Σ (x - target)², summed over the features and averaged over the N samples, and (x - target)/N.

    Shapes: x, target and the gradient, which `out` receives, (N, …).

    >>> import numpy as np
    >>> value, grad = mse_loss(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]))
    >>> value, grad.tolist()
    (2.0, [[0.0, 2.0]])
    """
    return _loss(x, target, _kernels.SQUARED, out)


def l1_loss(x: Array, target: Array, *, out: Array | None = None) -> tuple[float, Array]:
    """Return J = 1/N Σ |x - target|, summed over the features and averaged over the N samples, and sign(x - target)/N.

    Shapes: x, target and the gradient, which `out` receives, (N, …). sign(0) = 0.

    >>> import numpy as np
    >>> value, grad = l1_loss(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]))
    >>> value, grad.tolist()
    (2.0, [[0.0, 1.0]])
    """
    return _loss(x, target, _kernels.ABSOLUTE, out)


def binary_cross_entropy(
    x: Array, target: Array, from_logits: bool = False, *, out: Array | None = None
) -> tuple[float, Array]:
    """Return J = 1/N Σ -t log σ - (1 - t) log(1 - σ), t = target in 0…1, and its gradient for x.

    x is σ itself, where σ and 1 - σ are read as no less than the smallest normal number, or, `from_logits`, the score
    whose sigmoid is σ; then J = max(x, 0) - x t + log(1 + e^-|x|) and ∂J/∂x = (σ - t)/N at any size of x.
    Shapes: x, target and the gradient, which `out` receives, (N, …).

    >>> import numpy as np
    >>> value, grad = binary_cross_entropy(np.array([[0.0, 1000.0]]), np.array([[1.0, 0.0]]), from_logits=True)
    >>> round(value, 6), grad.tolist()
    (1000.693147, [[-0.5, 1.0]])
    """
    return _loss(x, target, _kernels.BINARY_LOGITS if flag(from_logits, "from_logits") else _kernels.BINARY, out)


def _loss(x: Array, target: Array, kind: int, out: Array | None) -> tuple[float, Array]:
    x = as_array(x, "x")
    target = as_array(target, "target", like=x)
    if x.ndim == 0:
        raise ShapeError("x has shape (): expected (N, …), a batch")
    expect_shape(target, "target", x.shape, "the shape of x")
    result = output(out, "out", x.shape, x, target)
    flat = result.reshape(-1), x.reshape(-1), target.reshape(-1)
    return instance(_kernels.loss, x)(*flat, len(x), kind), result
