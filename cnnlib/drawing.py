"""Drawings of graphs: boxes and edges laid out by `cnnlib.layout`, written as SVG by plain Python.

A :class:`Drawing` is what is drawn, in pixels, whoever draws it: ``svg()`` here, `cnnlib.plots.graph`
on matplotlib's axes.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import Graph, shape_text
from cnnlib.layout import Point, arrange
from cnnlib.serialize import write_atomically

if TYPE_CHECKING:
    from cnnlib.layers.base import Layer
    from cnnlib.model import Model

__all__ = ["STYLES", "Box", "Drawing", "Edge", "draw", "node_gradients"]

Array = NDArray[Any]

#: Role of a line of text → size in pixels, colour, weight. Values and gradients differ in lightness as well as in hue.
STYLES: dict[str, tuple[int, str, str]] = {
    "title": (13, "#111111", "bold"),
    "detail": (11, "#555555", "normal"),
    "value": (13, "#0059a0", "normal"),
    "gradient": (13, "#a33b00", "normal"),
    "shape": (11, "#333333", "normal"),
}
#: Kind of box → its fill.
FILLS = {"input": "#e3eef7", "layer": "#ffffff", "learned": "#fdf3d8", "meeting": "#e6f2e6"}
_LINE, _PADDING, _MARGIN, _WIDE = 18, 12, 16, 0.62  # the last: a letter's width, generously, in font sizes
_OPERATORS = {"Add": " + ", "Subtract": " − ", "Multiply": " × ", "Divide": " / "}


@dataclass(frozen=True)
class Box:
    """A node: its centre, its size, and lines of (role, text)."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Edge:
    """What carries a node's value to a reader, or out of the graph: through points, a label in its middle.

    ``curves()`` are cubic Bézier curves (start, two controls, end), which leave and arrive in the reading direction.
    """

    points: tuple[Point, ...]
    label: str
    label_at: Point
    rightwards: bool

    def curves(self) -> list[tuple[Point, Point, Point, Point]]:
        """Return the curves from point to point."""
        found = []
        for (x0, y0), (x1, y1) in zip(self.points, self.points[1:], strict=False):
            if self.rightwards:
                controls = ((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1)
            else:
                controls = (x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2)
            found.append(((x0, y0), *controls, (x1, y1)))
        return found

    def label_width(self) -> float:
        """Return how wide the label is, about."""
        return len(self.label) * STYLES["shape"][0] * 0.55 + 4

    def head(self) -> tuple[Point, Point, Point]:
        """Return the corners of the arrow's head."""
        x, y = self.points[-1]
        if self.rightwards:
            return (x, y), (x - 8, y - 4), (x - 8, y + 4)
        return (x, y), (x - 4, y - 8), (x + 4, y - 8)


@dataclass(frozen=True)
class Drawing:
    """A graph as boxes and edges on a page of `width` × `height` pixels, y downward. Shows itself in a notebook."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]

    def svg(self) -> str:
        """Return the drawing as an SVG document, on white, complete in itself."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:.0f}" height="{self.height:.0f}" '
            f'viewBox="0 0 {self.width:.0f} {self.height:.0f}" font-family="Helvetica, Arial, sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
        ]
        for edge in self.edges:
            path = f"M {_pair(edge.points[0])} " + " ".join(
                f"C {_pair(a)} {_pair(b)} {_pair(end)}" for _, a, b, end in edge.curves()
            )
            parts.append(f'<path d="{path}" fill="none" stroke="#777777" stroke-width="1.3"/>')
            parts.append(f'<polygon points="{" ".join(map(_pair, edge.head()))}" fill="#777777"/>')
        for box in self.boxes:
            parts.append(
                f'<rect x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}" width="{box.width:.1f}" '
                f'height="{box.height:.1f}" rx="6" fill="{FILLS[box.kind]}" stroke="#444444"/>'
            )
            for (role, text), y in zip(box.lines, line_heights(box), strict=True):
                parts.append(_text(role, text, (box.x, y)))
        for edge in self.edges:
            if edge.label:
                width, (x, y) = edge.label_width(), edge.label_at
                parts.append(
                    f'<rect x="{x - width / 2:.1f}" y="{y - 8:.1f}" width="{width:.1f}" height="16" fill="white"/>'
                )
                parts.append(_text("shape", edge.label, edge.label_at))
        return "\n".join([*parts, "</svg>"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the SVG document; raises ConfigError for another ending (`cnnlib.plots.graph` writes PNG and PDF)."""
        if not os.fspath(path).lower().endswith(".svg"):
            raise ConfigError(f"{os.fspath(path)!r}: a drawing is saved as .svg; cnnlib.plots.graph writes PNG and PDF")
        write_atomically(path, self.svg().encode())

    def _repr_svg_(self) -> str:
        return self.svg()


def draw(model: Model | Graph, x: Any = None, dy: Any = None, *, direction: str | None = None) -> Drawing:
    """Draw a model's graph: a net with shapes on its edges or, given inputs, values and gradients on its nodes.

    x: what the model would be given; a sample without the batch dimension N will do. Then each node shows its value
    and, below, the derivative of the outputs by it, weighted by dy (default: ones). Large arrays are shown as mean and
    deviation. The model, its parameters' gradients included, stays as it is.
    direction: "down" or "right"; default: right for values, down for nets.

    >>> from cnnlib.graph import Input
    >>> from cnnlib.model import Model
    >>> a, b = Input((), name="a"), Input((), name="b")
    >>> drawing = draw(Model([a, b], a + b), x=(5, 3))
    >>> [text for role, text in drawing.boxes[-1].lines]
    ['add = a + b', '8', '∂add/∂add = 1']

    Raises ConfigError for another direction, ShapeError for arrays that do not fit.
    """
    graph = model if isinstance(model, Graph) else model.graph
    direction = direction or ("down" if x is None else "right")
    if direction not in ("down", "right"):
        raise ConfigError(f"direction = {direction!r}: expected 'down' or 'right'")
    rightwards = direction == "right"
    given_names = () if isinstance(model, Graph) else model.output_names or ()
    outputs = given_names or tuple(graph.names[i] for i in graph.outputs)
    lines = _described(graph) if x is None else _evaluated(graph, x, dy, " + ".join(outputs))
    kinds = [_kind(graph, i) for i in range(len(graph.nodes))]

    sizes = [(_width(text), _LINE * len(text) + _PADDING) for text in lines]
    labels = [shape_text(node.shape) if x is None else "" for node in graph.nodes]
    # Each output gets an arrow out of the graph, which ends at a node without size.
    sources = [*graph.sources, *((node,) for node in graph.outputs)]
    ends = [(0.0, 0.0)] * len(graph.outputs)
    spread = max(_width([("shape", label)]) for label in labels) if x is None else 30
    across = [size[::-1] if rightwards else size for size in sizes]
    layout = arrange(sources, [*across, *ends], *((24, spread + 24) if rightwards else (max(28, spread / 2), 44)))

    def on_page(point: Point) -> Point:
        first, second = reversed(point) if rightwards else point
        return first + _MARGIN, second + _MARGIN

    boxes = [
        Box(*on_page(layout.centres[i]), *sizes[i], kind, tuple(text))
        for i, (kind, text) in enumerate(zip(kinds, lines, strict=True))
    ]
    edges: list[Edge] = []
    for (target, k), route in layout.routes.items():
        source = sources[target][k]
        start, end = on_page(route[0]), on_page(route[1])
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        label = labels[source]
        if label and given_names and target >= len(graph.nodes):
            label = f"{given_names[target - len(graph.nodes)]}: {label}"
        edge = Edge(tuple(map(on_page, route)), label, middle, rightwards)
        # Edges from one node carry the same array: one label will do where two would overlap.
        clash = any(edge.label and _overlap(edge, other) for other in edges if other.points[0] == edge.points[0])
        edges.append(replace(edge, label="") if clash else edge)
    width, height = (layout.along, layout.across) if rightwards else (layout.across, layout.along)
    return Drawing(width + 2 * _MARGIN, height + 2 * _MARGIN, tuple(boxes), tuple(edges))


def node_gradients(graph: Graph, x: Any, dy: Any = None) -> tuple[list[Array], list[Array]]:
    """Return each node's value and the gradient by it of Σ dy · output, node by node, without a plan.

    x, dy as in :func:`draw`. Runs on copies of the layers, whose parameters thus keep their gradients.
    """
    graph = copy.deepcopy(graph)
    values: list[Array] = []
    saved: list[Any] = []
    inputs = iter(_batches(graph, graph.inputs, x, "x"))
    dtype = graph.dtype or np.dtype(np.float64)
    for node, sources in zip(graph.nodes, graph.sources, strict=True):
        if node.layer is None:
            value, keep = functional.as_input(next(inputs), dtype), None
        else:
            value, keep = node.layer.apply(*(values[source] for source in sources), training=True)
        values.append(value)
        saved.append(keep)

    gradients = [np.zeros_like(value) for value in values]
    outer = [np.ones_like(values[i]) for i in graph.outputs] if dy is None else _batches(graph, graph.outputs, dy, "dy")
    for i, given in zip(graph.outputs, outer, strict=True):
        gradients[i] = gradients[i] + given.astype(dtype)
    for i in reversed(range(len(graph.nodes))):
        layer, sources = graph.nodes[i].layer, graph.sources[i]
        if layer is None:
            continue
        several = (True,) * len(sources), (None,) * len(sources)
        for source, dx in zip(sources, layer.gradients(gradients[i], saved[i], *several), strict=True):
            gradients[source] = gradients[source] + dx
    return values, gradients


def line_heights(box: Box) -> list[float]:
    """Return y of the middle of each of a box's lines."""
    return [box.y + _LINE * (i - (len(box.lines) - 1) / 2) for i in range(len(box.lines))]


def _described(graph: Graph) -> list[list[tuple[str, str]]]:
    """Return for each node its layer and, smaller, its name and how many parameters it has."""
    found = []
    for name, node in zip(graph.names, graph.nodes, strict=True):
        size = sum(p.data.size for p in node.layer.parameters().values()) if node.layer is not None else 0
        shared = bool(size) and name not in graph.layers
        detail = f"{name} · shared" if shared else f"{name} · {size:,} parameters" if size else name
        title = "Input" if node.layer is None else node.layer.describe()
        found.append([("title", title)] + ([("detail", detail)] if detail.lower() != title.lower() else []))
    return found


def _evaluated(graph: Graph, x: Any, dy: Any, top: str) -> list[list[tuple[str, str]]]:
    values, gradients = node_gradients(graph, x, dy)
    # Of several outputs it is the sum that is differentiated.
    top = f"({top})" if " + " in top else top
    found = []
    for name, node, sources, value, gradient in zip(
        graph.names, graph.nodes, graph.sources, values, gradients, strict=True
    ):
        reads = [graph.names[source] for source in sources]
        formula = name if node.layer is None else f"{name} = {_formula(node.layer, reads)}"
        found.append(
            [("title", formula), ("value", _number(value)), ("gradient", f"∂{top}/∂{name} = {_number(gradient)}")]
        )
    return found


def _formula(layer: Layer, reads: Sequence[str]) -> str:
    """Return what a layer makes of the nodes of these names, written as one would by hand."""
    kind, what = type(layer).__name__, layer.describe()
    if kind in _OPERATORS:
        return _OPERATORS[kind].join(reads)
    settings = layer.config()
    if kind == "Affine":
        scale, offset = settings["scale"], settings["offset"]
        term = {1: "", -1: "−"}.get(scale, f"{scale:g} ") + reads[0]
        return f"{term} {'+' if offset > 0 else '−'} {abs(offset):g}" if offset else term
    if kind == "Reciprocal":
        return f"{settings['numerator']:g} / {reads[0]}"
    return what if "(" in what else f"{what}({', '.join(reads)})"


def _kind(graph: Graph, i: int) -> str:
    layer = graph.nodes[i].layer
    if layer is None:
        return "input"
    return "meeting" if len(graph.sources[i]) > 1 else "learned" if layer.parameters() else "layer"


def _batches(graph: Graph, nodes: Sequence[int], given: Any, what: str) -> list[Array]:
    """Return one array a node, with the batch dimension; `given` may leave it out."""
    several = [given] if len(nodes) == 1 else given
    if not isinstance(several, (list, tuple)) or len(several) != len(nodes):
        raise ShapeError(f"{what}: expected {len(nodes)} arrays, for {', '.join(graph.names[node] for node in nodes)}")
    arrays = []
    for node, value in zip(nodes, several, strict=True):
        array, shape = np.asarray(value), graph.nodes[node].shape
        array = array[None] if array.shape == shape else array
        if array.ndim == 0 or array.shape[1:] != shape:
            raise ShapeError(
                f"{what}: {graph.names[node]!r} needs {shape_text(shape)}, or N of them, got shape {array.shape}"
            )
        arrays.append(array)
    return arrays


def _number(array: Array) -> str:
    if array.size <= 4:
        return ", ".join(f"{value:.4g}" for value in array.ravel())
    return f"mean {array.mean():.3g}, deviation {array.std():.3g}"


def _overlap(a: Edge, b: Edge) -> bool:
    (ax, ay), (bx, by) = a.label_at, b.label_at
    return bool(b.label) and abs(ax - bx) < (a.label_width() + b.label_width()) / 2 and abs(ay - by) < 16


def _width(lines: Sequence[tuple[str, str]]) -> float:
    return max(len(text) * STYLES[role][0] * _WIDE for role, text in lines) + 2 * _PADDING


def _pair(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _text(role: str, text: str, at: Point) -> str:
    size, colour, weight = STYLES[role]
    return (
        f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="middle" dominant-baseline="central" '
        f'font-size="{size}" font-weight="{weight}" fill="{colour}">{escape(text)}</text>'
    )
