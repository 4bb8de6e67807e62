"""Flat: gradients side by side in one array, in the order in which a backward pass finishes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.errors import ConfigError

if TYPE_CHECKING:
    from cnnlib.layers import Parameter
    from cnnlib.model import Model

__all__ = ["Layout"]

Array = NDArray[Any]

# Each gradient begins at a multiple of so many numbers: at a cache line's begin.
_ALIGNMENT = 16
# A message is worth its start from about a megabyte on; more than eight overlap with the backward pass no better.
_LEAST_BYTES, _MOST_PIECES = 1 << 20, 8


class Layout:
    """Where in a flat array the gradient of each parameter that learns is, and, behind them, how buffers moved.

    buffers: the running estimates of the model, which chunks move each for itself.
    pieces: the parts that are sent as one, each of whole gradients; the last has the buffers.
    """

    def __init__(self, model: Model) -> None:
        self.buffers = list(_floats(model))
        self.parameters = _learning(model)
        self.frozen = _frozen(model)
        dtypes = {array.dtype for array in (*(p.data for p in self.parameters), *self.buffers)}
        if len(dtypes) > 1:
            names = ", ".join(sorted(map(str, dtypes)))
            raise ConfigError(f"training on several processes needs a model of one dtype, this one's are {names}")
        self.dtype = dtypes.pop() if dtypes else np.dtype(np.float32)
        self._spans: list[slice] = []
        end = 0
        for size in (*(p.data.size for p in self.parameters), *(buffer.size for buffer in self.buffers)):
            self._spans.append(slice(end, end + size))
            end += -(-size // _ALIGNMENT) * _ALIGNMENT
        self.size = end
        self.pieces = self._cut()
        #: The piece of each parameter, by its id.
        self.piece_of = {
            id(parameter): next(i for i, piece in enumerate(self.pieces) if span.start < piece.stop)
            for parameter, span in zip(self.parameters, self._spans, strict=False)
        }

    def serves(self, model: Model) -> bool:
        """Whether the model still learns what it did."""
        return self.frozen == _frozen(model)

    def array(self) -> Array:
        """Return a new flat array."""
        return np.zeros(self.size, self.dtype)

    def place(self, array: Array, holds: bool = False) -> None:
        """Let the parameters' gradients be in `array` from now on; holds: they are there already."""
        for parameter, span in zip(self.parameters, self._spans, strict=False):
            parameter.keep_grad_in(array[span].reshape(parameter.data.shape), holds)

    def collected(self) -> Array:
        """Return a flat array of the parameters' gradients as they are, wherever they are."""
        array = self.array()
        for parameter, span in zip(self.parameters, self._spans, strict=False):
            if parameter.grad is not None:
                array[span] = parameter.grad.reshape(-1)
        return array

    def clear_missing(self) -> None:
        """Make those gradients zeros that a backward pass has left out, because no output depends on the parameter."""
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = np.zeros_like(parameter.data)

    def moved(self, array: Array) -> list[Array]:
        """Return the views of `array` that are for the buffers' changes."""
        spans = self._spans[len(self.parameters) :]
        return [array[span].reshape(buffer.shape) for span, buffer in zip(spans, self.buffers, strict=True)]

    def _cut(self) -> list[slice]:
        least = max(_LEAST_BYTES // self.dtype.itemsize, self.size // _MOST_PIECES)
        pieces, begin = [], 0
        for span in self._spans[1 : len(self.parameters)]:
            if span.start - begin >= least:
                pieces.append(slice(begin, span.start))
                begin = span.start
        return [*pieces, slice(begin, self.size)]


def _learning(model: Model) -> Sequence[Parameter]:
    found: dict[int, Parameter] = {}
    for layer in reversed(model.layers.values()):
        found.update((id(p), p) for p in layer.parameters().values() if not p.frozen)
    return list(found.values())


def _frozen(model: Model) -> tuple[bool, ...]:
    return tuple(p.frozen for layer in model.layers.values() for p in layer.parameters().values())


def _floats(model: Model) -> Iterable[Array]:
    seen: set[int] = set()
    for layer in model.layers.values():
        for buffer in layer.buffers().values():
            if buffer.dtype.kind == "f" and id(buffer) not in seen:
                seen.add(id(buffer))
                yield buffer
