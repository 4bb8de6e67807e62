"""Images that move: flips, crops, affine maps, elastic distortion."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnlib.arrays import finite, number
from cnnlib.augment.base import Array, Transform, interval
from cnnlib.augment.rng import BatchRandom
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.functional.resampling import warp
from cnnlib.shapes import IntPair, pair

__all__ = [
    "ElasticTransform",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomVerticalFlip",
]


class RandomHorizontalFlip(Transform):
    """Mirror images left to right, each with probability p.

    >>> RandomHorizontalFlip(p=1)(np.array([[[[1.0, 2.0]]]])).tolist()
    [[[[2.0, 1.0]]]]
    """

    _axis = 3

    def __init__(self, p: float = 0.5) -> None:
        self.p = number(p, "p", 0, np.nextafter(1, 2))

    def images(self, x: Array, rng: BatchRandom) -> Array:
        """Return the images, some of them mirrored."""
        chosen = rng.uniform() < self.p
        y = x.copy()
        y[chosen] = np.flip(x[chosen], self._axis)
        return y


class RandomVerticalFlip(RandomHorizontalFlip):
    """Turn images upside down as in a mirror, each with probability p.

    >>> RandomVerticalFlip(p=1)(np.array([[[[1.0], [2.0]]]])).tolist()
    [[[[2.0], [1.0]]]]
    """

    _axis = 2


class RandomCrop(Transform):
    """Cut a window of one size out of each image, anywhere; ``RandomCrop(32, padding=4)`` shifts by up to 4 pixels.

    size: height and width of the window, or one number for both. padding: pixels of `fill` that are put on each side
    first, (vertical, horizontal) or one number. Result: (N, C, *size). Raises ShapeError if the window is larger.

    >>> RandomCrop(2)(np.zeros((5, 3, 4, 4), np.uint8)).shape
    (5, 3, 2, 2)
    """

    def __init__(self, size: IntPair, padding: IntPair = 0, fill: float = 0.0) -> None:
        self.size, self.padding = pair(size, "size"), pair(padding, "padding", 0)
        self.fill = finite(fill, "fill")

    def images(self, x: Array, rng: BatchRandom) -> Array:
        """Return a window of each image."""
        (rows, columns), (height, width) = self.padding, self.size
        sides = (0, 0), (0, 0), (rows, rows), (columns, columns)
        padded = np.pad(x, sides, constant_values=_pixel(self.fill, x)) if rows or columns else x
        down, right = padded.shape[2] - height, padded.shape[3] - width
        if down < 0 or right < 0:
            raise ShapeError(
                f"x has shape {x.shape}: RandomCrop needs images of {height}×{width} pixels or more; raise padding"
            )
        top, left = rng.integers(down + 1), rng.integers(right + 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.size, axis=(2, 3))
        return np.ascontiguousarray(windows[np.arange(len(x)), :, top, left])


class RandomAffine(Transform):
    """Rotate, shift, scale and shear images around their centre; pixels are read by linear interpolation.

    degrees: rotation clockwise, (low, high) or d for (-d, d). translate: (a, b), shifts of at most the fraction a of
    the width and b of the height. scale: (low, high). shear: degrees along the width, (low, high) or s for (-s, s), or
    four numbers, the last two along the height. Each is drawn uniformly, for each image. fill: the value around them.

    The pixel at p from the centre of the result is the input's at M⁻¹(p - t), where M = scale · rotation · shear.
    PyTorch's, but that shifts are not rounded to whole pixels.

    >>> turn = RandomAffine(degrees=(90, 90))
    >>> turn(np.array([[[[1, 2], [3, 4]]]], np.uint8)).tolist()
    [[[[3, 1], [4, 2]]]]
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        fill: float = 0.0,
    ) -> None:
        self.degrees = interval(degrees, "degrees")
        self.translate = None if translate is None else _fractions(translate)
        self.scale = None if scale is None else _scales(scale)
        self.shear = None if shear is None else _shears(shear)
        self.fill = finite(fill, "fill")

    def images(self, x: Array, rng: BatchRandom) -> Array:
        """Return the images, moved."""
        return warp(x, self.matrices(x.shape, rng), None, self.fill)

    def matrices(self, shape: tuple[int, ...], rng: BatchRandom) -> Array:
        """Return, for images of a shape, where `functional.warp` is to read: N×2×3."""
        height, width = shape[2:]
        turn = np.radians(rng.uniform(*self.degrees))
        across, along = (rng.uniform(-part, part) for part in self.translate or (0.0, 0.0))
        factor = rng.uniform(*(self.scale or (1.0, 1.0)))
        ranges = self.shear or (0.0, 0.0, 0.0, 0.0)
        shear_x, shear_y = (np.radians(rng.uniform(*ends)) for ends in (ranges[:2], ranges[2:]))
        # M = factor · [[cos t, -sin t], [sin t, cos t]] · [[1, 0], [-tan sy, 1]] · [[1, -tan sx], [0, 1]]
        a, c = np.cos(turn - shear_y) / np.cos(shear_y), np.sin(turn - shear_y) / np.cos(shear_y)
        b, d = -a * np.tan(shear_x) - np.sin(turn), -c * np.tan(shear_x) + np.cos(turn)
        inverse = np.stack([d, -b, -c, a], axis=1).reshape(-1, 2, 2) / factor[:, None, None]
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        shift = centre + np.stack([across * width, along * height], axis=1)
        moved = centre - (inverse * shift[:, None, :]).sum(axis=2)
        return np.concatenate([inverse, moved[:, :, None]], axis=2)


