"""Normalisations: of batches, instances, groups, layers, across channels, and of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib import layers
from cnnlib.errors import ConfigError
from cnnlib.graph import Shape
from cnnlib.layers import Layer
from cnnlib.onnx.writing import LayerWriter, Writer

__all__ = ["WRITERS"]


def _batch_norm(to: Writer, layer: Any, xs: list[str]) -> str:
    if layer.test_statistics != "running":
        raise ConfigError(
            f"layer {to.layer!r} takes the statistics of each batch, which ONNX does not know at inference: "
            "model.eval(bn_stats='running') before the export"
        )
    ones, zeros = np.ones(layer.num_features), np.zeros(layer.num_features)
    constants = {
        "weight": layer.weight.data if layer.affine else ones,
        "bias": layer.bias.data if layer.affine else zeros,
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
    }
    named = [to.constant(name, value) for name, value in constants.items()]
    return to.node("BatchNormalization", *xs, *named, epsilon=layer.eps)


def _standardize(to: Writer, layer: Any, xs: list[str]) -> str:
    mean, std = (to.constant(name, array) for name, array in layer.buffers().items())
    return to.node("Div", to.node("Sub", *xs, mean), std)


def _ones_and_zeros(to: Writer, layer: Any, shape: Shape) -> tuple[str, str]:
    """The names of a normalisation's weight and bias, or of ones and zeros in their place."""
    weight = to.constant("weight", np.ones(shape) if layer.weight is None else layer.weight.data)
    return weight, to.constant("bias", np.zeros(shape) if layer.bias is None else layer.bias.data)


def _instance_norm(to: Writer, layer: Any, xs: list[str]) -> str:
    parameters = _ones_and_zeros(to, layer, (layer.num_features,))
    return to.node("InstanceNormalization", *xs, *parameters, epsilon=layer.eps)


def _layer_norm(to: Writer, layer: Any, xs: list[str]) -> str:
    parameters = _ones_and_zeros(to, layer, layer.normalized_shape)
    axis = -len(layer.normalized_shape)
    return to.node("LayerNormalization", *xs, *parameters, axis=axis, epsilon=layer.eps)


def _group_norm(to: Writer, layer: Any, xs: list[str]) -> str:
    """The operator came later, with opset 18: groups as channels of an instance normalisation."""
    groups = (layer.num_groups,)
    one, zero = to.constant("one", np.ones(groups)), to.constant("zero", np.zeros(groups))
    grouped = to.node("Reshape", *xs, to.constant("groups", [0, layer.num_groups, -1], integers=True))
    normal = to.node("InstanceNormalization", grouped, one, zero, epsilon=layer.eps)
    y = to.node("Reshape", normal, to.constant("shape", [0, *to.shape], integers=True))
    if layer.weight is None:
        return y
    each = layer.num_channels, *(1 for _ in to.shape[1:])
    weight, bias = (to.constant(name, getattr(layer, name).data.reshape(each)) for name in ("weight", "bias"))
    return to.node("Add", to.node("Mul", y, weight), bias)


def _local_response(to: Writer, layer: Any, xs: list[str]) -> str:
    """ONNX's window of an even size lies one channel further on than ours: then an average of squares is written."""
    if layer.size % 2 and len(to.shape) == 3:
        return to.node("LRN", *xs, size=layer.size, alpha=layer.alpha, beta=layer.beta, bias=layer.k)
    squares = to.node("Mul", *xs, *xs)
    rows = to.node("Reshape", squares, to.constant("rows", [0, 1, to.shape[0], -1], integers=True))
    pads = [layer.size // 2, 0, (layer.size - 1) // 2, 0]
    means = to.node("AveragePool", rows, kernel_shape=[layer.size, 1], pads=pads, count_include_pad=1)
    shaped = to.node("Reshape", means, to.constant("shape", [0, *to.shape], integers=True))
    scaled = to.node("Mul", shaped, to.constant("alpha", layer.alpha))
    d = to.node("Add", scaled, to.constant("k", layer.k))
    return to.node("Div", *xs, to.node("Pow", d, to.constant("beta", layer.beta)))


WRITERS: dict[type[Layer], LayerWriter] = {
    layers.BatchNorm1d: _batch_norm,
    layers.BatchNorm2d: _batch_norm,
    layers.GroupNorm: _group_norm,
    layers.InstanceNorm1d: _instance_norm,
    layers.InstanceNorm2d: _instance_norm,
    layers.LayerNorm: _layer_norm,
    layers.LocalResponseNorm: _local_response,
    layers.Standardize: _standardize,
}
