"""Distributed steps: a batch's chunks dealt to all processes, their gradients added up exactly.

For chunk c with the mean loss J_c and the weight W_c (its size, if samples have no weights)::

    ∇J = Σ_c W_c ∇J_c / Σ_c W_c

summed along the tree of `cnnlib.distributed.chunks`: the same bits for any number of processes and threads. Dropout
draws anew for each chunk, by seed, batch and chunk. Batch normalisation takes each chunk's own mean and deviation; the
running estimates move by the mean of how the chunks would have moved them, by their samples.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from signal import Signals
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnlib import chance, config, diagnosis, functional, serialize
from cnnlib._version import __version__
from cnnlib.accumulation import Accumulation
from cnnlib.datasets.feeding import Batch
from cnnlib.distributed import agreement
from cnnlib.distributed.chunks import Node, Tree, bounds
from cnnlib.distributed.dealing import dealt, joined, length, part
from cnnlib.distributed.flat import Layout
from cnnlib.distributed.processes import world
from cnnlib.distributed.reduction import Reduction
from cnnlib.errors import NonFiniteError
from cnnlib.stepping import Outcome, Stepper

if TYPE_CHECKING:
    from cnnlib.distributed import Distributed
    from cnnlib.layers import Parameter
    from cnnlib.run import Run
    from cnnlib.trainer import Trainer

__all__ = ["DistributedStepper"]

Array = NDArray[Any]


class Report(NamedTuple):
    """What a process tells the others of one of its chunks."""

    values: dict[str, float]
    weights: dict[str, float]
    prediction: Any
    target: Any
    problem: NonFiniteError | None


class DistributedStepper(Stepper):
    """The steps of a Trainer in a process that trains with others."""

    def __init__(self, trainer: Trainer, settings: Distributed) -> None:
        super().__init__(trainer)
        self.settings, self.world = settings, world()
        self.world.timeout = settings.timeout
        self.main = self.world.main
        self._layout: Layout | None = None
        self._random = False  # whether a layer draws random numbers
        self._free: list[Array] = []  # flat arrays that nothing is in
        self._held: Array | None = None  # the one that the parameters' gradients are in
        self._samples = 0  # of the whole batch at hand
        self._seed = 0

    def describe(self) -> str:
        return f"chunks of {self.settings.chunk}, added up {'exactly' if self.settings.exact else 'in any order'}"

    def guarded(self) -> AbstractContextManager[None]:
        return self.world.guarded()

    def begin(self, run: Run, epochs: int, dropout: np.random.Generator) -> None:
        self._seed = int(dropout.integers(2**63))
        self._introduce(run.settings["batch_size"])
        facts = {
            "cnnlib": __version__,
            "instruction set": config.get_isa(),
            "algorithm": config.get_algorithm(),
            "layers": [repr(layer) for layer in self.trainer.model.layers.values()],
            "model": zlib.crc32(serialize.architecture(self.trainer.model).encode()),
            "epochs": epochs,
        }
        agreement.check(self.world, facts | run.settings)

    def share_state(self) -> None:
        state = self.world.from_main(self.trainer.state_dict() if self.main else None, "the state to begin with")
        if not self.main:
            self.trainer.load_state_dict(state, "rank 0")

    def end(self) -> None:
        self.world.meet("the end of the training")

    def deal(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        return dealt(batches, self._share)

    def agreed(self, received: Signals | None, reason: str) -> tuple[Signals | None, str]:
        if self.world.size == 1:
            return received, reason
        what = "the end of a batch"
        code = self.world.largest(2 * int(received or 0) + bool(reason), what)
        if code:
            reasons = self.world.gather(reason, what)
            reason = next(filter(None, reasons), "")
        return Signals(code // 2) if code > 1 else None, reason

    def same(self, logs: dict[str, float]) -> dict[str, float]:
        measured: dict[str, float] = self.world.from_main(logs, "the end of an epoch")
        return measured

    def evaluate(self, x: Any, y: Any, weight: Any) -> tuple[Any, Any, Any]:
        with self.guarded():
            own = []
            for _, rows in self._chunks():
                prediction = self.trainer.model.forward(part(x, rows), training=False)
                own.append((prediction, part(y, rows), part(weight, rows)))
            columns = zip(*self._all(own, "an evaluation"), strict=True)
            prediction, target, weights = map(joined, columns)
            return prediction, target, weights

    def step(self, x: Any, y: Any, weight: Any, run: Run | None = None) -> Outcome:
        with self.guarded():
            if run is None:
                rows = self._share(length(x))
                x, y, weight = part(x, rows), part(y, rows), part(weight, rows)
            return self._step(diagnosis.Step(self.trainer.model, x, y, self.trainer.optimizer.current_lr, run), weight)

    def _step(self, about: diagnosis.Step, weight: Any) -> Outcome:
        samples, run = self._samples, about.run
        accumulation = Accumulation(1) if run is None else run.accumulation
        batch = 0 if run is None else run.position.step
        what = f"the gradients of batch {batch + 1}"
        layout = self._prepared()
        former = None
        if accumulation.count:
            former = self._take(layout)
            layout.collect(former)
        # A chunk weighs W_c / N, which adds up to 1 where samples have no weights; several batches need W_c itself.
        unit = float(samples) if accumulation.size == 1 else 1.0
        result, own = self._summed(layout, about, weight, unit, batch, what)
        reports = self._all(own, what)
        for report in reports:
            if report.problem is not None:
                raise _together(report.problem)
        values, total = self._means(reports)
        accumulation.add(total)
        if accumulation.size == 1 and total not in (0.0, unit):
            result *= result.dtype.type(unit / total)
        if former is not None:
            functional.add(former, result, out=result)
            self._free.append(former)
        layout.place(result, holds=True)
        self._held = result
        try:
            self.update_if_full(accumulation, values, about)
        except NonFiniteError as error:
            raise _together(error) from None
        return values, joined([report.prediction for report in reports]), joined([r.target for r in reports])

    def _summed(
        self, layout: Layout, about: diagnosis.Step, weight: Any, unit: float, batch: int, what: str
    ) -> tuple[Array, list[Report]]:
        """Return Σ_c (W_c / unit) ∇J_c over the whole batch as a flat array, and a report of each own chunk."""
        size, model = self.world.size, self.trainer.model
        count = -(-self._samples // self.settings.chunk)
        tree = Tree(count)
        everybody = [tree.nodes(rank * count // size, (rank + 1) * count // size) for rank in range(size)]
        reduction = Reduction(self.world, tree, everybody, self.settings.exact)
        before = [buffer.copy() for buffer in layout.buffers]
        nodes: list[Node] = []
        arrays: list[Array] = []  # the nodes' values
        done: list[Array] = []
        reports: list[Report] = []
        chunks = self._chunks()
        for chunk, rows in chunks:
            array = self._take(layout)
            layout.place(array)
            if self._random:
                model.reseed(np.random.default_rng([self._seed, batch, chunk]))
            for buffer, value in zip(layout.buffers, before, strict=True):
                buffer[...] = value
            report, gradient = self._forward(about, weight, rows, unit)
            reports.append(report)
            for change, buffer, value in zip(layout.moved(array), layout.buffers, before, strict=True):
                np.multiply(buffer - value, rows.stop - rows.start, out=change)
            # Siblings become one: this chunk's array takes in those to its left, one after the other.
            nodes = tree.joined([*nodes, Node(0, chunk)])
            left = arrays[len(nodes) - 1 :][::-1]
            arrays = [*arrays[: len(nodes) - 1], array]
            done += left
            if chunk == chunks[-1][0]:
                pieces = _Pieces(layout, reduction, arrays, left)
                model.backward(gradient, input_grad=False, finished=pieces.finished)
                pieces.rest()
            else:
                model.backward(gradient, input_grad=False)
                layout.clear_missing(array)
                for other in left:
                    functional.add(other, array, out=array)
        if not chunks:
            arrays = [self._take(layout)]
            _Pieces(layout, reduction, [], [], arrays[0]).rest()
        reduction.finish(what)
        self._free += [*done, *arrays[:-1]]
        result = arrays[-1]
        for change, buffer, value in zip(layout.moved(result), layout.buffers, before, strict=True):
            np.add(value, change / self._samples, out=buffer)
        return result, reports

    def _forward(self, about: diagnosis.Step, weight: Any, rows: slice, unit: float) -> tuple[Report, Any]:
        """Go forward through some rows; return what there is to report, and the gradient of W_c J_c / unit."""
        objective = self.trainer.objective
        target = part(about.y, rows)
        prediction = about.model.forward(part(about.x, rows), training=True)
        values = objective.forward(prediction, target, part(weight, rows))
        problem = diagnosis.first_bad_loss(values, about, prediction) if self.trainer.check_finite else None
        gradient = objective.backward(objective.total_weight / unit)
        if not objective.metrics:  # nobody looks at it: how many samples there are is enough
            prediction = np.empty((rows.stop - rows.start, 0), np.float32)
        return Report(values, dict(objective.total_weights), prediction, target, problem), gradient

    def _means(self, reports: Sequence[Report]) -> tuple[dict[str, float], float]:
        """Return the losses of the whole batch, and its weight; the objective has them as after a forward pass."""
        objective = self.trainer.objective
        totals = {name: sum(report.weights[name] for report in reports) for name in reports[0].weights}
        means = {
            name: sum(report.weights[name] * report.values[name] for report in reports) / (total or 1.0)
            for name, total in totals.items()
        }
        objective.total_weights = totals
        return objective.with_total(means), objective.total_weight

    def _introduce(self, batch_size: int) -> None:
        """Say which processes there are, so that one that dies is known by what mpiexec calls it."""
        if not self.main or self.world.size == 1:
            return
        if self.trainer.verbose:
            threads = config.get_num_threads()
            print(f"{self.world.describe()}; {threads} thread{'s' * (threads > 1)} each", flush=True)
        chunks = -(-batch_size // self.settings.chunk)
        if chunks < self.world.size:
            warnings.warn(
                f"a batch of {batch_size} is {chunks} chunks of {self.settings.chunk} samples: of {self.world.size} "
                "processes, the others have nothing to do; take larger batches, or a smaller chunk",
                RuntimeWarning,
                stacklevel=2,
            )

    def _share(self, samples: int) -> slice:
        """Begin with a batch of so many samples; return this process's rows of it."""
        self._samples = samples
        _, edges = bounds(samples, self.settings.chunk, self.world.size, self.world.rank)
        return slice(edges[0], edges[-1])

    def _chunks(self) -> list[tuple[int, slice]]:
        """Return this process's chunks of the batch at hand: their numbers, and which of its own rows they are."""
        first, edges = bounds(self._samples, self.settings.chunk, self.world.size, self.world.rank)
        rows = [edge - edges[0] for edge in edges]
        return [(first + i, slice(a, b)) for i, (a, b) in enumerate(pairwise(rows))]

    def _all(self, own: list[Any], what: str) -> list[Any]:
        """Return what all processes have of each chunk, in the order of the chunks."""
        return [one for given in self.world.gather(own, what) for one in given]

    def _prepared(self) -> Layout:
        model = self.trainer.model
        if self._layout is None or not self._layout.serves(model):
            self._layout, self._free, self._held = Layout(model), [], None
            self._random = any(chance.generators(layer) for layer in model.layers.values())
        return self._layout

    def _take(self, layout: Layout) -> Array:
        return self._free.pop() if self._free else layout.array()


