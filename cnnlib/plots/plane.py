"""What a classifier of two numbers makes of the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cnnlib.errors import DataError, ShapeError
from cnnlib.graph import shape_text
from cnnlib.plots.canvas import COLOURS, Path, canvas, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cnnlib.model import Model

__all__ = ["decision_regions"]

_SIDE, _MARGIN = 301, 0.08  # points along each side of the plane that are asked; of the data's extent, on each side
_MARKERS = "o^sDvP*X<>"


def decision_regions(
    model: Model, x: ArrayLike, y: ArrayLike, *, ax: Axes | None = None, save: Path | None = None
) -> Figure:
    """Draw which class a model of two inputs takes each point of the plane for, and the samples; wrong ones are ringed.

    x: N × 2. y: N classes, of at most ten.

    Raises ShapeError unless the model makes scores of 2 to 10 classes from two numbers and x and y fit it, DataError
    for classes that have no score.
    """
    points, labels = np.asarray(x), np.asarray(y)
    graph = model.graph
    read, made = ([graph.nodes[i].shape for i in ends] for ends in (graph.inputs, graph.outputs))
    if read != [(2,)] or made not in [[(c,)] for c in range(2, len(COLOURS) + 1)]:
        given, got = (" and ".join(map(shape_text, shapes)) for shapes in (read, made))
        raise ShapeError(f"the model makes {got} of {given}: expected scores of 2 to 10 classes, of 2 numbers")
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1] or not len(points):
        raise ShapeError(f"x has shape {points.shape}, y {labels.shape}: expected N × 2 and N classes")
    classes = made[0][0]
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        span = f"{labels.dtype} {labels.min()} to {labels.max()}"
        raise DataError(f"y: expected classes as ints from 0 to {classes - 1}, got {span}")
    rim = _MARGIN * np.ptp(points, axis=0)
    (left, bottom), (right, top) = points.min(axis=0) - rim, points.max(axis=0) + rim
    plane = np.stack(np.meshgrid(np.linspace(left, right, _SIDE), np.linspace(bottom, top, _SIDE)), axis=-1)
    region = model.predict(plane.reshape(-1, 2)).argmax(axis=1).reshape(_SIDE, _SIDE)
    right_ones = model.predict(points).argmax(axis=1) == labels

    figure, ax = canvas(ax, (4.8, 4.6))
    shown: Any = {"cmap": _palette(classes), "vmin": -0.5, "vmax": classes - 0.5, "alpha": 0.3, "aspect": "auto"}
    ax.imshow(region, extent=(left, right, bottom, top), origin="lower", interpolation="nearest", **shown)
    for label, (colour, marker) in enumerate(zip(COLOURS[:classes], _MARKERS, strict=False)):
        own, name = points[labels == label], f"class {label}"
        ax.scatter(own[:, 0], own[:, 1], s=14, marker=marker, color=colour, linewidths=0, label=name)
    wrong = points[~right_ones]
    ax.scatter(wrong[:, 0], wrong[:, 1], s=30, facecolors="none", edgecolors="black", linewidths=0.5, label="wrong")
    ax.set(xlabel="$x_1$", ylabel="$x_2$", title=f"{right_ones.mean():.1%} right")
    return finish(figure, save)


def _palette(classes: int) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap(COLOURS[:classes])
