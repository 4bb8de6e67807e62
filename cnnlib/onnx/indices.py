"""Where max-pooling found the largest pixel: an output of ONNX's MaxPool that no layer of a net needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib.errors import DataError, TrainingError
from cnnlib.graph import Shape
from cnnlib.layers import MaxPool2d
from cnnlib.layers.base import Array, Layer, Needs, Outs

__all__ = ["MaxPoolIndices"]


class MaxPoolIndices(Layer):
    """The place of each window's largest pixel, counted through the whole array N × C × H × W as in ONNX.

    pool: whose windows. columns: H and W are counted column by column (``storage_order=1``). The places are numbers of
    the array's dtype; DataError if there are more than it can tell apart. It has no gradient.
    """

    def __init__(self, pool: MaxPool2d, columns: bool = False, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.pool, self.columns = pool, columns

    def output_shape(self, x: Shape) -> Shape:
        return self.pool.output_shape(x)

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        if x.size > 2 ** (np.finfo(x.dtype).nmant + 1):
            raise DataError(f"{x.dtype} cannot tell {x.size} places apart")
        y, saved = self.pool.apply(x, training=True)
        # Each output's gradient goes to the pixel that won: a pass for each output of a plane tells its place.
        planes = y.reshape(-1, *y.shape[2:])
        numbers = np.arange(x.size, dtype=x.dtype).reshape(x.shape)
        if self.columns:
            numbers = np.arange(x.size, dtype=x.dtype).reshape(*x.shape[:2], x.shape[3], x.shape[2]).swapaxes(2, 3)
        places = np.empty_like(planes)
        for output in np.ndindex(y.shape[2:]):
            dy = np.zeros_like(y)
            dy[(..., *output)] = 1
            (dx,) = self.pool.gradients(dy, saved)
            places[(slice(None), *output)] = (np.asarray(dx) * numbers).reshape(len(planes), -1).sum(axis=1)
        return places.reshape(y.shape), None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        raise TrainingError("the places of the largest pixels have no gradient")
