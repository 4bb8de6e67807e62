"""Elements moved, chosen and reduced; matrix products."""

from __future__ import annotations

from typing import Any

from cnnlib import layers
from cnnlib.layers import Layer
from cnnlib.onnx.writing import LayerWriter, Writer, plain

__all__ = ["WRITERS"]


def _argmax(to: Writer, layer: Any, xs: list[str]) -> str:
    settings = {"axis": layer.axis, "keepdims": int(layer.keepdims), "select_last_index": int(layer.last)}
    return to.node("Cast", to.node("ArgMax", *xs, **settings), to=to.kind)


def _reduce(operator: str) -> LayerWriter:
    return lambda to, layer, xs: to.node(operator, *xs, axes=list(layer.axis), keepdims=int(layer.keepdims))


def _expand(to: Writer, layer: Any, xs: list[str]) -> str:
    aligned = [0, *(1 for _ in layer.shape[len(to.shape) :]), *to.shape]
    x = to.node("Reshape", *xs, to.constant("aligned", aligned, integers=True))
    return to.node("Expand", x, to.constant("shape", [1, *layer.shape], integers=True))


def _reshape(to: Writer, layer: Any, xs: list[str]) -> str:
    return to.node("Reshape", *xs, to.constant("shape", [0, *layer.output_shape(to.shape)], integers=True))


def _slice(to: Writer, layer: Any, xs: list[str]) -> str:
    cuts = [one.indices(size) for one, size in zip(layer.slices, to.shape, strict=False)]
    # Of a backward range that takes the first element, too, the end lies before it: -1 would be the last.
    ends = [stop if stop >= 0 else -size - 1 for (_, stop, _), size in zip(cuts, to.shape, strict=False)]
    given = {
        "starts": [start for start, _, _ in cuts],
        "ends": ends,
        "axes": list(range(1, len(cuts) + 1)),
        "steps": [step for _, _, step in cuts],
    }
    return to.node("Slice", *xs, *(to.constant(name, value, integers=True) for name, value in given.items()))


def _take(to: Writer, layer: Any, xs: list[str]) -> str:
    return to.node("Gather", *xs, to.constant("indices", layer.indices, integers=True), axis=layer.axis)


def _linear(to: Writer, layer: Any, xs: list[str]) -> str:
    constants = [to.constant("weight", layer.weight.data)]
    if layer.bias is not None:
        constants.append(to.constant("bias", layer.bias.data))
    return to.node("Gemm", *xs, *constants, transB=1)


WRITERS: dict[type[Layer], LayerWriter] = {
    layers.ArgMax: _argmax,
    layers.Concat: lambda to, layer, xs: to.node("Concat", *xs, axis=layer.axis),
    layers.Expand: _expand,
    layers.Flatten: plain("Flatten", axis=1),
    layers.Linear: _linear,
    layers.MatMul: plain("MatMul"),
    layers.Max: _reduce("ReduceMax"),
    layers.Mean: _reduce("ReduceMean"),
    layers.Permute: lambda to, layer, xs: to.node("Transpose", *xs, perm=[0, *layer.dims]),
    layers.Reshape: _reshape,
    layers.Slice: _slice,
    layers.Take: _take,
}
