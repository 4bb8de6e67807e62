"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib import functional
from cnnlib.errors import ConfigError
from cnnlib.graph import Shape
from cnnlib.init import RNG, as_generator
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.checks import check_rank
from cnnlib.layers.registry import register

__all__ = ["Dropout", "Dropout2d"]


@register
class Dropout(Layer):
    """Dropout: while training, a proportion p of the neurons is put to zero at random (lecture: L30).

    Forward, with a fresh mask m whose elements are 0 with probability p and 1/(1-p) otherwise, so that the mean of
    the neurons stays; at test time y = x, without a copy::

        y = m ⊙ x

    Backward::

        ∂J/∂x = m ⊙ ∂J/∂y

    Input and output: N × any shape. Saved for backward: the seed from which m was drawn and is drawn again.
    The mask follows from the seed alone, whatever the dtype, the processor and the number of threads.

    p: 0 ≤ p < 1. rng: a generator or a seed, for the masks; `reseed` restarts it.

    >>> drop = Dropout(0.5, rng=0)
    >>> x = np.ones((2, 4), np.float32)
    >>> y = drop.forward(x, training=True)
    >>> sorted(set(y.ravel().tolist())), np.array_equal(drop.backward(x), y), drop.forward(x) is x
    ([0.0, 2.0], True, True)
    """

    def __init__(self, p: float = 0.5, *, rng: RNG = None, name: str | None = None) -> None:
        super().__init__(name=name)
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p < 1:
            raise ConfigError(f"p = {p!r}: expected a proportion, 0 <= p < 1")
        self.p = float(p)
        self._rng = as_generator(rng)

    def output_shape(self, x: Shape) -> Shape:
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        if not training:
            return x, None
        seed = int(self._rng.integers(2**63))
        return self._masked(x, seed, out), seed

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (self._masked(dy, saved, outs[0]) if needs[0] else None,)

    def shares_input(self, training: bool) -> bool:
        return not training

    def reseed(self, rng: np.random.Generator | int) -> None:
        self._rng = as_generator(rng)

    def describe(self) -> str:
        return f"Dropout (p={self.p:g})"

    def _masked(self, x: Array, seed: int, out: Array | None) -> Array:
        return functional.dropout(x, self.p, seed, out=out)


@register
class Dropout2d(Dropout):
    """Dropout of whole feature maps: while training, a proportion p of the channels of each image is put to zero.

    Forward, with m[n, c] = 0 with probability p and 1/(1-p) otherwise; at test time y = x, without a copy::

        y[n, c] = m[n, c] x[n, c]

    Backward: ∂J/∂x[n, c] = m[n, c] ∂J/∂y[n, c]. Neighbouring pixels tell much the same, so that Dropout, which leaves
    most of them, would hide little. Input and output: N × C × H × W. Saved for backward: the seed of m.

    p: 0 ≤ p < 1. rng: a generator or a seed, for the masks; `reseed` restarts it.

    >>> drop = Dropout2d(0.5, rng=1)
    >>> y = drop.forward(np.ones((2, 2, 1, 2), np.float32), training=True)
    >>> y.reshape(4, 2).tolist()
    [[0.0, 0.0], [2.0, 2.0], [0.0, 0.0], [2.0, 2.0]]
    >>> drop.backward(np.full((2, 2, 1, 2), 5, np.float32)).reshape(4, 2)[:2].tolist()
    [[0.0, 0.0], [10.0, 10.0]]
    """

    def output_shape(self, x: Shape) -> Shape:
        check_rank(self, x, ("C", "H", "W"), "use Dropout for what is no image")
        return x

    def describe(self) -> str:
        return f"Dropout2d (p={self.p:g})"

    def _masked(self, x: Array, seed: int, out: Array | None) -> Array:
        return functional.dropout(x, self.p, seed, group=x.shape[2] * x.shape[3], out=out)
