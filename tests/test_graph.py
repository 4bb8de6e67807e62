"""Graphs: order, names, shapes at construction, branches that part and meet, and what is refused."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnlib.errors import ConfigError, GraphError, ShapeError
from cnnlib.graph import Graph, Input, Node, shape_text
from cnnlib.layers import Add, Concat, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Softmax
from cnnlib.model import Model, Sequential
from tests.helpers import Array, check_gradient, normal


def linear(n: int, c: int, seed: int = 0, **options: object) -> Linear:
    return Linear(n, c, rng=seed, dtype=np.float64, **options)  # type: ignore[arg-type]


def check_model(model: Model, *xs: Array) -> None:
    """Assert that all gradients of a model are its derivatives."""
    given = list(xs) if len(xs) > 1 else xs[0]

    def forward() -> Array:
        outputs = model.forward(given, training=True)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return np.concatenate([y.ravel() for y in outputs])

    def backward(direction: Array) -> list[Array]:
        shapes = [(len(xs[0]), *model.graph.nodes[node].shape) for node in model.graph.outputs]
        cuts = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
        dys = [piece.reshape(shape) for piece, shape in zip(np.split(direction, cuts), shapes, strict=True)]
        model.zero_grad()
        dx = model.backward(dys if len(dys) > 1 else dys[0])
        return list(dx) if len(xs) > 1 else [dx]

    for i, x in enumerate(xs):
        check_gradient(forward, lambda r, i=i: backward(r)[i], x)
    for parameter in model.parameters().values():

        def gradient(direction: Array, parameter: object = parameter) -> Array:
            backward(direction)
            return parameter.grad  # type: ignore[attr-defined]

        check_gradient(forward, gradient, parameter.data)


def test_branching_and_adding(rng: np.random.Generator) -> None:
    # L23, L25: one group feeds two layers, which are added to each other and to the group itself.
    x = Input(4)
    group = ReLU()(linear(4, 4)(x))
    check_model(Model(x, linear(4, 4, 1)(group) + linear(4, 4, 2)(group) + group), normal(rng, 3, 4))


def test_concatenating(rng: np.random.Generator) -> None:
    x = Input((2, 4, 4))
    a = Conv2d(2, 3, 3, padding=1, rng=0, dtype=np.float64)(x)
    both = Concat()(MaxPool2d(3, 1, 1)(x), a, x)
    top = Linear(7 * 16, 2, rng=1, dtype=np.float64)(Flatten()(both))
    check_model(Model(x, Softmax()(top)), normal(rng, 2, 2, 4, 4))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x + x,
        lambda x: Add()(x, x, x),
        lambda x: Concat()(x, x),
        lambda x: (x + x) + x,
        lambda x: Flatten()(x) + Flatten()(x),
        lambda x: linear(3, 3)(x) + x + linear(3, 3, 1)(x + x),
        lambda x: Flatten()(Flatten()(linear(3, 3)(Flatten()(x)))),
    ],
)
def test_gradients_add_where_one_value_is_read_twice(build: object, rng: np.random.Generator) -> None:
    x = Input(3)
    check_model(Model(x, build(x)), normal(rng, 2, 3))  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(12))
def test_gradients_of_random_graphs(seed: int) -> None:
    # Every node may feed any number of later ones, and one layer stands at several places.
    rng = np.random.default_rng(seed)
    shared = linear(3, 3, seed)
    nodes = [Input(3), Input(3)]
    while len(nodes) < 9:
        a, b, c = (nodes[i] for i in rng.integers(len(nodes), size=3))
        kind, number = rng.integers(6), int(rng.integers(100))
        if kind == 0:
            nodes.append(shared(a))
        elif kind == 1:
            nodes.append(linear(9, 3, number)(Concat()(a, b, c)))
        elif kind == 2:
            nodes.append(Softmax()(a))
        elif kind == 3:
            nodes.append(Add()(a, b, c))
        elif kind == 4:
            nodes.append(ReLU()(linear(3, 3, number)(a)))
        else:
            nodes.append(Flatten()(a) + b)
    check_model(
        Model(nodes[:2], [nodes[-1], nodes[-3], shared(nodes[0] + nodes[1])]), normal(rng, 2, 3), normal(rng, 2, 3)
    )


def test_one_layer_at_two_places_has_one_set_of_parameters(rng: np.random.Generator) -> None:
    x = Input(3)
    shared = linear(3, 3, name="twin")
    model = Model(x, shared(ReLU()(shared(x))))
    assert list(model.parameters()) == ["twin.weight", "twin.bias"]
    assert model.graph.names == ("input", "twin", "relu", "twin_1")
    check_model(model, normal(rng, 2, 3))


def test_several_inputs_and_outputs(rng: np.random.Generator) -> None:
    a, b = Input(2, name="a"), Input(3, name="b")
    hidden = linear(2, 3)(a) + b
    check_model(
        Model([a, b], [linear(3, 2, 1)(hidden), hidden, linear(3, 1, 2)(b)]), normal(rng, 2, 2), normal(rng, 2, 3)
    )
    check_model(Model([b, a], [hidden, hidden]), normal(rng, 2, 3), normal(rng, 2, 2))


def test_an_input_may_be_an_output(rng: np.random.Generator) -> None:
    x = Input(3)
    check_model(Model(x, x), normal(rng, 2, 3))
    check_model(Model(x, [x, ReLU()(x)]), normal(rng, 2, 3))


def test_numbers_are_inputs_too() -> None:
    # Half of L05, u = a + b: values of a sample are single numbers.
    a, b = Input((), name="a"), Input((), name="b")
    model = Model([a, b], a + b)
    assert model.forward([np.array([5.0]), np.array([3.0])], training=True).tolist() == [8]
    assert [g.tolist() for g in model.backward(np.array([3.0]))] == [[3], [3]]


def test_shapes_are_known_when_a_node_is_made() -> None:
    node = MaxPool2d(2)(Conv2d(1, 20, 5, padding="same")(Input((1, 28, 28))))
    assert node.shape == (20, 14, 14)
    assert repr(node) == "<Node MaxPool2d(2): 20 × 14 × 14>"
    assert shape_text(()) == "scalar"
    with pytest.raises(ShapeError, match=r"Linear\(5, 2, .*N × 20 × 14 × 14"):
        linear(5, 2)(node)


def test_order_is_topological_and_holds_only_what_is_needed() -> None:
    x = Input(3)
    a = ReLU()(x)
    ReLU()(a)  # needed by nobody
    b = linear(3, 3)(a)
    graph = Graph([x], [b + a])
    assert graph.nodes[:3] == (x, a, b)
    assert len(graph.nodes) == 4
    assert all(source < node for node, sources in enumerate(graph.sources) for source in sources)


def test_names() -> None:
    x = Input(3)
    y = linear(3, 3, name="relu")(ReLU()(ReLU(name="first")(ReLU()(x))))
    assert Graph([x], [y]).names == ("input", "relu_1", "first", "relu_2", "relu")
    chain = Sequential(linear(3, 3), ReLU(), linear(3, 2, name="top"), input_shape=3)
    assert chain.graph.names == ("input", "0", "1", "top")
    assert list(chain.parameters()) == ["0.weight", "0.bias", "top.weight", "top.bias"]


def test_a_value_is_named_whatever_its_layer_is_called() -> None:
    x, shared = Input(3, "x"), linear(3, 3, name="shared")
    first = shared(x).named("first")
    model = Model(x, (shared(first) * 2 + x).named("sum"))
    assert model.graph.names == ("x", "first", "shared", "affine", "sum")
    assert list(model.layers) == ["first", "affine", "sum"]
    with pytest.raises(ConfigError, match="not empty"):
        x.named("")
    with pytest.raises(GraphError, match="two parts of the model are named 'x'"):
        Model(x, (x + x).named("x"))


def test_a_graph_may_be_deeper_than_the_stack() -> None:
    node = x = Input(2)
    for _ in range(3000):
        node = ReLU()(node)
    assert Model(x, node).predict(np.ones((1, 2))).tolist() == [[1, 1]]


def test_what_is_no_graph_is_refused() -> None:
    x, other = Input(3, name="x"), Input(3, name="other")
    y = ReLU()(x)
    cases = [
        (lambda: Model(other, y), r"need .*Input.* named 'x', which is not among"),
        (lambda: Model([x, other], y), "no output needs the input .* named 'other'"),
        (lambda: Model([], y), "needs inputs, got none"),
        (lambda: Model(x, []), "needs outputs, got none"),
        (lambda: Model(y, ReLU()(y)), r"inputs: .*ReLU\(\).* is computed by a layer"),
        (lambda: Model([x, x], y), "same Input is given twice"),
        (lambda: Model(x, [ReLU()]), "outputs: expected nodes.*got ReLU"),
        (lambda: Model(None, y), "inputs: expected nodes.*got NoneType"),
        (lambda: Model(x, ReLU(name="a")(ReLU(name="a")(x))), "two parts of the model are named 'a'"),
        (lambda: Sequential(), "at least one layer"),
        (lambda: Sequential(ReLU(), "relu"), "layer 1 is str"),  # type: ignore[arg-type]
        (lambda: Sequential(ReLU(), Add(), input_shape=3), r"layer 1: Add\(\): takes two or more"),
        (lambda: Model(x, Linear(3, 3, dtype=np.float64)(Linear(3, 3)(x))), "dtype float32, layer 'linear_1' float64"),
    ]
    for make, message in cases:
        with pytest.raises(GraphError, match=message):
            make()
    for shape in ((0,), (2, -1), (2.0,), (True,), 2.5, None, "ab"):
        with pytest.raises(ShapeError, match="expected positive ints"):
            Input(shape)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="name = 7"):
        Input(3, name=7)  # type: ignore[arg-type]


def test_a_cycle_is_found() -> None:
    x = Input(3)
    a = ReLU()(x)
    b = ReLU()(a)
    a.inputs = (b,)
    with pytest.raises(GraphError, match="depends on itself"):
        Graph([x], [b])


def test_operators_take_nodes_and_numbers(rng: np.random.Generator) -> None:
    x, z = Input(3), Input(3)
    a, b = (rng.normal(size=(4, 3)) + 3 for _ in range(2))
    formulas: list[Callable[[Any, Any], Any]] = [
        lambda x, z: x + z,
        lambda x, z: x - z,
        lambda x, z: x * z,
        lambda x, z: x / z,
        lambda x, z: (x + 2) * (3 + z),
        lambda x, z: (x - 2) * (3 - z),
        lambda x, z: (x * 2) * (np.float64(3) * z),
        lambda x, z: (x / 2) * (np.float32(3) / z),
        lambda x, z: -x + x * z,
    ]
    for formula in formulas:
        model = Model([x, z], formula(x, z))
        np.testing.assert_allclose(model.forward([a, b]), formula(a, b), rtol=1e-14)
    for other in (np.ones(3), [1], True, "1"):
        for operate in (operator.add, operator.sub, operator.mul, operator.truediv):
            with pytest.raises(TypeError):
                operate(x, other)
            with pytest.raises(TypeError):
                operate(other, x)
    with pytest.raises(ConfigError, match="constant 0"):
        x / 0
    with pytest.raises(ConfigError, match="finite"):
        x * np.inf


def test_a_foreign_layer_needs_only_the_three_methods(rng: np.random.Generator) -> None:
    class Square(Layer):
        """Knows nothing of `out`: the plan copies what it returns."""

        def output_shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
            return x

        def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, object]:
            return x * x, x

        def gradients(self, dy: Array, saved: object, needs: object = (True,), outs: object = (None,)) -> tuple[Array]:
            return (2 * saved * dy,)  # type: ignore[operator]

    x = Input(3)
    square: Node = Square()(linear(3, 3)(x))
    check_model(Model(x, Square()(square) + square), normal(rng, 2, 3))
