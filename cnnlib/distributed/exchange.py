"""Exchange: how the sums that processes have become the sum of all, one piece of a flat array after the other.

Three ways to the same end. Each is a course of a few stations; what it yields are requests to MPI, and it goes on when
those are done, so that the backward pass need not wait for it.

- `SharedMemory`, if all processes are on one host: each adds up its share of the piece where the others left their
  numbers, and all read the result where it is. MPI passes the word, never a number.
- `Messages`: each process receives its share of the piece from all nodes of the tree, adds them up, and sends that to
  all. With one node a process that is 2 (P-1) / P times the piece out and in, as little as the best plain sum.
- `PlainMessages`: MPI's own sum, in an order that depends on the processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.distributed.chunks import Division, Node
from cnnlib.distributed.flat import Layout
from cnnlib.distributed.processes import World

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["Exchange", "Messages", "PlainMessages", "SharedMemory", "exchange"]

Array = NDArray[Any]
Course = Iterator[list["MPI.Request"]]


class Exchange:
    """The flat arrays of one process; alone, it has the sum of all already.

    depth: how many there are, at least one, the same number in all processes. Slot i has the value of the process's
    node i; `result` is where the sum of all is in the end.
    """

    def __init__(self, world: World, layout: Layout, depth: int) -> None:
        self.world, self.layout, self.depth = world, layout, depth
        self._slots = self._allocated()

    def _allocated(self) -> list[Array]:
        return [self.layout.array() for _ in range(self.depth)]

    def slot(self, i: int) -> Array:
        """Return the flat array of the process's node `i`."""
        return self._slots[i]

    @property
    def result(self) -> Array:
        """The flat array that receives the sum."""
        return self._slots[0]

    def course(self, piece: slice, division: Division) -> Course:
        """Add up one piece, which all processes begin in the same order."""
        return iter(())

    def _shares(self, piece: slice) -> list[slice]:
        """Return the part of a piece that each process adds up."""
        size, width = self.world.size, piece.stop - piece.start
        edges = [piece.start + rank * width // size for rank in range(size + 1)]
        return [slice(a, b) for a, b in pairwise(edges)]


class Messages(Exchange):
    """An exchange by MPI's collectives, between any hosts."""

    def course(self, piece: slice, division: Division) -> Course:
        world, result = self.world, self.result
        shares = self._shares(piece)
        starts = np.array([share.start - piece.start for share in shares])
        widths = np.array([share.stop - share.start for share in shares])
        width = widths[world.rank]
        values: dict[Node, Array] = {}
        requests = []
        for i in range(max(map(len, division.nodes))):
            # Those that have a node i send it; its share that is this process's comes here.
            have = np.array([len(own) > i for own in division.nodes], int)
            received, rows = np.empty((have.sum(), width), result.dtype), np.cumsum(have) - have
            given = self.slot(i if have[world.rank] else 0)[piece], (widths * have[world.rank], starts)
            requests.append(world.sums.Ialltoallv(given, [received, (width * have, width * rows)]))
            values.update(
                (own[i], received[row]) for own, row in zip(division.nodes, rows, strict=True) if len(own) > i
            )
        yield requests
        result[shares[world.rank]] = division.tree.total(values, _added)
        yield [world.spread.Iallgatherv(world.mpi.IN_PLACE, [result[piece], (widths, starts)])]


class PlainMessages(Exchange):
    """An exchange by MPI's sum."""

    def course(self, piece: slice, division: Division) -> Course:
        own, result = len(division.nodes[self.world.rank]), self.result[piece]
        if not own:
            result[...] = 0
        for i in range(1, own):
            _added(result, self.slot(i)[piece])
        yield [self.world.sums.Iallreduce(self.world.mpi.IN_PLACE, result)]


class SharedMemory(Exchange):
    """An exchange through memory that all processes of one host have in common.

    Nobody writes to slots from the first word of a piece to the second; nobody writes to the result before the first
    word of the next batch, when all are done with it.
    """

    def _allocated(self) -> list[Array]:
        size, dtype = self.layout.size, self.layout.dtype
        memories = self.world.memories(_needed(self.layout, self.depth))
        # Before the slots of the first process lies the result, always at one place.
        of = [[memory.view(dtype)[i * size : (i + 1) * size] for i in range(self.depth + 1)] for memory in memories]
        self._result, self._of = of[0][0], [slots for _, *slots in of]
        return self._of[self.world.rank]

    @property
    def result(self) -> Array:
        return self._result

    def course(self, piece: slice, division: Division) -> Course:
        share = self._shares(piece)[self.world.rank]
        yield [self.world.word(self.world.sums)]
        values = {
            node: slots[i][share]
            for own, slots in zip(division.nodes, self._of, strict=True)
            for i, node in enumerate(own)
        }
        result = self.result[share]
        total = division.tree.total(values, _added, lambda left, right: functional.add(left, right, out=result))
        if total is not result:
            np.copyto(result, total)
        yield [self.world.word(self.world.spread)]


def exchange(world: World, layout: Layout, exact: bool, depth: int) -> Exchange:
    """Return the best way there is between these processes."""
    kind: type[Exchange] = Messages if exact else PlainMessages
    if world.size == 1:
        kind = Exchange
    elif exact and world.shares(_needed(layout, depth)):
        kind = SharedMemory
    return kind(world, layout, depth)


def _needed(layout: Layout, depth: int) -> int:
    """Return how many bytes a process has in common with others: those of the slots and of a result."""
    return (depth + 1) * layout.size * layout.dtype.itemsize


def _added(left: Array, right: Array) -> Array:
    return functional.add(left, right, out=left)
