"""Arrays with arrays and with numbers, element by element."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array, deliver

__all__ = ["add", "affine", "divide", "divide_backward", "multiply", "reciprocal", "subtract"]


def add(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a + b element by element, both of one shape; `out` may be either.

    >>> add(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [11.0, 22.0]
    """
    return np.add(a, b, out=out)


def subtract(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a - b element by element, both of one shape; `out` may be either.

    >>> subtract(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [-9.0, -18.0]
    """
    return np.subtract(a, b, out=out)


def multiply(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a·b element by element, both of one shape; `out` may be either.

    >>> multiply(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [10.0, 40.0]
    """
    return np.multiply(a, b, out=out)


def divide(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a/b element by element, both of one shape, infinite or NaN where b is 0; `out` may be either.

    >>> divide(np.array([1.0, 2.0]), np.array([10.0, 4.0])).tolist()
    [0.1, 0.5]
    """
    return np.divide(a, b, out=out)


def divide_backward(
    grad_output: Array,
    b: Array,
    y: Array,
    *,
    needs: tuple[bool, bool] = (True, True),
    out: tuple[Array | None, Array | None] = (None, None),
) -> tuple[Array | None, Array | None]:
    """Return the gradients of y = a/b for (a, b): g/b and -(g/b) y, where g = grad_output; None where `needs` says so.

    >>> da, db = divide_backward(np.array([4.0]), np.array([2.0]), np.array([3.0]))
    >>> da.tolist(), db.tolist()
    ([2.0], [-6.0])
    """
    grad_a = deliver(grad_output / b, out[0]) if needs[0] else None
    grad_b = deliver(-(grad_output / b) * y, out[1]) if needs[1] else None
    return grad_a, grad_b


def affine(x: Array, scale: float, offset: float = 0.0, *, out: Array | None = None) -> Array:
    """Return scale·x + offset with two numbers. Any shape; `out` may be x.

    >>> affine(np.array([1.0, 2.0]), 3, -1).tolist()
    [2.0, 5.0]
    """
    return deliver(x * x.dtype.type(scale) + x.dtype.type(offset), out)


def reciprocal(x: Array, numerator: float = 1.0, *, out: Array | None = None) -> Array:
    """Return numerator/x, infinite or NaN where x is 0; its gradient is `divide_backward`'s for b. `out` may be x.

    >>> reciprocal(np.array([1.0, 2.0]), 6).tolist()
    [6.0, 3.0]
    """
    result: Array = np.divide(x.dtype.type(numerator), x, out=out)
    return result
