"""The graph: which layer reads what, with every shape known before anything runs.

A :class:`Node` is what ``layer(node)`` returns; ``Input(shape)`` starts a graph. Shapes are without the batch
dimension N and are checked as each node is made. A :class:`Graph` is the order in which what the outputs need is
computed: every node after those it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cnnlib.errors import ConfigError, GraphError, ShapeError
from cnnlib.shapes import MOST_ELEMENTS

if TYPE_CHECKING:
    from cnnlib.layers.base import Layer

__all__ = ["Graph", "Input", "Node", "Shape", "ordered", "shape_text"]

Shape = tuple[int, ...]


class Node:
    """One value of a graph: what `layer` makes of `inputs`, or an input of the graph if `layer` is None.

    ``shape`` is without N. ``name`` is the name that was asked for, or None: a :class:`Graph` then finds one.
    ``a + b`` is ``Add()(a, b)``; ``-``, ``*`` and ``/`` are Subtract, Multiply and Divide, with a number Affine (and
    Reciprocal for ``3 / a``); such a value is named by ``(a + b).named("u")``.
    """

    # NumPy then leaves `array + node` to the node, which refuses it, instead of adding element by element.
    __array_ufunc__ = None

    def __init__(self, layer: Layer | None, inputs: tuple[Node, ...], shape: Shape, name: str | None = None) -> None:
        if prod(shape) > MOST_ELEMENTS:
            raise ShapeError(f"{layer or 'Input'}: {shape_text(shape)} is too large for any memory: check the sizes")
        self.layer = layer
        self.inputs = inputs
        self.shape = shape
        self.name = name

    def named(self, name: str) -> Node:
        """Name this value, whatever its layer is called, before a model is made of it; return the node.

        >>> a, b = Input((), "a"), Input((), "b")
        >>> Graph([a, b], [(a * b).named("u")]).names
        ('a', 'b', 'u')
        """
        self.name = check_name(name)
        return self

    def __add__(self, other: Any) -> Node:
        return self._with(other, "Add", offset=other)

    def __radd__(self, other: Any) -> Node:
        return self._with(other, "Add", offset=other)

    def __sub__(self, other: Any) -> Node:
        return self._with(other, "Subtract", offset=-other if _is_number(other) else 0)

    def __rsub__(self, other: Any) -> Node:
        return self._with(other, "Subtract", scale=-1, offset=other)

    def __mul__(self, other: Any) -> Node:
        return self._with(other, "Multiply", scale=other)

    def __rmul__(self, other: Any) -> Node:
        return self._with(other, "Multiply", scale=other)

    def __truediv__(self, other: Any) -> Node:
        if _is_number(other) and other == 0:
            raise ConfigError(f"{self} / 0: a graph cannot divide by the constant 0")
        return self._with(other, "Divide", scale=1 / other if _is_number(other) else 1)

    def __rtruediv__(self, other: Any) -> Node:
        return self._with(other, "Divide", numerator=other)

    def __neg__(self) -> Node:
        return self._with(-1, "Multiply", scale=-1)

    def _with(self, other: Any, layer: str, **settings: Any) -> Node:
        """Return the node of `layer` on this node and another, or, for a constant, of Affine or Reciprocal."""
        from cnnlib import layers

        if isinstance(other, Node):
            made = getattr(layers, layer)()(self, other)
        elif _is_number(other):
            made = (layers.Reciprocal if "numerator" in settings else layers.Affine)(**settings)(self)
        else:
            made = NotImplemented
        return cast(Node, made)

    def __repr__(self) -> str:
        what = "Input" if self.layer is None else repr(self.layer)
        return f"<Node {what}: {shape_text(self.shape)}>"


def Input(shape: int | Sequence[int], name: str | None = None) -> Node:
    """Start a graph: a node that stands for the arrays that the model will be given, of shape N × `shape`.

    Raises ShapeError if a size is not a positive int; ``()`` is one number a sample.

    >>> Input((1, 28, 28))
    <Node Input: 1 × 28 × 28>
    """
    several = isinstance(shape, Sequence) or (isinstance(shape, np.ndarray) and shape.ndim > 0)
    sizes: tuple[Any, ...] = tuple(shape) if several else (shape,)  # type: ignore[arg-type]
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ShapeError(f"Input shape {sizes}: expected positive ints, without the batch dimension N")
    return Node(None, (), tuple(int(size) for size in sizes), check_name(name))


class Graph:
    """What `outputs` need, computed from `inputs`: nodes in topological order, with unique names.

    nodes: inputs first, then every node after those it reads. names: one for each. sources: for each node the
    indices of those it reads. inputs, outputs: indices. layers: name → layer, a shared one once, by its first name.

    A node keeps its name, at first that of its layer or Input; the others are called after their class: conv2d,
    conv2d_1, …. `names` (node → name) overrides that. Raises GraphError for an output that needs an input which is
    not among `inputs`, for inputs that no output needs, for things that are not nodes, and for names given twice.

    >>> from cnnlib.layers import ReLU
    >>> x = Input(3)
    >>> Graph([x], [ReLU()(ReLU()(x)) + x]).names
    ('input', 'relu', 'relu_1', 'add')
    """

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node], names: dict[Node, str] | None = None) -> None:
        for role, given in (("inputs", inputs), ("outputs", outputs)):
            if not given:
                raise GraphError(f"a model needs {role}, got none")
            for node in given:
                if not isinstance(node, Node):
                    raise GraphError(
                        f"{role}: expected nodes, made by Input(shape) and layer(node), got {type(node).__name__}"
                    )
        if len(set(inputs)) != len(inputs):
            raise GraphError("the same Input is given twice among a model's inputs")
        for node in inputs:
            if node.layer is not None:
                raise GraphError(f"inputs: {node} is computed by a layer; a model starts at nodes made by Input(shape)")

        reached = dict.fromkeys(ordered(outputs))
        given_inputs = set(inputs)
        for node in reached:
            if node.layer is None and node not in given_inputs:
                raise GraphError(
                    f"the outputs need {node} named {node.name!r}, which is not among the model's inputs: "
                    f"add it to inputs"
                )
        for node in inputs:
            if node not in reached:
                raise GraphError(f"no output needs the input {node} named {node.name!r}: leave it out, or use it")

        self.nodes = (*inputs, *(node for node in reached if node.layer is not None))
        index = {node: i for i, node in enumerate(self.nodes)}
        self.sources = tuple(tuple(index[source] for source in node.inputs) for node in self.nodes)
        self.inputs = tuple(index[node] for node in inputs)
        self.outputs = tuple(index[node] for node in outputs)
        self.names = _unique_names(self.nodes, names or {})
        self.layers: dict[str, Layer] = {}
        known: set[Layer] = set()
        for name, node in zip(self.names, self.nodes, strict=True):
            # A layer that two nodes share has one set of parameters.
            if node.layer is not None and node.layer not in known:
                known.add(node.layer)
                self.layers[name] = node.layer
        self.dtype = _common_dtype(self.layers)


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as the lecture writes it.

    >>> shape_text((20, 28, 28))
    '20 × 28 × 28'
    """
    return " × ".join(str(size) for size in shape) or "scalar"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def check_name(name: str | None) -> str | None:
    """Return the name of a layer or Input if it can be one: None, or a string that can be printed and is not empty."""
    if name is not None and (not isinstance(name, str) or not name or not name.isprintable()):
        raise ConfigError(f"name = {name!r}: expected a string that can be printed and is not empty")
    return name


