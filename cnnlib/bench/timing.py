"""Timing of contestants in turn: blocks of calls, each begun with the machine at rest."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Pace", "Timing", "interleave", "settle"]

Name = TypeVar("Name", bound=Hashable)

# A thread that spins uses a whole core: far above the first, while the sampling itself is far below it.
IDLE_SHARE, SLICE, PATIENCE = 0.2, 0.005, 0.5


@dataclass(frozen=True)
class Pace:
    """How long a contestant is timed: `rounds` blocks of about `block` seconds, warm-up for a fifth of that before.

    A contestant whose single call takes longer than a block gets one call a block, and no more than `slow` blocks.
    """

    rounds: int = 5
    block: float = 0.1
    slow: int = 3


@dataclass(frozen=True)
class Timing:
    """Seconds of all calls of one contestant."""

    samples: list[float]

    @property
    def median(self) -> float:
        """The time that counts."""
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        """The least disturbed call."""
        return min(self.samples)


def settle() -> None:
    """Wait until no thread of this process spins, at most half a second."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        start, used = time.perf_counter(), time.process_time()
        time.sleep(SLICE)
        if time.process_time() - used < IDLE_SHARE * (time.perf_counter() - start):
            return


def interleave(calls: Mapping[Name, Callable[[], Any]], pace: Pace) -> dict[Name, Timing]:
    """Time each of `calls`, which have run before, in rounds; who begins changes from round to round."""
    names = list(calls)
    samples: dict[Name, list[float]] = {name: [] for name in names}
    with _without_garbage_collection():
        for i in range(pace.rounds):
            for name in names[i % len(names) :] + names[: i % len(names)]:
                slow = bool(samples[name]) and min(samples[name]) > pace.block
                if not (slow and len(samples[name]) >= pace.slow):
                    settle()
                    samples[name] += _block(calls[name], pace.block, warm_up=not slow)
    return {name: Timing(times) for name, times in samples.items()}


def _block(call: Callable[[], Any], seconds: float, warm_up: bool) -> list[float]:
    clock = time.perf_counter
    end = clock() + seconds / 5
    while warm_up:
        call()
        warm_up = clock() < end
    times: list[float] = []
    end = clock() + seconds
    while not times or clock() < end:
        start = clock()
        call()
        times.append(clock() - start)
    return times


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
