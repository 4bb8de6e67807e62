"""Plans: a graph turned into steps over buffers, once for each batch shape.

All decisions fall when a plan is made: which step reads and writes which buffer, where gradients of several readers
are added, what need not be computed. A pass then only walks over its steps. Buffers belong to the plan and serve again
in every call, so that nothing of an array's size is allocated after the first training step.

- Outputs: a training plan keeps them all, for backward; an inference plan lets a buffer go to another step as soon
  as its last reader is done.
- Gradients: each lives from the first reader's backward step to its own layer's. If a node has several readers, its
  gradient is the sum, added up here in the order in which backward meets the readers (the last one first).
- A layer that returns a view of its input (Flatten), or its gradient unchanged (Add), gets no buffer at all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.errors import ShapeError, TrainingError
from cnnlib.graph import Graph, Shape
from cnnlib.layers.base import Layer
from cnnlib.memory import Block, Memory

__all__ = ["Plan", "PlanCache", "PlanKey", "Step"]

Array = NDArray[Any]
PlanKey = tuple[int, np.dtype[Any], bool]  # batch, dtype, training


@dataclass
class Route:
    """Where a step's input gradients go: for each input, is it needed, the buffer that receives it, and, if another
    reader's gradient is there already, the buffer for the sum."""

    needs: tuple[bool, ...]
    outs: tuple[Array | None, ...]
    sums: tuple[Array | None, ...]


@dataclass
class Step:
    """One layer at its place: reads the values (or gradient) of nodes by index, writes those of others."""

    layer: Layer
    node: int
    sources: tuple[int, ...]
    shape: Shape
    training: bool
    out: Array | None  # None: the layer returns a view of its input
    saved: Any = None

    def forward(self, values: list[Array]) -> None:
        """Compute the node's value."""
        inputs = [values[source] for source in self.sources]
        y, self.saved = self.layer.apply(*inputs, training=self.training, out=self.out)
        if y is not self.out:
            y = self._placed(y, self.out, self.shape, "apply")
        values[self.node] = y

    def backward(self, gradients: list[Array | None], route: Route) -> None:
        """Send the node's gradient on to the step's inputs, and into the layer's parameters."""
        dy, gradients[self.node] = gradients[self.node], None
        assert dy is not None
        dxs = self.layer.gradients(dy, self.saved, route.needs, route.outs)
        for source, needed, dx, out, total in zip(self.sources, route.needs, dxs, route.outs, route.sums, strict=True):
            if not needed:
                continue
            if dx is None or dx is not out:
                dx = self._placed(dx, out, None, "gradients")
            before = gradients[source]
            gradients[source] = dx if total is None or before is None else functional.add(before, dx, out=total)

    def _placed(self, array: Array | None, out: Array | None, shape: Shape | None, method: str) -> Array:
        """Return what a layer gave back, copied into `out` if it was to go there and the layer put it elsewhere."""
        expected = out.shape if out is not None else shape
        if array is None or (expected is not None and array.shape != expected):
            got = None if array is None else array.shape
            raise ShapeError(f"{self.layer!r}: {method} returned shape {got}, output_shape promised {expected}")
        if out is None:
            return array
        np.copyto(out, array)
        return out


