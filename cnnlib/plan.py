"""Plans: a graph turned into steps over buffers, once for each batch shape.

All decisions fall when a plan is made: what is fused and how it lies (`cnnlib.lowering`), which step reads and writes
which buffer, where gradients of several readers are added, what need not be computed. A pass then only walks over its
steps. Buffers belong to the plan and serve again in every call, so that nothing of an array's size is allocated after
the first training step.

- Outputs: a training plan keeps them all, for backward; an inference plan lets a buffer go to another step as soon
  as its last reader is done.
- Gradients: each lives from the first reader's backward step to its own layer's. If a node has several readers, its
  gradient is the sum, added up here in the order in which backward meets the readers (the last one first).
- A layer that returns a view of its input (Flatten), or its gradient unchanged (Add), gets no buffer at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib import functional
from cnnlib.errors import ShapeError, TrainingError
from cnnlib.graph import Graph, Shape
from cnnlib.layers import BatchNorm2d
from cnnlib.lowering import Task, lower
from cnnlib.memory import Block, Memory
from cnnlib.operations import Dense, lanes

if TYPE_CHECKING:
    from cnnlib.layers import Parameter
    from cnnlib.optim import Updates

__all__ = ["Plan", "PlanCache", "PlanKey", "Step"]

Array = NDArray[Any]
PlanKey = tuple[int, np.dtype[Any], bool]  # batch, dtype, training


@dataclass
class Route:
    """Where a step's input gradients go: for each input, is it needed, the buffer that receives it, and, if another
    reader's gradient is there already, the buffer for the sum. Then the parameters whose gradients are whole after it.
    """

    needs: tuple[bool, ...]
    outs: tuple[Array | None, ...]
    sums: tuple[Array | None, ...]
    finished: tuple[Parameter, ...]


@dataclass
class Step:
    """One task with its buffer: reads the values (or gradient) of some numbers, writes those of others."""

    task: Task
    shape: Shape
    training: bool
    out: Array | None  # None: the layer returns a view of its input
    saved: Any = None

    @property
    def learns(self) -> bool:
        """Whether any of its parameters does."""
        parameters = (p for layer in self.task.layers for p in layer.parameters().values())
        return any(not parameter.frozen for parameter in parameters)

    def forward(self, values: list[Array]) -> None:
        """Compute the value."""
        inputs = [values[source] for source in self.task.sources]
        y, self.saved = self.task.run.apply(*inputs, training=self.training, out=self.out)
        if y is not self.out:
            y = self._placed(y, self.out, self.shape, "apply")
        values[self.task.value] = y

    def backward(self, gradients: list[Array | None], route: Route, updates: Updates | None) -> None:
        """Send the value's gradient on to the step's inputs, and into the layers' parameters or their updates."""
        task = self.task
        dy, gradients[task.value] = gradients[task.value], None
        assert dy is not None
        options = {"updates": updates} if isinstance(task.run, Dense) else {}
        dxs = task.run.gradients(dy, self.saved, route.needs, route.outs, **options)
        for source, needed, dx, out, total in zip(task.sources, route.needs, dxs, route.outs, route.sums, strict=True):
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
            raise ShapeError(f"{self.task.run!r}: {method} returned shape {got}, output_shape promised {expected}")
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
        self.lowered = lower(graph, batch, dtype, training)
        self._conditions = conditions(graph, dtype)
        self.steps = self._plan_forward()
        self._frozen: tuple[bool, ...] = ()
        self._routes: dict[bool, list[tuple[Step, Route]]] = {}
        self._gradient_memory = Memory()
        self._inputs: dict[int, Array] = {}

    def serves(self, graph: Graph, key: PlanKey) -> bool:
        """Whether it is a plan for `key`, as things are now."""
        return self.key == key and self._conditions == conditions(graph, key[1])

    def forward(self, xs: Sequence[Array]) -> list[Array]:
        """Return the outputs for inputs of shape N × input shape."""
        values: list[Any] = [None] * len(self.lowered.shapes)
        for node, x in zip(self.graph.inputs, xs, strict=True):
            values[node] = self._converted(node, x)
        for step in self.steps:
            step.forward(values)
        return [values[value] for value in self.lowered.outputs]

    def backward(
        self,
        dys: Sequence[Array],
        needs_input_grad: bool = True,
        updates: Updates | None = None,
        finished: Callable[[Sequence[Parameter]], None] | None = None,
    ) -> list[Array | None]:
        """Return the inputs' gradients (None if not needed) from those of the outputs; parameters' are added, or, where
        a kernel can, go into their `updates` at once. `finished` is told of parameters as soon as theirs is whole.

        Raises TrainingError if the plan is one for inference, which keeps nothing for backward.
        """
        if not self.key[2]:
            raise TrainingError("backward after a forward pass for inference: use forward(x, training=True)")
        frozen = tuple(not step.learns for step in self.steps)
        if frozen != self._frozen:
            self._frozen, self._routes, self._gradient_memory = frozen, {}, Memory()
        if needs_input_grad not in self._routes:
            self._routes[needs_input_grad] = self._plan_backward(needs_input_grad)
        gradients: list[Array | None] = [None] * len(self.lowered.shapes)
        for value, dy in zip(self.lowered.outputs, dys, strict=True):
            before = gradients[value]
            gradients[value] = dy if before is None else before + dy
        for step, route in self._routes[needs_input_grad]:
            step.backward(gradients, route, updates)
            if finished is not None and route.finished:
                finished(route.finished)
        return [gradients[node] if needs_input_grad else None for node in self.graph.inputs]

    def gradients(self, step: Step) -> int:
        """Return how many products as large as its forward pass's a step makes without the inputs' gradients: one for
        the gradient of its input, if somebody needs that, and one for that of its parameters, if they learn."""
        for planned, route in self._routes.get(False, ()):
            if planned is step:
                return any(route.needs) + step.learns
        return 0

    def _converted(self, node: int, x: Array) -> Array:
        dtype = self.key[1]
        if x.dtype == dtype and x.flags.c_contiguous:
            return x
        if node not in self._inputs:
            self._inputs[node] = np.empty(x.shape, dtype)
        return functional.as_input(x, dtype, out=self._inputs[node])

    def _plan_forward(self) -> list[Step]:
        dtype, training = self.key[1:]
        lowered, memory = self.lowered, Memory()
        readers = [0] * len(lowered.shapes)
        for value in [*(source for task in lowered.tasks for source in task.sources), *lowered.outputs]:
            readers[value] += 1

        blocks: list[Block | None] = [None] * len(lowered.shapes)
        views = [task.run.shares_input(training) for task in lowered.tasks]
        for task, view in zip(lowered.tasks, views, strict=True):
            block = blocks[task.sources[0]] if view else memory.take(prod(lowered.shapes[task.value]))
            if view and block is not None:
                block.users += 1
            blocks[task.value] = block
            for source in task.sources:
                readers[source] -= 1
                if not readers[source] and not training:
                    memory.drop(blocks[source])

        steps = []
        for task, view in zip(lowered.tasks, views, strict=True):
            shape, block = lowered.shapes[task.value], blocks[task.value]
            out = None if view or block is None else block.array(shape, dtype)
            steps.append(Step(task, shape, training, out))
        return steps

    def _plan_backward(self, needs_input_grad: bool) -> list[tuple[Step, Route]]:
        dtype, shapes, memory = self.key[1], self.lowered.shapes, self._gradient_memory
        # A value's gradient is wanted if a parameter that learns, or a wanted input, lies at or below it.
        wanted = [False] * len(shapes)
        for node in self.graph.inputs:
            wanted[node] = needs_input_grad
        for step in self.steps:
            wanted[step.task.value] = step.learns or any(wanted[source] for source in step.task.sources)

        # Which block each value's gradient is in; None: in the caller's array, which is never written to.
        held: dict[int, Block | None] = dict.fromkeys(self.lowered.outputs)
        planned: list[tuple[Step, list[Block | None], list[Block | None]]] = []
        for step in reversed(self.steps):
            task = step.task
            if not wanted[task.value]:
                continue
            own = held[task.value]
            outs: list[Block | None] = []
            sums: list[Block | None] = []
            for source in task.sources:
                if not wanted[source]:
                    outs.append(None)
                elif not task.run.shares_gradient:
                    outs.append(memory.take(prod(shapes[source])))
                else:
                    outs.append(own)
                    if own is not None:
                        own.users += 1
            for source, block in zip(task.sources, outs, strict=True):
                total = None
                if wanted[source]:
                    if source in held:
                        total = memory.sum_of(held[source], block, prod(shapes[source]))
                    held[source] = block if total is None else total
                sums.append(total)
            memory.drop(held.pop(task.value))
            planned.append((step, [None] * len(outs) if task.run.shares_gradient else outs, sums))
        for kept in held.values():
            memory.drop(kept)

        def arrays(step: Step, blocks: list[Block | None]) -> tuple[Array | None, ...]:
            return tuple(
                None if block is None else block.array(shapes[source], dtype)
                for block, source in zip(blocks, step.task.sources, strict=True)
            )

        routes: list[tuple[Step, Route]] = []
        later: set[int] = set()  # parameters that a step after this one adds to; a layer may stand at several places
        for step, outs, sums in reversed(planned):
            parameters = [p for layer in step.task.layers for p in layer.parameters().values() if not p.frozen]
            last = tuple(parameter for parameter in parameters if id(parameter) not in later)
            later.update(map(id, last))
            needs = tuple(wanted[source] for source in step.task.sources)
            routes.append((step, Route(needs, arrays(step, outs), arrays(step, sums), last)))
        return routes[::-1]


