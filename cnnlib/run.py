"""Run: where a training is, and what its next batch depends on beside the model and the optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cnnlib import chance
from cnnlib.accumulation import Accumulation
from cnnlib.datasets.loader import Batches
from cnnlib.errors import ConfigError, DataError, FileFormatError
from cnnlib.files import brief
from cnnlib.history import History
from cnnlib.objective import Objective

__all__ = ["Mean", "Position", "Replayed", "Run"]

Batch = tuple[Any, Any] | tuple[Any, Any, Any]


class Position(NamedTuple):
    """The running epoch, from 1, how many of its batches are done, and how many were done in all."""

    epoch: int
    batch: int
    step: int


class Mean:
    """Losses and metrics over batches: those of all samples at once, whatever the sizes and weights of the batches.

    Of a loss with the means J_b over batches whose samples have the weights W_b in all (sizes, if there are none) it is
    Σ_b W_b J_b / Σ_b W_b, and 0 where that has no weight. Metrics count every sample once.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self.samples = 0
        self._totals: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self.objective.reset_metrics()

    def update(self, values: dict[str, float], samples: int, prediction: Any, target: Any) -> None:
        """Count in the batch that went through `objective.forward` last; no metrics where prediction is None."""
        self.samples += samples
        for name, weight in self.objective.total_weights.items():
            self._totals[name] = self._totals.get(name, 0.0) + values[name] * weight
            self._weights[name] = self._weights.get(name, 0.0) + weight
        if prediction is not None:
            self.objective.measure(prediction, target)

    def compute(self) -> dict[str, float]:
        """Return the means. Raises DataError if there were no batches."""
        if not self.samples:
            raise DataError("the data gave no batches; an iterable of batches must start anew each time it is used")
        means = {name: total / (self._weights[name] or 1.0) for name, total in self._totals.items()}
        return self.objective.with_total(means) | self.objective.measured()

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted so far."""
        metrics = {name: _counted(name, metric) for name, (_, metric) in self.objective.metrics.items()}
        return {"samples": self.samples, "totals": self._totals, "weights": self._weights, "metrics": metrics}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting from there."""
        self.samples = int(state["samples"])
        self._totals = {name: float(total) for name, total in state["totals"].items()}
        self._weights = {name: float(state["weights"][name]) for name in self._totals}
        for name, (_, metric) in self.objective.metrics.items():
            if hasattr(metric, "load_state_dict"):
                metric.load_state_dict(state["metrics"][name])
            else:
                counted = state["metrics"][name]
                own = vars(metric)
                if set(counted) != set(own) or not all(_alike(own[key], counted[key]) for key in own):
                    raise FileFormatError(f"metric {name!r} keeps {own}, the state has {brief(counted)}")
                own.update(counted)


class Replayed:
    """An iterable of batches that is taken up in the middle by reading again, and skipping, what was seen of it.

    Its random generators, if it has any as attributes, start from where they were when the epoch began.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self._skip = self._batch = 0
        self._begin = chance.state(batches)

    def __iter__(self) -> Iterator[Batch]:
        skip, self._skip = self._skip, 0
        self._begin = chance.state(self._batches)
        try:
            for done, batch in enumerate(self._batches, 1):
                self._batch = done
                if done > skip:
                    yield batch
        finally:  # an iteration that was left is over, too
            self._batch, self._begin = 0, chance.state(self._batches)

    def state_dict(self) -> dict[str, Any]:
        """Return where the running iteration, or else the next one, is."""
        return {"batch": self._batch, "begin": self._begin}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin the next iteration there."""
        chance.load_state(self._batches, state["begin"])
        self._skip = self._batch = int(state["batch"])
        self._begin = state["begin"]


class Run:
    """One ``fit``: the data, the place in them, and the means of the running epoch.

    settings: what a run that goes on from this one must have in common with it. accumulate: so many batches a step.
    """

    def __init__(
        self, batches: Iterable[Batch], objective: Objective, settings: Mapping[str, Any], accumulate: int = 1
    ) -> None:
        resumable = isinstance(batches, Batches) or hasattr(batches, "load_state_dict")
        self.batches: Any = batches if resumable else Replayed(batches)
        self.settings = dict(settings)
        self.position = Position(1, 0, 0)
        self.seconds = 0.0
        self.mean = Mean(objective)
        self.accumulation = Accumulation(accumulate)
        self.history = History()

    def step_done(self) -> None:
        """Count a batch."""
        epoch, batch, step = self.position
        self.position = Position(epoch, batch + 1, step + 1)

    def epoch_done(self) -> None:
        """Go to the beginning of the next epoch."""
        self.position = Position(self.position.epoch + 1, 0, self.position.step)
        self.seconds = 0.0
        self.mean.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return all that was said above, as `cnnlib.checkpoint.write` takes it."""
        return {
            "settings": self.settings,
            "position": list(self.position),
            "seconds": self.seconds,
            "batches": self.batches.state_dict(),
            "mean": self.mean.state_dict() if self.position.batch else None,
            "history": dict(self.history),
            "stop_reason": self.history.stop_reason,
        }

    def check(self, state: Mapping[str, Any], source: str) -> None:
        """Raise ConfigError, listing the differences, if a state is that of a run with other settings."""
        theirs = state["settings"]
        differences = [
            f"{name}: {theirs.get(name)!r} there, {self.settings.get(name)!r} here"
            for name in {**theirs, **self.settings}
            if theirs.get(name) != self.settings.get(name)
        ]
        if differences:
            listed = brief("\n  ".join(differences), 1500)
            raise ConfigError(
                f"{source} is of another training:\n  {listed}\nGo on with the same settings, or take only its "
                "weights: cnnlib.load reads it as a model"
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        epoch, batch, step = (int(value) for value in state["position"])
        if epoch < 1 or batch < 0 or step < 0:
            raise FileFormatError(f"the position {state['position']} is none")
        seconds = float(state["seconds"])
        if not 0 <= seconds < 1e9:  # far larger ones would swallow those to come
            raise FileFormatError(f"the epoch took {seconds} seconds so far, which cannot be")
        self.batches.load_state_dict(state["batches"])
        self.position, self.seconds = Position(epoch, batch, step), seconds
        if batch:
            self.mean.load_state_dict(state["mean"])
        history = {str(name): [float(value) for value in values] for name, values in state["history"].items()}
        if any(len(values) != epoch - 1 for values in history.values()):
            raise FileFormatError(f"the history is not one of {epoch - 1} epochs")
        self.history.clear()
        self.history.update(history)
        self.history.stop_reason = str(state["stop_reason"])


def _counted(name: str, metric: Any) -> dict[str, Any]:
    """Return what a metric counted: its state_dict, or its attributes if they are plain values."""
    if hasattr(metric, "state_dict"):
        state: dict[str, Any] = metric.state_dict()
        return state
    for key, value in vars(metric).items():
        if not isinstance(value, (bool, int, float, str, np.ndarray, np.generic, type(None))):
            raise ConfigError(
                f"metric {name!r} keeps a {type(value).__name__} in {key!r}, which a checkpoint cannot hold as it is: "
                "give it state_dict() and load_state_dict(state)"
            )
    return dict(vars(metric))


def _alike(own: Any, other: Any) -> bool:
    """Whether a plain value of a metric may be put in the place of another."""
    numbers = (int, float)
    return own is None or type(own) is type(other) or (isinstance(own, numbers) and isinstance(other, numbers))
