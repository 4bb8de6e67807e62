"""Timing of contestants in turn: many short blocks of calls, each begun with the machine at rest."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Container, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Pace", "Timing", "interleave", "settle"]

Name = TypeVar("Name", bound=Hashable)

# A thread that spins uses a whole core: far above the share, while the sampling itself is far below it. Several slices,
# because on a busy machine a thread that spins may be kept waiting for the length of one.
IDLE_SHARE, SLICE, QUIET_SLICES, PATIENCE = 0.2, 0.003, 3, 0.5


@dataclass(frozen=True)
class Pace:
    """How long a contestant is timed: `rounds` blocks of about `block` seconds, warm-up for as long before.

    The machine is at rest before that, and a core that slept, above all a virtual one, takes tens of milliseconds to
    run at its speed.

    A contestant whose single call takes longer than a block gets one call a block. One that has used `limit` seconds
    drops out, but not before round `fewest`.
    """

    rounds: int = 11
    block: float = 0.03
    limit: float = 1.2
    fewest: int = 5


@dataclass(frozen=True)
class Timing:
    """Seconds of all calls of one contestant, by rounds."""

    rounds: list[list[float]]

    @property
    def medians(self) -> list[float]:
        """Each round's median."""
        return [statistics.median(samples) for samples in self.rounds]

    @property
    def median(self) -> float:
        """The time that counts: the median of the rounds' medians."""
        return statistics.median(self.medians)

    @property
    def best(self) -> float:
        """The least disturbed call."""
        return min(min(samples) for samples in self.rounds)

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return sum(map(len, self.rounds))

    def ratios_to(self, other: Timing) -> list[float]:
        """Return, round by round, how many times longer this contestant takes than the other, least first.

        What slows the machine for longer than a round slows both, and leaves their ratio alone.

        >>> Timing([[2.0], [6.0]]).ratios_to(Timing([[1.0], [2.0], [3.0]]))
        [2.0, 3.0]
        """
        return sorted(mine / theirs for mine, theirs in zip(self.medians, other.medians, strict=False))


def settle() -> None:
    """Wait until no thread of this process spins, at most half a second."""
    end, quiet = time.monotonic() + PATIENCE, 0
    while quiet < QUIET_SLICES and time.monotonic() < end:
        start, used = time.perf_counter(), time.process_time()
        time.sleep(SLICE)
        idle = time.process_time() - used < IDLE_SHARE * (time.perf_counter() - start)
        quiet = quiet + 1 if idle else 0


def interleave(
    calls: Mapping[Name, Callable[[], Any]], pace: Pace, sparing: Container[Name] = ()
) -> dict[Name, Timing]:
    """Time each of `calls`, which have run before, in rounds; who begins changes from round to round.

    Those in `sparing` may drop out after their first round.
    """
    names = list(calls)
    rounds: dict[Name, list[list[float]]] = {name: [] for name in names}
    with _without_garbage_collection():
        for i in range(pace.rounds):
            for name in names[i % len(names) :] + names[: i % len(names)]:
                samples = rounds[name]
                if i < (1 if name in sparing else pace.fewest) or sum(map(sum, samples)) < pace.limit:
                    settle()
                    slow = bool(samples) and min(samples[-1]) > pace.block
                    samples.append(_block(calls[name], pace.block, warm_up=not slow))
    return {name: Timing(samples) for name, samples in rounds.items()}


def _block(call: Callable[[], Any], seconds: float, warm_up: bool) -> list[float]:
    clock = time.perf_counter
    end = clock() + seconds
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