def ordered(outputs: Iterable[Node]) -> Iterator[Node]:
    """Yield what the outputs need, each node once and after its inputs; a graph may be deeper than Python's stack."""
    done: set[Node] = set()
    entered: set[Node] = set()
    stack = [(node, False) for node in reversed(tuple(outputs))]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            done.add(node)
            yield node
        elif node not in done:
            if node in entered:
                raise GraphError(f"{node} depends on itself")
            entered.add(node)
            stack.append((node, True))
            stack.extend((source, False) for source in reversed(node.inputs) if source not in done)


def _unique_names(nodes: Sequence[Node], overrides: dict[Node, str]) -> tuple[str, ...]:
    wanted = [overrides.get(node) or node.name for node in nodes]
    taken: dict[str, Node] = {}
    for node, name in zip(nodes, wanted, strict=True):
        if name is None:
            continue
        other = taken.setdefault(name, node)
        # A named layer that is used twice is no clash: its second node gets a number.
        if other is not node and (node.layer is None or other.layer is not node.layer):
            raise GraphError(f"two parts of the model are named {name!r}: {other} and {node}; names must differ")
    names = []
    for node, name in zip(nodes, wanted, strict=True):
        if name is None or taken[name] is not node:
            stem = name or ("input" if node.layer is None else type(node.layer).__name__.lower())
            number, name = 0, stem
            while name in taken:
                number += 1
                name = f"{stem}_{number}"
            taken[name] = node
        names.append(name)
    return tuple(names)


def _common_dtype(layers: dict[str, Layer]) -> np.dtype[Any] | None:
    """Return the dtype of all layers that have one, None if none has; two are an error."""
    dtypes = {layer.dtype: name for name, layer in layers.items() if layer.dtype is not None}
    if len(dtypes) > 1:
        (first, first_name), (second, second_name), *_ = dtypes.items()
        raise GraphError(
            f"layer {first_name!r} has dtype {first}, layer {second_name!r} {second}: a model computes in one; "
            f"give all layers the same dtype"
        )
    return next(iter(dtypes), None)
