"""The summary of a model: the table that the lecture draws for LeNet-5, with what each layer costs and sees.

>>> from cnnlib.layers import Conv2d, MaxPool2d
>>> from cnnlib.model import Sequential
>>> print(Sequential(Conv2d(3, 8, 5, padding=2), MaxPool2d(2), input_shape=(3, 8, 8)).summary())
Layer                          Output size  Weight size    Parameters  Multiply-adds  Receptive field  Stride  Centre
---------------------------------------------------------------------------------------------------------------------
Input                          3 × 8 × 8                                                        1 × 1       1       0
Conv (C_out=8, K=5, P=2, S=1)  8 × 8 × 8    8 × 3 × 5 × 5         608         38,400            5 × 5       1       0
MaxPool (K=2, S=2)             8 × 4 × 4                                                        6 × 6       2     0.5
---------------------------------------------------------------------------------------------------------------------
608 parameters (2.4 KB as float32), 38,400 multiply-adds a sample
"""

from __future__ import annotations

from collections.abc import Sequence

from cnnlib.errors import ShapeError
from cnnlib.graph import Graph, shape_text
from cnnlib.layers.base import Layer
from cnnlib.shapes import ReceptiveField

__all__ = ["Fields", "receptive_fields", "summary"]

Fields = tuple[ReceptiveField, ReceptiveField] | str  # in height and width; a text where there is no such window

_FIGURES = ("Parameters", "Multiply-adds", "Receptive field", "Stride", "Centre")  # the columns of numbers
_WHOLE = "whole input"
_NONE = "–"


def summary(graph: Graph) -> str:
    """Return the table of a graph: one row a node, then totals; all figures for one sample.

    Multiply-adds count the weights' products (taps on padding too), not biases nor element-wise steps. The receptive
    field is how many input pixels, padding included, one output depends on (L35): that of the first output is centred
    at pixel `Centre`, counted from 0, that of its neighbour `Stride` pixels further. Where height and width differ,
    both are given. A graph that is no chain gets two more columns: the node's name and the nodes it reads.
    """
    chain = all(sources == ((node - 1,) if node else ()) for node, sources in enumerate(graph.sources))
    header = ["Layer", "Output size", "Weight size", *_FIGURES]
    rows = []
    notes = []
    total_parameters = total_multiply_adds = size = 0
    fields = receptive_fields(graph)
    for name, node, sources, field in zip(graph.names, graph.nodes, graph.sources, fields, strict=True):
        inputs = [graph.nodes[source].shape for source in sources]
        layer = node.layer
        if layer is None:
            row = ["Input", shape_text(node.shape), "", "", "", *_field_cells(field)]
        else:
            # A layer that stands at several nodes shows its parameters once, its work each time.
            own = [p.data for p in layer.parameters().values()] if name in graph.layers else []
            parameters, multiply_adds = sum(data.size for data in own), layer.multiply_adds(*inputs)
            size += sum(data.nbytes for data in own)
            total_parameters += parameters
            total_multiply_adds += multiply_adds
            row = [
                layer.describe(),
                shape_text(node.shape),
                shape_text(layer.weight_shape()) if layer.weight_shape() else "",
                f"{parameters:,}" if parameters else "",
                f"{multiply_adds:,}" if multiply_adds else "",
                *_field_cells(field),
            ]
            notes += _rim(name, layer, inputs)
        rows.append(row if chain else [name, *row, ", ".join(graph.names[source] for source in sources)])
    table = _table(header if chain else ["Name", *header, "Reads"], rows)
    dtype = f" as {graph.dtype}" if graph.dtype is not None else ""
    total = (
        f"{total_parameters:,} parameters ({_bytes_text(size)}{dtype}), {total_multiply_adds:,} multiply-adds a sample"
    )
    return "\n".join([*table, total, *notes])


def receptive_fields(graph: Graph) -> list[Fields]:
    """Return for each node what one of its values sees of the model's input, in height and in width (L35).

    A text where there is no such window: "whole input", or "–" if there is no image.
    """
    fields: list[Fields] = []
    for node, sources in zip(graph.nodes, graph.sources, strict=True):
        if node.layer is None:
            fields.append((ReceptiveField(), ReceptiveField()) if len(node.shape) == 3 else _NONE)
        else:
            inputs = [fields[source] for source in sources]
            whole = node.layer.sees_whole(graph.nodes[sources[0]].shape) or _WHOLE in inputs
            fields.append(_WHOLE if whole else _field(node.layer, inputs))
    return fields


def _field(layer: Layer, inputs: Sequence[Fields]) -> Fields:
    """Return what the layer's outputs see of the model's input, given what its inputs see."""
    height, width = [], []
    for field in inputs:
        if isinstance(field, str):
            return field
        height.append(field[0])
        width.append(field[1])
    windows = layer.windows()
    if windows == ():
        return _NONE
    if windows:
        return height[0].then(ReceptiveField.of(*windows[0])), width[0].then(ReceptiveField.of(*windows[1]))
    try:
        return _union(height), _union(width)
    except ShapeError:
        return _NONE


def _union(fields: Sequence[ReceptiveField]) -> ReceptiveField:
    first, *others = fields
    for other in others:
        first = first.union(other)
    return first


def _rim(name: str, layer: Layer, inputs: Sequence[Sequence[int]]) -> list[str]:
    """Return a note if the layer's windows leave rows or columns at the rim of its input unread."""
    rests = []
    windows = layer.windows()
    if windows and len(inputs[0]) == 3:
        sizes = zip(windows, inputs[0][-2:], layer.output_shape(*inputs)[-2:], ("row", "column"), strict=True)
        for (kernel, stride, padding, dilation), size, outputs, what in sizes:
            rest = size + padding - (outputs - 1) * stride - (kernel - 1) * dilation - 1
            if rest > 0:
                rests.append(f"{rest} {what}{'s' if rest > 1 else ''}")
    return (
        [f"note: {name}, {layer.describe()}, leaves {' and '.join(rests)} at the rim of its input unread"]
        if rests
        else []
    )


def _field_cells(fields: Fields) -> list[str]:
    """Return size, stride and centre of a receptive field as texts."""
    if isinstance(fields, str):
        return [fields, "", ""]
    height, width = fields
    stride = f"{height.stride}" if height.stride == width.stride else f"{height.stride} × {width.stride}"
    centre = f"{height.centre:g}" if height.centre == width.centre else f"{height.centre:g}, {width.centre:g}"
    return [f"{height.size} × {width.size}", stride, centre]


def _bytes_text(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, texts to the left and figures to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            text.rjust(width) if title in _FIGURES else text.ljust(width)
            for text, width, title in zip(row, widths, header, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [lines[0], rule, *lines[1:], rule]
