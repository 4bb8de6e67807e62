"""Parameter: what a layer learns, and the gradient that accumulates beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.errors import ShapeError

__all__ = ["Parameter", "add_grads", "grad_slots"]

Array = NDArray[Any]


class Parameter:
    """An array that is learned, with its gradient.

    ``data``: the values; optimizers change them in place. ``grad``: None after ``zero_grad``, then an array of the
    same shape and dtype to which every backward pass adds.

    A backward pass asks for a slot, lets a kernel overwrite it, and adds it. The first slot after ``zero_grad`` is the
    gradient's own buffer, so that a training step neither allocates nor copies:

    >>> p = Parameter(np.zeros(2))
    >>> for value in (1.0, 2.0):
    ...     slot = p.grad_slot()
    ...     slot[:] = value
    ...     p.add_grad(slot)
    >>> p.grad
    array([3., 3.])
    """

    def __init__(self, data: Array) -> None:
        self.data = data
        #: Stays as it is in training: gradients are not kept, optimizers pass it by.
        self.frozen = False
        self._buffer: Array | None = None
        self._spare: Array | None = None
        self._has_grad = False

    @property
    def grad(self) -> Array | None:
        """The gradient added up since ``zero_grad``, or None. Assigning an array copies it; None is ``zero_grad()``."""
        return self._buffer if self._has_grad else None

    @grad.setter
    def grad(self, value: Array | None) -> None:
        self._has_grad = False
        if value is None:
            return
        if np.shape(value) != self.data.shape:
            raise ShapeError(f"grad of shape {np.shape(value)}: expected the parameter's, {self.data.shape}")
        slot = self.grad_slot()
        if value is not slot:
            np.copyto(slot, value)
        self._has_grad = True

    def zero_grad(self) -> None:
        """Forget the gradient; its buffer stays for the next one."""
        self._has_grad = False

    def keep_grad_in(self, buffer: Array, holds: bool = False) -> None:
        """Let `buffer` be the gradient's own from now on; `holds`: it has the gradient in it already."""
        self._buffer, self._has_grad = buffer, holds

    def grad_slot(self) -> Array:
        """Return an array of data's shape and dtype for a kernel to overwrite; hand it to ``add_grad`` then."""
        if self._has_grad:
            if self._spare is None:
                self._spare = np.empty_like(self.data)
            return self._spare
        if self._buffer is None:
            self._buffer = np.empty_like(self.data)
        return self._buffer

    def add_grad(self, slot: Array) -> None:
        """Add the gradient in `slot`, the last array that ``grad_slot`` returned; of a frozen parameter, forget it."""
        if self.frozen:
            return
        if self._has_grad:
            assert self._buffer is not None
            self._buffer += slot
        self._has_grad = True

    def __repr__(self) -> str:
        state = "no gradient" if self.grad is None else "with gradient"
        return f"Parameter({self.data.dtype} {self.data.shape}, {state})"


def grad_slots(*parameters: Parameter | None) -> tuple[Array | None, ...]:
    """Return a slot for the gradient of each parameter; None, nothing to compute, for one that is frozen or missing.

    >>> weight, bias = Parameter(np.zeros(2)), Parameter(np.zeros(1))
    >>> weight.frozen = True
    >>> [slot is not None for slot in grad_slots(weight, bias, None)]
    [False, True, False]
    """
    return tuple(None if p is None or p.frozen else p.grad_slot() for p in parameters)


def add_grads(parameters: Sequence[Parameter | None], slots: Sequence[Array | None]) -> None:
    """Make the gradients in the slots that `grad_slots` returned count."""
    for parameter, slot in zip(parameters, slots, strict=True):
        if parameter is not None and slot is not None:
            parameter.add_grad(slot)
