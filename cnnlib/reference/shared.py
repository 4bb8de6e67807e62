"""What the families share: types, channels, and where results go."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

__all__ = ["Array", "Gradients", "Needs", "Outs", "but_channels", "by_channel", "deliver", "deliver_all"]

Array = NDArray[Any]
Needs = tuple[bool, bool, bool]
Outs = tuple[Array | None, Array | None, Array | None]
Gradients = tuple[Array | None, Array | None, Array | None]


def by_channel(values: Array, x: Array) -> Array:
    """Return a value a channel, or one for all, as it broadcasts against x (N, C, …)."""
    return values.reshape(-1, *(1 for _ in x.shape[2:]))


def but_channels(x: Array) -> tuple[int, ...]:
    """Return the axes that a sum for each channel of x (N, C, …) runs over."""
    return 0, *range(2, x.ndim)


def deliver(result: Array, out: Array | None) -> Array:
    """Return the result, in `out` where it is given."""
    if out is None:
        return result
    out[...] = result
    return out


def deliver_all(results: Gradients, outs: Outs) -> Gradients:
    """Return three gradients, each in its `out` where it is given, None as it is."""
    first, second, third = (
        None if result is None else deliver(result, out) for result, out in zip(results, outs, strict=True)
    )
    return first, second, third
