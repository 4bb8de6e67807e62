"""Matrix products: Gemm, MatMul."""

from __future__ import annotations

import numpy as np

from cnnlib import layers
from cnnlib.errors import FileFormatError
from cnnlib.graph import Node
from cnnlib.onnx.operators.elementwise import broadcast, combined, plus
from cnnlib.onnx.reading import Array, MixesSamples, Operation, OperatorReader, Value, filled, placed, shown

__all__ = ["READERS"]


def _gemm(op: Operation) -> Value:
    """Y = alpha A B + beta C, A and B transposed as asked for."""
    x, weight = op.x(), op.array(1)
    if weight.ndim != 2 or len(op.shape(x)) != 2:
        raise FileFormatError(f"Gemm of arrays of {shown(op.shape(x))} and {weight.shape}")
    if op.setting("transA", 0):
        if op.batched:
            raise MixesSamples("Gemm with transA takes the samples of a batch (axis 0) as features")
        x = placed(layers.Permute((2, 1)), x)
    weight = (weight if op.setting("transB", 0) else weight.T) * weight.dtype.type(op.setting("alpha", 1.0))
    beta = op.setting("beta", 1.0)
    if op.has(2) and isinstance(summand := op.reader.values.get(op.node.input[2]), Node):
        return combined(op, "Add", _projected(op, x, weight, None), placed(layers.Affine(beta), summand))
    bias = op.array(2) * weight.dtype.type(beta) if op.has(2) else None
    if bias is not None and bias.shape in ((), (1,), (len(weight),), (1, 1), (1, len(weight))):
        return _projected(op, x, weight, np.broadcast_to(bias.reshape(-1), len(weight)))
    y = _projected(op, x, weight, None)
    return y if bias is None else plus(op, y, bias)


def _matmul(op: Operation) -> Value:
    a, b = op.operand(0), op.operand(1)
    if isinstance(a, Node) and not isinstance(b, Node) and b.ndim == 2:
        return _projected(op, a, b.T, None)
    if not isinstance(a, Node) or not isinstance(b, Node):
        op.x(0)
        op.array(1)
        raise FileFormatError(f"MatMul of a computed array and a constant of {shown(op.shape(b))}, expected a matrix")
    left, right = list(op.shape(a)), list(op.shape(b))
    if op.batched and (len(left) < 3 or len(left) != len(right)):
        raise MixesSamples("MatMul multiplies the samples of a batch (axis 0) with each other")
    # A vector is a row on the left, a column on the right; the axis that it gets goes again.
    result = [*(left[-2:-1]), *(right[-1:] if len(right) > 1 else [])]
    if len(left) == 1:
        a, left, result = op.reshaped(a, [1, *left]), [1, *left], right[-1:] if len(right) > 1 else []
    if len(right) == 1:
        b, right = op.reshaped(b, [*right, 1]), [*right, 1]
    try:
        lead = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise FileFormatError(f"MatMul of arrays of shapes {left} and {right}") from None
    product = placed(layers.MatMul(), broadcast(op, a, (*lead, *left[-2:])), broadcast(op, b, (*lead, *right[-2:])))
    return op.reshaped(product, (*lead, *result))


def _projected(op: Operation, x: Node, weight: Array, bias: Array | None) -> Node:
    """Return the last axis of `x` multiplied by `weight`, outputs × inputs, plus `bias`."""
    outputs, inputs = weight.shape
    if not x.shape or x.shape[-1] != inputs:
        raise FileFormatError(f"an array of {shown(op.shape(x))} times a matrix of {inputs} × {outputs}")
    if len(x.shape) == 1:
        linear = layers.Linear(inputs, outputs, bias is not None, dtype=op.dtype)
        return placed(filled(linear, weight=weight, bias=bias), x)
    # Every other axis is a position, at which a convolution of kernel size 1 does the same.
    rows = op.reshaped(x, (*op.shape(x)[: 1 if op.batched else 0], int(np.prod(x.shape[:-1])), inputs))
    conv = layers.Conv1d(inputs, outputs, 1, bias=bias is not None, dtype=op.dtype)
    columns = placed(filled(conv, weight=weight, bias=bias), placed(layers.Permute((2, 1)), rows))
    return op.reshaped(placed(layers.Permute((2, 1)), columns), (*op.shape(x)[:-1], outputs))


READERS: dict[str, OperatorReader] = {"Gemm": _gemm, "MatMul": _matmul}
