"""Chunks: the parts of a batch whose gradients are added up, and the order in which they are.

A batch of N samples is cut into K = ⌈N / size⌉ chunks, as even as can be, whoever computes them. Their gradients are
the leaves of a binary tree::

    level 2            ((0+1)+(2+3))
                       /           \\
    level 1       (0+1)             (2+3)            the value of a node: left + right;
                  /    \\           /    \\           of one without a right child: left
    level 0      0      1         2      3

Every addition in it is the same wherever it is made. A process adds up what lies whole under its own chunks, and hands
on the nodes that are left: one for each in the usual case, so that an exact sum travels no further than a plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, TypeVar

__all__ = ["Chunks", "Division", "Node", "Tree", "division"]

T = TypeVar("T")


class Node(NamedTuple):
    """The sum of the chunks from 2^level · place up to, not including, 2^level · (place + 1)."""

    level: int
    place: int


class Chunks(NamedTuple):
    """How a batch is cut.

    >>> Chunks(100, 32).number, Chunks(100, 32).edges
    (4, [0, 25, 50, 75, 100])
    """

    samples: int
    size: int

    @property
    def number(self) -> int:
        """How many chunks there are."""
        return -(-self.samples // self.size)

    @property
    def edges(self) -> list[int]:
        """Where in the batch each chunk begins, and the last one ends."""
        return [k * self.samples // self.number for k in range(self.number + 1)]


class Tree:
    """The tree over `count` chunks, at least one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.root = Node((count - 1).bit_length(), 0)

    def joined(self, nodes: list[Node]) -> list[Node]:
        """Return the nodes, which lie side by side, with the last ones made one as long as they are one in the tree.

        >>> Tree(3).joined([Node(1, 0), Node(0, 2)])
        [Node(level=2, place=0)]
        """
        nodes = list(nodes)
        while nodes and nodes[-1] != self.root:
            level, place = nodes[-1]
            parent = Node(level + 1, place // 2)
            if place % 2:
                if nodes[-2:-1] != [Node(level, place - 1)]:
                    break
                nodes[-2:] = [parent]
            elif (place + 1) << level < self.count:
                break
            else:
                nodes[-1] = parent
        return nodes

    def growth(self, first: int, last: int) -> Iterator[list[Node]]:
        """Yield the nodes that there are of the chunks from first on: none, then after each one up to last."""
        nodes: list[Node] = []
        yield nodes
        for chunk in range(first, last):
            nodes = self.joined([*nodes, Node(0, chunk)])
            yield nodes

    def nodes(self, first: int, last: int) -> list[Node]:
        """Return the fewest nodes that hold the chunks from first up to last, in their order.

        >>> Tree(8).nodes(2, 5)
        [Node(level=1, place=1), Node(level=0, place=4)]
        """
        *_, nodes = self.growth(first, last)
        return nodes

    def depth(self, first: int, last: int) -> int:
        """Return how many values there are at once while the chunks from first up to last are added up in turn.

        >>> [Tree(8).depth(0, last) for last in (0, 1, 2, 4, 8)]
        [0, 1, 2, 3, 4]
        """
        *before, _ = self.growth(first, last)
        return max((len(nodes) + 1 for nodes in before), default=0)

    def total(self, values: Mapping[Node, T], add: Callable[[T, T], T], last: Callable[[T, T], T] | None = None) -> T:
        """Return the root's value, from values of nodes that together hold every chunk once.

        last: makes the last addition, if there is any.

        >>> Tree(3).total({Node(0, 0): "0", Node(0, 1): "1", Node(1, 1): "2"}, lambda a, b: f"({a}+{b})")
        '((0+1)+2)'
        """
        return self._value(self.root, values, add, last or add)

    def _value(self, node: Node, values: Mapping[Node, T], add: Callable[[T, T], T], last: Callable[[T, T], T]) -> T:
        if node in values:
            return values[node]
        level, left = node.level - 1, 2 * node.place
        if (left + 1) << level >= self.count:
            return self._value(Node(level, left), values, add, last)
        return last(*(self._value(Node(level, place), values, add, add) for place in (left, left + 1)))


class Division(NamedTuple):
    """Who computes which chunks, and what comes of it."""

    tree: Tree
    #: For each process its first chunk, and the end of the last one's.
    dealt: tuple[int, ...]
    #: Each process's nodes, from which the total is made.
    nodes: tuple[tuple[Node, ...], ...]
    #: The most values that a process has at once.
    depth: int


@lru_cache(maxsize=16)
def division(chunks: int, processes: int) -> Division:
    """Return how so many chunks are dealt to processes, in their order and as evenly as can be.

    >>> division(4, 3).dealt
    (0, 1, 2, 4)
    """
    tree = Tree(chunks)
    dealt = tuple(rank * chunks // processes for rank in range(processes + 1))
    spans = list(pairwise(dealt))
    nodes = tuple(tuple(tree.nodes(first, last)) for first, last in spans)
    return Division(tree, dealt, nodes, max(tree.depth(first, last) for first, last in spans))
