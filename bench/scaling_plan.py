"""How far data-parallel training scales: a model of one step's time, from costs that were measured on one machine.

A rank is one machine with a link of its own. A global batch of N samples is P·m chunks of c samples, P of ranks. One
rank's step with m chunks takes

    T(P) = m (f + b) + u + W(P) + w(P) + g(P)

    f, b   measured: a chunk's forward and backward pass; u: the optimizer's step
    W(P)   what the rank computes for the others' sake
    w(P)   how long it waits for the gradients' sum after its last backward pass
    g(P)   what processes tell each other besides: losses, whether to stop, and, to rank 0, m·q bytes of predictions

**Messages.** α seconds a message: the link's latency (assumed) and what a message costs here (measured, between two
processes of one host); β bytes a second. The sum of n bytes over all ranks takes

    ring   2 (P-1) (α + n / (P β))              P-1 messages of n/P bytes to add up, P-1 to hand on the result
    tree   2 log₂P α + 2 (P-1)/P n / β          recursive halving, then doubling: as many bytes, fewer messages

`exact=True` sends what a ring does (`Messages`: all to all, then all gather); `exact=False` leaves it to MPI, which has
the tree for large pieces. Both send 2 (P-1)/P n bytes a rank.

**Overlap.** The flat gradient goes in pieces of n_i bytes, one after the other, each when the last chunk's backward
pass has all of it, b_i seconds after its begin (measured):

    e_i = max(b_i, e_{i-1}) + sum(n_i)          w = max(0, e_last - b)

Assumed: messages make progress while the backward pass computes, and take none of its time. The last piece is whole
when the pass is over, so that its sum is never hidden.

**Work for others.** Measured: σ to begin an addition, γ bytes a second of it; ρ for rank 0, for which all wait in the
end, to read a chunk's predictions:

    W(P) = Σ_i (P-1) (σ + n_i / (P γ)) + (P-1) m ρ        without σ for the tree: MPI adds in C

**Told besides.** Losses go in 1024 bytes to all, whether to stop is one number (log₂P messages each, P-1 parts in);
predictions and targets go to rank 0, if there are metrics:

    g(P) = 2 log₂P α + (P-1) 1024 / β  [ + log₂P α + (P-1) m q / β ]

**Efficiency**: weak scaling (samples a rank fixed) T(1)/T(P); strong scaling (global batch fixed) T(1)/(P T(P)), T(1)
in chunks of the usual size, T(P) in smaller ones where N/P is smaller. A net stops scaling where efficiency falls
below `ENOUGH`. All sizes are powers of two, as the measured c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log2

__all__ = ["ENOUGH", "LINKS", "RANKS", "SUMS", "Chunk", "Link", "Net", "Overheads", "Plan", "ring", "tree"]

RANKS = tuple(2**k for k in range(1, 11))
ENOUGH = 0.5
SHORT = 1024  # bytes of the first message of `World.gather`, in which a chunk's losses have room


@dataclass(frozen=True)
class Link:
    """α in seconds, β in bytes a second."""

    name: str
    latency: float
    bandwidth: float


# Assumed, not measured: TCP over Ethernet, and a fabric with remote memory access.
LINKS = (Link("10 Gbit/s", 20e-6, 10e9 / 8), Link("100 Gbit/s", 5e-6, 100e9 / 8))


@dataclass(frozen=True)
class Overheads:
    """What a process does for each other one: seconds, but bytes a second for `adding`."""

    message: float  # a message's cost here, added to α
    addition: float  # σ
    adding: float  # γ


@dataclass(frozen=True)
class Chunk:
    """A chunk's costs: seconds, but bytes for `report`. whole: the pieces' b_i."""

    forward: float
    backward: float
    whole: Sequence[float]
    report: int  # q, 0 without metrics
    reading: float  # ρ


@dataclass(frozen=True)
class Net:
    """A net's costs. pieces: the n_i in bytes; chunks: by how many samples they have."""

    name: str
    pieces: tuple[int, ...]
    update: float
    chunks: Mapping[int, Chunk]


def ring(n: float, ranks: int, link: Link) -> float:
    """Return the seconds that a sum of n bytes takes along a ring.

    >>> round(ring(8e6, 4, Link("", 1e-3, 1e9)), 6)  # 6 messages of 2 MB
    0.018
    """
    return 2 * (ranks - 1) * (link.latency + n / (ranks * link.bandwidth))


def tree(n: float, ranks: int, link: Link) -> float:
    """Return the seconds that a sum of n bytes takes by recursive halving and doubling.

    >>> round(tree(8e6, 4, Link("", 1e-3, 1e9)), 6)  # 2 + 2 messages, 12 MB in all
    0.016
    """
    return 2 * log2(ranks) * link.latency + 2 * (ranks - 1) / ranks * n / link.bandwidth


Sum = Callable[[float, int, Link], float]
#: What the table calls a sum -> its formula.
SUMS: dict[str, Sum] = {"ring, exact": ring, "tree, MPI's": tree}


@dataclass(frozen=True)
class Plan:
    """A net on ranks that are joined by links; size: how many samples a chunk has, if a rank has as many."""

    net: Net
    size: int
    link: Link
    total: Sum
    overheads: Overheads

    def step(self, ranks: int, samples: int) -> float:
        """Return T(P) in seconds, for so many samples a rank."""
        size = min(self.size, samples)
        number, chunk = samples // size, self.net.chunks[size]
        seconds = number * (chunk.forward + chunk.backward) + self.net.update
        seconds += self.work(ranks, number, chunk)
        return seconds + (self.waiting(ranks, chunk) + self.telling(ranks, number * chunk.report) if ranks > 1 else 0)

    def work(self, ranks: int, number: int, chunk: Chunk) -> float:
        """Return W(P), for so many chunks a rank."""
        pieces, cost, others = self.net.pieces, self.overheads, ranks - 1
        beginning = len(pieces) * cost.addition if self.total is ring else 0.0
        adding = others * (beginning + sum(pieces) / (ranks * cost.adding))
        return adding + others * number * chunk.reading

    def waiting(self, ranks: int, chunk: Chunk) -> float:
        """Return w(P)."""
        end = 0.0
        for n, whole in zip(self.net.pieces, chunk.whole, strict=True):
            end = max(whole, end) + self.total(n, ranks, self._messages)
        return max(0.0, end - chunk.backward)

    def telling(self, ranks: int, size: int) -> float:
        """Return g(P), for so many bytes of predictions and targets that a rank has in all."""
        link, others = self._messages, ranks - 1
        once = log2(ranks) * link.latency
        more = once + others * size / link.bandwidth if size else 0.0
        return 2 * once + others * SHORT / link.bandwidth + more

    def efficiency(self, ranks: int, samples: int, strong: bool = False) -> float:
        """Return which part of P ranks' time is not lost, against one rank alone.

        samples: of one rank of P. In strong scaling the one alone has those of all, else as many.
        """
        if strong:
            return self.step(1, samples * ranks) / (ranks * self.step(ranks, samples))
        return self.step(1, samples) / self.step(ranks, samples)

    def least(self, ranks: int, most: int = 1 << 14) -> int | None:
        """Return the smallest global batch that is efficient enough in strong scaling; None beyond `most` a rank."""
        samples = (2**k for k in range(most.bit_length()))
        return next((ranks * n for n in samples if self.efficiency(ranks, n, strong=True) >= ENOUGH), None)

    @property
    def _messages(self) -> Link:
        """The link, with all that α consists of."""
        return Link(self.link.name, self.link.latency + self.overheads.message, self.link.bandwidth)
