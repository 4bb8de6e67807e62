"""Layout of a graph in layers: levels by the longest path, few crossings by barycentres, straight long edges.

Lengths are in any unit; `along` is the direction in which the graph is read, `across` the other one. An edge that
passes levels gets a place in each of them, so that boxes make way for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Layout", "Point", "arrange"]

Point = tuple[float, float]  # across, along
_SWEEPS = 8


@dataclass(frozen=True)
class Layout:
    """Where the nodes' centres are, and the points through which each edge (target, position among its sources) goes.

    Edges start at the far side of the source and end at the near side of the target; all coordinates are at least 0.
    """

    centres: tuple[Point, ...]
    routes: dict[tuple[int, int], tuple[Point, ...]]
    across: float
    along: float


@dataclass
class _Place:
    """A node, or a place where an edge passes a level."""

    level: int
    breadth: float
    before: list[int]
    after: list[int]
    at: float = 0.0


def arrange(
    sources: Sequence[Sequence[int]], sizes: Sequence[tuple[float, float]], gap_across: float, gap_along: float
) -> Layout:
    """Return the layout of nodes of `sizes` (across, along), where node i reads the nodes `sources[i]`, all before i.

    >>> diamond = arrange([[], [0], [0], [1, 2]], [(10, 10)] * 4, gap_across=5, gap_along=20)
    >>> diamond.centres
    ((12.5, 5.0), (5.0, 35.0), (20.0, 35.0), (12.5, 65.0))
    """
    levels: list[int] = []
    for reads in sources:
        levels.append(1 + max((levels[source] for source in reads), default=-1))
    places = [_Place(level, size[0], [], []) for level, size in zip(levels, sizes, strict=True)]
    edges = {(i, k): _joined(places, source, i) for i, reads in enumerate(sources) for k, source in enumerate(reads)}
    rows: list[list[int]] = [[] for _ in range(max(levels) + 1)]
    for i, place in enumerate(places):
        rows[place.level].append(i)

    rows = _ordered(places, rows)
    _settle(places, rows, gap_across)
    least = min(place.at - place.breadth / 2 for place in places)
    for place in places:
        place.at -= least

    depths = [max(sizes[i][1] for i in row if i < len(sizes)) for row in rows]
    tops = [sum(depths[:level]) + gap_along * level for level in range(len(rows))]
    centres = [(place.at, tops[place.level] + depths[place.level] / 2) for place in places]
    routes = {}
    for (target, k), path in edges.items():
        points = [(centres[path[0]][0], centres[path[0]][1] + sizes[path[0]][1] / 2)]
        for passed in path[1:-1]:
            level = places[passed].level
            points += [(places[passed].at, tops[level]), (places[passed].at, tops[level] + depths[level])]
        routes[target, k] = points
    for target, size in enumerate(sizes):
        # Edges end side by side, in the order in which they come in, so that they do not cross at the target.
        own = sorted((key for key in routes if key[0] == target), key=lambda key: routes[key][-1][0])
        for port, key in enumerate(own):
            shift = size[0] * 0.6 * ((port + 0.5) / len(own) - 0.5)
            routes[key].append((centres[target][0] + shift, centres[target][1] - size[1] / 2))
    return Layout(
        tuple(centres[: len(sizes)]),
        {key: tuple(points) for key, points in routes.items()},
        max(place.at + place.breadth / 2 for place in places),
        tops[-1] + depths[-1],
    )


def _joined(places: list[_Place], source: int, target: int) -> list[int]:
    """Return the path of an edge, after making a place in each level that it passes."""
    path = [source]
    for level in range(places[source].level + 1, places[target].level):
        places.append(_Place(level, 0.0, [], []))
        path.append(len(places) - 1)
    path.append(target)
    for a, b in pairwise(path):
        places[a].after.append(b)
        places[b].before.append(a)
    return path


def _ordered(places: list[_Place], rows: list[list[int]]) -> list[list[int]]:
    """Return the rows, each sorted by the mean rank of its neighbours, down and up again; the best of all sweeps."""
    best, fewest = rows, _crossings(places, rows)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        rows = [list(row) for row in rows]
        down = sweep % 2 == 0
        rank = {i: r for row in rows for r, i in enumerate(row)}
        for row in rows if down else reversed(rows):
            key = {}
            for i in row:
                neighbours = places[i].before if down else places[i].after
                key[i] = _mean([rank[n] for n in neighbours], rank[i])
            row.sort(key=key.__getitem__)
            rank.update((i, r) for r, i in enumerate(row))
        crossings = _crossings(places, rows)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _crossings(places: list[_Place], rows: list[list[int]]) -> int:
    count = 0
    for upper, lower in pairwise(rows):
        rank = {i: r for r, i in enumerate(lower)}
        ends = [sorted(rank[target] for target in places[i].after) for i in upper]
        seen: list[int] = []
        for each in ends:
            count += sum(earlier > end for end in each for earlier in seen)
            seen += each
    return count


def _settle(places: list[_Place], rows: list[list[int]], gap: float) -> None:
    """Move each row, its order and gaps kept, as near to the means of its neighbours as can be."""
    for row in rows:
        _place_row(places, row, [0.0] * len(row), gap)
    # Up, then down: the last word is what a node reads, so that chains hang straight.
    for sweep in range(2 * _SWEEPS):
        down = sweep % 2 == 1
        for row in rows if down else reversed(rows):
            wanted = []
            for i in row:
                neighbours = places[i].before if down else places[i].after
                wanted.append(_mean([places[n].at for n in neighbours], places[i].at))
            _place_row(places, row, wanted, gap)


def _place_row(places: list[_Place], row: list[int], wanted: list[float], gap: float) -> None:
    """Solve min Σ (at − wanted)² with neighbours at least `gap` apart, by pooling those that would be too close."""
    offsets = [0.0]
    for a, b in pairwise(row):
        offsets.append(offsets[-1] + (places[a].breadth + places[b].breadth) / 2 + gap)
    pools: list[tuple[float, int]] = []  # mean of wanted − offset, how many
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while pools and pools[-1][0] > mean:
            before, n = pools.pop()
            mean, count = (before * n + mean * count) / (n + count), n + count
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    for i, mean, offset in zip(row, means, offsets, strict=True):
        places[i].at = mean + offset


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
