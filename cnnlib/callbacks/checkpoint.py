"""Checkpoint: keep a training on disk, so that it goes on after its process was ended."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cnnlib import checkpoint, serialize
from cnnlib.arrays import flag, whole
from cnnlib.callbacks.base import Callback, measured, optional
from cnnlib.errors import ConfigError
from cnnlib.files import file_path
from cnnlib.history import is_improvement, resolve_mode

if TYPE_CHECKING:
    from cnnlib.trainer import Trainer

__all__ = ["Checkpoint"]


class Checkpoint(Callback):
    """Save a training as it goes; a process that was killed at any moment loses at most what came after the last save.

    Everything the next batch depends on is saved: weights and buffers, the optimizer's state, the generators of order,
    dropout and data, the place in the epoch, metrics, history, and what other callbacks remember. A resumed training
    ends with the weights and the history of one that was never interrupted, bit for bit, but for its times. It must be
    the same script: same model, data, optimizer and arguments of ``fit`` (more epochs are allowed).

    folder: made if it is not there. It gets ``checkpoint-STEP.safetensors`` (:mod:`cnnlib.checkpoint`), at the start,
        after each epoch, after every `every` batches, and when SIGINT or SIGTERM ends training; and
        ``best.safetensors``, the model of the best epoch.
    keep: so many of the newest checkpoints stay.
    monitor, mode: what makes an epoch the best, as in :meth:`cnnlib.history.History.best`.
    resume: go on from the newest checkpoint in the folder; start anew where there is none. A damaged one is named in a
        warning and renamed, and the one before it is used.
    command: the shell command that resumes, for the message after an interruption.

    Data that are arrays, or a data set, go on at the batch where they were, a data set with its random generators (its
    attributes). Of an iterable of batches those that were trained on are read again and skipped, which is exact if it
    gives the same ones when its generators are put back to where the epoch began; one with ``state_dict`` and
    ``load_state_dict`` of its own is asked instead.

    A save that fails (a full disk, say) is told in a warning, and training goes on: the former checkpoints stand.

    >>> from tempfile import TemporaryDirectory
    >>> import cnnlib, numpy as np
    >>> def train(folder, epochs):
    ...     model = cnnlib.Sequential(cnnlib.Linear(2, 2, rng=0), input_shape=2)
    ...     saved = Checkpoint(folder, resume=True)
    ...     trainer = cnnlib.Trainer(model, cnnlib.CrossEntropyLoss(), cnnlib.SGD(0.1, 0.9), callbacks=[saved])
    ...     return trainer.fit((np.eye(2, dtype=np.float32), np.arange(2)), epochs=epochs, verbose=0)["loss"]
    >>> with TemporaryDirectory() as one, TemporaryDirectory() as two:
    ...     whole, _, resumed = train(one, 4), train(two, 2), train(two, 4)
    >>> whole == resumed, len(resumed)
    (True, 4)

    Raises ConfigError for bad settings, and when training starts if the folder cannot be written, or holds checkpoints
    of an earlier one and `resume` is not set, or of one with other settings; FileFormatError if none can be read.
    """

    last: ClassVar[bool] = True
    writes: ClassVar[bool] = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int | None = None,
        keep: int = 3,
        *,
        monitor: str | None = None,
        mode: str = "auto",
        resume: bool = False,
        command: str | None = None,
    ) -> None:
        resolve_mode("" if monitor is None else monitor, mode)
        self.folder = file_path(folder, "Checkpoint: folder")
        self.every = None if every is None else whole(every, "Checkpoint: every", 1)
        self.keep = whole(keep, "Checkpoint: keep", 1)
        self.monitor, self.mode = monitor, mode
        self.resume = flag(resume, "Checkpoint: resume")
        self.command = command
        #: The file that was saved, or resumed from, last; what kept the newest save from being made.
        self.path: Path | None = None
        self.failure: OSError | None = None
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Go on from the newest checkpoint, or save the first one."""
        self._forget()
        self.path = self.failure = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.folder}: no folder for checkpoints can be made there: {error.strerror}") from None
        found = checkpoint.paths(self.folder)
        if found and not self.resume:
            raise ConfigError(
                f"{self.folder} holds the checkpoints of an earlier training, the newest {found[0].name}: go on with "
                "it by resume=True (--resume), or choose another folder"
            )
        checkpoint.sweep(self.folder)
        if not found:
            try:
                self._write(trainer)
            except OSError as error:
                raise ConfigError(f"{self.folder}: no checkpoint can be written there: {error.strerror}") from None
            return
        path, state, damaged = checkpoint.newest(self.folder)
        trainer.load_state_dict(state, str(path))
        for other in damaged:
            other.replace(other.with_suffix(other.suffix + ".damaged"))
        self.path = path
        if trainer.verbose:
            print(f"going on from {path}: {_place(trainer)}", flush=True)

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        """Save after every so many batches."""
        if self.every is not None and trainer.position.step % self.every == 0:
            self._save(trainer)

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        """Save, and keep the model if the epoch is the best so far."""
        monitor = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        value = measured(self, monitor, logs)
        if is_improvement(value, self.best, resolve_mode(monitor, self.mode)):
            self.best, self.best_epoch = value, epoch
            notes = {"epoch": str(epoch), monitor: repr(value)}
            self._attempt("the best model", lambda: serialize.save(trainer.model, self._best_path, notes))
        self._save(trainer)

    def on_interrupt(self, trainer: Trainer) -> None:
        """Save at the batch where the signal came."""
        self._save(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        """After an interruption, say how to go on; after an error, what is left."""
        if trainer.interrupted_by is None:
            if trainer.verbose and trainer.history.stop_reason.startswith("failed") and self.path is not None:
                print(f"the last checkpoint from before: {self.path}", flush=True)
            return
        if self.failure is not None:
            print(f"the last save failed: {self.failure}", flush=True)
        command = self.command or f"fit again with Checkpoint({str(self.folder)!r}, resume=True)"
        print(f"saved: {self.path}, {_place(trainer)}; to go on: {command}", flush=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch so far."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self.best, self.best_epoch = optional(float, state["best"]), optional(int, state["best_epoch"])

    @property
    def _best_path(self) -> Path:
        return self.folder / "best.safetensors"

    def _save(self, trainer: Trainer) -> None:
        if self._attempt("a checkpoint", lambda: self._write(trainer)):
            checkpoint.prune(self.folder, self.keep)

    def _write(self, trainer: Trainer) -> None:
        path = self.folder / checkpoint.file_name(trainer.position.step)
        checkpoint.write(path, trainer.state_dict(), serialize.architecture(trainer.model))
        self.path = path

    def _attempt(self, what: str, save: Any) -> bool:
        self.failure = None
        try:
            save()
        except OSError as error:
            self.failure = error
            stands = f"{self.path} stands" if self.path is not None else "there is none yet"
            warnings.warn(
                f"{what} could not be saved in {self.folder} ({error}); training goes on, {stands}: make room",
                RuntimeWarning,
                stacklevel=3,
            )
        return self.failure is None

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}, every={self.every}, keep={self.keep})"


def _place(trainer: Trainer) -> str:
    position = trainer.position
    if position.batch:
        return f"{position.batch} batches into epoch {position.epoch} of {trainer.epochs}"
    done = position.epoch - 1
    return f"{done} of {trainer.epochs} epochs done" if done else "at the start"
