"""What all pictures share: a figure without global state, panels, mosaics of images, colours, saving."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.errors import ConfigError, DataError, MissingExtraError, ShapeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "Path", "canvas", "finish", "mosaic", "panels", "pixels", "show_mosaic"]

Array = NDArray[Any]
Path = str | os.PathLike[str]

#: Okabe and Ito's colours, without the yellow that is too light for lines; then three of Tol's, for ten classes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#882255", "#999933", "#888888")
_GAP = 1  # pixels between the tiles of a mosaic


def canvas(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return a figure of `size` in inches and its only axes, or those given.

    Raises MissingExtraError without matplotlib.
    """
    if ax is not None:
        # Of axes in a subfigure it is the whole figure.
        whole: Any = ax.figure.figure
        return whole, ax
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "plot", "drawing a picture") from None
    if "ipykernel" in sys.modules:
        # Importing pyplot is what teaches a notebook to show figures; the figure itself stays unknown to pyplot.
        import matplotlib.pyplot  # noqa: F401
    figure = Figure(figsize=size, layout="constrained")
    return figure, _coloured(figure.add_subplot())


def finish(figure: Figure, save: Path | None) -> Figure:
    """Write the figure to `save` if that is given, and return it."""
    if save is not None:
        figure.savefig(save, dpi=150, facecolor="white")
    return figure


def panels(
    ax: Axes,
    rows: int,
    columns: int = 1,
    heights: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
) -> list[Axes]:
    """Return rows × columns axes in the place of `ax`, row by row. What is drawn without a colour takes `COLOURS`.

    heights, widths: of the rows and columns, relative to each other; default, all alike.

    Raises ConfigError for axes that are not part of a grid, as those of ``subplots`` are.
    """
    spec = ax.get_subplotspec()
    if spec is None:
        raise ConfigError("ax: expected axes made by figure.subplots() or add_subplot()")
    ax.set_axis_off()
    grid = spec.subgridspec(rows, columns, height_ratios=heights, width_ratios=widths)
    return [_coloured(ax.figure.add_subplot(grid[row, column])) for row in range(rows) for column in range(columns)]


def _coloured(ax: Axes) -> Axes:
    """Let what is drawn without a colour take `COLOURS` in turn."""
    ax.set_prop_cycle(color=COLOURS)
    return ax


def mosaic(tiles: Array, columns: int | None = None) -> Array:
    """Return images (count × H × W, or × 3 colours) as one array, row by row, NaN between them and where none is left.

    columns: default, about as many as rows, seen in pixels.

    >>> mosaic(np.ones((3, 1, 1)), columns=2)
    array([[ 1., nan,  1.],
           [nan, nan, nan],
           [ 1., nan, nan]])
    """
    count, height, width, *colours = tiles.shape
    columns = columns or max(1, min(count, round(math.sqrt(count * height / width))))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, *colours), np.nan)
    for i, tile in enumerate(tiles):
        y, x = i // columns * (height + _GAP), i % columns * (width + _GAP)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def show_mosaic(
    ax: Axes, tiles: Array, columns: int | None = None, *, signed: bool = False, paper: str = "", **limits: Any
) -> Array:
    """Draw images in one axes: grey, in colours if they have three, or blue to red around 0 if `signed`.

    paper: the colour between the tiles; default, white, or grey if signed, as 0 is white then. limits: vmin and vmax;
    default, the range of all tiles. Returns the mosaic.
    """
    sheet = mosaic(tiles, columns)
    if sheet.ndim == 3:
        # Matplotlib draws NaN as transparent for numbers, but not for colours: opacity says where there is no tile.
        opacity = np.isfinite(sheet).all(axis=2, keepdims=True)
        coloured = np.concatenate([np.nan_to_num(sheet).clip(0, 1), opacity], axis=2)
        ax.imshow(coloured, interpolation="nearest")
    else:
        if signed:
            largest = float(np.abs(tiles).max()) or 1.0
            limits = {"vmin": -largest, "vmax": largest}
        ax.imshow(sheet, cmap="RdBu_r" if signed else "gray", interpolation="nearest", **limits)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_facecolor(paper or ("#999999" if signed else "white"))
    for spine in ax.spines.values():
        spine.set_visible(False)
    return sheet


def pixels(x: Any, name: str = "x") -> Array:
    """Return images N × C × H × W as N × H × W, or × 3 for three channels; uint8 becomes 0…1.

    Raises ShapeError for other shapes, DataError for none at all.
    """
    x = np.asarray(x)
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ShapeError(f"{name} has shape {x.shape}: expected images N × 1 × H × W or N × 3 × H × W")
    if not x.size:
        raise DataError(f"{name} of shape {x.shape}: there are no images")
    images: Array = functional.as_input(x, np.float32)
    return images[:, 0] if x.shape[1] == 1 else images.transpose(0, 2, 3, 1)
