"""Element by element: activations, arithmetic, dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cnnlib import layers
from cnnlib.layers import Layer
from cnnlib.onnx.writing import LayerWriter, Writer, chain, plain, with_constant

__all__ = ["WRITERS"]


def _prelu(to: Writer, layer: Any, xs: list[str]) -> str:
    slope = layer.weight.data
    if slope.size > 1:
        slope = slope.reshape(-1, *(1 for _ in to.shape[1:]))
    return to.node("PRelu", *xs, to.constant("weight", slope))


def _affine(to: Writer, layer: Any, xs: list[str]) -> str:
    scaled = to.node("Mul", *xs, to.constant("scale", layer.scale))
    return to.node("Add", scaled, to.constant("offset", layer.offset))


def _softplus(to: Writer, layer: Any, xs: list[str]) -> str:
    scaled = xs[0] if layer.beta == 1 else to.node("Mul", *xs, to.constant("beta", layer.beta))
    y = to.node("Softplus", scaled)
    if layer.beta != 1:
        y = to.node("Div", y, to.constant("beta", layer.beta))
    above = to.node("Greater", scaled, to.constant("threshold", layer.threshold))
    return to.node("Where", above, *xs, y)


def _hardtanh(to: Writer, layer: Any, xs: list[str]) -> str:
    bounds = (("min", layer.min_val), ("max", layer.max_val))
    return to.node("Clip", *xs, *("" if value is None else to.constant(name, value) for name, value in bounds))


def _gelu(to: Writer, layer: Any, xs: list[str]) -> str:
    """The operator Gelu came later, with opset 20."""
    one, half = to.constant("one", 1.0), to.constant("half", 0.5)
    if layer.approximate == "tanh":
        cube = to.node("Mul", *xs, to.node("Mul", *xs, *xs))
        line = to.node("Add", *xs, to.node("Mul", cube, to.constant("cubic", 0.044715)))
        bent = to.node("Tanh", to.node("Mul", line, to.constant("slope", math.sqrt(2 / math.pi))))
    else:
        bent = to.node("Erf", to.node("Mul", *xs, to.constant("slope", math.sqrt(0.5))))
    return to.node("Mul", to.node("Mul", *xs, half), to.node("Add", bent, one))


def _gated(*operators: str) -> LayerWriter:
    def write(to: Writer, layer: Any, xs: list[str]) -> str:
        gate = xs[0]
        for operator in operators:
            gate = to.node(operator, gate)
        return to.node("Mul", *xs, gate)

    return write


def _cast(to: Writer, layer: Any, xs: list[str]) -> str:
    from onnx import helper

    return to.node("Cast", to.node("Cast", *xs, to=helper.np_dtype_to_tensor_dtype(np.dtype(layer.to))), to=to.kind)


WRITERS: dict[type[Layer], LayerWriter] = {
    layers.Add: chain("Add"),
    layers.Affine: _affine,
    layers.Bias: with_constant("Add", "bias"),
    layers.Cast: _cast,
    layers.Divide: chain("Div"),
    layers.Dropout: lambda to, layer, xs: xs[0],
    layers.ELU: lambda to, layer, xs: to.node("Elu", *xs, alpha=layer.alpha),
    layers.GELU: _gelu,
    layers.Hardsigmoid: lambda to, layer, xs: to.node("HardSigmoid", *xs, alpha=layer.alpha, beta=layer.beta),
    layers.Hardswish: plain("HardSwish"),
    layers.Hardtanh: _hardtanh,
    layers.LeakyReLU: lambda to, layer, xs: to.node("LeakyRelu", *xs, alpha=layer.negative_slope),
    layers.LogSoftmax: lambda to, layer, xs: to.node("LogSoftmax", *xs, axis=layer.dim),
    layers.Mish: _gated("Softplus", "Tanh"),
    layers.Multiply: chain("Mul"),
    layers.PReLU: _prelu,
    layers.Power: with_constant("Pow", "exponent"),
    layers.ReLU: plain("Relu"),
    layers.Reciprocal: lambda to, layer, xs: to.node("Div", to.constant("numerator", layer.numerator), *xs),
    layers.SELU: lambda to, layer, xs: to.node("Selu", *xs, alpha=layer.alpha, gamma=layer.gamma),
    layers.Scale: with_constant("Mul", "weight"),
    layers.SiLU: _gated("Sigmoid"),
    layers.Sigmoid: plain("Sigmoid"),
    layers.Softmax: lambda to, layer, xs: to.node("Softmax", *xs, axis=layer.dim),
    layers.Softplus: _softplus,
    layers.Softsign: plain("Softsign"),
    layers.Subtract: chain("Sub"),
    layers.Tanh: plain("Tanh"),
}
