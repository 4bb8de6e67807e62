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
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from signal import Signals
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cnnlib import chance, config, diagnosis, serialize
from cnnlib._version import __version__
from cnnlib.accumulation import Accumulation
from cnnlib.datasets.feeding import Batch
from cnnlib.distributed import agreement
from cnnlib.distributed.chunks import Chunks, division
from cnnlib.distributed.dealing import dealt, joined, length, part
from cnnlib.distributed.exchange import Exchange, exchange
from cnnlib.distributed.flat import Layout
from cnnlib.distributed.processes import world
from cnnlib.distributed.summation import Summation
from cnnlib.errors import NonFiniteError
from cnnlib.stepping import Outcome, Stepper

if TYPE_CHECKING:
    from cnnlib.distributed import Distributed
    from cnnlib.run import Run
    from cnnlib.trainer import Trainer

__all__ = ["DistributedStepper"]

Array = NDArray[Any]
T = TypeVar("T")


class Report(NamedTuple):
    """What a process tells all others of one of its chunks."""

    values: dict[str, float]
    weights: dict[str, float]
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
        self._exchange: Exchange | None = None
        self._chunks = Chunks(1, settings.chunk)  # of the batch at hand
        self._seed = 0
        self._steps = 0  # of train_step, outside of a fit

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

    def same(self, measure: Callable[[], T]) -> T:
        measured: T = self.world.from_main(measure() if self.main else None, "what was measured")
        return measured

    def evaluate(self, x: Any, y: Any, weight: Any) -> tuple[Any, Any, Any]:
        with self.guarded():
            own = []
            for _, rows in self._own():
                prediction = self.trainer.model.forward(part(x, rows), training=False)
                own.append((prediction, part(y, rows), part(weight, rows)))
            prediction, target, weights = self._for_main(own, 3, "an evaluation")
            return prediction, target, weights

    def step(self, x: Any, y: Any, weight: Any, run: Run | None = None) -> Outcome:
        with self.guarded():
            if run is None:
                rows = self._share(length(x))
                x, y, weight = part(x, rows), part(y, rows), part(weight, rows)
                self._steps += 1
            return self._step(diagnosis.Step(self.trainer.model, x, y, self.trainer.optimizer.current_lr, run), weight)

    def _step(self, about: diagnosis.Step, weight: Any) -> Outcome:
        trainer, samples, run = self.trainer, self._chunks.samples, about.run
        accumulation = Accumulation(1) if run is None else run.accumulation
        batch = self._steps if run is None else run.position.step + 1
        what = f"the gradients of batch {batch}"
        layout = self._prepared()
        former = layout.collected() if accumulation.count else None
        # A chunk weighs W_c / N, which adds up to 1 where samples have no weights; several batches need W_c itself.
        unit = float(samples) if accumulation.size == 1 else 1.0
        result, own, measured = self._summed(layout, about, weight, unit, batch, what)
        reports = [report for given in self.world.gather(own, what) for report in given]
        for report in reports:
            if report.problem is not None:
                raise _together(report.problem)
        values, total = self._means(reports)
        accumulation.add(total)
        scale = unit / total if accumulation.size == 1 and total else 1.0
        if former is not None or scale != 1 or self._changes_gradients:
            result = result * result.dtype.type(scale)  # not in place: others may read the sum where it is
        else:  # a gradient that somebody writes to, after all, is an error, not a race
            result = result.view()
            result.flags.writeable = self.world.size == 1
        if former is not None:
            result += former
        layout.place(result, holds=True)
        try:
            self.update_if_full(accumulation, values, about)
        except NonFiniteError as error:
            raise _together(error) from None
        prediction, target = self._for_main(measured, 2, what) if trainer.objective.metrics else (None, None)
        return Outcome(values, samples, prediction, target)

    def _summed(
        self, layout: Layout, about: diagnosis.Step, weight: Any, unit: float, batch: int, what: str
    ) -> tuple[Array, list[Report], list[tuple[Any, Any]]]:
        """Return Σ_c (W_c / unit) ∇J_c over the whole batch as a flat array; of each own chunk a report, and what was
        predicted, with its target."""
        model, chunks = self.trainer.model, self._chunks
        dealt = division(chunks.number, self.world.size)
        if self._exchange is None or self._exchange.depth < dealt.depth:
            self._exchange = exchange(self.world, layout, self.settings.exact, dealt.depth)
        sums = Summation(self._exchange, dealt)
        before = [buffer.copy() for buffer in layout.buffers]
        reports: list[Report] = []
        measured: list[tuple[Any, Any]] = []
        own = self._own()
        for chunk, rows in own:
            moved = layout.moved(sums.open(chunk))
            if self._random:
                model.reseed(np.random.default_rng([self._seed, batch, chunk]))
            for buffer, value in zip(layout.buffers, before, strict=True):
                buffer[...] = value
            report, gradient, outcome = self._forward(about, weight, rows, unit)
            reports.append(report)
            measured.append(outcome)
            for change, buffer, value in zip(moved, layout.buffers, before, strict=True):
                np.multiply(buffer - value, rows.stop - rows.start, out=change)
            last = chunk == own[-1][0]
            model.backward(gradient, input_grad=False, finished=sums.finished if last else None)
            sums.close(chunk)
        result = sums.result(what)
        for change, buffer, value in zip(layout.moved(result), layout.buffers, before, strict=True):
            np.add(value, change / chunks.samples, out=buffer)
        return result, reports, measured

    def _forward(
        self, about: diagnosis.Step, weight: Any, rows: slice, unit: float
    ) -> tuple[Report, Any, tuple[Any, Any]]:
        """Go forward through some rows; return a report, the gradient of W_c J_c / unit, predictions with targets."""
        objective = self.trainer.objective
        target = part(about.y, rows)
        prediction = about.model.forward(part(about.x, rows), training=True)
        values = objective.forward(prediction, target, part(weight, rows))
        problem = diagnosis.first_bad_loss(values, about, prediction) if self.trainer.check_finite else None
        gradient = objective.backward(objective.total_weight / unit)
        return Report(values, dict(objective.total_weights), problem), gradient, (prediction, target)

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
        chunks = Chunks(batch_size, self.settings.chunk).number
        if chunks < self.world.size:
            warnings.warn(
                f"a batch of {batch_size} is {chunks} chunks of {self.settings.chunk} samples: of {self.world.size} "
                "processes, the others have nothing to do; take larger batches, or a smaller chunk",
                RuntimeWarning,
                stacklevel=2,
            )

    def _share(self, samples: int) -> slice:
        """Begin with a batch of so many samples; return this process's rows of it."""
        self._chunks = Chunks(samples, self.settings.chunk)
        edges, dealt = self._chunks.edges, division(self._chunks.number, self.world.size).dealt
        return slice(edges[dealt[self.world.rank]], edges[dealt[self.world.rank + 1]])

    def _own(self) -> list[tuple[int, slice]]:
        """Return this process's chunks of the batch at hand: their numbers, and which of its own rows they are."""
        edges, dealt = self._chunks.edges, division(self._chunks.number, self.world.size).dealt
        first, last = dealt[self.world.rank], dealt[self.world.rank + 1]
        return [(k, slice(edges[k] - edges[first], edges[k + 1] - edges[first])) for k in range(first, last)]

    def _for_main(self, own: list[tuple[Any, ...]], columns: int, what: str) -> tuple[Any, ...]:
        """Return to rank 0, which measures, what there is of all chunks, column by column; None to the others."""
        everybody = [one for given in self.world.to_main(own, what) for one in given]
        return tuple(map(joined, zip(*everybody, strict=True))) if self.main else (None,) * columns

    def _prepared(self) -> Layout:
        model = self.trainer.model
        if self._layout is None or not self._layout.serves(model):
            self._layout, self._exchange = Layout(model), None
            self._random = any(chance.generators(layer) for layer in model.layers.values())
        return self._layout

    @property
    def _changes_gradients(self) -> bool:
        """Whether somebody writes to the gradients before the next batch; cnnlib's own optimizers only read them."""
        trainer = self.trainer
        limits = trainer.clip_norm, trainer.clip_value
        own = type(trainer.optimizer).__module__.startswith("cnnlib.")
        return limits != (None, None) or trainer.keep_gradients or trainer.accumulate > 1 or not own


def _together(error: Exception) -> Exception:
    """Return an error that all processes raise alike."""
    error.together = True  # type: ignore[attr-defined]
    return error
