"""Normalisations: of batches, instances, groups, layers, and across channels."""

from __future__ import annotations

from math import prod

import numpy as np

from cnnlib import layers
from cnnlib.errors import FileFormatError
from cnnlib.graph import Node
from cnnlib.onnx.operators.elementwise import plus, times
from cnnlib.onnx.reading import MixesSamples, Operation, OperatorReader, Value, filled, placed, shown

__all__ = ["READERS"]


def _batch_norm(op: Operation) -> Value | list[Value]:
    x = op.x()
    scale, bias, mean, var = (op.array(i) for i in range(1, 5))
    if op.setting("training_mode", 0):
        return _batch_norm_of_batch(op, x)
    op.needs_batch()
    if not x.shape or {array.size for array in (scale, bias, mean, var)} != {x.shape[0]}:
        raise FileFormatError(f"BatchNormalization of {shown(op.shape(x))} with {scale.size} channels")
    eps, momentum = op.setting("epsilon", 1e-5), 1 - op.setting("momentum", 0.9)
    kind = layers.BatchNorm2d if len(x.shape) == 3 else layers.BatchNorm1d
    norm = kind(x.shape[0], eps, momentum, dtype=op.dtype)
    filled(norm, weight=scale, bias=bias, running_mean=mean, running_var=var)
    if len(x.shape) <= 3:
        return placed(norm, x)
    shape = op.shape(x)
    return op.reshaped(placed(norm, op.reshaped(x, (*shape[:2], prod(shape[2:])))), shape)


def _batch_norm_of_batch(op: Operation, x: Node) -> list[Value]:
    """y and the new running estimates, of the statistics of the batch, which is a part of the one sample here."""
    scale, bias, mean, var = (op.array(i) for i in range(1, 5))
    if op.batched:
        raise MixesSamples(
            "BatchNormalization in training mode computes across the samples of a batch (axis 0): export in evaluation "
            "mode, after model.eval()"
        )
    channels, momentum = x.shape[1], op.setting("momentum", 0.9)
    axes = [axis for axis in range(1, len(x.shape) + 1) if axis != 2]
    shape = (1, channels, *(1 for _ in x.shape[2:]))
    own_mean, own_var, centred, inverse = _moments(x, axes, op.setting("epsilon", 1e-5))
    normed = placed(layers.Multiply(), centred, placed(layers.Expand(x.shape), inverse))
    y = plus(op, times(op, normed, scale.reshape(shape)), bias.reshape(shape))
    moved = [
        plus(op, placed(layers.Affine(1 - momentum), op.reshaped(own, (channels,))), old * momentum)
        for own, old in ((own_mean, mean), (own_var, var))
    ]
    return [y, *moved]


def _moments(x: Node, axes: list[int], eps: float) -> tuple[Node, Node, Node, Node]:
    """Return μ, σ², x - μ and 1/√(σ² + ε) along axes, which stay."""
    mean = placed(layers.Mean(axes, keepdims=True), x)
    centred = placed(layers.Subtract(), x, placed(layers.Expand(x.shape), mean))
    var = placed(layers.Mean(axes, keepdims=True), placed(layers.Multiply(), centred, centred))
    return mean, var, centred, placed(layers.Power(-0.5), placed(layers.Affine(1.0, eps), var))


def _instance_norm(op: Operation) -> Value:
    x = op.x()
    op.image(x, len(x.shape) - 1)
    kind = layers.InstanceNorm2d if len(x.shape) == 3 else layers.InstanceNorm1d
    norm = kind(x.shape[0], op.setting("epsilon", 1e-5), affine=True, dtype=op.dtype)
    return placed(filled(norm, weight=op.array(1), bias=op.array(2)), x)


def _group_norm(op: Operation) -> Value:
    x, groups = op.x(), op.setting("num_groups", 1)
    op.needs_batch()
    weight, bias = op.array(1), op.array(2)
    if op.opset < 21:  # then one of each for a group
        weight, bias = (np.repeat(array, x.shape[0] // max(groups, 1)) for array in (weight, bias))
    norm = layers.GroupNorm(groups, x.shape[0], op.setting("epsilon", 1e-5), dtype=op.dtype)
    return placed(filled(norm, weight=weight, bias=bias), x)


def _layer_norm(op: Operation) -> list[Value]:
    x, eps = op.x(), op.setting("epsilon", 1e-5)
    rank = len(op.shape(x))
    first = op.axis(op.setting("axis", -1), rank)
    normed = x.shape[first - 1 :]
    norm = layers.LayerNorm(normed, eps, bias=op.has(2), dtype=op.dtype)
    y = placed(filled(norm, weight=op.array(1), bias=op.array(2) if op.has(2) else None), x)
    outputs: list[Value] = [y]
    if op.wants(1) or op.wants(2):
        axes = list(range(first, len(x.shape) + 1))
        mean, _, _, inverse = _moments(x, axes, eps)
        outputs += [mean, inverse]
    return outputs


def _lrn(op: Operation) -> Value:
    op.needs_batch()
    size = op.setting("size")
    if size is None:
        raise FileFormatError("LRN without a size")
    alpha, beta, k = op.setting("alpha", 1e-4), op.setting("beta", 0.75), op.setting("bias", 1.0)
    norm, x = layers.LocalResponseNorm(size, alpha, beta, k), op.x()
    if size % 2:
        return placed(norm, x)
    # PyTorch's window of an even size has more channels before its own, ONNX's more after it.
    backwards = [(None, None, -1)]
    return placed(layers.Slice(backwards), placed(norm, placed(layers.Slice(backwards), x)))


READERS: dict[str, OperatorReader] = {
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
}