class Plan:
    """What runs for batches of N = `batch` samples of one dtype, for training or for inference.

    ``forward(xs)`` and ``backward(dys, needs_input_grad)`` return the plan's own buffers (or `xs` and `dys`
    themselves): they hold until the plan runs again. Inputs of another dtype are converted into buffers, too, by
    `cnnlib.functional.as_input`.
    """

    def __init__(self, graph: Graph, batch: int, dtype: np.dtype[Any], training: bool) -> None:
        self.graph = graph
        self.key: PlanKey = (batch, dtype, training)
        self.steps = self._plan_forward()
        self._frozen: tuple[bool, ...] = ()
        self._routes: dict[bool, list[tuple[Step, Route]]] = {}
        self._gradient_memory = Memory()
        self._inputs: dict[int, Array] = {}

    def forward(self, xs: Sequence[Array]) -> list[Array]:
        """Return the outputs for inputs of shape N × input shape."""
        values: list[Any] = [None] * len(self.graph.nodes)
        for node, x in zip(self.graph.inputs, xs, strict=True):
            values[node] = self._converted(node, x)
        for step in self.steps:
            step.forward(values)
        return [values[node] for node in self.graph.outputs]

    def backward(self, dys: Sequence[Array], needs_input_grad: bool = True) -> list[Array | None]:
        """Return the inputs' gradients (None if not needed) from those of the outputs; parameters' are added.

        Raises TrainingError if the plan is one for inference, which keeps nothing for backward.
        """
        if not self.key[2]:
            raise TrainingError("backward after a forward pass for inference: use forward(x, training=True)")
        frozen = tuple(not _learns(step.layer) for step in self.steps)
        if frozen != self._frozen:
            self._frozen, self._routes, self._gradient_memory = frozen, {}, Memory()
        if needs_input_grad not in self._routes:
            self._routes[needs_input_grad] = self._plan_backward(needs_input_grad)
        gradients: list[Array | None] = [None] * len(self.graph.nodes)
        for node, dy in zip(self.graph.outputs, dys, strict=True):
            before = gradients[node]
            gradients[node] = dy if before is None else before + dy
        for step, route in self._routes[needs_input_grad]:
            step.backward(gradients, route)
        return [gradients[node] if needs_input_grad else None for node in self.graph.inputs]

    def _converted(self, node: int, x: Array) -> Array:
        dtype = self.key[1]
        if x.dtype == dtype and x.flags.c_contiguous:
            return x
        if node not in self._inputs:
            self._inputs[node] = np.empty(x.shape, dtype)
        return functional.as_input(x, dtype, out=self._inputs[node])

    def _plan_forward(self) -> list[Step]:
        batch, dtype, training = self.key
        graph, memory = self.graph, Memory()
        readers = [0] * len(graph.nodes)
        for sources in graph.sources:
            for source in sources:
                readers[source] += 1
        for node in graph.outputs:
            readers[node] += 1

        blocks: list[Block | None] = [None] * len(graph.nodes)
        views: list[bool] = []
        for node, (description, sources) in enumerate(zip(graph.nodes, graph.sources, strict=True)):
            layer = description.layer
            views.append(layer is None or layer.shares_input(training))
            if layer is None:
                continue
            block = blocks[sources[0]] if views[node] else memory.take(batch * prod(description.shape))
            if views[node] and block is not None:
                block.users += 1
            blocks[node] = block
            for source in sources:
                readers[source] -= 1
                if not readers[source] and not training:
                    memory.drop(blocks[source])

        steps = []
        for node, (description, sources) in enumerate(zip(graph.nodes, graph.sources, strict=True)):
            if description.layer is None:
                continue
            shape, block = (batch, *description.shape), blocks[node]
            out = None if views[node] or block is None else block.array(shape, dtype)
            steps.append(Step(description.layer, node, sources, shape, training, out))
        return steps

    def _plan_backward(self, needs_input_grad: bool) -> list[tuple[Step, Route]]:
        batch, dtype, _ = self.key
        graph, memory = self.graph, self._gradient_memory
        # A node's gradient is wanted if a parameter that learns, or a wanted input, lies at or below it.
        wanted: list[bool] = []
        for description, sources in zip(graph.nodes, graph.sources, strict=True):
            layer = description.layer
            below = any(wanted[source] for source in sources)
            wanted.append(needs_input_grad if layer is None else below or _learns(layer))

        # Which block each node's gradient is in; None: in the caller's array, which is never written to.
        held: dict[int, Block | None] = dict.fromkeys(graph.outputs)
        planned: list[tuple[Step, list[Block | None], list[Block | None]]] = []
        for step in reversed(self.steps):
            if not wanted[step.node]:
                continue
            own = held[step.node]
            outs: list[Block | None] = []
            sums: list[Block | None] = []
            for source in step.sources:
                if not wanted[source]:
                    outs.append(None)
                elif not step.layer.shares_gradient:
                    outs.append(memory.take(batch * prod(graph.nodes[source].shape)))
                else:
                    outs.append(own)
                    if own is not None:
                        own.users += 1
            for source, block in zip(step.sources, outs, strict=True):
                total = None
                if wanted[source]:
                    if source in held:
                        total = memory.sum_of(held[source], block, batch * prod(graph.nodes[source].shape))
                    held[source] = block if total is None else total
                sums.append(total)
            memory.drop(held.pop(step.node))
            planned.append((step, [None] * len(outs) if step.layer.shares_gradient else outs, sums))
        for kept in held.values():
            memory.drop(kept)

        def arrays(step: Step, blocks: list[Block | None]) -> tuple[Array | None, ...]:
            shapes = [(batch, *graph.nodes[source].shape) for source in step.sources]
            return tuple(
                None if block is None else block.array(shape, dtype)
                for block, shape in zip(blocks, shapes, strict=True)
            )

        return [
            (step, Route(tuple(wanted[source] for source in step.sources), arrays(step, outs), arrays(step, sums)))
            for step, outs, sums in planned
        ]


def _learns(layer: Layer) -> bool:
    return any(not parameter.frozen for parameter in layer.parameters().values())


class PlanCache:
    """The plans of one model, lent to one caller at a time, so that threads never share buffers.

    Keeps at most `limit` plans that nobody uses, the last used ones; a plan that is out on loan is not counted.
    """

    def __init__(self, limit: int = 8) -> None:
        self.limit = limit
        self._idle: list[Plan] = []
        self._lock = threading.Lock()

    def take(self, graph: Graph, key: PlanKey) -> Plan:
        """Lend a plan for `key`; a new one if none is idle."""
        with self._lock:
            for i in reversed(range(len(self._idle))):
                if self._idle[i].key == key:
                    return self._idle.pop(i)
        return Plan(graph, *key)

    def give_back(self, plan: Plan) -> None:
        """Take a plan back, as the last used one."""
        with self._lock:
            self._idle.append(plan)
            del self._idle[: -self.limit]

    @contextmanager
    def borrowed(self, graph: Graph, key: PlanKey) -> Iterator[Plan]:
        """Lend a plan for the length of a with-block; after an error it is dropped."""
        plan = self.take(graph, key)
        yield plan
        self.give_back(plan)

    def __reduce__(self) -> tuple[type[PlanCache], tuple[int]]:
        # A copied model starts without plans: locks cannot be copied, buffers need not be.
        return PlanCache, (self.limit,)
