"""Callbacks: what can hang on the training loop without being part of it.

A callback is a :class:`Callback` that overrides the hooks it needs. Hooks get the trainer, so they see
``trainer.model``, ``trainer.optimizer`` and ``trainer.history``, and end training with ``trainer.stop(reason)``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cnnlib.errors import ConfigError
from cnnlib.history import format_value, is_improvement, resolve_mode

if TYPE_CHECKING:
    from cnnlib.trainer import Trainer

__all__ = ["Callback", "EarlyStopping", "LambdaCallback", "Progress"]


class Callback:
    """Base of the callbacks; every hook does nothing. Epochs and batches count from 1.

    ``on_fit_end`` is called however training ended: done, stopped, interrupted or failed.
    """

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch; ``trainer.epochs`` and ``trainer.batches`` (or None) are known."""

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Before an epoch's first batch."""

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        """After every update, with the loss of its batch."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        """After an epoch and its validation, with what ``trainer.history`` has just recorded."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch; ``trainer.history.stop_reason`` says why it was the last."""


class LambdaCallback(Callback):
    """A callback made of functions, one for each hook named.

    >>> seen = LambdaCallback(on_epoch_end=lambda trainer, epoch, logs: print(epoch, logs["loss"]))
    >>> seen.on_epoch_end(None, 1, {"loss": 0.5})
    1 0.5

    Raises ConfigError for a name that is no hook.
    """

    def __init__(self, **hooks: Callable[..., None]) -> None:
        for name, function in hooks.items():
            if not name.startswith("on_") or not hasattr(Callback, name):
                known = ", ".join(hook for hook in vars(Callback) if hook.startswith("on_"))
                raise ConfigError(f"LambdaCallback: unknown hook {name!r}; there are: {known}")
            setattr(self, name, function)


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
        if patience < 1 or not 0 <= min_delta < math.inf:
            raise ConfigError(f"EarlyStopping: patience must be >= 1, min_delta >= 0; got {patience}, {min_delta}")
        self.monitor = monitor
        self.patience = patience
        self.mode = resolve_mode(monitor, mode)
        self.min_delta = min_delta
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
        if self.monitor not in logs:
            hint = "; pass validation=… to fit" if self.monitor.startswith("val_") else ""
            raise ConfigError(f"EarlyStopping: {self.monitor!r} is not measured; there are: {', '.join(logs)}{hint}")
        value = logs[self.monitor]
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

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience}, mode={self.mode!r}, "
            f"min_delta={self.min_delta})"
        )


class Progress(Callback):
    """Say how training goes: a bar over the batches (tqdm, on stderr or in a notebook) and a line an epoch (stdout).

    verbose: 1 for bar and lines, 2 for lines alone. Where stderr is not a terminal there is no bar: a log file
    would be full of it. A Trainer adds this callback itself, by the ``verbose`` of ``fit``.
    """

    def __init__(self, verbose: int = 1) -> None:
        self.verbose = verbose
        self._bar: Any = None

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Open the bar, where there is one."""
        if self.verbose == 1 and (sys.stderr.isatty() or _in_notebook()):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=trainer.batches, desc=f"epoch {epoch}/{trainer.epochs}", unit="batch", leave=False)

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            self._bar.update()

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        """Replace the bar by the epoch's line."""
        self._close()
        width = len(str(trainer.epochs))
        line = "  ".join(f"{name} {format_value(name, logs[name])}" for name in logs if name not in _WITH_UNIT)
        speed = "  ".join(f"{format_value(name, logs[name])} {unit}" for name, unit in _WITH_UNIT.items())
        print(f"epoch {epoch:{width}}/{trainer.epochs}  {line}  {speed}", flush=True)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Say why training ended, if that was before its last epoch."""
        self._close()
        if trainer.history.epochs < trainer.epochs:
            print(f"stopped: {trainer.history.stop_reason}", flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


_WITH_UNIT = {"seconds": "s", "images_per_second": "images/s"}


def _in_notebook() -> bool:
    # Not imported: in a notebook IPython is loaded already.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
