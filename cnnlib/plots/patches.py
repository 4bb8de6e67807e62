"""What excites a unit most: patches of images, by receptive field (L43)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cnnlib.errors import ConfigError, ShapeError
from cnnlib.plots.canvas import Array, Path, canvas, finish, pixels, show_mosaic
from cnnlib.summary import receptive_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cnnlib.model import Model

__all__ = ["top_patches"]


def top_patches(
    model: Model,
    x: Any,
    at: str,
    units: Sequence[int] | None = None,
    k: int = 9,
    *,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Figure:
    """Draw, a row a unit, the k patches of images that excite the unit most: what its receptive field saw there.

    A unit is a channel of a feature map, or a value of a vector. Of each image the place of the largest value counts,
    so that the patches of a row come from different images; of equal ones the first. Where the field reaches beyond
    the image, the patch is 0, as the padding. For a layer that sees the whole image, patches are images.

    x: images N × 1 × H × W or N × 3 × H × W. at: the node's name. units: default, the first eight.

    Raises ShapeError for other inputs, GraphError for an unknown node, ConfigError for units or k that there are not
    and for a node without a receptive field.
    """
    graph = model.graph
    if len(graph.inputs) != 1:
        raise ShapeError(f"the model has {len(graph.inputs)} inputs: patches are drawn for models of one image")
    images = pixels(x)
    values = model.features(x, at=at)
    number = graph.nodes.index(model.node(at))
    field = receptive_fields(graph)[number]
    channels = values.shape[1]
    units = list(range(min(8, channels))) if units is None else [int(unit) for unit in units]
    if not units or min(units) < 0 or max(units) >= channels or not 1 <= k <= len(images):
        raise ConfigError(
            f"units {units}, k = {k}: expected units of 0 to {channels - 1}, "
            f"k of 1 to {len(images)}, as there are images"
        )
    if isinstance(field, str) and field != "whole input":
        raise ConfigError(f"{at!r} has no receptive field in an image: choose a layer that reads the image")

    shape = values.shape[2:]
    flat = values[:, units].reshape(len(values), len(units), -1)
    places, peaks = flat.argmax(axis=2), flat.max(axis=2)
    tiles = []
    for u in range(len(units)):
        for i in np.argsort(-peaks[:, u], kind="stable")[:k]:
            if isinstance(field, str):
                tiles.append(images[i])
            else:
                row, column = np.unravel_index(places[i, u], shape)
                tiles.append(_cut(images[i], field[0].pixels(int(row)), field[1].pixels(int(column))))
    stack = np.stack(tiles)
    height, width = stack.shape[1:3]
    figure, ax = canvas(ax, (min(10, 0.62 * k + 1.2), min(10, 0.62 * len(units) * height / width + 0.6)))
    show_mosaic(ax, stack, k, paper="#9cc3e6", vmin=0, vmax=max(1.0, float(images.max())))
    ax.set_yticks([(height + 1) * i + (height - 1) / 2 for i in range(len(units))], [f"unit {unit}" for unit in units])
    ax.tick_params(length=0, labelsize=9)
    layer = graph.nodes[number].layer
    what = layer.describe() if layer is not None else "Input"
    ax.set_title(f"{at}: {what}\nreceptive field {height} × {width}", fontsize=10)
    return finish(figure, save)


def _cut(image: Array, rows: range, columns: range) -> Array:
    """Return a patch of an image, 0 where it reaches beyond the rim."""
    patch = np.zeros((len(rows), len(columns), *image.shape[2:]), image.dtype)
    top, left = max(rows.start, 0), max(columns.start, 0)
    inside = image[top : max(rows.stop, 0), left : max(columns.stop, 0)]
    y, x = top - rows.start, left - columns.start
    patch[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return patch