class _Pieces:
    """Begins to sum up each piece of the flat arrays when the last backward pass has finished its gradients.

    arrays: the values of this process's nodes, the last of which the pass still writes to. left: what is to be added to
    that one before. result: what receives the sum where there are no nodes.
    """

    def __init__(
        self, layout: Layout, reduction: Reduction, arrays: list[Array], left: list[Array], result: Array | None = None
    ) -> None:
        self._layout, self._reduction, self._arrays, self._left = layout, reduction, arrays, left
        self._result = arrays[-1] if result is None else result
        self._begun = 0
        self._missing = [0] * len(layout.pieces)
        for piece in layout.piece_of.values():
            self._missing[piece] += 1

    def finished(self, parameters: Sequence[Parameter]) -> None:
        """Take note that these gradients are whole."""
        for parameter in parameters:
            piece = self._layout.piece_of.get(id(parameter))
            if piece is not None:
                self._missing[piece] -= 1
        while self._begun < len(self._missing) and not self._missing[self._begun]:
            self._begin()
        self._reduction.advance()

    def rest(self) -> None:
        """Begin with all that is left: the pass is over."""
        if self._arrays:
            self._layout.clear_missing(self._result)
        while self._begun < len(self._missing):
            self._begin()

    def _begin(self) -> None:
        piece = self._layout.pieces[self._begun]
        self._begun += 1
        result = self._result[piece]
        for other in self._left:
            functional.add(other[piece], result, out=result)
        self._reduction.begin([array[piece] for array in self._arrays], result)


def _together(error: Exception) -> Exception:
    """Return an error that all processes raise alike."""
    error.together = True  # type: ignore[attr-defined]
    return error
