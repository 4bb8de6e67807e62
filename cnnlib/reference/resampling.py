"""Images read at other places."""

from __future__ import annotations

import numpy as np

from cnnlib.reference.shared import Array

__all__ = ["warp"]


def warp(x: Array, matrix: Array, displacement: Array | None = None, fill: float = 0.0) -> Array:
    """Return images whose pixel (i, j) is x at other coordinates, linear between the four pixels around there.

    They are column = m₀₀ j + m₀₁ i + m₀₂ + d₀[i, j] and row = m₁₀ j + m₁₁ i + m₁₂ + d₁[i, j], counted from the centre
    of the pixel in the upper left; around the image there is `fill`. Bytes are rounded to the nearest.
    Shapes: x and the result (N, C, H, W), matrix (N, 2, 3), displacement (N, 2, H, W).
    """
    n, _, height, width = x.shape
    i, j = np.mgrid[:height, :width].astype(np.float64)
    column, row = (m[:, :1, None] * j + m[:, 1:2, None] * i + m[:, 2:, None] for m in (matrix[:, 0], matrix[:, 1]))
    if displacement is not None:
        column, row = column + displacement[:, 0], row + displacement[:, 1]
    meets = (column > -1) & (column < width) & (row > -1) & (row < height)
    column, row = np.where(meets, column, -1.0), np.where(meets, row, -1.0)
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 2), (1, 2)), constant_values=fill)
    image = np.arange(n)[:, None, None]
    # N×H×W×C: of an index array on each side of a slice, NumPy puts the slice last.
    corners = {(a, b): padded[image, :, top + 1 + a, left + 1 + b] for a in (0, 1) for b in (0, 1)}
    right, down = (column - left)[..., None], (row - top)[..., None]
    above, below = (corners[a, 0] + right * (corners[a, 1] - corners[a, 0]) for a in (0, 1))
    y = np.where((right == 0) & (down == 0), corners[0, 0], above + down * (below - above)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(np.floor(y + 0.5) if x.dtype == np.uint8 else y, x.dtype)
