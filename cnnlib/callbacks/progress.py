"""Progress: a bar over the batches and a line an epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnnlib.callbacks.base import Callback
from cnnlib.history import format_value

if TYPE_CHECKING:
    from cnnlib.trainer import Trainer

__all__ = ["Progress"]


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

            label, done = f"epoch {epoch}/{trainer.epochs}", trainer.position.batch
            self._bar = tqdm(total=trainer.batches, initial=done, desc=label, unit="batch", leave=False)

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
        """Say why training ended, if that was before its last epoch; of an error its own message tells."""
        self._close()
        reason = trainer.history.stop_reason
        if trainer.history.epochs < trainer.epochs and not reason.startswith("failed"):
            print(f"stopped: {reason}", flush=True)

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
