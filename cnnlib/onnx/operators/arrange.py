"""Elements moved, chosen and repeated: Reshape, Transpose, Concat, Slice, Pad, Resize and their kin."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from cnnlib import layers
from cnnlib.errors import FileFormatError, UnsupportedError
from cnnlib.graph import Node
from cnnlib.onnx.reading import Array, MixesSamples, Operation, OperatorReader, Value, placed

__all__ = ["READERS"]


def _shape(op: Operation) -> Array:
    sizes = op.reader.shape(op.node.input[0])
    return np.array(sizes[op.setting("start", 0) : op.setting("end", None)], np.int64)


def _constant_of_shape(op: Operation) -> Value:
    op.array(0)
    raise UnsupportedError("ConstantOfShape of a computed shape")


def _reshape(op: Operation) -> Value:
    x, target = op.x(), op.ints("shape", 1)
    if target is None:
        raise FileFormatError("Reshape without a shape")
    own = op.shape(x)
    if not op.setting("allowzero", 0):
        if any(size == 0 and axis >= len(own) for axis, size in enumerate(target)):
            raise FileFormatError(f"shape {target}: 0 stands for a size of the input, which is {own}")
        target = [own[axis] if size == 0 else size for axis, size in enumerate(target)]
    if -1 in target:
        rest = prod(size for size in target if size != -1)
        target = [prod(own) // max(rest, 1) if size == -1 else size for size in target]
    return op.reshaped(x, target)


def _flatten(op: Operation) -> Value:
    own = op.shape(op.x())
    axis = op.setting("axis", 1)
    axis = axis + len(own) if axis < 0 else axis
    return op.reshaped(op.x(), (prod(own[:axis]), prod(own[axis:])))


def _squeeze(op: Operation) -> Value:
    own, axes = op.shape(op.x()), op.ints("axes", 1)
    gone = [a for a, size in enumerate(own) if size == 1] if axes is None else [a % max(len(own), 1) for a in axes]
    return op.reshaped(op.x(), [size for axis, size in enumerate(own) if axis not in gone])


def _unsqueeze(op: Operation) -> Value:
    axes = op.ints("axes", 1) or []
    target = list(op.shape(op.x()))
    rank = len(target) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        target.insert(axis, 1)
    return op.reshaped(op.x(), target)


def _transpose(op: Operation) -> Value:
    rank = len(op.shape(op.x()))
    order = op.setting("perm") or list(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        raise FileFormatError(f"perm = {order} of an array with {rank} axes")
    if op.batched and order[0] != 0:
        raise MixesSamples("Transpose moves axis 0, the samples of a batch")
    order = list(order[1:]) if op.batched else [axis + 1 for axis in order]
    return op.x() if order == sorted(order) else placed(layers.Permute(order), op.x())


def _concat(op: Operation) -> Value:
    given = [op.operand(i) for i in range(len(op))]
    values = [op.x(i) for i, value in enumerate(given) if isinstance(value, Node) or value.size]
    axis = op.axis(op.setting("axis", 1), len(op.shape(values[0])))
    return values[0] if len(values) == 1 else placed(layers.Concat(axis), *values)


def _split(op: Operation) -> list[Value]:
    x = op.x()
    outputs = len(op.node.output)
    own = op.shape(x)
    axis = op.setting("axis", 0)
    size = own[axis]
    sizes = op.ints("split", 1)
    if sizes is None:
        each = -(-size // outputs)
        sizes = [max(0, min(each, size - i * each)) for i in range(outputs)]
    if sum(sizes) != size or len(sizes) != outputs:
        raise FileFormatError(f"{size} elements cannot be split into {sizes}")
    at = op.axis(axis, len(own)) - 1
    ends = np.cumsum(sizes).tolist()
    return [
        placed(layers.Slice([*[None] * at, (end - part, end)]), x)
        if part
        else np.empty((*own[:axis], 0, *own[axis:][1:]), op.dtype)
        for part, end in zip(sizes, ends, strict=True)
    ]


def _slice(op: Operation) -> Value:
    x = op.x()
    own = op.shape(x)
    starts, ends = op.ints("starts", 1), op.ints("ends", 2)
    if starts is None or ends is None:
        raise FileFormatError("Slice without starts or ends")
    axes, steps = op.ints("axes", 3), op.ints("steps", 4)
    ranges: list[tuple[int, int | None, int] | None] = [None] * len(own)
    target = list(own)
    given = zip(starts, ends, axes or range(len(starts)), steps or [1] * len(starts), strict=True)
    for start, end, axis, step in given:
        # ONNX clamps the ends to the array, as Python does: of a backward range, -1 - size is before the first.
        first, last, stride = slice(start, end, step).indices(own[axis])
        target[axis] = len(range(first, last, stride))
        ranges[axis] = None if target[axis] == own[axis] and step == 1 else (first, last if last >= 0 else None, stride)
    if 0 in target:
        return np.empty(target, op.dtype)
    if op.batched and ranges[0] is not None:
        raise MixesSamples("Slice takes some of the samples of a batch (axis 0)")
    wanted = ranges[1:] if op.batched else ranges
    return x if not any(wanted) else placed(layers.Slice(wanted), x)


def _gather(op: Operation) -> Value:
    x = op.x()
    axis = op.axis(op.setting("axis", 0), len(op.shape(x)))
    return placed(layers.Take(op.array(1), axis), x)


def _reduction(kind: Any) -> OperatorReader:
    def read(op: Operation) -> Value:
        x = op.x()
        rank = len(op.shape(x))
        axes = op.ints("axes", 1)
        if not axes:
            if op.setting("noop_with_empty_axes", 0):
                return x
            axes = list(range(rank))
        return placed(kind([op.axis(axis, rank) for axis in axes], bool(op.setting("keepdims", 1))), x)

    return read


def _argmax(op: Operation) -> Value:
    axis = op.axis(op.setting("axis", 0), len(op.shape(op.x())))
    return placed(
        layers.ArgMax(axis, bool(op.setting("keepdims", 1)), bool(op.setting("select_last_index", 0))), op.x()
    )


READERS: dict[str, OperatorReader] = {
    "ArgMax": _argmax,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Flatten": _flatten,
    "Gather": _gather,
    "ReduceMax": _reduction(layers.Max),
    "ReduceMean": _reduction(layers.Mean),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
