"""Arithmetic, element by element."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, number, output, several, unless_same, wanted
from cnnlib.functional.shared import each, instance
from cnnlib.reference import Array

__all__ = [
    "add",
    "affine",
    "divide",
    "divide_backward",
    "multiply",
    "reciprocal",
    "subtract",
]


def add(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a + b element by element, both of one shape; `out` may be either.

    >>> import numpy as np
    >>> add(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [11.0, 22.0]
    """
    return _arithmetic(a, b, _kernels.ADD, out)


def subtract(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a - b element by element, both of one shape; `out` may be either.

    >>> import numpy as np
    >>> subtract(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [-9.0, -18.0]
    """
    return _arithmetic(a, b, _kernels.SUBTRACT, out)


def multiply(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a·b element by element, both of one shape; `out` may be either.

    >>> import numpy as np
    >>> multiply(np.array([1.0, 2.0]), np.array([10.0, 20.0])).tolist()
    [10.0, 40.0]
    """
    return _arithmetic(a, b, _kernels.MULTIPLY, out)


def divide(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """Return a/b element by element, both of one shape, infinite or NaN where b is 0; `out` may be either.

    >>> import numpy as np
    >>> divide(np.array([1.0, 2.0]), np.array([10.0, 0.0])).tolist()
    [0.1, inf]
    """
    return _arithmetic(a, b, _kernels.DIVIDE, out)


def divide_backward(
    grad_output: Array,
    b: Array,
    y: Array,
    *,
    needs: tuple[bool, bool] = (True, True),
    out: tuple[Array | None, Array | None] = (None, None),
) -> tuple[Array | None, Array | None]:
    """Return the gradients of y = a/b for (a, b): g/b and -(g/b) y, where g = grad_output; None where `needs` says so.

    >>> import numpy as np
    >>> da, db = divide_backward(np.array([4.0]), np.array([2.0]), np.array([3.0]))
    >>> da.tolist(), db.tolist()
    ([2.0], [-6.0])
    """
    y = as_array(y, "y")
    b, grad_output = as_array(b, "b", like=y), as_array(grad_output, "grad_output", like=y)
    for array, name in ((b, "b"), (grad_output, "grad_output")):
        expect_shape(array, name, y.shape, "the shape of y")
    needs, out = wanted(needs, 2), several(out, "out", 2)
    grad_a = output(out[0], "out[0]", y.shape, grad_output, b, y) if needs[0] else None
    grad_b = output(out[1], "out[1]", y.shape, grad_output, b, y, grad_a) if needs[1] else None
    flat = grad_output.reshape(-1), b.reshape(-1)
    if grad_a is not None:
        instance(_kernels.arithmetic, y)(grad_a.reshape(-1), *flat, _kernels.DIVIDE)
    if grad_b is not None:
        instance(_kernels.divide_grad_b, y)(grad_b.reshape(-1), *flat, y.reshape(-1))
    return grad_a, grad_b


def affine(x: Array, scale: float, offset: float = 0.0, *, out: Array | None = None) -> Array:
    """Return scale·x + offset with two numbers. Any shape; `out` may be x.

    >>> import numpy as np
    >>> affine(np.array([1.0, 2.0]), 3, -1).tolist()
    [2.0, 5.0]
    """
    return each(_kernels.affine, x, out, number(scale, "scale"), number(offset, "offset"))


def reciprocal(x: Array, numerator: float = 1.0, *, out: Array | None = None) -> Array:
    """Return numerator/x, infinite or NaN where x is 0; its gradient is `divide_backward`'s for b. `out` may be x.

    >>> import numpy as np
    >>> reciprocal(np.array([1.0, 2.0]), 6).tolist()
    [6.0, 3.0]
    """
    return each(_kernels.reciprocal, x, out, number(numerator, "numerator"))


def _arithmetic(a: Array, b: Array, operation: int, out: Array | None) -> Array:
    a = as_array(a, "a")
    b = as_array(b, "b", like=a)
    expect_shape(b, "b", a.shape, "the shape of a")
    result = output(out, "out", a.shape, unless_same(a, out), unless_same(b, out))
    instance(_kernels.arithmetic, a)(result.reshape(-1), a.reshape(-1), b.reshape(-1), operation)
    return result
