"""ReduceLROnPlateau: a smaller learning rate when a measured quantity no longer improves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnnlib.arrays import number, whole
from cnnlib.callbacks.base import Callback, measured, optional
from cnnlib.errors import ConfigError
from cnnlib.history import is_improvement, resolve_mode

if TYPE_CHECKING:
    from cnnlib.trainer import Trainer

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(Callback):
    """Multiply the learning rate by ``factor`` after more than ``patience`` epochs in a row without improvement.

    lr ← max(factor · lr, min_lr)        an improvement: better than the best so far by more than ``threshold`` of it

    monitor: a name in the history; ``val_*`` needs validation data. mode: "min", "max" or "auto"
    (:func:`cnnlib.history.resolve_mode`). cooldown: so many epochs after a reduction are not counted. In the form of
    ``torch.optim.lr_scheduler.ReduceLROnPlateau``.

    >>> ReduceLROnPlateau("val_accuracy", patience=3)
    ReduceLROnPlateau(monitor='val_accuracy', factor=0.1, patience=3, mode='max')

    Raises ConfigError for bad settings, when training starts if the optimizer's rate is a schedule, and at the end of
    the first epoch if ``monitor`` is not measured.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        *,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        self.monitor, self.mode = monitor, resolve_mode(monitor, mode)
        self.factor = number(factor, "ReduceLROnPlateau: factor", 0, 1)
        if not self.factor:
            raise ConfigError("ReduceLROnPlateau: factor = 0: expected a number between 0 and 1, such as 0.1")
        self.patience = whole(patience, "ReduceLROnPlateau: patience", 0)
        self.threshold = number(threshold, "ReduceLROnPlateau: threshold", 0, 1)
        self.cooldown = whole(cooldown, "ReduceLROnPlateau: cooldown", 0)
        self.min_lr = number(min_lr, "ReduceLROnPlateau: min_lr", 0)
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self._waited = self._cooling = 0

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Start with nothing known."""
        if callable(trainer.optimizer.lr):
            raise ConfigError(
                f"ReduceLROnPlateau changes the optimizer's rate, which is the schedule {trainer.optimizer.lr}: "
                "give a number as lr, or leave this callback out"
            )
        self._forget()

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        """Count the epoch; reduce the rate if patience is over."""
        value = measured(self, self.monitor, logs)
        margin = 0.0 if self.best is None else abs(self.best) * self.threshold
        if is_improvement(value, self.best, self.mode, margin):
            self.best, self._waited = value, 0
        else:
            self._waited += 1
        if self._cooling:
            self._cooling, self._waited = self._cooling - 1, 0
        if self._waited > self.patience:
            lr = trainer.optimizer.current_lr
            # Never up: the rate may have been below min_lr already.
            trainer.optimizer.lr = min(lr, max(self.factor * lr, self.min_lr))
            self._cooling, self._waited = self.cooldown, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far, patience used up and cooldown left; the rate is the optimizer's."""
        return {"best": self.best, "waited": self._waited, "cooling": self._cooling}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self.best = optional(float, state["best"])
        self._waited, self._cooling = int(state["waited"]), int(state["cooling"])

    def __repr__(self) -> str:
        return (
            f"ReduceLROnPlateau(monitor={self.monitor!r}, factor={self.factor}, patience={self.patience}, "
            f"mode={self.mode!r})"
        )
