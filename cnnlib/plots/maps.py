"""Weights and feature maps as images (L14)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import shape_text
from cnnlib.plots.canvas import Path, canvas, finish, mosaic, panels, pixels, show_mosaic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cnnlib.model import Model

__all__ = ["feature_maps", "filters"]


def filters(
    model: Model,
    at: str | None = None,
    *,
    limit: int = 64,
    columns: int | None = None,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Figure:
    """Draw a layer's weights as images (L14): what each of its units looks for.

    at: the layer's name; default, the first layer with weights. A linear layer's rows take the shape of the model's
    image input if it has as many values. A convolution's filters are drawn one by one; over three channels in colours,
    grey being 0; over other numbers of channels a row a filter, a column a channel. limit: at most so many filters.

    >>> from cnnlib.models import lenet5
    >>> filters(lenet5(rng=0)).axes[0].get_title()
    '0: Conv (C_out=20, K=5, P=2, S=1), 20 filters of 1 × 5 × 5'

    Raises ConfigError if there is no such layer with weights, ShapeError if they are no images.
    """
    weighted = {name: layer for name, layer in model.layers.items() if layer.weight_shape()}
    at = at or next(iter(weighted), None)
    if at not in weighted:
        raise ConfigError(f"no layer named {at!r} has weights; those that have: {', '.join(weighted) or 'none'}")
    weight = weighted[at].parameters()["weight"].data
    images = [model.graph.nodes[i].shape for i in model.graph.inputs if len(model.graph.nodes[i].shape) == 3]
    if weight.ndim == 2:
        shape = next((shape for shape in images if math.prod(shape) == weight.shape[1]), None)
        if shape is None:
            raise ShapeError(
                f"layer {at!r}: its {weight.shape[1]} weights a unit are not the pixels of the model's input: "
                f"only a layer that reads the image itself can be drawn"
            )
        weight = weight.reshape(-1, *shape)
    count, channels = weight.shape[:2]
    shown = weight[:limit]
    if channels == 3:
        tiles = (0.5 + 0.5 * shown / np.abs(shown).max()).transpose(0, 2, 3, 1)
    elif channels == 1:
        tiles = shown[:, 0]
    else:
        shown = weight[: max(1, limit // channels)]
        tiles, columns = shown.reshape(-1, *weight.shape[2:]), channels
    height, width = mosaic(tiles, columns).shape[:2]
    figure, ax = canvas(ax, _fitted(height, width))
    show_mosaic(ax, tiles, columns, signed=channels != 3)
    some = f"{count} filters" if len(shown) == count else f"the first {len(shown)} of {count} filters"
    ax.set_title(f"{at}: {weighted[at].describe()}, {some} of {shape_text(weight.shape[1:])}", fontsize=10)
    if channels != 3:
        figure.colorbar(ax.images[0], ax=ax, shrink=0.7)
    return finish(figure, save)


def feature_maps(
    model: Model,
    x: Any,
    at: Sequence[str] | None = None,
    *,
    limit: int = 16,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Figure:
    """Draw what each layer makes of an image: its feature maps, a panel a layer, from the input to the output.

    x: one image, C × H × W or 1 × C × H × W. at: names of nodes; default, all that change the image or its values: not
    Flatten. Vectors are drawn as stripes. limit: at most so many maps a layer. Each panel has its own range of grey.

    >>> from cnnlib.models import lenet5
    >>> figure = feature_maps(lenet5(rng=0), np.zeros((1, 28, 28)), at=["0", "2"])
    >>> [ax.get_title(loc="left") for ax in figure.axes[1:]]
    ['0: Conv (C_out=20, K=5, P=2, S=1) → 20 × 28 × 28, 16 shown', '2: MaxPool (K=2, S=2) → 20 × 14 × 14, 16 shown']

    Raises ShapeError for several images or a model of several inputs, GraphError for unknown names.
    """
    graph = model.graph
    x = np.asarray(x)
    if len(graph.inputs) != 1:
        raise ShapeError(f"the model has {len(graph.inputs)} inputs: feature maps are drawn for models of one image")
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4 or len(x) != 1:
        raise ShapeError(f"x has shape {x.shape}: expected one image, C × H × W or 1 × C × H × W")
    if at is None:
        at = [name for name, node in zip(graph.names, graph.nodes, strict=True) if not _only_reshapes(node)]
    values = model.features(x, at=list(at))
    chosen = {name: model.node(name) for name in at}
    heights = [1.0 if len(node.shape) == 3 else 0.4 for node in chosen.values()]
    columns = min(limit, 16)
    figure, ax = canvas(ax, (9, 0.62 * sum(heights) + 0.33 * len(heights)))
    for panel, (name, node) in zip(panels(ax, len(heights), 1, heights), chosen.items(), strict=True):
        title = f"{name}: {node.layer.describe()} → " if node.layer is not None else f"{name}: "
        title += shape_text(node.shape)
        if len(node.shape) != 3:
            panel.imshow(values[name].reshape(1, -1), cmap="gray", aspect="auto", interpolation="nearest")
            panel.set_yticks([])
        elif node.layer is None and node.shape[0] == 3:
            show_mosaic(panel, pixels(x), columns)
        else:
            signed = bool(values[name].min() < 0)
            show_mosaic(panel, values[name][0, :limit], columns, signed=signed, paper="white")
            title += f", {limit} shown" if node.shape[0] > limit else ""
        panel.set_title(title, fontsize=9, loc="left")
        panel.tick_params(labelsize=8)
    return finish(figure, save)


def _only_reshapes(node: Any) -> bool:
    return node.layer is not None and bool(node.layer.shares_input(False))


def _fitted(height: int, width: int) -> tuple[float, float]:
    """Return a size in inches for an image of that shape, within a page; the title needs some width."""
    scale = min(9 / width, 8 / height, 0.12)
    return max(6.0, scale * width + 1.2), max(1.6, scale * height + 0.5)
