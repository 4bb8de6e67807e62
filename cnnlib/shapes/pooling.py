"""The windows of pools."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnlib.errors import ConfigError, ShapeError
from cnnlib.shapes.sizes import LARGEST_WINDOW, IntPair, fit, image_shape, integer, pair, reach, representable

__all__ = ["PoolAxis", "PoolPadding", "pool2d_output_shape", "pool2d_windows", "pooled_shape"]

PoolPadding = int | tuple[int, int] | tuple[int, int, int, int]


class PoolAxis(NamedTuple):
    """A pool's windows along one axis: output i sees the pixels i stride - before + t dilation, 0 <= t < kernel.

    `before` and `after` are the padding at either end. With `ceil_mode` a last window may reach beyond, if it begins
    before the padding there. `counts` are those of a window's places in the image or, `padded`, in the padding too.

    >>> axis = PoolAxis(kernel=3, stride=2, before=0, after=0)
    >>> axis.outputs("width", 6), axis.outputs("width", 6, ceil_mode=True)
    (2, 3)
    >>> axis.counts(6, 3).tolist()
    [3, 3, 2]
    """

    kernel: int
    stride: int
    before: int
    after: int
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Over how many pixels a window reaches."""
        return reach(self.kernel, self.dilation)

    def outputs(self, axis: str, size: int, ceil_mode: bool = False) -> int:
        """Return how many windows fit; raises ShapeError, naming the `axis`, if none does."""
        count = -(-(size + self.before + self.after - self.reach) // self.stride) + 1
        if not ceil_mode or count < 1:
            return fit(axis, size, self.kernel, self.stride, self.before, self.after, self.dilation)
        return count - 1 if (count - 1) * self.stride >= size + self.before else count

    def counts(self, size: int, outputs: int, padded: bool = False) -> NDArray[np.int64]:
        """Return of how many places each of so many outputs is the mean."""
        start = np.arange(outputs, dtype=np.int64) * self.stride - self.before
        first, end = (-self.before, size + self.after) if padded else (0, size)
        before, until = ((-((start - edge) // self.dilation)).clip(0, self.kernel) for edge in (first, end))
        inside: NDArray[np.int64] = until - before
        return inside


def pool2d_windows(
    kernel_size: IntPair, stride: IntPair | None = None, padding: PoolPadding = 0, dilation: IntPair = 1
) -> tuple[PoolAxis, PoolAxis]:
    """Return a pool's windows in height and in width; `stride` None means the kernel's size.

    padding: an int or a pair (height, width), at most half of what a window reaches over, or four ints (top, left,
    bottom, right), each less than that, so that no window misses the image. Raises ConfigError otherwise.

    >>> height, width = pool2d_windows(3, stride=2, padding=(0, 1, 1, 1))
    >>> height
    PoolAxis(kernel=3, stride=2, before=0, after=1, dilation=1)
    """
    kernels = pair(kernel_size, "kernel_size", 1)
    strides = kernels if stride is None else pair(stride, "stride", 1)
    dilations = pair(dilation, "dilation", 1)
    if kernels[0] * kernels[1] > LARGEST_WINDOW:
        raise ConfigError(f"kernel_size = {kernel_size}: a window has at most {LARGEST_WINDOW} pixels")
    sides: tuple[int, ...]
    if isinstance(padding, (tuple, list)) and len(padding) == 4:
        sides, each = tuple(integer(side, "padding", 0) for side in padding), True
    else:
        sides, each = pair(padding, "padding") * 2, False
    windows = _windows(kernels, strides, sides, dilations, each)
    if windows is None:
        if each:
            raise ConfigError(f"padding = {padding}: each side must be smaller than kernel_size = {kernel_size}")
        raise ConfigError(f"padding = {padding}: a pool's padding is at most half of kernel_size = {kernel_size}")
    return windows


@lru_cache(maxsize=256)  # every call of a pool asks for them
def _windows(
    kernels: tuple[int, int], strides: tuple[int, int], sides: tuple[int, ...], dilations: tuple[int, int], each: bool
) -> tuple[PoolAxis, PoolAxis] | None:
    """Return the windows with padding at the sides top, left, bottom, right, or None if it is too much.

    Too much is what a window reaches over, at `each` side by itself, or more than half of that at both.
    """
    height, width = (PoolAxis(kernels[i], strides[i], sides[i], sides[i + 2], dilations[i]) for i in range(2))
    for axis in (height, width):
        if max(axis.before, axis.after) >= axis.reach if each else 2 * axis.before > axis.reach:
            return None
    return height, width


def pool2d_output_shape(
    x_shape: Sequence[int],
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: PoolPadding = 0,
    dilation: IntPair = 1,
    ceil_mode: bool = False,
) -> tuple[int, ...]:
    """Return the shape of a pool's output; `x_shape` is (N, C, H, W) or (C, H, W).

    >>> pool2d_output_shape((64, 224, 224), 2), pool2d_output_shape((64, 112, 112), 3, 2, ceil_mode=True)
    ((64, 112, 112), (64, 56, 56))
    """
    return pooled_shape(x_shape, pool2d_windows(kernel_size, stride, padding, dilation), ceil_mode)


def pooled_shape(
    x_shape: Sequence[int], windows: tuple[PoolAxis, PoolAxis], ceil_mode: bool = False
) -> tuple[int, ...]:
    """Return the same of windows that `pool2d_windows` has checked.

    >>> pooled_shape((1, 64, 7, 7), pool2d_windows(7))
    (1, 64, 1, 1)
    """
    x_shape = image_shape(x_shape, "x")
    height, width = windows
    try:
        sizes = height.outputs("height", x_shape[-2], ceil_mode), width.outputs("width", x_shape[-1], ceil_mode)
    except ShapeError as error:
        raise ShapeError(f"x of shape {x_shape}: {error}") from None
    return representable((*x_shape[:-2], *sizes))
