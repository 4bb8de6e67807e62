"""What every transform is: a function of a batch and its random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.arrays import number
from cnnlib.augment.rng import BatchRandom
from cnnlib.errors import ConfigError, DataError, ShapeError
from cnnlib.functional.resampling import as_images

__all__ = ["Compose", "Transform", "interval"]

Array = NDArray[Any]


class Transform:
    """A random change of images: ``transform(x)`` is the new x, ``transform(x, y)`` the new ``(x, y)``.

    x: images (N, C, H, W) of uint8, float32 or float64, which stay as they are; the result is a new array, or x itself
    where nothing changes, of x's type. y: one target for each; only MixUp changes them.
    rng: a seed, for which the batch is all of the data; in training, a :class:`BatchRandom` that knows where in the
    data the samples are. A transform of one's own overrides `images`, or is any function ``(x, y, rng) -> (x, y)``.

    Raises ShapeError and DTypeError for what are no images, DataError for x and y of different lengths.
    """

    def __call__(self, x: Array, y: Any = None, rng: int | BatchRandom = 0) -> Any:
        """Return the changed x, or (x, y) if there is a y."""
        x = as_images(x)
        if y is not None and not isinstance(y, dict) and len(y) != len(x):
            raise DataError(f"x and y must have one length, got {len(x)} and {len(y)}")
        if not isinstance(rng, BatchRandom):
            rng = BatchRandom(np.arange(len(x)), rng, 0, lambda at: (x[at], None if y is None else y[at]), len(x))
        if len(rng.positions) != len(x):
            raise ShapeError(f"x has shape {x.shape}, the random numbers are for {len(rng.positions)} samples")
        changed, targets = self.apply(x, y, rng)
        return changed if y is None else (changed, targets)

    def apply(self, x: Array, y: Any, rng: BatchRandom) -> tuple[Array, Any]:
        """Return (x, y), changed; x and rng have been checked."""
        return self.images(x, rng), y

    def images(self, x: Array, rng: BatchRandom) -> Array:
        """Return the images, changed."""
        raise NotImplementedError(f"{type(self).__name__}: give it images(x, rng)")

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class Compose(Transform):
    """Transforms one after the other.

    transforms: a list of them, or of functions ``(x, y, rng) -> (x, y)``. What each draws depends on its place.

    >>> from cnnlib import augment
    >>> both = augment.Compose([augment.RandomHorizontalFlip(1), augment.RandomVerticalFlip(1)])
    >>> both(np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)).tolist()
    [[[[3, 2], [1, 0]]]]
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        if not isinstance(transforms, (list, tuple)) or not all(map(callable, transforms)):
            raise ConfigError(f"Compose: transforms = {transforms!r}: expected a list of transforms")
        self.transforms = list(transforms)

    def apply(self, x: Array, y: Any, rng: BatchRandom) -> tuple[Array, Any]:
        """Return (x, y) after all of them."""
        return self._through(len(self.transforms), x, y, rng)

    def _through(self, count: int, x: Array, y: Any, rng: BatchRandom) -> tuple[Array, Any]:
        """The first `count` of them."""
        for place, transform in enumerate(self.transforms[:count]):

            def samples(at: Array, place: int = place) -> tuple[Any, Any]:
                """What other samples have become when they reach this place."""
                return self._through(place, *rng.samples(at), rng.at(at))

            stage = rng.stage(place, samples)
            if y is None:
                x = transform(x, None, stage)
            else:
                x, y = transform(x, y, stage)
        return x, y


def interval(value: Any, name: str, least: float = -np.inf) -> tuple[float, float]:
    """Return a setting that is a pair (low, high), or one number for (-number, number); raises ConfigError."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = (number(part, name, least, np.inf) for part in value)
    else:
        high = number(value, name, 0, np.inf)
        low = -high
    if not low <= high:
        raise ConfigError(f"{name} = {value!r}: expected (low, high) with low ≤ high")
    return low, high
