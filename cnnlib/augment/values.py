"""Pixels that change where they are: noise, and the mixture of two samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib.arrays import finite, flag, number, whole
from cnnlib.augment.base import Array, Transform
from cnnlib.augment.rng import BatchRandom
from cnnlib.errors import ConfigError, DataError

__all__ = ["GaussianNoise", "MixUp"]


class GaussianNoise(Transform):
    """Add normal noise to every pixel: y = x + mean + sigma · n.

    mean and sigma are those of pixels of 0 … 1, and 255 times that for uint8. clip: whether floats stay in 0 … 1, too,
    as uint8 pixels do in 0 … 255; False for images that were standardised.

    >>> GaussianNoise(mean=0.5, sigma=0)(np.array([[[[0.25, 0.75]]]])).tolist()
    [[[[0.75, 1.0]]]]
    """

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        self.mean, self.sigma, self.clip = finite(mean, "mean"), number(sigma, "sigma", 0, np.inf), flag(clip, "clip")

    def images(self, x: Array, rng: BatchRandom) -> Array:
        """Return the images with noise."""
        top = 255 if x.dtype == np.uint8 else 1
        noise = rng.normals(*x.shape[1:])
        noise *= np.float32(top * self.sigma)
        noise += np.float32(top * self.mean)
        y = noise + x
        if x.dtype == np.uint8:
            y += 0.5
            return np.clip(y, 0, 255, out=y).astype(np.uint8)
        return np.clip(y, 0, 1, out=y) if self.clip else y


class MixUp(Transform):
    """Mix every sample with another one: x' = λ x + (1 - λ) x₂, y' = λ y + (1 - λ) y₂, λ drawn from Beta(alpha, alpha).

    y: labels (N) of `num_classes` classes, which become rows of probabilities, float32 (N, num_classes), for
    CrossEntropyLoss; or rows (N, …) of floats. λ is drawn for each sample; a small alpha mixes little. The other sample
    is drawn from all of the data, not from the batch, as it is after the transforms that come before, which takes their
    time twice; so a sample becomes the same in a batch of any size.

    Raises DataError where there are no targets, labels beyond `num_classes`, or several targets by name.

    Source: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond empirical risk minimization", 2018.

    >>> x, y = np.zeros((3, 1, 2, 2), np.float32), np.array([0, 1, 1])
    >>> MixUp(alpha=1.0, num_classes=2)(x, y, rng=1)[1].round(2)
    array([[0.95, 0.05],
           [0.02, 0.98],
           [0.9 , 0.1 ]], dtype=float32)
    """

    def __init__(self, alpha: float = 1.0, num_classes: int | None = None) -> None:
        self.alpha = number(alpha, "alpha", 0, np.inf)
        if self.alpha == 0:
            raise ConfigError("alpha = 0: expected a positive number; leave MixUp out to mix nothing")
        self.num_classes = None if num_classes is None else whole(num_classes, "num_classes", 2)

    def apply(self, x: Array, y: Any, rng: BatchRandom) -> tuple[Array, Any]:
        """Return (x, y), mixed."""
        if not isinstance(y, np.ndarray):
            raise DataError(f"MixUp mixes targets, too: expected y as an array, got {type(y).__name__}")
        kept = _beta(self.alpha, rng)
        other_x, other_y = rng.samples(rng.integers(rng.size))
        return _mixed(x, other_x, kept), _mixed(self._soft(y), self._soft(other_y), kept)

    def _soft(self, y: Array) -> Array:
        if y.dtype.kind == "f":
            return y
        if y.ndim != 1 or y.dtype.kind not in "iu" or self.num_classes is None:
            raise DataError(f"MixUp: y is {y.dtype} {y.shape}: for labels (N) of integers give MixUp(num_classes=…)")
        if not 0 <= y.min() <= y.max() < self.num_classes:
            raise DataError(f"MixUp: labels {y.min()} … {y.max()}, expected 0 … {self.num_classes - 1}")
        return np.asarray(np.eye(self.num_classes, dtype=np.float32)[y])


def _mixed(a: Array, b: Array, kept: Array) -> Array:
    """λ a + (1 - λ) b in a's type; bytes are rounded to the nearest."""
    kept = kept.astype(np.float64 if a.dtype == np.float64 else np.float32).reshape(-1, *[1] * (a.ndim - 1))
    mixed = b + kept * (a.astype(kept.dtype) - b)
    return np.asarray(mixed + 0.5 if a.dtype == np.uint8 else mixed).astype(a.dtype)


def _beta(alpha: float, rng: BatchRandom) -> Array:
    """λ = G₁/(G₁ + G₂) of two gamma variates; by their logarithms, which for a small alpha alone are numbers."""
    # Each from generators of its own: how many numbers the first one takes depends on the batch.
    first, second = (_log_gamma(alpha, rng.stage(place, rng.samples)) for place in (0, 1))
    difference = first - second
    return np.asarray(0.5 + 0.5 * np.tanh(difference / 2))


def _log_gamma(alpha: float, rng: BatchRandom) -> Array:
    """ln G of Gamma(alpha), by Marsaglia and Tsang, "A simple method for generating gamma variables", 2000.

    G of alpha + 1, times U^(1/alpha); what is refused, one in twenty at most, is tried again.
    """
    d = alpha + 1 - 1 / 3
    found: Array = np.log(1 - rng.uniform()) / alpha
    open_ = np.ones(len(found), bool)
    while open_.any():
        n, u = rng.normals(1)[:, 0].astype(np.float64), 1 - rng.uniform()
        v = np.maximum(1 + n / np.sqrt(9 * d), 1e-9) ** 3
        taken = open_ & (np.log(u) < 0.5 * n**2 + d - d * v + d * np.log(v)) & (v > 1e-20)
        found[taken] += np.log(d * v[taken])
        open_ &= ~taken
    return found
