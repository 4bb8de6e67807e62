"""Output sizes along an axis, and what all settings of layers go through: one int or a pair."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnlib.errors import ConfigError, ShapeError

__all__ = [
    "LARGEST",
    "LARGEST_WINDOW",
    "MOST_ELEMENTS",
    "IntPair",
    "IntSingle",
    "any_shape",
    "fit",
    "image_shape",
    "integer",
    "output_size",
    "pair",
    "reach",
    "representable",
    "single",
    "windows_shape",
]

IntPair = int | tuple[int, int]
IntSingle = int | tuple[int]

# What the kernels take: far beyond any image, and it stops a mistyped size before memory is asked for.
LARGEST = 2**30
LARGEST_WINDOW = 2**31 - 1  # whose positions 32 bits count

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
        return integer(value[0], name, minimum), integer(value[1], name, minimum)
    number = integer(value, name, minimum)
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
    return integer(value, name, minimum)


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
    size, kernel = integer(size, "size", 1), integer(kernel, "kernel", 1)
    stride, dilation = integer(stride, "stride", 1), integer(dilation, "dilation", 1)
    padding = integer(padding, "padding", 0)
    count = fit("size", size, kernel, stride, padding, padding, dilation)
    rest = size + 2 * padding - reach(kernel, dilation)
    if exact and rest % stride:
        padded = f"{size} + 2*{padding}" if padding else f"{size}"
        raise ShapeError(
            f"({padded} - {reach(kernel, dilation)})/{stride} + 1 = {rest / stride + 1:.2f} is not a whole number: "
            f"change stride or padding, or drop exact=True"
        )
    return count


def integer(value: Any, name: str, minimum: int) -> int:
    """Return a setting as an int that the kernels take; raise ConfigError for anything else."""
    if type(value) is int and minimum <= value <= LARGEST:  # nearly always, and every call asks several times
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__") or isinstance(value, np.ndarray):
        raise ConfigError(f"{name} = {value!r}: expected an int, got {type(value).__name__}")
    number = operator.index(value)
    if not minimum <= number <= LARGEST:
        raise ConfigError(f"{name} = {number}: expected at least {minimum} and at most {LARGEST}")
    return number


def reach(kernel: int, dilation: int) -> int:
    """Return over how many pixels a dilated kernel reaches."""
    return (kernel - 1) * dilation + 1


def fit(axis: str, size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Return how many windows fit along an axis; raise ShapeError, naming it, if none does."""
    span = reach(kernel, dilation)
    if size + before + after < span:
        what = (
            f"kernel {kernel}" if dilation == 1 else f"kernel {kernel} with dilation {dilation}, reaching over {span}"
        )
        padding = f"{before}" if before == after else f"{before} and {after}"
        raise ShapeError(
            f"{axis} {size} with padding {padding} is smaller than {what}: "
            f"use padding >= {(span - size + 1) // 2}, a smaller kernel or a larger input"
        )
    return (size + before + after - span) // stride + 1


def image_shape(shape: Sequence[int], name: str) -> tuple[int, ...]:
    """Return the shape of an image or a batch of them; raise ShapeError for anything else."""
    if isinstance(shape, (str, bytes)) or not isinstance(shape, Sequence):
        raise ShapeError(f"{name} has shape {shape!r}: expected (batch, channels, height, width)")
    shape = tuple(shape)
    whole = {*map(type, shape)} == {int} or all(isinstance(size, (int, np.integer)) for size in shape)
    if len(shape) not in (3, 4) or not whole:
        raise ShapeError(f"{name} has shape {shape}: expected (batch, channels, height, width)")
    if len(shape) == 4 and shape[0] == 0:
        raise ShapeError(f"{name} has shape {shape}: an empty batch; expected at least one image")
    if min(shape) < 1:
        raise ShapeError(f"{name} has shape {shape}: expected at least one channel, row and column")
    return shape


def any_shape(shape: Sequence[int], name: str) -> tuple[int, ...]:
    """Return the shape of an array of any rank, without an empty dimension."""
    if isinstance(shape, (str, bytes)) or not isinstance(shape, Sequence):
        raise ShapeError(f"{name} has shape {shape!r}: expected a tuple of sizes")
    sizes = tuple(shape)
    if not all(isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise ShapeError(f"{name} has shape {sizes}: expected sizes of at least 1, an empty batch is none")
    return sizes


def windows_shape(
    x_shape: tuple[int, ...],
    channels: int,
    kernels: Sequence[int],
    strides: tuple[int, int],
    paddings: tuple[int, int],
    dilations: tuple[int, int],
) -> tuple[int, ...]:
    """Return the shape of what windows make of an image, `channels` of them."""
    height, width = (
        fit(f"x of shape {x_shape}: {axis}", *geometry)
        for axis, *geometry in zip(
            ("height", "width"), x_shape[-2:], kernels, strides, paddings, paddings, dilations, strict=True
        )
    )
    return representable((*x_shape[:-3], channels, height, width))


def representable(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an output if memory can hold it."""
    if math.prod(shape) > MOST_ELEMENTS:
        raise ShapeError(f"the output would have shape {shape}, too large for any memory: check padding and sizes")
    return shape
