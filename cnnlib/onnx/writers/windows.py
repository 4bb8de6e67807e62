"""Windows that move over an image, what changes its size, and pixels that become channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib import layers
from cnnlib.functional.padding import read_places
from cnnlib.interpolation import taps
from cnnlib.layers import Layer
from cnnlib.onnx.writing import LayerWriter, Writer

__all__ = ["WRITERS"]


def _conv(to: Writer, layer: Any, xs: list[str], operator: str = "Conv", **attributes: Any) -> str:
    kernels, strides, paddings, dilations = layer.sizes()
    constants = [to.constant("weight", layer.weight.data)]
    if layer.bias is not None:
        constants.append(to.constant("bias", layer.bias.data))
    return to.node(
        operator,
        *xs,
        *constants,
        kernel_shape=kernels,
        strides=strides,
        pads=paddings * 2,
        dilations=dilations,
        group=layer.groups,
        **attributes,
    )


def _conv_transpose(to: Writer, layer: Any, xs: list[str]) -> str:
    return _conv(to, layer, xs, "ConvTranspose", output_padding=layer.extra())


def _windows(to: Writer, layer: Any) -> dict[str, list[int]]:
    """The attributes that say where a pool's windows are: so much padding at the far sides as the last ones reach over.

    That makes the outputs that the layer makes, rounded down or up; ONNX's ceil_mode has changed between versions.
    """
    axes = layer.geometry[-layer.axes :]
    kernels, strides, befores, _, _ = map(list, zip(*axes, strict=True))
    afters = [
        max(0, (output - 1) * axis.stride + axis.reach - axis.before - size)
        for axis, size, output in zip(axes, to.shape[1:], layer.output_shape(to.shape)[1:], strict=True)
    ]
    return {"kernel_shape": kernels, "strides": strides, "pads": befores + afters}


def _dilations(layer: Any) -> list[int]:
    return [axis.dilation for axis in layer.geometry[-layer.axes :]]


def _max_pool(to: Writer, layer: Any, xs: list[str]) -> str:
    return to.node("MaxPool", *xs, **_windows(to, layer), dilations=_dilations(layer))


def _avg_pool(to: Writer, layer: Any, xs: list[str]) -> str:
    window, axes = _windows(to, layer), layer.geometry[-layer.axes :]
    beyond = any(after > axis.after for after, axis in zip(window["pads"][layer.axes :], axes, strict=True))
    if max(_dilations(layer)) == 1 and not (layer.count_include_pad and beyond):
        return to.node("AveragePool", *xs, **window, count_include_pad=int(layer.count_include_pad))
    counts = np.ones(())
    for axis, size, output in zip(axes, to.shape[1:], layer.output_shape(to.shape)[1:], strict=True):
        counts = np.multiply.outer(counts, np.maximum(1, axis.counts(size, output, layer.count_include_pad)))
    return to.node("Div", _window_sums(to, layer, xs[0]), to.constant("counts", counts))


def _lp_pool(to: Writer, layer: Any, xs: list[str]) -> str:
    if isinstance(layer.norm_type, int) and max(_dilations(layer)) == 1:
        return to.node("LpPool", *xs, **_windows(to, layer), p=layer.norm_type)
    powers = to.node("Pow", to.node("Abs", *xs), to.constant("norm_type", layer.norm_type))
    return to.node("Pow", _window_sums(to, layer, powers), to.constant("root", 1 / layer.norm_type))


def _window_sums(to: Writer, layer: Any, x: str) -> str:
    """What this version of ONNX has no pool for: the sum of every window, as a convolution with ones."""
    channels, window = to.shape[0], _windows(to, layer)
    ones = to.constant("ones", np.ones((channels, 1, *window["kernel_shape"])))
    return to.node("Conv", x, ones, **window, dilations=_dilations(layer), group=channels)


def _pad(to: Writer, layer: Any, xs: list[str]) -> str:
    pairs = [(0, 0)] * (1 + len(to.shape) - len(layer.pairs)) + list(layer.pairs)
    sizes = (1, *to.shape)
    known = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}.get(layer.mode)
    # What this version of ONNX does not know, or leaves open, is a list of places to read.
    plain = all(0 <= end < size for size, ends in zip(sizes, pairs, strict=True) for end in ends)
    if layer.mode == "constant" or (known and plain):
        pads = to.constant("pads", [*(before for before, _ in pairs), *(after for _, after in pairs)], integers=True)
        return to.node("Pad", *xs, pads, to.constant("value", layer.filling), mode=known)
    x = xs[0]
    for axis, (size, (before, after)) in enumerate(zip(sizes, pairs, strict=True)):
        if before or after:
            places = to.constant(f"places_{axis}", read_places(size, before, after, layer.mode), integers=True)
            x = to.node("Gather", x, places, axis=axis)
    return x


def _resize(to: Writer, layer: Any, xs: list[str]) -> str:
    axes = layer.resized(to.shape)
    plain = layer.size is None and layer.roi is None and not (layer.rule.antialias or layer.rule.exclude_outside)
    exact = all(np.float32(axis.scale) == axis.scale and axis.output == axis.scale * axis.size for axis in axes)
    if plain and exact and layer.rule.coordinates in ("half_pixel", "pytorch_half_pixel", "asymmetric"):
        scales = np.array([1.0] * (1 + len(to.shape) - len(axes)) + [axis.scale for axis in axes], np.float32)
        how = {"mode": layer.rule.mode, "coordinate_transformation_mode": layer.rule.coordinates}
        return to.node("Resize", *xs, "", to.constant("scales", scales), nearest_mode=layer.rule.nearest_mode, **how)
    # What this version of ONNX does not know, or would round in its own way: one axis after the other, as a matrix.
    x, last = xs[0], len(to.shape)
    for number, axis in enumerate(axes, 1 + last - len(axes)):
        rows, _, outside = taps(axis, layer.rule)
        matrix = np.zeros((axis.size, axis.output))
        np.add.at(matrix, (rows.places, np.arange(axis.output)), rows.weights)
        order = [i for i in range(last + 1) if i != number]
        back = [*range(number), last, *range(number, last)]
        product = to.node(
            "MatMul", to.node("Transpose", x, perm=[*order, number]), to.constant(f"matrix_{number}", matrix)
        )
        if outside.any():
            inside = np.where(outside, 0, 1), np.where(outside, layer.extrapolation_value, 0)
            product = to.node("Mul", product, to.constant(f"inside_{number}", inside[0]))
            product = to.node("Add", product, to.constant(f"outside_{number}", inside[1]))
        x = to.node("Transpose", product, perm=back)
    return x


def _depth_to_space(to: Writer, layer: Any, xs: list[str]) -> str:
    return to.node("DepthToSpace", *xs, blocksize=layer.block, mode=layer.order)


def _space_to_depth(to: Writer, layer: Any, xs: list[str]) -> str:
    if layer.order == "DCR":
        return to.node("SpaceToDepth", *xs, blocksize=layer.block)
    channels, height, width = to.shape
    split = [0, channels, height // layer.block, layer.block, width // layer.block, layer.block]
    blocks = to.node("Reshape", *xs, to.constant("blocks", split, integers=True))
    moved = to.node("Transpose", blocks, perm=[0, 1, 3, 5, 2, 4])
    return to.node("Reshape", moved, to.constant("shape", [0, *layer.output_shape(to.shape)], integers=True))


def _adaptive(operator: str) -> LayerWriter:
    def write(to: Writer, layer: Any, xs: list[str]) -> str:
        """Bins of unequal sizes: each range of rows is reduced, then each of columns."""
        x = xs[0]
        for axis, (size, bins) in enumerate(zip(to.shape[1:], layer._size, strict=True), 2):
            parts = []
            for i in range(bins):
                ends = {"starts": i * size // bins, "ends": -(-(i + 1) * size // bins), "axes": axis}
                cut = [to.constant(f"{key}_{axis}_{i}", [value], integers=True) for key, value in ends.items()]
                parts.append(to.node(operator, to.node("Slice", x, *cut), axes=[axis], keepdims=1))
            x = to.node("Concat", *parts, axis=axis)
        return x

    return write


WRITERS: dict[type[Layer], LayerWriter] = {
    layers.AdaptiveAvgPool2d: _adaptive("ReduceMean"),
    layers.AdaptiveMaxPool2d: _adaptive("ReduceMax"),
    layers.AvgPool1d: _avg_pool,
    layers.AvgPool2d: _avg_pool,
    layers.Conv1d: _conv,
    layers.Conv2d: _conv,
    layers.ConvTranspose1d: _conv_transpose,
    layers.ConvTranspose2d: _conv_transpose,
    layers.DepthToSpace: _depth_to_space,
    layers.GlobalAvgPool2d: lambda to, layer, xs: to.node("Flatten", to.node("GlobalAveragePool", *xs), axis=1),
    layers.GlobalMaxPool2d: lambda to, layer, xs: to.node("Flatten", to.node("GlobalMaxPool", *xs), axis=1),
    layers.LPPool1d: _lp_pool,
    layers.LPPool2d: _lp_pool,
    layers.MaxPool1d: _max_pool,
    layers.MaxPool2d: _max_pool,
    layers.Pad: _pad,
    layers.PixelShuffle: _depth_to_space,
    layers.PixelUnshuffle: _space_to_depth,
    layers.Resize: _resize,
    layers.SpaceToDepth: _space_to_depth,
}
