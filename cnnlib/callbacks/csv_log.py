"""CSVLog: what training measures as a table in a file."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from cnnlib.callbacks.base import Callback
from cnnlib.files import file_path
from cnnlib.serialize import write_atomically

if TYPE_CHECKING:
    from cnnlib.trainer import Trainer

__all__ = ["CSVLog"]


class CSVLog(Callback):
    """Write the history to a CSV file after each epoch: a row an epoch, a column a quantity, numbers to the last bit.

    The whole file is written anew each time, atomically: it is never half a table, and that of a resumed training is
    the same as that of one which was not interrupted. A file that is there is overwritten.

    >>> from tempfile import TemporaryDirectory
    >>> import cnnlib, numpy as np
    >>> from pathlib import Path
    >>> with TemporaryDirectory() as folder:
    ...     log = CSVLog(Path(folder, "log.csv"))
    ...     model = cnnlib.Sequential(cnnlib.Linear(2, 2, rng=0), input_shape=2)
    ...     trainer = cnnlib.Trainer(model, cnnlib.CrossEntropyLoss(), cnnlib.SGD(0.1), callbacks=[log])
    ...     _ = trainer.fit((np.eye(2, dtype=np.float32), np.arange(2)), epochs=2, verbose=0)
    ...     print(log.path.read_text().splitlines()[0])
    epoch,loss,accuracy,lr,seconds,images_per_second

    Raises OSError, when the first epoch ends, if the file cannot be written.
    """

    writes: ClassVar[bool] = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = file_path(path, "CSVLog: path")

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        """Write all epochs so far."""
        rows = [trainer.history.row(done + 1) for done in range(trainer.history.epochs)]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: repr(value) for name, value in row.items()} for row in rows)
        write_atomically(self.path, text.getvalue().encode())

    def __repr__(self) -> str:
        return f"CSVLog({str(self.path)!r})"
