"""EarlyStopping: stop when a measured quantity no longer improves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnnlib.arrays import number, whole
from cnnlib.callbacks.base import Callback, measured, optional
from cnnlib.history import is_improvement, resolve_mode

if TYPE_CHECKING:
    from cnnlib.trainer import Trainer

__all__ = ["EarlyStopping"]


class EarlyStopping(Callback):
    """Stop when a quantity no longer improves; end with the weights of its best epoch, however training ends.

    Training stops after ``patience`` epochs in a row that did not improve ``monitor`` by more than ``min_delta``.
    The weights of the epoch with the best ``monitor`` come back at the end of every fit: stopped early, run to
    the last epoch, interrupted from the keyboard, or failed. A NaN is never an improvement.

    monitor: a name in the history; ``val_*`` needs validation data.
    mode: "min", "max", or "auto" (:func:`cnnlib.history.resolve_mode`).

    After training: ``best`` and ``best_epoch`` (from 1), both None if no epoch was completed.

    >>> EarlyStopping("val_accuracy", patience=3)
    EarlyStopping(monitor='val_accuracy', patience=3, mode='max', min_delta=0.0)

    Raises ConfigError for patience < 1, negative min_delta or an unknown mode, and at the end of the first epoch
    if ``monitor`` is not measured.
    """

    def __init__(
        self, monitor: str = "val_loss", patience: int = 5, mode: str = "auto", min_delta: float = 0.0
    ) -> None:
        self.monitor = monitor
        self.patience = whole(patience, "EarlyStopping: patience", 1)
        self.mode = resolve_mode(monitor, mode)
        self.min_delta = number(min_delta, "EarlyStopping: min_delta", 0)
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._weights: dict[str, Any] = {}
        # What the next epochs must beat by min_delta. Small steps may still make an epoch the best one.
        self._bar: float | None = None
        self._waited = 0

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Start with nothing known."""
        self._forget()

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        """Keep the weights if the epoch is the best so far; stop if patience is over."""
        value = measured(self, self.monitor, logs)
        if is_improvement(value, self.best, self.mode):
            self.best, self.best_epoch = value, epoch
            self._weights = trainer.model.state_dict()
        if is_improvement(value, self._bar, self.mode, self.min_delta):
            self._bar, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            trainer.stop(f"no better {self.monitor} for {self._waited} epochs")

    def on_fit_end(self, trainer: Trainer) -> None:
        """Restore the best weights."""
        if self._weights:
            trainer.model.load_state_dict(self._weights)
            self._weights = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch so far, its weights, and the patience used up."""
        best = {"best": self.best, "best_epoch": self.best_epoch, "bar": self._bar, "waited": self._waited}
        return {**best, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self.best, self._bar = optional(float, state["best"]), optional(float, state["bar"])
        self.best_epoch = optional(int, state["best_epoch"])
        self._waited, self._weights = int(state["waited"]), dict(state["weights"])

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience}, mode={self.mode!r}, "
            f"min_delta={self.min_delta})"
        )
