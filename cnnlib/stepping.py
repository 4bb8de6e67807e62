"""Stepping: what a Trainer does with one batch. Forward, loss, backward, update.

Here it is one process's own work. `cnnlib.distributed` has the same for many, that come to the same numbers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from signal import Signals
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from cnnlib import diagnosis
from cnnlib.accumulation import Accumulation
from cnnlib.datasets.feeding import Batch
from cnnlib.errors import NonFiniteError
from cnnlib.optim import clip_grad_norm, clip_grad_value

if TYPE_CHECKING:
    from cnnlib.layers import Parameter
    from cnnlib.run import Run
    from cnnlib.trainer import Trainer

__all__ = ["Outcome", "Stepper", "samples_of"]

T = TypeVar("T")


class Outcome(NamedTuple):
    """What came of a batch: losses by name, how many samples it has, predictions, and the targets that belong to them;
    None for both where another process measures."""

    values: dict[str, float]
    samples: int
    prediction: Any
    target: Any


class Stepper:
    """The steps of a Trainer, whose model, loss, optimizer and settings they go by."""

    #: Whether this is the process that prints and writes files.
    main = True

    def __init__(self, trainer: Trainer) -> None:
        # The trainer has its stepper; the other way round no more than a look, or both would wait to be collected.
        self.trainer: Trainer = weakref.proxy(trainer)

    def describe(self) -> str | None:
        """Return what of the way it is done changes results."""
        return None

    def guarded(self) -> AbstractContextManager[object]:
        """Return a context for all that may fail in one process while others wait for it."""
        return nullcontext()

    def begin(self, run: Run, epochs: int, dropout: np.random.Generator) -> None:
        """Before a training's first hook. dropout: what the layers draw from."""
        self.trainer.model.reseed(dropout)

    def share_state(self) -> None:
        """After its first hooks, which may have taken up an earlier training: let all processes begin with that."""

    def end(self) -> None:
        """After its last hook: wait for what others still have to do."""

    def same(self, measure: Callable[[], T]) -> T:
        """Return what was measured, for all processes by the one that has all predictions."""
        return measure()

    def deal(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """Return what gives this process its part of each batch: all of it."""
        return batches

    def step(self, x: Any, y: Any, weight: Any, run: Run | None = None) -> Outcome:
        """Go through one batch, and, if that was the last of an accumulation, update the parameters.

        Raises NonFiniteError as ``Trainer.train_step`` does.
        """
        trainer = self.trainer
        accumulation = Accumulation(1) if run is None else run.accumulation
        # No copy: loss and metrics are done with the prediction before the next forward overwrites it.
        prediction = trainer.model.forward(x, training=True, copy=False)
        values = trainer.objective.forward(prediction, y, weight)
        about = diagnosis.Step(trainer.model, x, y, trainer.optimizer.current_lr, run)
        if trainer.check_finite and (problem := diagnosis.first_bad_loss(values, about, prediction)) is not None:
            raise problem
        parameters = trainer.model.parameters()
        if not accumulation.count:
            trainer.optimizer.zero_grad(parameters)
        # A step that is taken in backward knows the gradient of one batch, as it is.
        fused = (
            accumulation.size == 1 and not trainer.keep_gradients and trainer.clip_norm is trainer.clip_value is None
        )
        updates = trainer.optimizer.during_backward(parameters, trainer.check_finite) if fused else None
        scale = accumulation.add(trainer.objective.total_weight if accumulation.size > 1 else 1.0)
        bad: object = None
        try:
            trainer.model.backward(trainer.objective.backward(scale), input_grad=False, updates=updates)
        except NonFiniteError as error:
            bad = error.parameter
        self.update_if_full(accumulation, values, about, bad)
        return Outcome(values, samples_of(prediction), prediction, y)

    def evaluate(self, x: Any, y: Any, weight: Any) -> tuple[Any, Any, Any]:
        """Return the predictions for a batch, with the targets and weights that belong to them; or None, as `step`."""
        return self.trainer.model.forward(x, training=False), y, weight

    def update_if_full(
        self, accumulation: Accumulation, values: dict[str, float], about: diagnosis.Step, bad: object = None
    ) -> None:
        """Look at the gradients of a batch, and update if they are all. bad: a parameter whose gradient is not finite.

        Raises NonFiniteError if one is not, by what `values` and `about` tell of the batch.
        """
        trainer = self.trainer
        parameters = trainer.model.parameters()
        if trainer.check_finite and (bad := diagnosis.first_bad(parameters) or bad) is not None:
            raise diagnosis.bad_gradient(bad, values["loss"], about)
        if accumulation.full:
            self.update(accumulation, parameters)

    def update(self, accumulation: Accumulation, parameters: Mapping[str, Parameter]) -> None:
        """Take the step that the gradients accumulated so far ask for."""
        trainer = self.trainer
        accumulation.finish(parameters)
        if trainer.clip_value is not None:
            clip_grad_value(parameters, trainer.clip_value)
        if trainer.clip_norm is not None:
            clip_grad_norm(parameters, trainer.clip_norm)
        trainer.optimizer.step(parameters)
        if trainer.constraint is not None:
            trainer.constraint.apply(parameters)

    def agreed(self, received: Signals | None, reason: str) -> tuple[Signals | None, str]:
        """Return the signal and the reason to stop that count for all processes, from what came to this one."""
        return received, reason


def samples_of(prediction: Any) -> int:
    """Return how many samples a prediction, or each of a dict of them, is for."""
    return len(next(iter(prediction.values())) if isinstance(prediction, dict) else prediction)
