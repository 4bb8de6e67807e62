"""Shape arithmetic: the only Python home of output sizes, padding, receptive fields and multiply-adds.

Height and width are independent everywhere: what may be given as one integer may be given as a pair (height, width).
Shapes are tuples of ints, with or without the leading batch dimension N; results have the rank of what came in.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnlib.arrays import finite, number
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.interpolation import Axis

__all__ = [
    "BLOCK_ORDERS",
    "MOST_ELEMENTS",
    "PAD_MODES",
    "IntPair",
    "IntSingle",
    "PadPairs",
    "Padding",
    "PoolAxis",
    "PoolPadding",
    "ReceptiveField",
    "block_order",
    "conv2d_multiply_adds",
    "conv2d_output_shape",
    "conv_transpose2d_output_shape",
    "depth_to_space_shape",
    "linear_multiply_adds",
    "output_size",
    "pad_mode",
    "pad_output_shape",
    "pad_pairs",
    "pair",
    "pool2d_output_shape",
    "pool2d_windows",
    "resize_axes",
    "resize_settings",
    "resolve_padding",
    "same_padding",
    "single",
    "space_to_depth_shape",
]

IntPair = int | tuple[int, int]
IntSingle = int | tuple[int]
Padding = int | tuple[int, int] | str
PadPairs = Sequence[tuple[int, int]]
PoolPadding = int | tuple[int, int] | tuple[int, int, int, int]

#: Mode → in which order a channel's number counts (channel, row, column of the block), the slowest first.
BLOCK_ORDERS = {"DCR": (1, 2, 0), "CRD": (0, 1, 2)}

#: What padding is made of.
PAD_MODES = ("constant", "reflect", "replicate", "circular")

# What the kernels take: far beyond any image, and it stops a mistyped size before memory is asked for.
_LARGEST = 2**30
_LARGEST_WINDOW = 2**31 - 1  # whose positions 32 bits count

#: More than any memory holds: an array of more elements is a mistake, or a trap.
MOST_ELEMENTS = 1 << 48


def pair(value: Any, name: str, minimum: int = 0) -> tuple[int, int]:
    """Return `value`, an int or a pair of ints, as (height, width).

    Raises ConfigError, naming the argument `name`, for anything else: bools, floats, other lengths, values below
    `minimum`.

    >>> pair(3, "kernel_size"), pair((3, 5), "kernel_size")
    ((3, 3), (3, 5))
    """
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ConfigError(f"{name} = {value!r}: expected an int or a pair (height, width)")
        return _integer(value[0], name, minimum), _integer(value[1], name, minimum)
    number = _integer(value, name, minimum)
    return number, number


def single(value: Any, name: str, minimum: int = 0) -> int:
    """Return `value`, an int or a tuple of one, as an int; raises ConfigError as `pair` does.

    >>> single(3, "kernel_size"), single((3,), "kernel_size")
    (3, 3)
    """
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            raise ConfigError(f"{name} = {value!r}: expected an int, as there is one axis")
        value = value[0]
    return _integer(value, name, minimum)


def output_size(
    size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1, exact: bool = False
) -> int:
    """Return how many windows fit along one axis: floor((size + 2 padding - reach) / stride) + 1.

    The window reaches over (kernel - 1) dilation + 1 pixels. With `exact` a rest, pixels at the rim that no window
    covers, is an error instead of being floored away. Raises ShapeError if not even one window fits.

    >>> output_size(7, 3), output_size(7, 3, stride=2), output_size(7, 3, stride=3)
    (5, 3, 2)
    >>> output_size(7, 3, stride=3, exact=True)
    Traceback (most recent call last):
    cnnlib.errors.ShapeError: (7 - 3)/3 + 1 = 2.33 is not a whole number: change stride or padding, or drop exact=True
    """
    size, kernel = _integer(size, "size", 1), _integer(kernel, "kernel", 1)
    stride, dilation = _integer(stride, "stride", 1), _integer(dilation, "dilation", 1)
    padding = _integer(padding, "padding", 0)
    count = _fit("size", size, kernel, stride, padding, padding, dilation)
    rest = size + 2 * padding - _reach(kernel, dilation)
    if exact and rest % stride:
        padded = f"{size} + 2*{padding}" if padding else f"{size}"
        raise ShapeError(
            f"({padded} - {_reach(kernel, dilation)})/{stride} + 1 = {rest / stride + 1:.2f} is not a whole number: "
            f"change stride or padding, or drop exact=True"
        )
    return count


def same_padding(kernel_size: IntPair, dilation: IntPair = 1, stride: IntPair = 1) -> tuple[int, int]:
    """Return the padding (height, width) that keeps an image's size: P = (reach - 1) / 2 at stride 1.

    Raises ConfigError where no symmetric padding does: an even reach, or a stride other than 1.

    >>> same_padding(5), same_padding((3, 1), dilation=2)
    ((2, 2), (2, 0))
    """
    kernels, dilations = pair(kernel_size, "kernel_size", 1), pair(dilation, "dilation", 1)
    if pair(stride, "stride", 1) != (1, 1):
        raise ConfigError(f'padding="same" needs stride 1, got stride {stride}: give padding as a number')
    reach = [_reach(k, d) for k, d in zip(kernels, dilations, strict=True)]
    if any(r % 2 == 0 for r in reach):
        raise ConfigError(
            f'padding="same" needs an odd kernel, got kernel_size {kernel_size} with dilation {dilation}, '
            f"which reaches over {reach[0]}x{reach[1]} pixels: use an odd kernel or give padding as a number"
        )
    return (reach[0] - 1) // 2, (reach[1] - 1) // 2


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
    x_shape, weight_shape = _image_shape(x_shape, "x"), tuple(weight_shape)
    if len(weight_shape) != 4 or min(weight_shape) < 1:
        raise ShapeError(
            f"weight has shape {weight_shape}: expected (out_channels, in_channels/groups, kernel height, kernel width)"
        )
    groups = _integer(groups, "groups", 1)
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
    return _windows_shape(x_shape, out_channels, weight_shape[2:], strides, paddings, dilations)


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
    x_shape, weight_shape = _image_shape(x_shape, "x"), tuple(weight_shape)
    if len(weight_shape) != 4 or min(weight_shape) < 1:
        raise ShapeError(
            f"weight has shape {weight_shape}: expected (in_channels, out_channels/groups, kernel height, kernel width)"
        )
    groups = _integer(groups, "groups", 1)
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
        sizes.append((size - 1) * step - 2 * pad + _reach(kernel, spread) + extra)
        if sizes[-1] < 1:
            raise ShapeError(f"x of shape {x_shape}: {axis} {size} leaves no output at padding {pad}: use less")
    return _representable((*x_shape[:-3], groups * weight_shape[1], *sizes))


class PoolAxis(NamedTuple):
    """A pool's windows along one axis: output i sees the pixels i stride - before + t dilation, 0 <= t < kernel.

    `before` and `after` are the padding at either end. With `ceil_mode` a last window may reach beyond, if it begins
    before the padding there. `counts` are those of a window's places in the image or, `padded`, in the padding too.

    >>> axis = PoolAxis(kernel=3, stride=2, before=0, after=0)
    >>> axis.outputs("width", 6), axis.outputs("width", 6, ceil_mode=True)
    (2, 3)
    >>> axis.counts(6, 3).tolist()
    [3, 3, 2]
    """

    kernel: int
    stride: int
    before: int
    after: int
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Over how many pixels a window reaches."""
        return _reach(self.kernel, self.dilation)

    def outputs(self, axis: str, size: int, ceil_mode: bool = False) -> int:
        """Return how many windows fit; raises ShapeError, naming the `axis`, if none does."""
        count = -(-(size + self.before + self.after - self.reach) // self.stride) + 1
        if not ceil_mode or count < 1:
            return _fit(axis, size, self.kernel, self.stride, self.before, self.after, self.dilation)
        return count - 1 if (count - 1) * self.stride >= size + self.before else count

    def counts(self, size: int, outputs: int, padded: bool = False) -> NDArray[np.int64]:
        """Return of how many places each of so many outputs is the mean."""
        start = np.arange(outputs, dtype=np.int64) * self.stride - self.before
        first, end = (-self.before, size + self.after) if padded else (0, size)
        before, until = ((-((start - edge) // self.dilation)).clip(0, self.kernel) for edge in (first, end))
        inside: NDArray[np.int64] = until - before
        return inside


def pool2d_windows(
    kernel_size: IntPair, stride: IntPair | None = None, padding: PoolPadding = 0, dilation: IntPair = 1
) -> tuple[PoolAxis, PoolAxis]:
    """Return a pool's windows in height and in width; `stride` None means the kernel's size.

    padding: an int or a pair (height, width), at most half of what a window reaches over, or four ints (top, left,
    bottom, right), each less than that, so that no window misses the image. Raises ConfigError otherwise.

    >>> height, width = pool2d_windows(3, stride=2, padding=(0, 1, 1, 1))
    >>> height
    PoolAxis(kernel=3, stride=2, before=0, after=1, dilation=1)
    """
    kernels = pair(kernel_size, "kernel_size", 1)
    strides = kernels if stride is None else pair(stride, "stride", 1)
    dilations = pair(dilation, "dilation", 1)
    if kernels[0] * kernels[1] > _LARGEST_WINDOW:
        raise ConfigError(f"kernel_size = {kernel_size}: a window has at most {_LARGEST_WINDOW} pixels")
    sides = isinstance(padding, (tuple, list)) and len(padding) == 4
    if sides:
        top, left, bottom, right = (_integer(side, "padding", 0) for side in padding)  # type: ignore[union-attr]
    else:
        top, left = bottom, right = pair(padding, "padding")
    height = PoolAxis(kernels[0], strides[0], top, bottom, dilations[0])
    width = PoolAxis(kernels[1], strides[1], left, right, dilations[1])
    for axis in (height, width):
        if sides and max(axis.before, axis.after) >= axis.reach:
            raise ConfigError(f"padding = {padding}: each side must be smaller than kernel_size = {kernel_size}")
        if not sides and 2 * axis.before > axis.reach:
            raise ConfigError(f"padding = {padding}: a pool's padding is at most half of kernel_size = {kernel_size}")
    return height, width


def pool2d_output_shape(
    x_shape: Sequence[int],
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: PoolPadding = 0,
    dilation: IntPair = 1,
    ceil_mode: bool = False,
) -> tuple[int, ...]:
    """Return the shape of a pool's output; `x_shape` is (N, C, H, W) or (C, H, W).

    >>> pool2d_output_shape((64, 224, 224), 2), pool2d_output_shape((64, 112, 112), 3, 2, ceil_mode=True)
    ((64, 112, 112), (64, 56, 56))
    """
    x_shape = _image_shape(x_shape, "x")
    windows = zip(
        ("height", "width"), x_shape[-2:], pool2d_windows(kernel_size, stride, padding, dilation), strict=True
    )
    sizes = [axis.outputs(f"x of shape {x_shape}: {name}", size, ceil_mode) for name, size, axis in windows]
    return _representable((*x_shape[:-2], *sizes))


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
    return tuple(
        (_integer(before, "padding", -_LARGEST), _integer(after, "padding", -_LARGEST)) for before, after in pairs
    )


def pad_output_shape(x_shape: Sequence[int], padding: PadPairs) -> tuple[int, ...]:
    """Return the shape of a padded, or cropped, array; raises ShapeError if it has not so many axes, or none is left.

    >>> pad_output_shape((3, 8, 8), ((1, 1), (2, -1)))
    (3, 10, 9)
    """
    pairs, x_shape = pad_pairs(padding), _any_shape(x_shape, "x")
    if len(pairs) > len(x_shape):
        raise ShapeError(f"x of shape {x_shape} has {len(x_shape)} axes: padding = {padding!r} is for {len(pairs)}")
    kept = len(x_shape) - len(pairs)
    sizes = [size + before + after for size, (before, after) in zip(x_shape[kept:], pairs, strict=True)]
    if min(sizes) < 1:
        raise ShapeError(f"x of shape {x_shape}: padding = {padding!r} leaves nothing, {(*x_shape[:kept], *sizes)}")
    return _representable((*x_shape[:kept], *sizes))


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
    x_shape = _any_shape(x_shape, "x")
    sizes, scales, parts, given = resize_settings(size, scale_factor, roi)
    count = given or max(len(x_shape) - 2, 0)
    if not 0 < count <= len(x_shape):
        raise ShapeError(f"x has shape {x_shape}: expected (N, C, …), with axes to resize, {count} of them")
    axes = []
    for i, old in enumerate(x_shape[-count:]):
        scale = scales[i] if isinstance(scales, tuple) else scales
        new = sizes[i] if isinstance(sizes, tuple) else sizes
        new = int(old * scale) if new is None else new
        if not 1 <= new <= _LARGEST:
            raise ShapeError(f"x of shape {x_shape}: {old} would become {new} by scale_factor = {scale_factor}")
        axes.append(Axis(old, new, new / old if scale is None else scale, *(parts[i] if parts else (0.0, 1.0))))
    _representable((*x_shape[:-count], *(axis.output for axis in axes)))
    return tuple(axes)


def resize_settings(size: Any, scale_factor: Any, roi: Any) -> tuple[Any, Any, Any, int]:
    """Return size, scale_factor and roi as numbers, tuples or None, and for how many axes they are, 0 if that is open.

    >>> resize_settings(None, (2, 0.5), None)
    (None, (2.0, 0.5), None, 2)
    """
    sizes = _by_axis(size, "size", lambda value, name: _integer(value, name, 1))
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
    x_shape, block = _image_shape(x_shape, "x"), _integer(block_size, "block_size", 1)
    *batch, channels, height, width = x_shape
    if channels % block**2:
        raise ShapeError(f"x of shape {x_shape} has {channels} channels: blocks of {block} × {block} must divide them")
    return _representable((*batch, channels // block**2, height * block, width * block))


def space_to_depth_shape(x_shape: Sequence[int], block_size: int) -> tuple[int, ...]:
    """Return the shape of images, (N, C, H, W) or (C, H, W), whose blocks of pixels become channels.

    >>> space_to_depth_shape((3, 10, 8), 2)
    (12, 5, 4)
    """
    x_shape, block = _image_shape(x_shape, "x"), _integer(block_size, "block_size", 1)
    *batch, channels, height, width = x_shape
    if height % block or width % block:
        raise ShapeError(f"x of shape {x_shape} is {height} × {width}: blocks of {block} × {block} must divide it")
    return _representable((*batch, channels * block**2, height // block, width // block))


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


class ReceptiveField(NamedTuple):
    """Which input pixels the units of a feature map see, along one axis.

    Unit i sees the `size` pixels from `start` + i `stride` on; pixels below 0 lie in the padding. The field without
    arguments is the input's own: each pixel sees itself.

    >>> conv, pool = ReceptiveField.of(5, padding=2), ReceptiveField.of(2, stride=2)
    >>> ReceptiveField().then(conv).then(pool).then(conv)
    ReceptiveField(size=14, stride=2, start=-6)
    """

    size: int = 1
    stride: int = 1
    start: int = 0

    @classmethod
    def of(cls, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> ReceptiveField:
        """Return the field of one convolution or pool in its own input."""
        return cls(_reach(kernel, dilation), stride, -padding)

    @property
    def centre(self) -> float:
        """The coordinate, in pixels, of the middle of unit 0's field."""
        return self.start + (self.size - 1) / 2

    def then(self, layer: ReceptiveField) -> ReceptiveField:
        """Return the field of `layer`'s units where `layer` takes the feature map that `self` describes."""
        return ReceptiveField(
            self.size + (layer.size - 1) * self.stride,
            self.stride * layer.stride,
            self.start + layer.start * self.stride,
        )

    def union(self, other: ReceptiveField) -> ReceptiveField:
        """Return the smallest field that holds both: that of a sum or a concatenation of two branches.

        Raises ShapeError if the strides differ, as then no single stride describes the result.
        """
        if self.stride != other.stride:
            raise ShapeError(f"receptive fields with strides {self.stride} and {other.stride} have no common one")
        start = min(self.start, other.start)
        return ReceptiveField(max(self.start + self.size, other.start + other.size) - start, self.stride, start)

    def pixels(self, unit: int) -> range:
        """Return the input coordinates that `unit` sees, those in the padding included."""
        first = self.start + unit * self.stride
        return range(first, first + self.size)


def _integer(value: Any, name: str, minimum: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or isinstance(value, np.ndarray):
        raise ConfigError(f"{name} = {value!r}: expected an int, got {type(value).__name__}")
    number = operator.index(value)
    if not minimum <= number <= _LARGEST:
        raise ConfigError(f"{name} = {number}: expected at least {minimum} and at most {_LARGEST}")
    return number


def _reach(kernel: int, dilation: int) -> int:
    """Return over how many pixels a dilated kernel reaches."""
    return (kernel - 1) * dilation + 1


def _fit(axis: str, size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    reach = _reach(kernel, dilation)
    if size + before + after < reach:
        what = (
            f"kernel {kernel}" if dilation == 1 else f"kernel {kernel} with dilation {dilation}, reaching over {reach}"
        )
        padding = f"{before}" if before == after else f"{before} and {after}"
        raise ShapeError(
            f"{axis} {size} with padding {padding} is smaller than {what}: "
            f"use padding >= {(reach - size + 1) // 2}, a smaller kernel or a larger input"
        )
    return (size + before + after - reach) // stride + 1


def _image_shape(shape: Sequence[int], name: str) -> tuple[int, ...]:
    if isinstance(shape, (str, bytes)) or not isinstance(shape, Sequence):
        raise ShapeError(f"{name} has shape {shape!r}: expected (batch, channels, height, width)")
    shape = tuple(shape)
    if len(shape) not in (3, 4) or not all(isinstance(size, (int, np.integer)) for size in shape):
        raise ShapeError(f"{name} has shape {shape}: expected (batch, channels, height, width)")
    if len(shape) == 4 and shape[0] == 0:
        raise ShapeError(f"{name} has shape {shape}: an empty batch; expected at least one image")
    if min(shape) < 1:
        raise ShapeError(f"{name} has shape {shape}: expected at least one channel, row and column")
    return shape


def _any_shape(shape: Sequence[int], name: str) -> tuple[int, ...]:
    """Return the shape of an array of any rank, without an empty dimension."""
    if isinstance(shape, (str, bytes)) or not isinstance(shape, Sequence):
        raise ShapeError(f"{name} has shape {shape!r}: expected a tuple of sizes")
    sizes = tuple(shape)
    if not all(isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise ShapeError(f"{name} has shape {sizes}: expected sizes of at least 1, an empty batch is none")
    return sizes


def _windows_shape(
    x_shape: tuple[int, ...],
    channels: int,
    kernels: Sequence[int],
    strides: tuple[int, int],
    paddings: tuple[int, int],
    dilations: tuple[int, int],
) -> tuple[int, ...]:
    height, width = (
        _fit(f"x of shape {x_shape}: {axis}", *geometry)
        for axis, *geometry in zip(
            ("height", "width"), x_shape[-2:], kernels, strides, paddings, paddings, dilations, strict=True
        )
    )
    return _representable((*x_shape[:-3], channels, height, width))


def _representable(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an output if memory can hold it."""
    if math.prod(shape) > MOST_ELEMENTS:
        raise ShapeError(f"the output would have shape {shape}, too large for any memory: check padding and sizes")
    return shape
