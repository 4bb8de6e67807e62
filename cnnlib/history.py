"""History: what training measured, a list of numbers for each quantity with one entry an epoch."""

from __future__ import annotations

import math

from cnnlib.errors import ConfigError

__all__ = ["History", "is_improvement", "resolve_mode"]


def resolve_mode(monitor: str, mode: str = "auto") -> str:
    """Return "min" or "max": whether smaller or larger values of a quantity are better.

    "auto" takes accuracies and images per second for better when larger, everything else when smaller.

    >>> resolve_mode("val_accuracy"), resolve_mode("val_loss")
    ('max', 'min')

    Raises ConfigError for another mode.
    """
    if not isinstance(monitor, str):
        raise ConfigError(f"monitor = {monitor!r}: expected the name of something that is measured, such as 'val_loss'")
    if isinstance(mode, str) and mode == "auto":
        return "max" if monitor.endswith(("accuracy", "images_per_second")) else "min"
    if not isinstance(mode, str) or mode not in ("min", "max"):
        raise ConfigError(f"mode must be 'auto', 'min' or 'max', got {mode!r}")
    return mode


def is_improvement(value: float, best: float | None, mode: str, min_delta: float = 0.0) -> bool:
    """Say whether ``value`` is better than ``best`` by more than ``min_delta``; NaN never is, all else beats None.

    >>> is_improvement(0.4, 0.5, "min"), is_improvement(0.4, 0.5, "min", min_delta=0.2)
    (True, False)
    """
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value < best - min_delta if mode == "min" else value > best + min_delta


class History(dict[str, list[float]]):
    """A dict of name → list of floats, one an epoch, in the order of the epochs.

    A Trainer records ``loss`` and the metrics over the training batches as they were met, the same with ``val_``
    before over the validation data, ``lr`` (of the epoch's last step), ``seconds`` and ``images_per_second`` of
    the training part, validation apart. ``stop_reason`` says why training ended.

    >>> history = History(loss=[0.9, 0.5], val_loss=[0.6, 0.7])
    >>> history.best()
    {'epoch': 1, 'loss': 0.9, 'val_loss': 0.6}
    >>> history
    epoch    loss  val_loss
        1  0.9000    0.6000
        2  0.5000    0.7000
    """

    stop_reason: str = ""

    @property
    def epochs(self) -> int:
        """The number of epochs that were completed."""
        return max((len(values) for values in self.values()), default=0)

    def record(self, logs: dict[str, float]) -> None:
        """Append what one epoch measured."""
        for name, value in logs.items():
            self.setdefault(name, []).append(float(value))

    def row(self, epoch: int) -> dict[str, float]:
        """Return what one epoch measured; epochs count from 1."""
        return {"epoch": epoch, **{name: values[epoch - 1] for name, values in self.items()}}

    def best(self, monitor: str | None = None, mode: str = "auto") -> dict[str, float]:
        """Return the row of the best epoch by ``monitor``: ``val_loss`` where there is one, else ``loss``.

        ``mode`` as in :func:`resolve_mode`. Of equal epochs the first is taken.

        Raises ConfigError if nothing of that name was measured.
        """
        if monitor is None:
            monitor = "val_loss" if "val_loss" in self else "loss"
        if monitor not in self:
            raise ConfigError(
                f"History: nothing named {monitor!r} was measured; there are: {', '.join(self) or 'none'}"
            )
        mode, values = resolve_mode(monitor, mode), self[monitor]
        best = 0
        for epoch, value in enumerate(values):
            if is_improvement(value, None if math.isnan(values[best]) else values[best], mode):
                best = epoch
        return self.row(best + 1)

    def __repr__(self) -> str:
        if not self.epochs:
            return "History(no epochs)"
        columns = [["epoch", *(str(epoch + 1) for epoch in range(self.epochs))]]
        columns += [[name, *(format_value(name, value) for value in values)] for name, values in self.items()]
        padded = [[cell.rjust(max(map(len, column))) for cell in column] for column in columns]
        return "\n".join("  ".join(line) for line in zip(*padded, strict=True))


def format_value(name: str, value: float) -> str:
    """Write a measured value as one reads it: rates and speeds differ from losses.

    >>> format_value("val_loss", 0.25), format_value("lr", 0.001), format_value("images_per_second", 12345.6)
    ('0.2500', '0.001', '12,346')
    """
    if name == "lr":
        return f"{value:.4g}"
    if name == "seconds":
        return f"{value:.2f}"
    if name == "images_per_second":
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.4g}"
