"""Padding, and its gradient, by NumPy's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnlib.reference.shared import Array, deliver
from cnnlib.shapes import PadPairs, pad_mode, pad_pairs

__all__ = ["pad", "pad_backward"]

_NUMPYS = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(x: Array, padding: PadPairs, mode: str = "constant", value: float = 0.0, *, out: Array | None = None) -> Array:
    """Return x with so many elements more at either end of its last axes, or fewer, where a number is negative.

    padding: a pair (before, after) for each of the last axes, in their order. mode: "constant" (`value`), "reflect" at
    the first and last element, "replicate" them, or "circular": begin again at the other end.

    >>> pad(np.array([1.0, 2.0, 3.0]), [(2, -1)], "reflect").tolist()
    [3.0, 2.0, 1.0, 2.0]
    """
    pairs = pad_pairs(padding)
    pairs = (*[(0, 0)] * (x.ndim - len(pairs)), *pairs)
    more = [(max(0, before), max(0, after)) for before, after in pairs]
    options: Any = {"constant_values": value} if mode == "constant" else {}
    result = np.pad(x, more, _NUMPYS[pad_mode(mode)], **options)  # type: ignore[call-overload]
    cut = tuple(
        slice(max(0, -before), size - max(0, -after)) for size, (before, after) in zip(result.shape, pairs, strict=True)
    )
    return deliver(result[cut], out)


def pad_backward(
    grad_output: Array,
    x: Array | Sequence[int],
    padding: PadPairs,
    mode: str = "constant",
    *,
    out: Array | None = None,
) -> Array:
    """Return the gradient of `pad`: each element gets the sum over the places that hold it.

    Shapes: grad_output as `pad` returns; x the input or its shape, as the result.

    >>> pad_backward(np.ones(6), (3,), [(2, 1)], "reflect").tolist()
    [1.0, 3.0, 2.0]
    """
    shape = x.shape if isinstance(x, np.ndarray) else tuple(x)
    elements = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    held = pad(elements, padding, mode).astype(np.intp).ravel()  # 0 where no element is
    result = np.zeros(1 + elements.size, grad_output.dtype)
    np.add.at(result, held, grad_output.ravel())
    return deliver(result[1:].reshape(shape), out)
