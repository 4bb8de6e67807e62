"""An ONNX graph read into a graph of layers, node by node.

A value is either computed, then it is a `cnnlib.graph.Node`, or known while the file is read, then it is an array:
weights, and what exporters compute of shapes. The second kind is evaluated by onnx's own definition of its operators.

ONNX's arrays have the batch as an axis like any other. A model of cnnlib works sample by sample, so a graph can be read
in two ways. "Batched", axis 0 of every computed value is the batch, and an operator that moves or mixes it raises
`MixesSamples`. Otherwise an array as ONNX has it, whole, is one sample: only operators without a batch of their own,
such as Add or Transpose, can be read that way. Layers count the axes of a sample from 1 in both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnnlib import layers
from cnnlib.errors import CNNError, FileFormatError, UnsupportedError
from cnnlib.graph import Input, Node, Shape, ordered, shape_text
from cnnlib.init import undrawn
from cnnlib.layers import Layer
from cnnlib.shapes import MOST_ELEMENTS

__all__ = [
    "Array",
    "MixesSamples",
    "NeedsValue",
    "Operation",
    "OperatorReader",
    "Reader",
    "Value",
    "filled",
    "label",
    "placed",
    "shown",
]

Array = NDArray[Any]
Value: TypeAlias = "Node | Array"

#: Stands for an open batch where shapes are computed: a prime, which shows in every product that it is in.
OPEN_BATCH = 1_000_003

#: How many numbers constants may have that a file does not hold but computes.
MOST_COMPUTED = 2**30

#: The operators that are evaluated while a file is read, if all their inputs are known.
FOLDED = frozenset(
    [
        "Abs",
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Div",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Mul",
        "Neg",
        "Pow",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "Reshape",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Transpose",
        "Unsqueeze",
    ]
)


class MixesSamples(UnsupportedError):
    """An operator moves the batch's axis, or computes across it."""


class NeedsValue(UnsupportedError):
    """A number must be known while the graph is read, and depends on inputs of the graph: `names`."""

    def __init__(self, names: frozenset[str], what: str) -> None:
        listed = ", ".join(map(repr, sorted(names)))
        super().__init__(f"{what} depends on the input {listed}, but must be a constant (an initializer) of the file")
        self.names = names


