"""Element by element: activations, and arithmetic with NumPy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cnnlib import layers
from cnnlib.errors import FileFormatError, UnsupportedError
from cnnlib.graph import Node, Shape
from cnnlib.layers import Layer
from cnnlib.onnx.reading import Array, MixesSamples, Operation, OperatorReader, Value, filled, placed, shown

__all__ = ["READERS", "broadcast", "combined", "plus", "times"]


def _activation(make: Callable[[Operation], Layer]) -> OperatorReader:
    """Return what reads an operator that is one layer."""
    return lambda op: placed(make(op), op.x())


def _clip(op: Operation) -> Value:
    low, high = op.number("min", 1), op.number("max", 2)
    if low is None and high is None:
        return op.x()
    if low is not None and high is not None:
        low = min(low, high)  # where they cross, the upper one counts
    return placed(layers.Hardtanh(low, high), op.x())


def _prelu(op: Operation) -> Node:
    x, slope = op.x(), op.array(1)
    if op.opset < 7 and slope.ndim == 1 and slope.size > 1:  # then one for each channel
        slope = slope.reshape(-1, *(1 for _ in x.shape[1:]))
    channels = (*slope.shape, *(0 for _ in x.shape))[: len(x.shape)]
    if slope.size == 1 or (x.shape and channels == (x.shape[0], *(1 for _ in x.shape[1:]))):
        return placed(filled(layers.PReLU(slope.size, dtype=op.dtype), weight=slope), x)
    # y = max(0, x) - slope max(0, -x)
    below = placed(layers.ReLU(), placed(layers.Affine(-1.0), x))
    return placed(layers.Subtract(), placed(layers.ReLU(), x), times(op, below, slope))


def _softmax(kind: Any) -> OperatorReader:
    def read(op: Operation) -> Node:
        x = op.x()
        shape = op.shape(x)
        if op.opset >= 13:
            return placed(kind(op.axis(op.setting("axis", -1), len(shape))), x)
        # Older versions flatten what follows the axis, and take all of it.
        axis = op.setting("axis", 1) % max(len(shape), 1)
        lead, rest = shape[:axis], int(np.prod(shape[axis:]))
        y = placed(kind(op.axis(axis, axis + 1)), op.reshaped(x, (*lead, rest)))
        return op.reshaped(y, shape)

    return read


def _absolute(op: Operation) -> Node:
    """|x| = max(0, x) + max(0, -x)."""
    x = op.x()
    return placed(layers.Add(), placed(layers.ReLU(), x), placed(layers.ReLU(), placed(layers.Affine(-1.0), x)))


def _power(op: Operation) -> Node:
    exponent = op.array(1)
    if exponent.size != 1:
        raise UnsupportedError("Pow with an exponent for each element")
    return broadcast(op, placed(layers.Power(exponent.item()), op.x()), _broadcast_shape(op, op.x(), exponent))


def _expand(op: Operation) -> Node:
    x = op.x()
    sizes = tuple(op.ints("shape", 1) or ())
    try:
        shape = np.broadcast_shapes(op.shape(x), sizes)
    except ValueError:
        raise FileFormatError(f"{shown(op.shape(x))} does not broadcast to {shown(sizes)}") from None
    return broadcast(op, x, shape)


def _cast(op: Operation) -> Value:
    from onnx import TensorProto

    floats = {TensorProto.FLOAT16: "float16", TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}
    x, to = op.x(), op.setting("to")
    if to not in floats:
        name = TensorProto.DataType.Name(to) if to in TensorProto.DataType.values() else to
        raise UnsupportedError(f"Cast of computed numbers to {name}")
    narrower = np.dtype(floats[to]).itemsize < op.dtype.itemsize
    return placed(layers.Cast(floats[to]), x) if narrower else x


def _dropout(op: Operation) -> list[Value]:
    ratio = op.number("ratio", 1)
    ratio = 0.5 if ratio is None else ratio
    if op.has(2) and op.array(2).any() and ratio:
        raise UnsupportedError("Dropout in training mode: export the model for inference")
    x = op.x()
    y = placed(layers.Dropout(ratio), x)
    return [y, placed(layers.Affine(0.0, 1.0), x)] if op.wants(1) else [y]


def _arithmetic(kind: str) -> OperatorReader:
    """Return what reads an operator on two values, or on any number of them."""

    def read(op: Operation) -> Value:
        values = [op.operand(i) for i in range(len(op))]
        if op.opset < 7 and op.setting("broadcast", 0) and len(values) == 2:
            values[1] = _old_broadcast(op, values)
        # Constants last, but for quotients and differences.
        if kind in ("Add", "Multiply"):
            values.sort(key=lambda value: not isinstance(value, Node))
            if len(values) == 2 and _joins_norm(op, kind, *values):
                return values[0]
        result = values[0]
        for value in values[1:]:
            result = combined(op, kind, result, value)
        return result

    return read


def _joins_norm(op: Operation, kind: str, x: Value, constant: Value) -> bool:
    """Whether a factor or summand for each channel became a part of the batch normalisation that nobody else reads.

    Converters from Caffe write γ and β as Mul and Add after it.
    """
    if not isinstance(x, Node) or isinstance(constant, Node) or not isinstance(x.layer, layers.BatchNorm2d):
        return False
    name = next(name for name in op.node.input if op.reader.values.get(name) is x)
    channels = (x.shape[0], 1, 1)
    if op.reader.reads[name] > 1 or constant.shape not in (channels, (1, *channels)):
        return False
    if kind == "Multiply":
        x.layer.weight.data *= constant.reshape(-1)
        x.layer.bias.data *= constant.reshape(-1)
    else:
        x.layer.bias.data += constant.reshape(-1)
    return True


def _old_broadcast(op: Operation, values: list[Value]) -> Value:
    """Return the second operand as versions before 7 align it: its axes start at the attribute's."""
    a, b = (op.shape(value) for value in values)
    axis = op.setting("axis", len(a) - len(b))
    target = (*b, *(1 for _ in a[axis % max(len(a), 1) + len(b) :]))
    return op.reshaped(values[1], target) if isinstance(values[1], Node) else values[1].reshape(target)


