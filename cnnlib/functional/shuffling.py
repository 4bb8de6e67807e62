"""Channels as blocks of pixels, and back: each is the other's inverse, and its gradient."""

from __future__ import annotations

import numpy as np

from cnnlib.arrays import as_array, output
from cnnlib.reference import Array
from cnnlib.shapes import BLOCK_ORDERS, block_order, depth_to_space_shape, space_to_depth_shape

__all__ = ["depth_to_space", "space_to_depth"]


def depth_to_space(x: Array, block_size: int, mode: str = "DCR", *, out: Array | None = None) -> Array:
    """Return images whose b × b times as many channels have become blocks of b × b pixels, b = block_size.

    y[n, c, i b + p, j b + q] = x[n, k, i, j] with k = (p b + q) C' + c in mode "DCR" (depth, column, row), as ONNX's by
    default, and k = (c b + p) b + q in mode "CRD", as PyTorch's pixel_shuffle. Shapes: x (N, b² C', H, W), result
    (N, C', b H, b W). Its gradient is `space_to_depth`. Raises ShapeError if b² does not divide the channels.

    >>> depth_to_space(np.arange(4.0).reshape(1, 4, 1, 1), 2).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    """
    x, order = as_array(x, "x", 4), BLOCK_ORDERS[block_order(mode)]
    shape = depth_to_space_shape(x.shape, block_size)
    result = output(out, "out", shape, x)
    n, channels, height, width = x.shape
    sizes = [channels // block_size**2, block_size, block_size]
    split = x.reshape(n, *(sizes[axis] for axis in order), height, width)
    c, p, q = (1 + order.index(axis) for axis in range(3))
    np.copyto(_in_blocks(result, block_size), split.transpose(0, c, 4, p, 5, q))
    return result


def space_to_depth(x: Array, block_size: int, mode: str = "DCR", *, out: Array | None = None) -> Array:
    """Return images whose blocks of b × b pixels have become b × b times as many channels: `depth_to_space` undone.

    Shapes: x (N, C, b H', b W'), result (N, b² C, H', W'). Its gradient is `depth_to_space`. Raises ShapeError if b
    does not divide height and width.

    >>> space_to_depth(np.array([[[[0.0, 1.0], [2.0, 3.0]]]]), 2).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    x, order = as_array(x, "x", 4), BLOCK_ORDERS[block_order(mode)]
    shape = space_to_depth_shape(x.shape, block_size)
    result = output(out, "out", shape, x)
    sizes = [x.shape[1], block_size, block_size]
    split = result.reshape(len(x), *(sizes[axis] for axis in order), *shape[2:])
    places = (1, 3, 5)  # of c, p and q
    np.copyto(split, _in_blocks(x, block_size).transpose(0, *(places[axis] for axis in order), 2, 4))
    return result


def _in_blocks(images: Array, block: int) -> Array:
    """Return images as N × C × H/b × b × W/b × b, a view."""
    n, channels, height, width = images.shape
    return images.reshape(n, channels, height // block, block, width // block, block)
