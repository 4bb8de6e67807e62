"""The state of random generators, as values that JSON can hold: what makes a resumed run draw the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnlib.errors import DataError

__all__ = ["generators", "load_state", "state"]


def generators(owner: object) -> dict[str, np.random.Generator]:
    """Return the attributes of an object that are random generators, by name.

    >>> from cnnlib.layers import Dropout
    >>> list(generators(Dropout(0.5)))
    ['_rng']
    """
    attributes = getattr(owner, "__dict__", {})
    return {name: value for name, value in attributes.items() if isinstance(value, np.random.Generator)}


def state(owner: object) -> dict[str, Any]:
    """Return where the generators of an object are."""
    return {name: _plain(generator.bit_generator.state) for name, generator in generators(owner).items()}


def load_state(owner: object, states: Mapping[str, Any]) -> None:
    """Put the generators of an object where they were when `state` was asked.

    Raises DataError if the object has other generators, or generators of another kind.

    >>> class Shuffled:
    ...     rng = None
    >>> first, second = Shuffled(), Shuffled()
    >>> first.rng, second.rng = np.random.default_rng(1), np.random.default_rng(2)
    >>> load_state(second, state(first))
    >>> first.rng.random() == second.rng.random()
    True
    """
    own = generators(owner)
    if not isinstance(states, Mapping) or set(own) != set(states):
        found = list(states) if isinstance(states, Mapping) else states
        raise DataError(f"{type(owner).__name__} has the random generators {list(own)}, their states are of {found}")
    for name, generator in own.items():
        try:
            generator.bit_generator.state = states[name]
        except (TypeError, ValueError, KeyError, OverflowError, IndexError) as error:
            kind = type(generator.bit_generator).__name__
            raise DataError(f"{type(owner).__name__}.{name} is a {kind}, the state is of another: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
