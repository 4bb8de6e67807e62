"""Windows that move over an image: Conv, ConvTranspose, the pools; and what changes an image's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlib import layers
from cnnlib.errors import FileFormatError, UnsupportedError
from cnnlib.graph import Node
from cnnlib.layers import Layer
from cnnlib.onnx.indices import MaxPoolIndices
from cnnlib.onnx.operators.elementwise import times
from cnnlib.onnx.reading import Operation, OperatorReader, Value, filled, placed, shown

__all__ = ["READERS"]


@dataclass
class Windows:
    """Where windows lie, axis by axis: kernel, stride, dilation, and padding before and after."""

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    before: list[int]
    after: list[int]

    @property
    def symmetric(self) -> bool:
        """Whether there is as much padding after the image as before it."""
        return self.before == self.after

    @property
    def spans(self) -> list[int]:
        """How far each window reaches."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]


def _windows(op: Operation, kernel: Sequence[int] | None, sizes: Sequence[int]) -> Windows:
    """Return the windows of a Conv or a pool over an image of these sizes."""
    if kernel is None:
        raise FileFormatError(f"{op.kind} without a kernel_shape")
    axes = len(sizes)
    ones = [1] * axes
    found = Windows(
        list(kernel), list(op.setting("strides") or ones), list(op.setting("dilations") or ones), [0] * axes, [0] * axes
    )
    pads = list(op.setting("pads") or [0] * 2 * axes)
    if {len(kernel), len(found.stride), len(found.dilation)} != {axes} or len(pads) != 2 * axes:
        raise FileFormatError(f"{op.kind}: the attributes do not all have {axes} axes, those of the image")
    if min(*kernel, *found.stride, *found.dilation) < 1:
        raise FileFormatError(f"{op.kind}: kernel {kernel}, stride {found.stride}, dilation {found.dilation}")
    auto = op.setting("auto_pad", "NOTSET")
    if auto == "NOTSET":
        found.before, found.after = pads[:axes], pads[axes:]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        for axis, (size, stride, span) in enumerate(zip(sizes, found.stride, found.spans, strict=True)):
            total = max(0, (-(-size // stride) - 1) * stride + span - size)
            found.before[axis] = (total + (auto == "SAME_LOWER")) // 2
            found.after[axis] = total - found.before[axis]
    elif auto != "VALID":
        raise FileFormatError(f"{op.kind}: auto_pad = {auto!r}")
    return found


def _conv(op: Operation) -> Value:
    x, weight = op.x(), op.array(1)
    bias = op.array(2) if op.has(2) else None
    axes, groups = weight.ndim - 2, op.setting("group", 1)
    op.image(x, axes)
    at = _windows(op, op.setting("kernel_shape") or weight.shape[2:], x.shape[1:])
    if tuple(at.kernel) != weight.shape[2:] or groups < 1 or weight.shape[1] * groups != x.shape[0]:
        raise FileFormatError(f"a weight of shape {weight.shape} in {groups} group(s) for an image {x.shape}")
    padding = at.before
    if not at.symmetric:
        x, padding = _padded(x, at.before, at.after), [0] * axes
    kind: Any = layers.Conv1d if axes == 1 else layers.Conv2d
    settings: list[Any] = [one[0] if axes == 1 else tuple(one) for one in (at.kernel, at.stride, padding, at.dilation)]
    layer = kind(x.shape[0], len(weight), *settings, groups, bias is not None, dtype=op.dtype)
    return placed(filled(layer, weight=weight, bias=bias), x)


def _conv_transpose(op: Operation) -> Value:
    x, weight = op.x(), op.array(1)
    bias = op.array(2) if op.has(2) else None
    axes, groups = weight.ndim - 2, op.setting("group", 1)
    op.image(x, axes)
    sizes = x.shape[1:]
    auto = op.setting("auto_pad", "NOTSET")
    at = _windows(op, op.setting("kernel_shape") or weight.shape[2:], sizes)
    extra = list(op.setting("output_padding") or [0] * axes)
    target = op.setting("output_shape")
    full = [s * (n - 1) + span for s, n, span in zip(at.stride, sizes, at.spans, strict=True)]
    if target is None and auto.startswith("SAME"):
        target = [n * s for n, s in zip(sizes, at.stride, strict=True)]
    if target is not None:
        total = [whole + more - wanted for whole, more, wanted in zip(full, extra, target, strict=True)]
        extra = [more - min(one, 0) for more, one in zip(extra, total, strict=True)]
        total = [max(one, 0) for one in total]
        halves = [-(-one // 2) if auto == "SAME_LOWER" else one // 2 for one in total]
        at.before, at.after = halves, [one - half for one, half in zip(total, halves, strict=True)]
    out = [whole + more - b - a for whole, more, b, a in zip(full, extra, at.before, at.after, strict=True)]
    if min(out) < 1 or min(at.before) < 0 or weight.shape[0] != x.shape[0]:
        raise FileFormatError(f"ConvTranspose of {shown(op.shape(x))} with a weight of {weight.shape} gives {out}")
    padding, added = at.before, extra
    if not at.symmetric:
        # All of it is computed, and cut.
        padding = [0] * axes
        added = [max(0, b + n - whole) for b, n, whole in zip(at.before, out, full, strict=True)]
    kind: Any = layers.ConvTranspose1d if axes == 1 else layers.ConvTranspose2d
    kernel, stride, pad, add, dilation = (
        one[0] if axes == 1 else tuple(one) for one in (at.kernel, at.stride, padding, added, at.dilation)
    )
    channels = weight.shape[1] * groups
    layer = kind(x.shape[0], channels, kernel, stride, pad, add, groups, bias is not None, dilation, dtype=op.dtype)
    y = placed(filled(layer, weight=weight, bias=bias), x)
    if at.symmetric:
        return y
    return placed(layers.Slice([None, *((b, b + n) for b, n in zip(at.before, out, strict=True))]), y)


def _pool(kind: str) -> OperatorReader:
    """Return what reads MaxPool, AveragePool or LpPool."""

    def read(op: Operation) -> Value | list[Value]:
        x = op.x()
        axes = len(x.shape) - 1
        op.image(x, axes)
        at = _windows(op, op.setting("kernel_shape"), x.shape[1:])
        if max(a - span for a, span in zip([*at.before, *at.after], at.spans * 2, strict=True)) >= 0:
            raise FileFormatError(f"{kind}: padding {at.before}, {at.after} of windows that reach {at.spans}")
        own = op.shape(x)
        image = op.reshaped(x, (*own[:2], 1, *own[2:])) if axes == 1 else x
        y, layer = _pooled(op, kind, image, at)
        outputs: list[Node] = [y]
        if op.wants(1):
            if not isinstance(layer, layers.MaxPool2d):
                raise FileFormatError(f"{kind} has one output")
            outputs.append(placed(MaxPoolIndices(layer, bool(op.setting("storage_order", 0))), image))
        return [op.reshaped(y, (*own[:2], y.shape[-1])) if axes == 1 else y for y in outputs]

    return read


def _pooled(op: Operation, kind: str, image: Node, at: Windows) -> tuple[Node, Layer]:
    """Return the pool of an image of two axes; `at` may have one, the second of them."""
    missing = 2 - len(at.kernel)
    kernel: Any
    stride: Any
    kernel, stride, dilation = (tuple([1] * missing + one) for one in (at.kernel, at.stride, at.dilation))
    before, after = [0] * missing + at.before, [0] * missing + at.after
    more: dict[str, Any] = {"dilation": dilation, "ceil_mode": bool(op.setting("ceil_mode", 0))}
    counted = kind == "AveragePool" and bool(op.setting("count_include_pad", 0))
    wide = any(2 * pad > size for pad, size in zip(before + after, kernel * 2, strict=True))
    mean_of_real = wide and kind == "AveragePool" and not counted
    padding: Any = (*before, *after)
    if wide:
        # Layers pad by at most half a window: the image is padded first.
        value = "-inf" if kind == "MaxPool" else 0.0
        image = placed(layers.Pad([(0, 0), *zip(before, after, strict=True)], "constant", value), image)
        padding, counted = (0, 0, 0, 0), counted or mean_of_real
    if padding[:2] == padding[2:]:
        padding = padding[:2]
    if kind == "MaxPool":
        layer: Any = layers.MaxPool2d(kernel, stride, padding, **more)
    elif kind == "AveragePool":
        layer = layers.AvgPool2d(kernel, stride, padding, count_include_pad=counted, **more)
    else:
        layer = layers.LPPool2d(op.setting("p", 2), kernel, stride, padding=padding, **more)
    y = placed(layer, image)
    if mean_of_real:
        # A mean over whole windows becomes that over their pixels: the same pool says which part of each is real.
        real = np.zeros((1, 1, *image.shape[1:]), op.dtype)
        height, width = image.shape[1:]
        real[..., before[0] : height - after[0], before[1] : width - after[1]] = 1
        y = times(op, y, 1 / layer.forward(real)[0])
    return y, layer


def _global_pool(kind: str) -> OperatorReader:
    """Return what reads the pools over a whole image, of any number of axes."""

    def read(op: Operation) -> Value:
        x = op.x()
        rank = len(op.shape(x))
        axes = [op.axis(axis, rank) for axis in range(2, rank)]
        if kind == "LpPool":
            op.image(x, 2)
            return placed(layers.LPPool2d(op.setting("p", 2), (x.shape[1], x.shape[2])), x)
        if kind == "Mean" and op.batched and len(x.shape) == 3:
            return placed(layers.AdaptiveAvgPool2d(1), x)
        return placed(layers.Mean(axes, True) if kind == "Mean" else layers.Max(axes, True), x)

    return read


def _padded(x: Node, before: Sequence[int], after: Sequence[int]) -> Node:
    """Return an image with zeros around it."""
    return placed(layers.Pad([(0, 0), *zip(before, after, strict=True)]), x)


def _pad(op: Operation) -> Value:
    x = op.x()
    rank = len(op.shape(x))
    pads, axes = op.ints("pads" if op.opset > 1 else "paddings", 1), op.ints("axes", 3)
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}.get(
        op.setting("mode", "constant")
    )
    axes = list(range(rank)) if axes is None else axes
    if pads is None or len(pads) != 2 * len(axes) or mode is None:
        raise FileFormatError(f"Pad by {pads} along the axes {axes}, mode {op.setting('mode')!r}")
    pairs = [(0, 0)] * len(x.shape)
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if before or after:
            pairs[op.axis(axis, rank) - 1] = (before, after)
    value = (op.number("value", 2) if op.opset >= 11 else op.setting("value")) or 0.0
    return x if not any(map(any, pairs)) else placed(layers.Pad(pairs, mode, _number(value)), x)


def _number(value: float) -> float | str:
    """Return a filling as the layer takes it, text if it is not finite."""
    return value if np.isfinite(value) else str(value)


def _resize(op: Operation) -> Value:
    x = op.x()
    own = op.shape(x)
    modern, scales = op.opset >= 11, None
    roi, scales, sizes = (op.array(i) if modern and op.has(i) and op.array(i).size else None for i in (1, 2, 3))
    if not modern:
        scales = op.array(1) if op.has(1) else np.array(op.setting("scales", []))
    axes = [axis % len(own) for axis in op.setting("axes") or range(len(own))]
    factors, targets = [1.0] * len(own), list(own)
    parts = [(0.0, 1.0)] * len(own)
    for i, axis in enumerate(axes):
        if roi is not None:
            parts[axis] = (float(roi[i]), float(roi[i + len(axes)]))
        if scales is not None:
            factors[axis] = float(scales[i])
            targets[axis] = int(np.floor(own[axis] * factors[axis]))
        elif sizes is not None:
            targets[axis] = int(sizes[i])
            factors[axis] = targets[axis] / own[axis]
    policy = op.setting("keep_aspect_ratio_policy", "stretch")
    if sizes is not None and policy != "stretch":
        factor = (min if policy == "not_larger" else max)(factors[axis] for axis in axes)
        for axis in axes:
            factors[axis], targets[axis] = factor, int(np.floor(own[axis] * factor + 0.5))
    mode = op.setting("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise UnsupportedError(f"Resize in mode {mode!r}")
    transformation = op.setting("coordinate_transformation_mode", "half_pixel") if modern else "asymmetric"
    cropped = transformation == "tf_crop_and_resize"
    changed = [
        axis
        for axis in range(len(own))
        if targets[axis] != own[axis] or (cropped and parts[axis] != (0.0, 1.0)) or factors[axis] != 1.0
    ]
    if not changed:
        return x
    first = op.axis(changed[0], len(own)) - 1
    last = slice(first - len(x.shape), None)
    layer = layers.Resize(
        tuple(targets[last]),
        tuple(factors[last]),
        mode,
        transformation,
        op.setting("nearest_mode", "round_prefer_floor") if modern else "floor",
        bool(op.setting("antialias", 0)),
        bool(op.setting("exclude_outside", 0)),
        tuple(parts[last]) if cropped else None,
        op.setting("extrapolation_value", 0.0),
    )
    return placed(layer, x)


def _shuffled(kind: Any) -> OperatorReader:
    """Return what reads DepthToSpace or SpaceToDepth."""

    def read(op: Operation) -> Value:
        op.image(op.x(), 2)
        return placed(kind(op.setting("blocksize"), op.setting("mode", "DCR")), op.x())

    return read


READERS: dict[str, OperatorReader] = {
    "AveragePool": _pool("AveragePool"),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _shuffled(layers.DepthToSpace),
    "GlobalAveragePool": _global_pool("Mean"),
    "GlobalLpPool": _global_pool("LpPool"),
    "GlobalMaxPool": _global_pool("Max"),
    "LpPool": _pool("LpPool"),
    "MaxPool": _pool("MaxPool"),
    "Pad": _pad,
    "Resize": _resize,
    "SpaceToDepth": _shuffled(layers.SpaceToDepth),
    "Upsample": _resize,
}
