"""Drawings: where boxes and edges are, what they say, and that the SVG is well formed and complete."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from cnnlib.drawing import Drawing, draw, node_gradients
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.graph import Input
from cnnlib.layers import Concat, Conv2d, Flatten, Linear, MaxPool2d, ReLU
from cnnlib.layout import arrange
from cnnlib.model import Model, Sequential
from cnnlib.models import lenet5

SVG = "{http://www.w3.org/2000/svg}"


def lecture_graph() -> Model:
    # L05: u = bc, v = a + u, J = 3v.
    a, b, c = (Input((), name) for name in "abc")
    u = (b * c).named("u")
    v = (a + u).named("v")
    return Model([a, b, c], (3 * v).named("J"))


def branching() -> Model:
    x = Input((1, 8, 8), "image")
    both = Concat()(*(MaxPool2d(2)(ReLU()(Conv2d(1, 4, k, padding="same", rng=0)(x))) for k in (3, 5)))
    added = both + Conv2d(8, 8, 3, padding=1, rng=1)(both)
    return Model(x, [Linear(128, 10, rng=2)(Flatten()(added)), Linear(128, 2, rng=3)(Flatten()(both))])


def texts(drawing: Drawing) -> list[str]:
    root = ET.fromstring(drawing.svg())
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_values_and_gradients_stand_on_the_nodes_of_the_lectures_graph() -> None:
    drawing = draw(lecture_graph(), x=(5, 3, 2))
    lines = {box.lines[0][1].split(" ")[0]: [text for _, text in box.lines[1:]] for box in drawing.boxes}
    assert lines["a"] == ["5", "∂J/∂a = 3"]
    assert lines["b"] == ["3", "∂J/∂b = 6"]
    assert lines["c"] == ["2", "∂J/∂c = 9"]
    assert lines["u"] == ["6", "∂J/∂u = 3"]
    assert lines["v"] == ["11", "∂J/∂v = 3"]
    assert lines["J"] == ["33", "∂J/∂J = 1"]
    assert {"u = b × c", "v = a + u", "J = 3 v"} <= set(texts(drawing))


def test_operators_are_written_as_one_writes_them() -> None:
    a, b = Input((), "a"), Input((), "b")
    model = Model([a, b], (2 - a) / b - 4 / (-a) + ReLU()(b) + 1)
    titles = [box.lines[0][1] for box in draw(model, x=(1, 2)).boxes]
    assert titles == [
        "a",
        "b",
        "affine = −a + 2",
        "divide = affine / b",
        "affine_1 = −a",
        "reciprocal = 4 / affine_1",
        "subtract = divide − reciprocal",
        "relu = ReLU(b)",
        "add = subtract + relu",
        "affine_2 = add + 1",
    ]


def test_node_gradients_are_those_of_the_model(rng: np.random.Generator) -> None:
    model = branching()
    x = rng.normal(size=(3, 1, 8, 8)).astype(np.float32)
    outputs = model.forward(x, training=True)
    dys = [rng.normal(size=y.shape).astype(np.float32) for y in outputs]
    model.zero_grad()
    dx = model.backward(dys)
    before = {name: parameter.grad.copy() for name, parameter in model.parameters().items()}
    values, gradients = node_gradients(model.graph, x, dys)
    np.testing.assert_allclose(gradients[0], dx, rtol=1e-4, atol=1e-5)
    for node, y, dy in zip(model.graph.outputs, outputs, dys, strict=True):
        np.testing.assert_array_equal(values[node], y)
        np.testing.assert_array_equal(gradients[node], dy)
    for name, parameter in model.parameters().items():
        np.testing.assert_array_equal(parameter.grad, before[name])


def test_shapes_stand_on_the_edges_of_a_net() -> None:
    drawing = draw(lenet5(rng=0))
    assert [edge.label for edge in drawing.edges] == [
        "1 × 28 × 28",
        *["20 × 28 × 28"] * 2,
        "20 × 14 × 14",
        *["50 × 14 × 14"] * 2,
        "50 × 7 × 7",
        "2450",
        "500",
        "500",
        "10",
    ]
    assert drawing.boxes[1].lines == (("title", "Conv (C_out=20, K=5, P=2, S=1)"), ("detail", "0 · 520 parameters"))
    # A chain hangs straight, and reads downward.
    assert len({box.x for box in drawing.boxes}) == 1
    assert [box.y for box in drawing.boxes] == sorted(box.y for box in drawing.boxes)


@pytest.mark.parametrize("direction", ["down", "right"])
@pytest.mark.parametrize("build", [branching, lambda: lenet5(rng=0), lecture_graph])
def test_boxes_do_not_overlap_and_stay_on_the_page(build: Any, direction: str) -> None:
    drawing = draw(build(), direction=direction)
    for box in drawing.boxes:
        assert box.width / 2 <= box.x <= drawing.width - box.width / 2
        assert box.height / 2 <= box.y <= drawing.height - box.height / 2
    for a, b in combinations(drawing.boxes, 2):
        apart = abs(a.x - b.x) >= (a.width + b.width) / 2, abs(a.y - b.y) >= (a.height + b.height) / 2
        assert any(apart), (a, b)
    forward = 0 if direction == "right" else 1
    for edge in drawing.edges:
        along = [point[forward] for point in edge.points]
        assert along == sorted(along)
        for x, y in edge.points[1:-1]:
            assert not any(abs(x - b.x) < b.width / 2 and abs(y - b.y) < b.height / 2 - 1e-6 for b in drawing.boxes)


def test_labels_of_a_fan_out_do_not_overlap() -> None:
    labels = [(edge.label_at, edge.label_width()) for edge in draw(branching()).edges if edge.label]
    for ((ax, ay), a), ((bx, by), b) in combinations(labels, 2):
        assert abs(ax - bx) >= (a + b) / 2 or abs(ay - by) >= 16


def test_crossings_are_undone() -> None:
    # Drawn in the order given, both pairs of edges would cross.
    layout = arrange([[], [], [1], [0]], [(10.0, 10.0)] * 4, 5.0, 20.0)
    (a, _), (b, _), (reads_b, _), (reads_a, _) = layout.centres
    assert (a < b) == (reads_a < reads_b)
    assert (a, b) == (reads_a, reads_b)


def test_long_edges_go_round_the_boxes_between() -> None:
    layout = arrange([[], [0], [1, 0]], [(40.0, 10.0)] * 3, 5.0, 20.0)
    passing = layout.routes[2, 1][1]
    assert abs(passing[0] - layout.centres[1][0]) >= 20


def test_the_svg_is_well_formed_and_tells_every_line() -> None:
    x = Input(2, "x<&y")
    model = Model(x, ReLU(name="a")(x) + x)
    drawing = draw(model)
    root = ET.fromstring(drawing.svg())
    assert root.tag == f"{SVG}svg"
    assert float(root.attrib["width"]) == pytest.approx(drawing.width, abs=1)
    assert {text for box in drawing.boxes for _, text in box.lines} <= set(texts(drawing))
    assert "x<&y" in texts(drawing)
    assert len(list(root.iter(f"{SVG}path"))) == len(drawing.edges) == 4
    assert drawing._repr_svg_() == drawing.svg()


def test_a_model_shows_itself_in_a_notebook() -> None:
    model = lenet5(rng=0)
    assert model._repr_svg_() == draw(model).svg()
    assert Sequential(ReLU())._repr_svg_() is None  # no shape is known yet


def test_deep_graphs_and_two_edges_between_the_same_nodes() -> None:
    node = x = Input(2)
    for _ in range(1500):
        node = ReLU()(node)
    assert len(draw(Model(x, node + node)).boxes) == 1502
    twice = draw(Model(x, x + x))
    assert [edge.label for edge in twice.edges] == ["2", "", "2"]  # one label for both
    assert twice.edges[0].points[-1] != twice.edges[1].points[-1]


def test_a_shared_layer_counts_its_parameters_once() -> None:
    x = Input(3)
    twin = Linear(3, 3, rng=0, name="twin")
    details = [box.lines[1][1] for box in draw(Model(x, twin(twin(x)))).boxes[1:]]
    assert details == ["twin · 12 parameters", "twin_1 · shared"]


def test_what_cannot_be_drawn_is_refused(tmp_path: Any) -> None:
    model = lecture_graph()
    with pytest.raises(ConfigError, match="'down' or 'right'"):
        draw(model, direction="up")
    with pytest.raises(ShapeError, match="expected 3 arrays, for a, b, c"):
        draw(model, x=(1, 2))
    with pytest.raises(ShapeError, match="'a' needs scalar, or N of them"):
        draw(model, x=([[1.0]], 1, 1))
    with pytest.raises(ConfigError, match=r"saved as \.svg"):
        draw(model).save(tmp_path / "graph.png")
    draw(model).save(tmp_path / "graph.svg")
    assert ET.fromstring((tmp_path / "graph.svg").read_text("utf-8")).tag == f"{SVG}svg"


def test_outputs_that_have_names_show_them() -> None:
    x = Input(3)
    top = Linear(3, 2, rng=0)(x)
    model = Model(x, {"scores": top, "inner": ReLU()(x)})
    assert [edge.label for edge in draw(model).edges[-2:]] == ["scores: 2", "inner: 3"]
    assert draw(model, x=np.ones(3)).boxes[0].lines[2][1].startswith("∂(scores + inner)/∂input = ")