class Reader:
    """Reads one graph. `values` has what every name of the file stands for, once ``read`` is done.

    known: the values of inputs that are not computed with. shapes: those of inputs, with N, where the file leaves them
    open or has others.
    """

    def __init__(
        self,
        proto: Any,
        readers: Mapping[str, OperatorReader],
        batched: bool = True,
        known: Mapping[str, Array] | None = None,
        shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.graph, self.readers, self.batched = proto.graph, readers, batched
        self.opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        self.shapes = shapes or {}
        self.batch: int | None = None
        self.inputs: dict[str, Node] = {}
        self.values: dict[str, Value] = dict(known or {})
        self._stored = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._given = {info.name: info for info in proto.graph.input if info.name not in self._stored}
        double = any(info.type.tensor_type.elem_type == 11 for info in self._given.values())
        self.dtype: np.dtype[Any] = np.dtype(np.float64 if double else np.float32)
        #: How often each name is read; an output of the graph counts as read once more.
        self.reads = Counter(name for node in proto.graph.node for name in node.input)
        self.reads.update(output.name for output in proto.graph.output)
        self._names = set(self._given)
        self._computed = 0

    def read(self) -> None:
        """Read all nodes, which an ONNX file holds in an order in which they can be computed."""
        with undrawn(MOST_ELEMENTS):
            for node in self.graph.node:
                try:
                    outputs = self._outputs(node)
                except (MixesSamples, NeedsValue):
                    raise
                except CNNError as error:
                    kind = type(error) if isinstance(error, UnsupportedError) else FileFormatError
                    raise kind(f"node {label(node)}: {error}") from error
                except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                    raise FileFormatError(f"node {label(node)} has senseless settings: {error!r}") from error
                for name, value in zip(node.output, outputs, strict=False):
                    self.values[name] = value

    def _outputs(self, node: Any) -> Sequence[Value]:
        if node.op_type in FOLDED and all(self._known(name) for name in node.input if name):
            return self._folded(node)
        result = self.readers[node.op_type](Operation(self, node))
        outputs = result if isinstance(result, list) else [result]
        if isinstance(outputs[0], Node) and outputs[0].name is None and outputs[0].layer is not None:
            outputs[0].named(self.unique(node.name or node.output[0]))
        return outputs

    def _folded(self, node: Any) -> Sequence[Array]:
        from onnx import TypeProto, helper
        from onnx.reference import ReferenceEvaluator

        inputs = {name: self.array(name) for name in node.input if name}
        if node.op_type == "ConstantOfShape":
            self._count(prod(map(int, inputs[node.input[0]].reshape(-1))))
        elif node.op_type == "Expand":
            target = tuple(map(int, inputs[node.input[1]].reshape(-1)))
            self._count(prod(np.broadcast_shapes(inputs[node.input[0]].shape, target)))
        elif len({array.shape for array in inputs.values()}) > 1 and node.op_type in (
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Sum",
        ):
            self._count(prod(np.broadcast_shapes(*(array.shape for array in inputs.values()))))
        untyped = [helper.make_value_info(name, TypeProto()) for name in inputs]
        results = [helper.make_value_info(name, TypeProto()) for name in node.output if name]
        graph = helper.make_graph([node], "constants", untyped, results)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        try:
            arrays = iter(ReferenceEvaluator(proto).run(None, inputs))
        except MemoryError:
            raise
        except Exception as error:  # whatever NumPy, or the definition, makes of senseless attributes
            raise FileFormatError(f"cannot be evaluated: {error}") from error
        return [np.asarray(next(arrays)) if name else np.empty(0) for name in node.output]

    def _count(self, numbers: int) -> None:
        self._computed += numbers
        if not 0 <= numbers <= self._computed <= MOST_COMPUTED:
            raise FileFormatError(f"constants of more than {MOST_COMPUTED:,} numbers, which the file does not hold")

    def value(self, name: str) -> Value:
        """Return what a name of the file stands for."""
        if name not in self.values:
            if name in self._stored:
                self.values[name] = stored(self._stored[name])
            elif name in self._given:
                self.values[name] = self._input(self._given[name])
            else:
                raise FileFormatError(f"{name!r} is used before it is computed")
        return self.values[name]

    def _known(self, name: str) -> bool:
        return name in self._stored or isinstance(self.values.get(name), np.ndarray)

    def array(self, name: str) -> Array:
        """Return an array that must be known; raise NeedsValue if it is computed of inputs."""
        if name in self._given and name not in self.values:
            raise NeedsValue(frozenset([name]), repr(name))
        value = self.value(name)
        if isinstance(value, Node):
            sources = set(ordered([value]))
            raise NeedsValue(frozenset(key for key, node in self.inputs.items() if node in sources), repr(name))
        return value

    def shape(self, name: str) -> Shape:
        """Return the shape of what a name stands for, as ONNX has it; of an input nothing more is asked then."""
        if name in self.values or name not in self._given:
            value = self.value(name)
            if not isinstance(value, Node):
                return value.shape
            return (self.batch or OPEN_BATCH, *value.shape) if self.batched else value.shape
        return tuple(size if isinstance(size, int) else OPEN_BATCH for size in self._announced(self._given[name]))

    def _announced(self, info: Any) -> tuple[int | str, ...]:
        dims = info.type.tensor_type.shape.dim
        stored = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims)
        return tuple(self.shapes.get(info.name, stored))

    def _input(self, info: Any) -> Node:
        from onnx import TensorProto

        name, kind = info.name, info.type.tensor_type
        if not info.type.HasField("tensor_type"):
            raise UnsupportedError(f"the input {name!r} is not a tensor")
        if kind.elem_type not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
            raise NeedsValue(frozenset([name]), f"{name!r} ({TensorProto.DataType.Name(kind.elem_type)})")
        shape = dims = self._announced(info)
        if self.batched:
            if not shape:
                raise MixesSamples(f"the input {name!r} is a single number, without an axis for the batch")
            batch = shape[0] if isinstance(shape[0], int) else OPEN_BATCH
            if self.batch not in (None, batch):
                raise MixesSamples(f"the inputs have batches of different sizes, {self.batch} and {batch}")
            self.batch, shape = batch, shape[1:]
        sizes = tuple(size for size in shape if isinstance(size, int))
        if len(sizes) < len(shape):
            raise UnsupportedError(
                f"the input {name!r} is {' × '.join(map(str, dims))}: only the batch, axis 0, may be open; "
                f"give its sizes, load(path, shapes={{{name!r}: (…)}})"
            )
        if 0 in sizes or self.batch == 0:
            raise NeedsValue(frozenset([name]), f"{name!r}, an empty array,")
        self.inputs[name] = Input(sizes, name)
        return self.inputs[name]

    def unique(self, name: str) -> str:
        """Return a name for a node that no other has."""
        stem = name if isinstance(name, str) and name.isprintable() and name else "node"
        unique, number = stem, 0
        while unique in self._names:
            number += 1
            unique = f"{stem}_{number}"
        self._names.add(unique)
        return unique


