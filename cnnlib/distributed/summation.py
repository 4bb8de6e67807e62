"""Summation: the gradients of one batch's chunks, on their way to be one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.distributed.chunks import Division, Node
from cnnlib.distributed.exchange import Course, Exchange

if TYPE_CHECKING:
    from mpi4py import MPI

    from cnnlib.layers import Parameter

__all__ = ["Summation"]

Array = NDArray[Any]


class Summation:
    """The sum of the gradients of a batch's chunks, which are dealt to the processes as `division` says.

    For each own chunk in turn: `open` it, run its backward pass, `close` it. The pass over the last one tells
    `finished` of gradients that are whole, so that their pieces are on their way before it is over. Then `result`.
    """

    def __init__(self, exchange: Exchange, division: Division) -> None:
        self._exchange, self._layout, self._world = exchange, exchange.layout, exchange.world
        self._division = division
        first, end = division.dealt[self._world.rank : self._world.rank + 2]
        self._last = end - 1
        self._nodes: list[Node] = []
        self._left: list[tuple[Array, Array]] = []  # sums that the chunk at hand completes
        self._running: list[tuple[Course, list[MPI.Request]]] = []
        self._begun = 0
        self._missing = [0] * len(self._layout.pieces)
        for piece in self._layout.piece_of.values():
            self._missing[piece] += 1
        if first == end:
            self._begin_rest()

    def open(self, chunk: int) -> Array:
        """Let the parameters' gradients go where those of this chunk belong; return that flat array."""
        top = len(self._nodes)
        array = self._exchange.slot(top)
        self._layout.place(array)
        # Siblings become one: what is left of this chunk takes it in, and is taken in by what is left of that.
        self._nodes = self._division.tree.joined([*self._nodes, Node(0, chunk)])
        slots = [self._exchange.slot(i) for i in range(top + 1)]
        self._left = [(slots[i - 1], slots[i]) for i in range(top, len(self._nodes) - 1, -1)]
        return array

    def finished(self, parameters: Sequence[Parameter]) -> None:
        """Take note that these gradients of the last chunk are whole."""
        for parameter in parameters:
            piece = self._layout.piece_of.get(id(parameter))
            if piece is not None:
                self._missing[piece] -= 1
        while self._begun < len(self._missing) and not self._missing[self._begun]:
            self._begin()
        self._advance()

    def close(self, chunk: int) -> None:
        """Take note that a chunk's backward pass is over."""
        self._layout.clear_missing()
        if chunk == self._last:
            self._begin_rest()
        else:
            for left, right in self._left:
                functional.add(left, right, out=left)

    def result(self, what: str) -> Array:
        """Wait for all pieces, and return the sum as a flat array. what: what it is called if a process is late."""
        while self._running:
            self._world.wait(self._running[0][1], what)
            self._next()
        return self._exchange.result

    def _begin_rest(self) -> None:
        while self._begun < len(self._missing):
            self._begin()

    def _begin(self) -> None:
        piece = self._layout.pieces[self._begun]
        self._begun += 1
        for left, right in self._left:
            functional.add(left[piece], right[piece], out=left[piece])
        course = self._exchange.course(piece, self._division)
        requests = next(course, None)
        if requests is not None:
            self._running.append((course, requests))

    def _advance(self) -> None:
        # In order: the second message of a piece must not overtake that of the piece before.
        while self._running and self._world.mpi.Request.Testall(self._running[0][1]):
            self._next()

    def _next(self) -> None:
        course, _ = self._running.pop(0)
        requests = next(course, None)
        if requests is not None:
            self._running.insert(0, (course, requests))