class RandomRotation(RandomAffine):
    """Rotate images around their centre, counter-clockwise: degrees (low, high), or d for (-d, d).

    >>> RandomRotation(degrees=(90, 90))(np.array([[[[1, 2], [3, 4]]]], np.uint8)).tolist()
    [[[[2, 4], [1, 3]]]]
    """

    def __init__(self, degrees: float | Sequence[float], fill: float = 0.0) -> None:
        super().__init__(degrees, fill=fill)
        self.degrees = -self.degrees[1], -self.degrees[0]

    def __repr__(self) -> str:
        return f"RandomRotation(degrees={(-self.degrees[1], -self.degrees[0])}, fill={self.fill})"


class ElasticTransform(Transform):
    """Distort images elastically, as by a hand that writes a little differently.

    Each pixel is read from elsewhere: random numbers of -1 … 1, blurred by a Gaussian of `sigma` pixels, times
    alpha / 2, give its displacement. alpha is PyTorch's; it is twice that of Simard, Steinkraus, Platt, "Best practices
    for convolutional neural networks applied to visual document analysis", 2003, whose 34 at sigma 4 is 68 here.

    >>> ElasticTransform(alpha=0)(np.ones((2, 1, 5, 5), np.uint8)).min()
    np.uint8(1)
    """

    def __init__(self, alpha: float = 50.0, sigma: float = 5.0, fill: float = 0.0) -> None:
        self.alpha, self.sigma = number(alpha, "alpha", 0, np.inf), number(sigma, "sigma", 0, np.inf)
        self.fill = finite(fill, "fill")

    def images(self, x: Array, rng: BatchRandom) -> Array:
        """Return the images, distorted."""
        n, _, height, width = x.shape
        rows, columns = _blur(height, self.sigma), _blur(width, self.sigma)
        field = rows @ rng.uniforms(2, height, width) @ columns.T
        field *= np.float32(self.alpha / 2)
        return warp(x, np.broadcast_to(np.eye(2, 3), (n, 2, 3)), field, self.fill)


@functools.lru_cache(maxsize=16)
def _blur(size: int, sigma: float) -> Array:
    """The matrix that blurs a line of pixels by a Gaussian, mirrored at its ends, cut off at four deviations."""
    if sigma == 0:
        return np.eye(size, dtype=np.float32)
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    sources = np.pad(np.arange(size), radius, mode="reflect" if size > 1 else "edge")
    matrix = np.zeros((size, size))
    for step, weight in enumerate(weights / weights.sum()):
        matrix[np.arange(size), sources[step : step + size]] += weight
    return matrix.astype(np.float32)


def _pixel(fill: float, x: Array) -> Any:
    if x.dtype == np.uint8 and not 0 <= fill <= 255:
        raise ConfigError(f"fill = {fill:g}: pixels of uint8 are 0 … 255")
    return x.dtype.type(fill)


def _fractions(translate: Any) -> tuple[float, ...]:
    if not isinstance(translate, (tuple, list)) or len(translate) != 2:
        raise ConfigError(f"translate = {translate!r}: expected two fractions, of the width and of the height")
    return tuple(number(part, "translate", 0, np.nextafter(1, 2)) for part in translate)


def _scales(scale: Any) -> tuple[float, float]:
    low, high = interval(scale, "scale")
    if low <= 0:
        raise ConfigError(f"scale = {scale!r}: expected (low, high), both positive")
    return low, high


def _shears(shear: Any) -> tuple[float, ...]:
    if isinstance(shear, (tuple, list)) and len(shear) == 4:
        return interval(shear[:2], "shear") + interval(shear[2:], "shear")
    return (*interval(shear, "shear"), 0.0, 0.0)
