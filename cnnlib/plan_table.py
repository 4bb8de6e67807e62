"""What a plan does, as a table: each step with its algorithm, layout, memory and share of the time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.operations import Convolution, Operation, lanes
from cnnlib.plan import Plan, Step

__all__ = ["PlanRow", "PlanTable", "aligned", "plan_table"]

Array = NDArray[Any]

# The machine of the prediction: two vectors multiplied and added a cycle, eight bytes moved.
VECTORS, BYTES = 2, 8


@dataclass(frozen=True)
class PlanRow:
    """One step. Times are of one batch in milliseconds, shares of all steps together."""

    names: str
    runs: str
    algorithm: str
    layout: str
    bytes: int
    multiply_adds: int
    backward_multiply_adds: int
    predicted: float
    forward_ms: float
    backward_ms: float | None
    measured: float


@dataclass(frozen=True)
class PlanTable:
    """What `Model.plan` returns: `rows`, the bytes of all `buffers`, and, printed, a table."""

    batch: int
    dtype: str
    training: bool
    buffers: int
    rows: tuple[PlanRow, ...]

    def __str__(self) -> str:
        mode = "training" if self.training else "inference"
        head = ["layers", "runs", "algorithm", "layout", "KB", "multiply-adds", "predicted", "measured", "ms"]
        lines = [head]
        for row in self.rows:
            ms = row.forward_ms + (row.backward_ms or 0)
            numbers = [
                f"{row.bytes / 1000:,.0f}",
                f"{row.multiply_adds:,}",
                f"{row.predicted:.0%}",
                f"{row.measured:.0%}",
            ]
            lines.append([row.names, row.runs, row.algorithm, row.layout, *numbers, f"{ms:.3f}"])
        title = f"batch {self.batch}, {self.dtype}, {mode}; buffers: {self.buffers / 1000:,.0f} KB"
        return "\n".join([title, *aligned(lines, 4)])


def aligned(lines: Sequence[Sequence[str]], texts: int) -> list[str]:
    """Return the lines of a table, its first columns, which are texts, to the left and its figures to the right.

    >>> aligned([["layer", "ms"], ["0", "1.5"]], 1)
    ['layer   ms', '0      1.5']
    """
    columns = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [cell.ljust(w) if i < texts else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, columns, strict=True))]
        for line in lines
    ]
    return ["  ".join(line).rstrip() for line in padded]


def plan_table(plan: Plan, rounds: int, xs: list[Array] | None = None) -> PlanTable:
    """Run a plan on arrays, or on random numbers, `rounds` times and return what it did."""
    batch, dtype, training = plan.key
    nodes, names = plan.graph.nodes, {layer: name for name, layer in plan.graph.layers.items()}
    if xs is None:
        rng = np.random.default_rng(0)
        xs = [rng.standard_normal((batch, *nodes[i].shape)).astype(dtype) for i in plan.graph.inputs]
    forwards: dict[int, list[float]] = {step.task.value: [] for step in plan.steps}
    backwards: dict[int, list[float]] = {step.task.value: [] for step in plan.steps}
    for _ in range(rounds):
        with _timed(plan.steps, forwards, backwards):
            ys = plan.forward(xs)
            if training:
                plan.backward([np.ones_like(y) for y in ys], needs_input_grad=False)
    costs = [_cost(plan, step) for step in plan.steps]
    times = {value: statistics.median(samples) * 1e3 for value, samples in forwards.items()}
    back = {value: statistics.median(samples or [0.0]) * 1e3 for value, samples in backwards.items()}
    total, predicted = sum(times.values()) + sum(back.values()), sum(cost for _, _, cost in costs)
    rows = []
    for step, (algorithm, multiply_adds, cost) in zip(plan.steps, costs, strict=True):
        value = step.task.value
        rows.append(
            PlanRow(
                names=", ".join(names[layer] for layer in step.task.layers) or "—",
                runs=repr(step.task.run) if isinstance(step.task.run, Operation) else type(step.task.run).__name__,
                algorithm=algorithm,
                layout=" → ".join(["+".join(_layouts(plan, step.task.sources)), *_layouts(plan, (value,))]),
                bytes=0 if step.out is None else step.out.nbytes,
                multiply_adds=multiply_adds,
                backward_multiply_adds=multiply_adds * plan.gradients(step) if training else 0,
                predicted=cost / predicted if predicted else 0.0,
                forward_ms=times[value],
                backward_ms=back[value] if training else None,
                measured=(times[value] + back[value]) / total if total else 0.0,
            )
        )
    memory = {id(_root(step.out)): _root(step.out).nbytes for step in plan.steps if step.out is not None}
    return PlanTable(batch, dtype.name, training, sum(memory.values()), tuple(rows))


class _timed:
    """While it lasts, every step's passes are timed."""

    def __init__(self, steps: list[Step], forwards: dict[int, list[float]], backwards: dict[int, list[float]]) -> None:
        self._steps, self._into = steps, {"forward": forwards, "backward": backwards}

    def __enter__(self) -> None:
        for step in self._steps:
            for method, into in self._into.items():
                setattr(step, method, self._watched(getattr(step, method), into[step.task.value]))

    def __exit__(self, *_: object) -> None:
        for step in self._steps:
            for method in self._into:
                delattr(step, method)

    @staticmethod
    def _watched(function: Callable[..., None], into: list[float]) -> Callable[..., None]:
        def watched(*arguments: Any) -> None:
            start = time.perf_counter()
            function(*arguments)
            into.append(time.perf_counter() - start)

        return watched


def _cost(plan: Plan, step: Step) -> tuple[str, int, float]:
    """Return the algorithm, the multiply-adds of the batch that it stands for, and the cycles that they may take."""
    batch, dtype, training = plan.key
    graph, run = plan.graph, step.task.run
    moved = sum(prod(plan.lowered.shapes[value]) for value in (*step.task.sources, step.task.value)) * dtype.itemsize
    madds, done, algorithm = 0, 0.0, ""
    for layer in step.task.layers:
        node = next(i for i, description in enumerate(graph.nodes) if description.layer is layer)
        shapes = [graph.nodes[source].shape for source in graph.sources[node]]
        count = layer.multiply_adds(*shapes) * batch
        madds += count
        done += count
        if isinstance(run, Convolution) and layer is run.conv:
            algorithm = run.way((batch, *shapes[0]))
            if algorithm.startswith("tiles"):
                tile, taps, stride = int(algorithm[-1]), run.conv.weight.data.shape[2], run.options[0]
                done += count * ((tile / (taps * ((tile - taps) // stride + 1))) ** 2 - 1)
    passes = 3 if training else 1
    return algorithm, madds, passes * (done / (VECTORS * lanes(dtype)) + moved / BYTES)


def _layouts(plan: Plan, values: tuple[int, ...]) -> list[str]:
    laid = plan.lowered.laid
    return sorted(
        {"lanes" if value in laid else "N" + "CHW"[: len(plan.lowered.shapes[value]) - 1] for value in values}
    )


def _root(array: Array) -> Array:
    return array if array.base is None else array.base
