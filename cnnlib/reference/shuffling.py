"""Channels as blocks of pixels, and back, place by place."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array, deliver
from cnnlib.shapes import block_order, depth_to_space_shape, space_to_depth_shape

__all__ = ["depth_to_space", "space_to_depth"]


def depth_to_space(x: Array, block_size: int, mode: str = "DCR", *, out: Array | None = None) -> Array:
    """Let b × b channels become blocks of b × b pixels, b = block_size.

    y[n, c, i b + p, j b + q] = x[n, k, i, j] with k = (p b + q) C' + c in mode "DCR" and k = (c b + p) b + q in "CRD".
    Shapes: x (N, b² C', H, W), result (N, C', b H, b W).

    >>> depth_to_space(np.arange(4.0).reshape(1, 4, 1, 1), 2).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    """
    y = np.empty(depth_to_space_shape(x.shape, block_size), x.dtype)
    for p, q in np.ndindex(block_size, block_size):
        y[:, :, p::block_size, q::block_size] = x[:, _channels(p, q, block_size, y.shape[1], mode)]
    return deliver(y, out)


def space_to_depth(x: Array, block_size: int, mode: str = "DCR", *, out: Array | None = None) -> Array:
    """Let blocks of b × b pixels become b × b channels: `depth_to_space` undone.

    >>> space_to_depth(np.array([[[[0.0, 1.0], [2.0, 3.0]]]]), 2).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    y = np.empty(space_to_depth_shape(x.shape, block_size), x.dtype)
    for p, q in np.ndindex(block_size, block_size):
        y[:, _channels(p, q, block_size, x.shape[1], mode)] = x[:, :, p::block_size, q::block_size]
    return deliver(y, out)


def _channels(p: int, q: int, block: int, channels: int, mode: str) -> Array:
    """Return which channels hold pixel (p, q) of the blocks."""
    c = np.arange(channels)
    return (p * block + q) * channels + c if block_order(mode) == "DCR" else (c * block + p) * block + q
