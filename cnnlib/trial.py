"""Trials of a training: whether it runs at all, and whether the net learns at all; nothing is left changed by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnlib import chance
from cnnlib.arrays import number, whole
from cnnlib.datasets.loader import WeightedDataset, as_dataset, is_stream, unweighted
from cnnlib.errors import DataError, TrainingError
from cnnlib.history import History
from cnnlib.weights import weighed

if TYPE_CHECKING:
    from cnnlib.datasets.feeding import Data
    from cnnlib.trainer import Trainer

__all__ = ["fast_dev_run", "overfit_one_batch", "without_trace"]


@contextmanager
def without_trace(trainer: Trainer, *data: Any) -> Iterator[None]:
    """Put model, optimizer and random generators, those of the data, too, back afterwards to where they are now."""
    model, optimizer = trainer.model, trainer.optimizer
    before = model.state_dict(), optimizer.state_dict(), optimizer.lr
    owners = [*model.layers.values(), *map(unweighted, data)]
    generators = [chance.state(owner) for owner in owners]
    try:
        yield
    finally:
        model.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        optimizer.lr = before[2]
        model.zero_grad()
        for owner, state in zip(owners, generators, strict=True):
            chance.load_state(owner, state)


def fast_dev_run(
    trainer: Trainer, count: int, train: Data, validation: Data | float | None, sample_weight: Any, settings: Any
) -> History:
    """Do what ``fit(fast_dev_run=count)`` says: an epoch of so many batches, and of validation, without files."""
    if sample_weight is not None:
        train = WeightedDataset(train, sample_weight)  # type: ignore[arg-type]
    callbacks = trainer.callbacks
    with without_trace(trainer, train, validation):
        try:
            trainer.callbacks = [callback for callback in callbacks if not callback.writes]
            if not isinstance(validation, float) and validation is not None:
                validation = _first(validation, count, 256)
            return trainer.fit(_first(train, count, settings["batch_size"]), validation, epochs=1, **settings)
        finally:
            trainer.callbacks = callbacks


def overfit_one_batch(trainer: Trainer, data: Data, steps: int, batch_size: int, fall: float) -> History:
    """Do what ``Trainer.overfit_one_batch`` says."""
    steps, fall = whole(steps, "steps", 1), number(fall, "fall", 0)
    keep, objective, optimizer = trainer.keep_gradients, trainer.objective.copy(), trainer.optimizer
    history = History()
    with without_trace(trainer, data):
        batch = next(iter(_first(data, 1, batch_size) if is_stream(data) else [_first(data, 1, batch_size)]), None)
        if batch is None:
            raise DataError("overfit_one_batch: the data gave no batch")
        x, y, weight = weighed(batch)
        try:
            trainer.keep_gradients = True
            for step in range(steps):
                optimizer.epoch = step / steps
                values, _, prediction, target = trainer.stepper.step(x, y, weight)
                objective.reset_metrics()
                if prediction is not None:
                    objective.measure(prediction, target)
                metrics = trainer.stepper.same(objective.measured)
                history.record(values | metrics | {"lr": optimizer.current_lr})
            first, last = history["loss"][0], float(np.mean(history["loss"][-max(1, steps // 10) :]))
            history.stop_reason = f"{steps} steps on one batch"
            if not last <= fall * first:
                raise TrainingError(_why(trainer, history, first, last))
        finally:
            trainer.keep_gradients = keep
    return history


def _why(trainer: Trainer, history: History, first: float, last: float) -> str:
    rates = f"{min(history['lr']):g} … {max(history['lr']):g}"
    parameters = trainer.model.parameters()
    missing = [name for name, p in parameters.items() if p.grad is None]
    dead = [name for name, p in parameters.items() if p.grad is not None and not p.grad.any()]
    hints = [
        *([f"no gradient reaches {', '.join(missing)} (frozen?)"] if missing else []),
        *([f"the gradient of {', '.join(dead)} is 0 (units that never fire, or saturated ones?)"] if dead else []),
        "lower the learning rate" if last > first else "raise the learning rate, or take more steps",
        "see that targets belong to their inputs, that inputs are scaled, and that the loss fits the last layer",
    ]
    return (
        f"overfit_one_batch: the net does not learn even one batch: its loss went from {first:.4g} to {last:.4g} in "
        f"{history.epochs} steps, at learning rates {rates}. What may help: {'; '.join(hints)}"
    )


def _first(data: Any, count: int, batch_size: int) -> Any:
    """Return data of the first `count` batches, in the form in which they came: a stream, or arrays."""
    if is_stream(data):
        return _Few(data, count)
    dataset = as_dataset(data)
    return dataset[np.arange(min(len(dataset), count * whole(batch_size, "batch_size", 1)))]


class _Few:
    """The first batches of an iterable."""

    def __init__(self, batches: Iterable[Any], count: int) -> None:
        self._batches, self._count = batches, count

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self._batches), self._count)
