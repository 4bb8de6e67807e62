"""Dealing: the rows of a batch that belong to one process, and all rows put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cnnlib.datasets.feeding import Batch
from cnnlib.datasets.loader import Batches

__all__ = ["dealt", "joined", "length", "part"]


def dealt(batches: Iterable[Batch], share: Callable[[int], slice]) -> Iterator[Batch]:
    """Yield the rows ``share(n)`` of each batch of n samples; where data are read by index, nothing else is read."""
    if not isinstance(batches, Batches):
        for batch in batches:
            rows = share(length(batch[0]))
            yield tuple(part(of, rows) for of in batch)
        return
    batches.share = share
    try:
        yield from batches
    finally:
        batches.share = None


def length(arrays: Any) -> int:
    """Return how many samples an array, a list of them or a dict of them has."""
    if isinstance(arrays, Mapping):
        arrays = list(arrays.values())
    return len(arrays[0]) if isinstance(arrays, (list, tuple)) else len(arrays)


def part(arrays: Any, rows: slice) -> Any:
    """Return those rows of an array, or of each in a list or dict; of None, None.

    >>> part({"main": np.arange(4), "aux": [np.ones(4), np.zeros(4)]}, slice(1, 3))["main"]
    array([1, 2])
    """
    if arrays is None:
        return None
    if isinstance(arrays, Mapping):
        return {name: part(array, rows) for name, array in arrays.items()}
    if isinstance(arrays, (list, tuple)):
        return [part(array, rows) for array in arrays]
    return arrays[rows]


def joined(parts: Sequence[Any]) -> Any:
    """Return arrays, or lists or dicts of arrays, one behind the other; None if there are none.

    >>> joined([np.arange(2), np.arange(1)])
    array([0, 1, 0])
    """
    if not parts or parts[0] is None:
        return None
    if isinstance(parts[0], Mapping):
        return {name: joined([one[name] for one in parts]) for name in parts[0]}
    if isinstance(parts[0], (list, tuple)):
        return type(parts[0])(joined(column) for column in zip(*parts, strict=True))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
