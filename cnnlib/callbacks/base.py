"""What every callback is, and one made of functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cnnlib.errors import ConfigError

if TYPE_CHECKING:
    from cnnlib.trainer import Trainer

__all__ = ["Callback", "LambdaCallback", "measured", "optional"]

Number = TypeVar("Number", int, float)


class Callback:
    """Base of the callbacks; every hook does nothing. Epochs and batches count from 1.

    The hooks of a fit, each called for all callbacks in their order before anything else happens::

        on_fit_begin
            on_epoch_begin                          for each epoch
                on_batch_begin, on_batch_end        for each batch
            on_epoch_end                            after the validation data
        on_interrupt                                if a signal came
        on_fit_end

    A hook may read and change the trainer: its ``model``, ``optimizer`` (say, ``optimizer.lr``), ``history``,
    ``position``; it ends training by ``trainer.stop(reason)``. What it raises ends ``fit``.
    ``on_fit_end`` is called however training ended: done, stopped, interrupted or failed.
    A callback that remembers something from hook to hook says so in ``state_dict``, so that a run which is resumed
    from a checkpoint goes on as if it had never ended.
    """

    #: Called after all callbacks without it, because it keeps what they have become.
    last: ClassVar[bool] = False
    #: Whether it writes files: left out of a ``fast_dev_run``.
    writes: ClassVar[bool] = False

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch; ``trainer.epochs`` and ``trainer.batches`` (or None) are known."""

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Before an epoch's first batch; of a resumed epoch before the first that is left."""

    def on_batch_begin(self, trainer: Trainer, batch: int) -> None:
        """Before a batch's forward pass; ``trainer.optimizer.epoch`` says where in the training it is."""

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        """After every batch, with its loss; that is after an update, unless the Trainer accumulates several batches."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        """After an epoch and its validation, with what ``trainer.history`` has just recorded."""

    def on_interrupt(self, trainer: Trainer) -> None:
        """After the batch in which SIGINT or SIGTERM came; training ends then, and no more of its hooks but
        ``on_fit_end`` are called."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch; ``trainer.history.stop_reason`` says why it was the last."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the callback remembers: dicts, lists, strings, numbers, None, and arrays."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned; called after ``on_fit_begin``."""


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


def measured(callback: Callback, monitor: str, logs: Mapping[str, float]) -> float:
    """Return what an epoch measured under the name `monitor`; raise ConfigError, listing the names, if nothing."""
    if monitor not in logs:
        hint = "; pass validation=… to fit" if monitor.startswith("val_") else ""
        raise ConfigError(f"{type(callback).__name__}: {monitor!r} is not measured; there are: {', '.join(logs)}{hint}")
    return logs[monitor]


def optional(kind: type[Number], value: Any) -> Number | None:
    """Return a number that a state holds, or None; raises what `kind` raises for anything else.

    >>> optional(float, 1), optional(int, None)
    (1.0, None)
    """
    return None if value is None else kind(value)