class Operation:
    """One node of an ONNX graph, as the function that reads its operator sees it."""

    def __init__(self, reader: Reader, node: Any) -> None:
        from onnx import helper

        self.reader, self.node, self.kind = reader, node, str(node.op_type)
        self.opset, self.dtype, self.batched = reader.opset, reader.dtype, reader.batched
        self._attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}

    def __len__(self) -> int:
        return len(self.node.input)

    def has(self, index: int) -> bool:
        """Whether the input is given."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def wants(self, index: int) -> bool:
        """Whether the output is asked for."""
        return index < len(self.node.output) and bool(self.node.output[index])

    def operand(self, index: int) -> Value:
        """Return an input, computed or known."""
        if not self.has(index):
            raise FileFormatError(f"input {index} is missing")
        return self.reader.value(self.node.input[index])

    def x(self, index: int = 0) -> Node:
        """Return an input that is computed."""
        value = self.operand(index)
        if not isinstance(value, Node):
            if self.kind in FOLDED:  # known like the rest, if that is
                for name in self.node.input:
                    if name:
                        self.reader.array(name)
            raise UnsupportedError(f"{self.kind} of a constant (its input {index})")
        return value

    def array(self, index: int) -> Array:
        """Return an input that must be known."""
        if not self.has(index):
            raise FileFormatError(f"input {index} is missing")
        return self.reader.array(self.node.input[index])

    def setting(self, name: str, default: Any = None) -> Any:
        """Return an attribute: a number, a text, a list of numbers."""
        value = self._attributes.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def ints(self, name: str, index: int | None = None) -> list[int] | None:
        """Return what newer versions of an operator have as an input, older ones as an attribute; None if it is not
        given."""
        if index is not None and self.has(index):
            return [int(value) for value in self.array(index).reshape(-1)]
        value = self.setting(name)
        return None if value is None else [int(one) for one in value]

    def number(self, name: str, index: int) -> float | None:
        """Return one number, an input or an attribute, as `ints`."""
        if self.has(index):
            array = self.array(index)
            if array.size != 1:
                raise FileFormatError(f"{name} must be one number, has the shape {array.shape}")
            return float(array.reshape(-1)[0])
        value = self.setting(name)
        return None if value is None else float(value)

    def shape(self, value: Value) -> Shape:
        """Return a value's shape as ONNX has it."""
        if not isinstance(value, Node):
            return value.shape
        return (self.reader.batch or OPEN_BATCH, *value.shape) if self.batched else value.shape

    def axis(self, axis: int, rank: int) -> int:
        """Return the layers' number of an axis, from 1; raise MixesSamples if it is the batch."""
        if not -rank <= axis < rank:
            raise FileFormatError(f"axis {axis} of an array with {rank} axes")
        axis %= rank
        if self.batched and axis == 0:
            raise MixesSamples(f"{self.kind} works along axis 0, across the samples of a batch")
        return axis if self.batched else axis + 1

    def sample(self, shape: Shape, what: str) -> Shape:
        """Return a shape of ONNX's without the batch, for a value that must be computed sample by sample."""
        if not self.batched:
            return shape
        if not shape or shape[0] != self.reader.batch:
            raise MixesSamples(f"{self.kind} {what} mixes the samples of a batch (axis 0)")
        return shape[1:]

    def needs_batch(self) -> None:
        """Raise MixesSamples where whole arrays are samples."""
        if not self.batched:
            raise MixesSamples(f"{self.kind} needs a batch along axis 0, where another operator works across it")

    def image(self, x: Node, spatial: int) -> None:
        """Raise unless `x` is N × C × one or two spatial axes, as many as `spatial`."""
        if spatial not in (1, 2):
            raise UnsupportedError(f"{self.kind} in {spatial} dimensions; cnnlib has 1 and 2")
        self.needs_batch()
        if len(x.shape) != spatial + 1:
            raise FileFormatError(f"{self.kind} in {spatial} dimensions of an array of {shown(self.shape(x))}")

    def reshaped(self, x: Node, target: Sequence[int]) -> Node:
        """Return `x` with the elements in a shape of ONNX's."""
        shape = self.sample(tuple(target), "to another shape")
        if any(size < 1 for size in shape) or prod(shape) != prod(x.shape):
            raise FileFormatError(f"an array of {shown(self.shape(x))} cannot have the shape {shown(tuple(target))}")
        if shape == x.shape:
            return x
        return placed(layers.Flatten() if len(shape) == 1 else layers.Reshape(shape), x)


OperatorReader: TypeAlias = "Callable[[Operation], Value | list[Any]]"


def placed(layer: Layer, *inputs: Node) -> Node:
    """Return the node of a layer on others."""
    node: Node = layer(*inputs)
    return node


def filled(layer: Any, **arrays: Array | None) -> Any:
    """Return a layer with its parameters and buffers as in a file; None: the layer does not have that one."""
    for name, array in arrays.items():
        if array is not None:
            slot = getattr(layer, name)
            slot = getattr(slot, "data", slot) if not isinstance(slot, np.ndarray) else slot
            if slot.size != array.size:
                raise FileFormatError(f"{name} of shape {array.shape}, expected {slot.shape}")
            slot[...] = np.asarray(array).reshape(slot.shape)
    return layer


def stored(tensor: Any) -> Array:
    """Return the array of a TensorProto."""
    from onnx import numpy_helper

    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise FileFormatError(f"the array {tensor.name!r} is damaged: {error}") from error


def shown(shape: Shape) -> str:
    """Return a shape for a message.

    >>> shown((OPEN_BATCH, 3, 8))
    'N × 3 × 8'
    """
    return shape_text(shape).replace(str(OPEN_BATCH), "N")


def label(node: Any) -> str:
    """Return how messages call a node."""
    return f"{node.name or (node.output[0] if node.output else '')!r} ({node.op_type})"
