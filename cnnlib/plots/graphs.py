"""The graph itself on matplotlib's axes: PNG, PDF, or part of a larger figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnnlib.drawing import FILLS, STYLES, draw, line_heights
from cnnlib.plots.canvas import Path, canvas, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cnnlib.model import Model

__all__ = ["graph"]

_DPI = 96  # a drawing's pixels per inch


def graph(
    model: Model,
    x: Any = None,
    dy: Any = None,
    *,
    direction: str | None = None,
    ax: Axes | None = None,
    save: Path | None = None,
) -> Figure:
    """Draw a model's graph: shapes on the edges or, given inputs, values and gradients on the nodes.

    The arguments are those of `cnnlib.drawing.draw`, which makes the same picture as SVG without matplotlib.
    """
    drawing = draw(model, x, dy, direction=direction)
    width, height = drawing.width / _DPI, drawing.height / _DPI
    own = ax is None
    figure, ax = canvas(ax, (width, height))
    if own:
        # To the rim: texts are sized in points, and fit their boxes at this scale.
        figure.set_layout_engine("none")
        ax.set_position((0, 0, 1, 1))
    ax.set(xlim=(0, drawing.width), ylim=(drawing.height, 0), aspect="equal")
    ax.set_axis_off()
    if not own:
        # Texts are sized by what the layout leaves to the axes: draw the picture before them, too.
        figure.draw_without_rendering()
    _paint(ax, drawing)
    return finish(figure, save)


def _paint(ax: Axes, drawing: Any) -> None:
    from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
    from matplotlib.path import Path as Line

    # Points per pixel of the drawing, at the size that the axes have now.
    box = ax.get_window_extent()
    scale = min(box.width / drawing.width, box.height / drawing.height) * 72 / ax.figure.dpi

    def write(role: str, text: str, x: float, y: float) -> None:
        size, colour, weight = STYLES[role]
        rim = {"facecolor": "white", "edgecolor": "none", "pad": 1} if role == "shape" else None
        # The sans of matplotlib is wider than a browser's.
        font = {"fontsize": 0.9 * size * scale, "fontweight": weight, "color": colour}
        ax.text(x, y, text, ha="center", va="center_baseline", bbox=rim, **font)

    for edge in drawing.edges:
        points, codes = [edge.points[0]], [Line.MOVETO]
        for curve in edge.curves():
            points += curve[1:]
            codes += [Line.CURVE4] * 3
        ax.add_patch(PathPatch(Line(points, codes), fill=False, edgecolor="#777777", linewidth=1.3 * scale))
        ax.add_patch(Polygon(edge.head(), facecolor="#777777"))
    for node in drawing.boxes:
        corner = node.x - node.width / 2, node.y - node.height / 2
        style = "round,pad=0,rounding_size=6"
        face = {"facecolor": FILLS[node.kind], "edgecolor": "#444444", "linewidth": scale}
        ax.add_patch(FancyBboxPatch(corner, node.width, node.height, boxstyle=style, **face))
        for (role, text), y in zip(node.lines, line_heights(node), strict=True):
            write(role, text, node.x, y)
    for edge in drawing.edges:
        if edge.label:
            write("shape", edge.label, *edge.label_at)
