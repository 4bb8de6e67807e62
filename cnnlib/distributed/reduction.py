"""Reduction: the sum of flat arrays over all processes, piece by piece, while the backward pass goes on.

Exact: every process receives its share of each piece from all nodes of the tree (`cnnlib.distributed.chunks`), adds
them up in the tree's order, and all shares go to all. With one node a process that is 2 (P-1) / P times the piece sent
and received, as in the best plain sum. Plain: MPI's own sum, in an order that depends on the processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.distributed.chunks import Node, Tree
from cnnlib.distributed.processes import World

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["Reduction"]

Array = NDArray[Any]


class Reduction:
    """The sum of one batch's flat arrays.

    nodes: for each process, the nodes of the tree that it has. Pieces must be begun in one order everywhere.
    """

    def __init__(self, world: World, tree: Tree, nodes: Sequence[Sequence[Node]], exact: bool) -> None:
        self._world, self._tree, self._nodes, self._exact = world, tree, nodes, exact
        self._running: list[tuple[Iterator[list[MPI.Request]], list[MPI.Request]]] = []

    def begin(self, own: Sequence[Array], result: Array) -> None:
        """Begin to sum one piece. own: this process's nodes. result: what receives the sum; the last of `own`, if any.

        None of the arrays may be touched before `finish`.
        """
        if self._world.size > 1:
            course = self._sum_exactly(own, result) if self._exact else self._sum_plainly(own, result)
            self._running.append((course, next(course)))

    def advance(self) -> None:
        """Go on with what has arrived, without waiting."""
        # In order: the second message of a piece must not overtake that of the piece before.
        while self._running and self._world.mpi.Request.Testall(self._running[0][1]):
            self._next()

    def finish(self, what: str) -> None:
        """Wait for all pieces."""
        while self._running:
            self._world.wait(self._running[0][1], what)
            self._next()

    def _next(self) -> None:
        course, _ = self._running.pop(0)
        requests = next(course, None)
        if requests is not None:
            self._running.insert(0, (course, requests))

    def _sum_plainly(self, own: Sequence[Array], result: Array) -> Iterator[list[MPI.Request]]:
        for array in own[:-1]:
            functional.add(result, array, out=result)
        if not own:
            result[...] = 0
        yield [self._world.sums.Iallreduce(self._world.mpi.IN_PLACE, result)]

    def _sum_exactly(self, own: Sequence[Array], result: Array) -> Iterator[list[MPI.Request]]:
        world, size = self._world, result.size
        starts = [rank * size // world.size for rank in range(world.size + 1)]
        shares, mine = np.diff(starts), slice(starts[world.rank], starts[world.rank + 1])
        values: dict[Node, Array] = {}
        requests = []
        for turn in range(max(map(len, self._nodes))):
            # From each process that has so many nodes its share that is this process's.
            sends = np.array([len(nodes) > turn for nodes in self._nodes], int)
            received = np.empty((sends.sum(), shares[world.rank]), result.dtype)
            rows = np.cumsum(sends) - sends
            given = own[turn] if sends[world.rank] else np.empty(0, result.dtype)
            out = given, (shares * sends[world.rank], np.array(starts[:-1]) * sends[world.rank])
            requests.append(
                world.sums.Ialltoallv(out, [received, (received.shape[1] * sends, received.shape[1] * rows)])
            )
            values.update(
                (nodes[turn], received[row]) for nodes, row in zip(self._nodes, rows, strict=True) if len(nodes) > turn
            )
        yield requests
        result[mine] = self._tree.total(values, lambda left, right: functional.add(left, right, out=right))
        yield [world.spread.Iallgatherv(world.mpi.IN_PLACE, [result, (shares, starts[:-1])])]
