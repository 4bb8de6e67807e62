"""Convolutions and linear layers: padding, output shapes, multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnnlib.errors import ConfigError, ShapeError
from cnnlib.shapes.sizes import IntPair, image_shape, integer, pair, reach, representable, windows_shape

__all__ = [
    "Padding",
    "conv2d_multiply_adds",
    "conv2d_output_shape",
    "conv_transpose2d_output_shape",
    "linear_multiply_adds",
    "resolve_padding",
    "same_padding",
]

Padding = int | tuple[int, int] | str


def same_padding(kernel_size: IntPair, dilation: IntPair = 1, stride: IntPair = 1) -> tuple[int, int]:
    """Return the padding (height, width) that keeps an image's size: P = (reach - 1) / 2 at stride 1.

    Raises ConfigError where no symmetric padding does: an even reach, or a stride other than 1.

    >>> same_padding(5), same_padding((3, 1), dilation=2)
    ((2, 2), (2, 0))
    """
    kernels, dilations = pair(kernel_size, "kernel_size", 1), pair(dilation, "dilation", 1)
    if pair(stride, "stride", 1) != (1, 1):
        raise ConfigError(f'padding="same" needs stride 1, got stride {stride}: give padding as a number')
    spans = [reach(k, d) for k, d in zip(kernels, dilations, strict=True)]
    if any(r % 2 == 0 for r in spans):
        raise ConfigError(
            f'padding="same" needs an odd kernel, got kernel_size {kernel_size} with dilation {dilation}, '
            f"which reaches over {spans[0]}x{spans[1]} pixels: use an odd kernel or give padding as a number"
        )
    return (spans[0] - 1) // 2, (spans[1] - 1) // 2


def resolve_padding(
    padding: Padding, kernel_size: IntPair, dilation: IntPair = 1, stride: IntPair = 1
) -> tuple[int, int]:
    """Return `padding`, an int, a pair or "same", as (height, width).

    >>> resolve_padding("same", 5), resolve_padding((1, 0), 5)
    ((2, 2), (1, 0))
    """
    if isinstance(padding, str):
        if padding != "same":
            raise ConfigError(f'padding = {padding!r}: expected an int, a pair (height, width) or "same"')
        return same_padding(kernel_size, dilation, stride)
    return pair(padding, "padding")


def conv2d_output_shape(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
) -> tuple[int, ...]:
    """Return the shape of a convolution's output.

    Shapes: x (N, C, H, W) or (C, H, W); weight (K, C / groups, KH, KW); result (N, K, H', W') or (K, H', W').
    Raises ShapeError for ranks, channels or groups that do not fit together, ConfigError for impossible settings.

    >>> conv2d_output_shape((1, 28, 28), (20, 1, 5, 5), padding=2)
    (20, 28, 28)
    """
    x_shape, weight_shape = image_shape(x_shape, "x"), tuple(weight_shape)
    if len(weight_shape) != 4 or min(weight_shape) < 1:
        raise ShapeError(
            f"weight has shape {weight_shape}: expected (out_channels, in_channels/groups, kernel height, kernel width)"
        )
    groups = integer(groups, "groups", 1)
    channels, (out_channels, group_channels) = x_shape[-3], weight_shape[:2]
    if channels != groups * group_channels:
        raise ShapeError(
            f"x of shape {x_shape} has {channels} channels, but weight of shape {weight_shape} with groups={groups} "
            f"takes {groups * group_channels}: expected weight.shape[1] * groups == x.shape[-3]"
        )
    if out_channels % groups:
        raise ShapeError(
            f"weight of shape {weight_shape} makes {out_channels} channels, which groups={groups} does not divide"
        )
    paddings = resolve_padding(padding, (weight_shape[2], weight_shape[3]), dilation, stride)
    strides, dilations = pair(stride, "stride", 1), pair(dilation, "dilation", 1)
    return windows_shape(x_shape, out_channels, weight_shape[2:], strides, paddings, dilations)


def conv_transpose2d_output_shape(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: IntPair = 1,
    padding: IntPair = 0,
    output_padding: IntPair = 0,
    groups: int = 1,
    dilation: IntPair = 1,
) -> tuple[int, ...]:
    """Return the shape of a transposed convolution's output: that of the input which a convolution would shrink to x.

    Shapes: x (N, C, H, W) or (C, H, W); weight (C, K / groups, KH, KW); result (N, K, H', W') or (K, H', W') with
    H' = (H - 1) stride - 2 padding + dilation (KH - 1) + 1 + output_padding.
    Raises ShapeError for ranks, channels or groups that do not fit together and if nothing is left of the output,
    ConfigError for impossible settings: an output_padding of at least both stride and dilation among them.

    >>> conv_transpose2d_output_shape((64, 7, 7), (64, 32, 3, 3), stride=2, padding=1, output_padding=1)
    (32, 14, 14)
    """
    x_shape, weight_shape = image_shape(x_shape, "x"), tuple(weight_shape)
    if len(weight_shape) != 4 or min(weight_shape) < 1:
        raise ShapeError(
            f"weight has shape {weight_shape}: expected (in_channels, out_channels/groups, kernel height, kernel width)"
        )
    groups = integer(groups, "groups", 1)
    if x_shape[-3] != weight_shape[0] or weight_shape[0] % groups:
        raise ShapeError(
            f"x of shape {x_shape} has {x_shape[-3]} channels, but weight of shape {weight_shape} with groups={groups} "
            f"takes {weight_shape[0]}: expected weight.shape[0] == x.shape[-3], and groups to divide it"
        )
    axes = zip(
        ("height", "width"),
        x_shape[-2:],
        weight_shape[2:],
        pair(stride, "stride", 1),
        pair(padding, "padding"),
        pair(output_padding, "output_padding"),
        pair(dilation, "dilation", 1),
        strict=True,
    )
    sizes = []
    for axis, size, kernel, step, pad, extra, spread in axes:
        if extra and extra >= max(step, spread):
            raise ConfigError(
                f"output_padding = {output_padding}: must be smaller than stride = {stride} or dilation = {dilation}"
            )
        sizes.append((size - 1) * step - 2 * pad + reach(kernel, spread) + extra)
        if sizes[-1] < 1:
            raise ShapeError(f"x of shape {x_shape}: {axis} {size} leaves no output at padding {pad}: use less")
    return representable((*x_shape[:-3], groups * weight_shape[1], *sizes))


def conv2d_multiply_adds(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
) -> int:
    """Return a convolution's multiply-adds: output elements times weights per output, K H' W' (C / groups) KH KW.

    Taps that fall on padding are counted, biases are not; with a batch in `x_shape` it is the whole batch's.

    >>> conv2d_multiply_adds((3, 32, 32), (10, 3, 5, 5), padding=2)
    768000
    """
    shape = conv2d_output_shape(x_shape, weight_shape, stride, padding, dilation, groups)
    return math.prod(shape) * math.prod(weight_shape[1:])


def linear_multiply_adds(in_features: int, out_features: int) -> int:
    """Return a linear layer's multiply-adds for one sample.

    >>> linear_multiply_adds(2450, 500)
    1225000
    """
    return in_features * out_features
