"""Padding, resizing, and pixels that become channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cnnlib.arrays import finite, number
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.interpolation import Axis
from cnnlib.shapes.sizes import LARGEST, any_shape, image_shape, integer, representable

__all__ = [
    "BLOCK_ORDERS",
    "PAD_MODES",
    "PadPairs",
    "block_order",
    "depth_to_space_shape",
    "pad_mode",
    "pad_output_shape",
    "pad_pairs",
    "resize_axes",
    "resize_settings",
    "space_to_depth_shape",
]

PadPairs = Sequence[tuple[int, int]]

#: Mode → in which order a channel's number counts (channel, row, column of the block), the slowest first.
BLOCK_ORDERS = {"DCR": (1, 2, 0), "CRD": (0, 1, 2)}

#: What padding is made of.
PAD_MODES = ("constant", "reflect", "replicate", "circular")


def pad_mode(mode: Any) -> str:
    """Return `mode` if it is one of `PAD_MODES`, else raise ConfigError."""
    if not isinstance(mode, str) or mode not in PAD_MODES:
        raise ConfigError(f"mode = {mode!r}: expected one of {', '.join(PAD_MODES)}")
    return mode


def pad_pairs(padding: Any) -> tuple[tuple[int, int], ...]:
    """Return `padding`, a pair (before, after) for each of the last axes, as tuples; raises ConfigError if it is not.

    >>> pad_pairs([(1, 2), [0, -1]])
    ((1, 2), (0, -1))
    """
    pairs = padding if isinstance(padding, (tuple, list)) else ()
    if not pairs or not all(isinstance(ends, (tuple, list)) and len(ends) == 2 for ends in pairs):
        raise ConfigError(f"padding = {padding!r}: expected a pair (before, after) for each of the last axes")
    return tuple((integer(before, "padding", -LARGEST), integer(after, "padding", -LARGEST)) for before, after in pairs)


def pad_output_shape(x_shape: Sequence[int], padding: PadPairs) -> tuple[int, ...]:
    """Return the shape of a padded, or cropped, array; raises ShapeError if it has not so many axes, or none is left.

    >>> pad_output_shape((3, 8, 8), ((1, 1), (2, -1)))
    (3, 10, 9)
    """
    pairs, x_shape = pad_pairs(padding), any_shape(x_shape, "x")
    if len(pairs) > len(x_shape):
        raise ShapeError(f"x of shape {x_shape} has {len(x_shape)} axes: padding = {padding!r} is for {len(pairs)}")
    kept = len(x_shape) - len(pairs)
    sizes = [size + before + after for size, (before, after) in zip(x_shape[kept:], pairs, strict=True)]
    if min(sizes) < 1:
        raise ShapeError(f"x of shape {x_shape}: padding = {padding!r} leaves nothing, {(*x_shape[:kept], *sizes)}")
    return representable((*x_shape[:kept], *sizes))


def resize_axes(
    x_shape: Sequence[int], size: Any = None, scale_factor: Any = None, roi: Any = None
) -> tuple[Axis, ...]:
    """Return what is resized, the last axes, each with its size, the output's, their scale and the part taken.

    size, scale_factor: numbers for the last axes, or one for all but the first two; at least one of the two is given.
    roi: None, or (start, end) for each. Raises ConfigError for anything else, ShapeError if x has not so many axes or
    nothing is left of one.

    >>> resize_axes((1, 3, 8, 8), scale_factor=1.5)[0]
    Axis(size=8, output=12, scale=1.5, start=0.0, end=1.0)
    """
    x_shape = any_shape(x_shape, "x")
    sizes, scales, parts, given = resize_settings(size, scale_factor, roi)
    count = given or max(len(x_shape) - 2, 0)
    if not 0 < count <= len(x_shape):
        raise ShapeError(f"x has shape {x_shape}: expected (N, C, …), with axes to resize, {count} of them")
    axes = []
    for i, old in enumerate(x_shape[-count:]):
        scale = scales[i] if isinstance(scales, tuple) else scales
        new = sizes[i] if isinstance(sizes, tuple) else sizes
        new = int(old * scale) if new is None else new
        if not 1 <= new <= LARGEST:
            raise ShapeError(f"x of shape {x_shape}: {old} would become {new} by scale_factor = {scale_factor}")
        axes.append(Axis(old, new, new / old if scale is None else scale, *(parts[i] if parts else (0.0, 1.0))))
    representable((*x_shape[:-count], *(axis.output for axis in axes)))
    return tuple(axes)


def resize_settings(size: Any, scale_factor: Any, roi: Any) -> tuple[Any, Any, Any, int]:
    """Return size, scale_factor and roi as numbers, tuples or None, and for how many axes they are, 0 if that is open.

    >>> resize_settings(None, (2, 0.5), None)
    (None, (2.0, 0.5), None, 2)
    """
    sizes = _by_axis(size, "size", lambda value, name: integer(value, name, 1))
    scales = _by_axis(scale_factor, "scale_factor", lambda value, name: number(value, name, 2.0**-30, 2.0**30))
    parts = _by_axis(roi, "roi", _part)
    if scales is None and sizes is None:
        raise ConfigError("size and scale_factor are None: give one of them")
    if parts is not None and not isinstance(parts, tuple):
        raise ConfigError(f"roi = {roi!r}: expected a pair (start, end) for each axis")
    lengths = {len(setting) for setting in (sizes, scales, parts) if isinstance(setting, tuple)} or {0}
    if len(lengths) > 1 or (0 in lengths and () in (sizes, scales, parts)):
        raise ConfigError(
            f"size = {size}, scale_factor = {scale_factor}, roi = {roi}: expected as many of each, one for an axis"
        )
    return sizes, scales, parts, lengths.pop()


def _by_axis(value: Any, name: str, check: Callable[[Any, str], Any]) -> Any:
    """Return a setting that is None, one number, or a tuple of several, checked."""
    if isinstance(value, (tuple, list)):
        return tuple(check(item, name) for item in value)
    return None if value is None else check(value, name)


def _part(ends: Any, name: str) -> tuple[float, float]:
    if not isinstance(ends, (tuple, list)) or len(ends) != 2:
        raise ConfigError(f"{name} = {ends!r}: expected a pair (start, end) for each axis")
    return finite(ends[0], name), finite(ends[1], name)


def block_order(mode: Any) -> str:
    """Return `mode` if it is one of `BLOCK_ORDERS`, else raise ConfigError."""
    if not isinstance(mode, str) or mode not in BLOCK_ORDERS:
        raise ConfigError(f"mode = {mode!r}: expected one of {', '.join(BLOCK_ORDERS)}")
    return mode


def depth_to_space_shape(x_shape: Sequence[int], block_size: int) -> tuple[int, ...]:
    """Return the shape of images, (N, C, H, W) or (C, H, W), whose channels become blocks of pixels.

    >>> depth_to_space_shape((12, 5, 4), 2)
    (3, 10, 8)
    """
    x_shape, block = image_shape(x_shape, "x"), integer(block_size, "block_size", 1)
    *batch, channels, height, width = x_shape
    if channels % block**2:
        raise ShapeError(f"x of shape {x_shape} has {channels} channels: blocks of {block} × {block} must divide them")
    return representable((*batch, channels // block**2, height * block, width * block))


def space_to_depth_shape(x_shape: Sequence[int], block_size: int) -> tuple[int, ...]:
    """Return the shape of images, (N, C, H, W) or (C, H, W), whose blocks of pixels become channels.

    >>> space_to_depth_shape((3, 10, 8), 2)
    (12, 5, 4)
    """
    x_shape, block = image_shape(x_shape, "x"), integer(block_size, "block_size", 1)
    *batch, channels, height, width = x_shape
    if height % block or width % block:
        raise ShapeError(f"x of shape {x_shape} is {height} × {width}: blocks of {block} × {block} must divide it")
    return representable((*batch, channels * block**2, height // block, width // block))
