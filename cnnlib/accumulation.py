"""Accumulation: several batches, of which only one needs to fit into memory, that make one step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnnlib.errors import FileFormatError

if TYPE_CHECKING:
    from cnnlib.layers.parameter import Parameter

__all__ = ["Accumulation"]


class Accumulation:
    """The gradients of up to `size` batches on their way to be those of one step.

    With J_b the mean loss of batch b and W_b its weight (its size, if samples have no weights), the step's gradient is
    that of the mean over all samples, so that batches of any size count right::

        ∇J = Σ_b W_b ∇J_b / Σ_b W_b

    Parameters add up W_b ∇J_b in their ``grad``; `finish` divides. A single batch is left as it is.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        #: How many batches were added since the last step.
        self.count = 0
        self._weight = 0.0

    @property
    def full(self) -> bool:
        """Whether it is time for a step."""
        return self.count == self.size

    def add(self, weight: float) -> float:
        """Count in a batch of this weight; return what its loss's gradient must be multiplied by."""
        self.count += 1
        self._weight += weight
        return 1.0 if self.size == 1 else weight

    def finish(self, parameters: Mapping[str, Parameter]) -> None:
        """Make the sums in the parameters' gradients the gradient of the step, and start anew."""
        if self.size > 1 and self._weight:
            for parameter in parameters.values():
                if parameter.grad is not None:
                    parameter.grad *= parameter.grad.dtype.type(1 / self._weight)
        self.count, self._weight = 0, 0.0

    def state_dict(self, parameters: Mapping[str, Parameter]) -> dict[str, Any] | None:
        """Return the sums so far, None between two steps."""
        if not self.count:
            return None
        gradients = {name: p.grad.copy() for name, p in parameters.items() if p.grad is not None}
        return {"count": self.count, "weight": self._weight, "gradients": gradients}

    def load_state_dict(self, state: Mapping[str, Any] | None, parameters: Mapping[str, Parameter]) -> None:
        """Go on adding to those sums. Raises FileFormatError for a state that cannot be."""
        for parameter in parameters.values():
            parameter.zero_grad()
        if state is None:
            self.count, self._weight = 0, 0.0
            return
        count, weight = int(state["count"]), float(state["weight"])
        if not (0 < count < self.size and 0 <= weight < math.inf):
            raise FileFormatError(f"{count} batches of weight {weight} cannot be a part of {self.size}")
        for name, gradient in state["gradients"].items():
            parameters[name].grad = gradient
        self.count, self._weight = count, weight
