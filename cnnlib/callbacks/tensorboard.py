"""TensorBoard: what training measures as curves in TensorBoard."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cnnlib.arrays import whole
from cnnlib.callbacks.base import Callback
from cnnlib.errors import MissingExtraError
from cnnlib.files import file_path

if TYPE_CHECKING:
    from cnnlib.trainer import Trainer

__all__ = ["TensorBoard"]

_MOST_BINS = 128


class TensorBoard(Callback):
    """Write the history of each epoch to event files, which ``tensorboard --logdir log_dir`` shows while training runs.

    Curves over the epochs, which count from 1: ``loss/train`` and ``loss/validation`` in one picture, the metrics
    alike, and ``lr``, ``seconds``, ``images_per_second``. The files are written by the package tensorboardX (the extra
    `tensorboard`), which needs neither PyTorch nor TensorFlow.

    log_dir: made if it is not there; a folder for each training, their common parent for TensorBoard to compare them.
    histograms: every so many epochs the parameters are written as histograms, too; 0: never (Keras's
        ``histogram_freq``).

    A training that is resumed from a :class:`cnnlib.callbacks.Checkpoint` cuts off its files what was written after it,
    so that every point is there once. Files of other trainings are left alone.

    Raises ConfigError for bad settings; MissingExtraError when training starts without the package; OSError if the
    files cannot be written.
    """

    writes: ClassVar[bool] = True

    def __init__(self, log_dir: str | os.PathLike[str], histograms: int = 0) -> None:
        self.log_dir = file_path(log_dir, "TensorBoard: log_dir")
        self.histograms = whole(histograms, "TensorBoard: histograms", 0)
        # Which training this is: its files end in it, so that they are known when it is resumed.
        self._run = ""
        self._writer: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Start a new training's files."""
        _tensorboardx()
        self._run = os.urandom(4).hex()

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        """Write the points of the epoch."""
        writer, summary, event = _tensorboardx()
        if self._writer is None:
            self.log_dir.mkdir(parents=True, exist_ok=True)
            self._writer = writer(str(self.log_dir / "events"), f".{self._run}.{len(self._files())}")
        points = [summary.scalar(_tag(name), value) for name, value in logs.items()]
        if self.histograms and epoch % self.histograms == 0:
            parameters = trainer.model.parameters().items()
            points += [summary.histogram(name, p.data.reshape(-1), "auto", _MOST_BINS) for name, p in parameters]
        for point in points:
            self._writer.write_event(event(wall_time=time.time(), step=epoch, summary=point))
        self._writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def state_dict(self) -> dict[str, Any]:
        """Return which training this is, and how long its files are."""
        return {"run": self._run, "files": {path.name: path.stat().st_size for path in self._files()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the files of the training that is resumed, from where they were."""
        run, sizes = str(state["run"]), {str(name): int(size) for name, size in state["files"].items()}
        if len(run) != 8 or not set(run) <= set("0123456789abcdef"):
            raise ValueError(f"{run!r} is no training of TensorBoard's")
        self._run = run
        for path in self._files():
            kept = sizes.get(path.name, 0)
            if kept <= 0:
                path.unlink()
            elif path.stat().st_size > kept:
                os.truncate(path, kept)

    def _files(self) -> list[Path]:
        return sorted(self.log_dir.glob(f"events.out.tfevents.*.{self._run}.*")) if self._run else []

    def __repr__(self) -> str:
        return f"TensorBoard({str(self.log_dir)!r}, histograms={self.histograms})"


def _tag(name: str) -> str:
    if name in ("lr", "seconds", "images_per_second"):
        return name
    return f"{name.removeprefix('val_')}/{'validation' if name.startswith('val_') else 'train'}"


def _tensorboardx() -> tuple[Any, Any, Any]:
    """Return what writes events, what makes their contents, and the class of events.

    Not its SummaryWriter: it writes from another thread, and its flush does not wait for that.
    """
    try:
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
    except ImportError:
        raise MissingExtraError("tensorboardX", "tensorboard", "writing for TensorBoard") from None
    return EventsWriter, summary, Event