def conditions(graph: Graph, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return what a plan depends on besides its key: the instruction set's lanes, and what is folded."""
    return lanes(dtype), *(norm.test_statistics for norm in graph.layers.values() if isinstance(norm, BatchNorm2d))


class PlanCache:
    """The plans of one model, lent to one caller at a time, so that threads never share buffers.

    Keeps at most `limit` plans that nobody uses, the last used ones; a plan that is out on loan is not counted.

    There is no lock, for a child that is forked while another thread holds one waits for it forever: each change of the
    list is a single operation, which Python makes indivisible.
    """

    def __init__(self, limit: int = 8) -> None:
        self.limit = limit
        self._idle: list[Plan] = []

    def take(self, graph: Graph, key: PlanKey) -> Plan:
        """Lend a plan for `key`; a new one if none is idle."""
        for plan in reversed(tuple(self._idle)):
            if plan.serves(graph, key):
                try:
                    self._idle.remove(plan)
                except ValueError:  # another thread was quicker
                    continue
                return plan
        return Plan(graph, *key)

    def give_back(self, plan: Plan) -> None:
        """Take a plan back, as the last used one."""
        self._idle.append(plan)
        del self._idle[: -self.limit]

    @contextmanager
    def borrowed(self, graph: Graph, key: PlanKey) -> Iterator[Plan]:
        """Lend a plan for the length of a with-block; after an error it is dropped."""
        plan = self.take(graph, key)
        yield plan
        self.give_back(plan)

    def __reduce__(self) -> tuple[type[PlanCache], tuple[int]]:
        # A copied model starts without plans: their buffers need not be copied.
        return PlanCache, (self.limit,)
