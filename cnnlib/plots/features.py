"""Features in two dimensions, layer by layer, and how well lines tell their classes apart (L14)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cnnlib.errors import DataError, ShapeError
from cnnlib.plots.canvas import COLOURS, Array, Path, canvas, finish, panels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cnnlib.model import Model

__all__ = ["principal_components", "projection", "separability"]

_RIDGE = 0.01


def projection(
    model: Model,
    x: Any,
    labels: ArrayLike,
    at: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Figure:
    """Draw the features of each layer in their two principal components, a panel a layer, with their separability.

    x, labels: some hundred samples, as the model takes them, and their classes (integers), which are written at the
    points. at: names of nodes; default, the input and every layer with parameters. The title has the score of
    :func:`separability`.

    Raises ShapeError or DataError if x and labels do not fit, GraphError for unknown names.
    """
    graph = model.graph
    if at is None:
        at = [
            name
            for name, node in zip(graph.names, graph.nodes, strict=True)
            if node.layer is None or node.layer.parameters()
        ]
    values = model.features(x, at=list(at))
    labels = np.asarray(labels)
    columns = min(len(at), 3)
    rows = math.ceil(len(at) / columns)
    figure, ax = canvas(ax, (4 * columns, 3.8 * rows))
    grid = panels(ax, rows, columns)
    for panel, name in zip(grid, at, strict=False):
        features = values[name].reshape(len(values[name]), -1)
        score = separability(features, labels)
        points, share = principal_components(features)
        for i, label in enumerate(np.unique(labels)):
            own = points[labels == label]
            colour = COLOURS[i % len(COLOURS)]
            panel.scatter(own[:, 0], own[:, 1], s=28, marker=f"${label}$", color=colour, linewidths=0.2)
        panel.set_title(f"{name}: separability {score:.1%}", fontsize=11)
        panel.set_xlabel(f"first two components: {share.sum():.0%} of the variance", fontsize=9)
        panel.set(xticks=[], yticks=[])
    for empty in grid[len(at) :]:
        empty.set_axis_off()
    return finish(figure, save)


def principal_components(features: Array, count: int = 2) -> tuple[Array, Array]:
    """Return the coordinates N × count in the directions of the largest variance, and their shares of all of it.

    The singular value decomposition of the centred features X − mean = U S Vᵀ gives U S, and S²/Σ S². Signs are such
    that the largest entry of each column is positive.

    >>> points, share = principal_components(np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]))
    >>> abs(points[:, 0]).round(6).tolist(), share.round(6).tolist()
    ([5.0, 0.0, 5.0], [1.0, 0.0])
    """
    centred = np.asarray(features, np.float64)
    centred = centred - centred.mean(axis=0)
    if centred.shape[0] < centred.shape[1]:
        # X Xᵀ = U S² Uᵀ has the same U, and is the smaller one.
        u, square, _ = np.linalg.svd(centred @ centred.T, hermitian=True)
        s = np.sqrt(square)
    else:
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
    points = u * s
    points *= np.where(points[np.abs(points).argmax(axis=0), np.arange(len(s))] < 0, -1, 1)
    total = (s**2).sum() or 1.0
    missing = max(0, count - len(s))
    return np.pad(points[:, :count], ((0, 0), (0, missing))), np.pad(s[:count] ** 2 / total, (0, missing))


def separability(features: ArrayLike, labels: ArrayLike) -> float:
    """Return how well hyperplanes tell the classes apart: a linear classifier's accuracy on samples it has not seen.

    Each class's samples are dealt in turn into two halves. On either half a ridge regression W, b of the one-hot
    classes on the centred features is fitted, min ‖XW + b − Y‖² + λ‖W‖² with λ = 0.01 tr(XXᵀ)/N; the class of a sample
    of the other half is its largest output. The score is the share of all samples that are right: 1 is separable,
    1/C is chance.

    features: N × anything. labels: N.

    >>> separability([[0.0], [0.1], [0.2], [2.0], [2.1], [2.2]], [0, 0, 0, 1, 1, 1])
    1.0

    Raises ShapeError if lengths differ, DataError for a single class or a class of one sample.
    """
    x, y = np.asarray(features, np.float64), np.asarray(labels)
    if y.ndim != 1 or x.ndim < 2 or len(x) != len(y):
        raise ShapeError(f"features {x.shape} and labels {y.shape}: expected N × … and N of one length")
    classes, index, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        raise DataError("separability: expected at least two classes with at least two samples each")
    x = x.reshape(len(x), -1)
    half = np.empty(len(y), int)
    for k in range(len(classes)):
        half[index == k] = np.arange(counts[k]) % 2
    right = 0
    for seen in (half == 0, half == 1):
        mean = x[seen].mean(axis=0)
        own, other, target = x[seen] - mean, x[~seen] - mean, np.eye(len(classes))[index[seen]]
        # In the dual form the system has as many unknowns as samples, however many features there are.
        gram = own @ own.T
        ridge = _RIDGE * np.trace(gram) / len(own) or 1.0
        share = target.mean(axis=0)
        scores = other @ (own.T @ np.linalg.solve(gram + ridge * np.eye(len(own)), target - share)) + share
        right += int((scores.argmax(axis=1) == index[~seen]).sum())
    return right / len(y)