def combined(op: Operation, kind: str, a: Value, b: Value) -> Value:
    """Return `a` and `b`, at least one of them computed, put together by Add, Subtract, Multiply or Divide."""
    if isinstance(a, Node) and isinstance(b, Node):
        shape = _broadcast_shape(op, a, b)
        return placed(getattr(layers, kind)(), broadcast(op, a, shape), broadcast(op, b, shape))
    if isinstance(a, Node):
        assert not isinstance(b, Node)
        if kind in ("Add", "Subtract"):
            return plus(op, a, b if kind == "Add" else -b)
        if kind == "Divide" and b.size == 1 and b.item():
            return times(op, a, 1 / b.astype(np.float64))
        with np.errstate(divide="ignore"):
            return times(op, a, b if kind == "Multiply" else 1 / b)
    assert isinstance(b, Node)
    if kind == "Subtract":
        return plus(op, placed(layers.Affine(-1.0), b), a)
    return times(op, placed(layers.Reciprocal(1.0), b), a)


def plus(op: Operation, x: Node, summand: Array) -> Node:
    """Return x + a constant."""
    x = broadcast(op, x, _broadcast_shape(op, x, summand))
    if summand.size == 1 and np.isfinite(summand).all():
        return placed(layers.Affine(1.0, summand.item()), x)
    own = _aligned(op, x, summand)
    return placed(filled(layers.Bias(own.shape, dtype=op.dtype), bias=own), x)


def times(op: Operation, x: Node, factor: Array) -> Node:
    """Return x times a constant."""
    x = broadcast(op, x, _broadcast_shape(op, x, factor))
    if factor.size == 1 and np.isfinite(factor).all():
        return placed(layers.Affine(factor.item()), x)
    own = _aligned(op, x, factor)
    return placed(filled(layers.Scale(own.shape, dtype=op.dtype), weight=own), x)


def broadcast(op: Operation, x: Node, shape: Shape) -> Node:
    """Return `x` broadcast to a shape of ONNX's."""
    own = op.shape(x)
    if own == shape:
        return x
    if op.batched and len(own) != len(shape):
        raise _mixes(op)
    return placed(layers.Expand(op.sample(shape, "by broadcasting")), x)


def _mixes(op: Operation) -> MixesSamples:
    return MixesSamples(f"{op.kind} broadcasts the samples of a batch over other axes")


def _broadcast_shape(op: Operation, a: Value, b: Value) -> Shape:
    try:
        return np.broadcast_shapes(op.shape(a), op.shape(b))
    except ValueError:
        raise FileFormatError(f"{shown(op.shape(a))} and {shown(op.shape(b))} do not broadcast") from None


def _aligned(op: Operation, x: Node, array: Array) -> Array:
    """Return a constant without the batch's axis, for a layer that has it for every sample."""
    if op.batched and array.ndim == len(op.shape(x)):
        if array.shape[0] != 1:
            raise _mixes(op)
        array = array[0]
    elif array.ndim > len(x.shape):
        array = array.reshape(array.shape[array.ndim - len(x.shape) :])
    return array


def _named(make: Callable[..., Layer], **defaults: Any) -> Callable[[Operation], Layer]:
    """Return what makes a layer of the attributes with these names and defaults."""
    return lambda op: make(**{name: op.setting(name, default) for name, default in defaults.items()})


READERS: dict[str, OperatorReader] = {
    "Abs": _absolute,
    "Add": _arithmetic("Add"),
    "Cast": _cast,
    "Clip": _clip,
    "Div": _arithmetic("Divide"),
    "Dropout": _dropout,
    "Elu": _activation(_named(layers.ELU, alpha=1.0)),
    "Expand": _expand,
    "Gelu": _activation(_named(layers.GELU, approximate="none")),
    "HardSigmoid": _activation(_named(layers.Hardsigmoid, alpha=0.2, beta=0.5)),
    "HardSwish": _activation(lambda op: layers.Hardswish()),
    "Identity": lambda op: op.operand(0),
    "LeakyRelu": _activation(lambda op: layers.LeakyReLU(op.setting("alpha", 0.01))),
    "LogSoftmax": _softmax(layers.LogSoftmax),
    "Mish": _activation(lambda op: layers.Mish()),
    "Mul": _arithmetic("Multiply"),
    "Neg": _activation(lambda op: layers.Affine(-1.0)),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": _activation(lambda op: layers.Reciprocal(1.0)),
    "Relu": _activation(lambda op: layers.ReLU()),
    "Selu": _activation(_named(layers.SELU, alpha=1.6732632423543772, gamma=1.0507009873554805)),
    "Sigmoid": _activation(lambda op: layers.Sigmoid()),
    "Softmax": _softmax(layers.Softmax),
    "Softplus": _activation(lambda op: layers.Softplus()),
    "Softsign": _activation(lambda op: layers.Softsign()),
    "Sqrt": _activation(lambda op: layers.Power(0.5)),
    "Sub": _arithmetic("Subtract"),
    "Sum": _arithmetic("Add"),
    "Tanh": _activation(lambda op: layers.Tanh()),
}
