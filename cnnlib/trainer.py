"""Trainer: the epoch loop. One step is forward, loss, backward, update."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from cnnlib import chance, trial
from cnnlib.arrays import flag, made, number, whole
from cnnlib.callbacks import Callback, Progress
from cnnlib.datasets.feeding import Batch, Data, batches_of, feed
from cnnlib.datasets.loader import Batches
from cnnlib.distributed import Distributed, stepper_for
from cnnlib.errors import CNNError, ConfigError, FileFormatError, TrainingError
from cnnlib.history import History
from cnnlib.interrupts import Interrupts, held
from cnnlib.objective import Losses, Metrics, Objective
from cnnlib.optim import MaxNorm, Optimizer
from cnnlib.run import Mean, Position, Run
from cnnlib.stepping import Stepper, samples_of
from cnnlib.weights import ClassWeight, ClassWeights, weighed

if TYPE_CHECKING:
    from cnnlib.model import Model

__all__ = ["Data", "Trainer"]

Array = NDArray[Any]


class Trainer:
    """Train a model: epochs over batches, metrics, validation, callbacks, and a history of it all.

    metrics: names or objects (:mod:`cnnlib.metrics`); by default what suits the loss: accuracy for
    CrossEntropyLoss, nothing for others.
    callbacks: :class:`cnnlib.callbacks.Callback` objects, called in their order.
    loss_weights, and dicts for loss and metrics: for a model whose outputs have names, a loss for each of them; what is
    minimised is their sum, each times its weight (1 where none is given). Targets are a dict of arrays then, or one
    array for all outputs; what belongs to an output is reported under its name: ``main_loss``, ``main_accuracy``.
    accumulate: so many batches make one update, that of a batch as large as all of them together: their gradients are
    added up, each by its batch's weight (:class:`cnnlib.accumulation.Accumulation`), while memory holds one batch. An
    epoch's last update takes what batches there are. Layers that look at a whole batch, such as BatchNorm2d, still see
    one at a time. A schedule gives the rate of each update, as if the large batches were those of ``fit``.
    clip_norm: gradients are scaled down to this norm before each update (:func:`cnnlib.optim.clip_grad_norm`).
    clip_value: their elements are brought into -clip_value … clip_value, before that
    (:func:`cnnlib.optim.clip_grad_value`).
    constraint: what the weights must keep to after each update, such as ``MaxNorm(3)``.
    check_finite: whether each loss and each gradient is looked at for NaN and infinity; it costs less than 1 %
    of LeNet-5's step in batches of 64.
    distributed: whether the processes that ``mpiexec`` started train together, each with its part of every batch, to
    the same bits for any number of them (:class:`cnnlib.distributed.Distributed` has the settings; docs/scale-out.md).
    keep_gradients: whether every parameter has its gradient after a step, for callbacks to look at; by default some
    have none: large weights of Linear layers are updated while theirs is computed, and ``grad`` is None.

    Wherever data is asked for, it is a pair ``(x, y)`` of arrays (x a list of them for a model of several inputs, y a
    dict for one of several named outputs), a data set (``len`` and ``[indices]``), or any
    iterable of batches ``(x, y)`` that starts anew each time, such as a list of them or PyTorch's DataLoader.
    Arrays are converted batch by batch (uint8 images become 0…1), never as a whole. Each of them may have weights as a
    third: ``(x, y, sample_weight)``, one for each sample, by which losses are weighted means (:mod:`cnnlib.losses`);
    metrics count every sample once.

    >>> import numpy as np
    >>> from cnnlib.losses import MSELoss
    >>> from cnnlib.layers import Linear
    >>> from cnnlib.model import Sequential
    >>> from cnnlib.optim import SGD
    >>> x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(20, 1)
    >>> trainer = Trainer(Sequential(Linear(1, 1), input_shape=(1,)), MSELoss(), SGD(lr=0.5))
    >>> history = trainer.fit((x, 3 * x + 1), epochs=30, batch_size=5, verbose=0)
    >>> history["loss"][-1] < 1e-6
    True
    """

    def __init__(
        self,
        model: Model,
        loss: Losses,
        optimizer: Optimizer,
        metrics: Metrics | Mapping[str, Metrics] | None = None,
        callbacks: Sequence[Callback] = (),
        *,
        loss_weights: Mapping[str, float] | None = None,
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        constraint: MaxNorm | None = None,
        keep_gradients: bool = False,
        check_finite: bool = True,
        distributed: bool | Distributed = False,
    ) -> None:
        for name, limit in {"clip_norm": clip_norm, "clip_value": clip_value}.items():
            if limit is not None and not number(limit, name) > 0:
                raise ConfigError(f"{name} = {limit!r}: expected a positive number, or None not to clip")
        parts = {"model": (model, "forward"), "optimizer": (optimizer, "step"), "constraint": (constraint, "apply")}
        for name, (part, method) in parts.items():
            if not hasattr(made(part, name), method) and not (part is None and name == "constraint"):
                example = ": give an object such as SGD(lr=0.1)" if name == "optimizer" else ""
                raise ConfigError(f"Trainer: {name} is a {type(part).__name__}, which has no {method}(){example}")
        for part in loss.values() if isinstance(loss, Mapping) else [loss]:
            made(part, "loss")
        if not isinstance(callbacks, (list, tuple)):
            raise ConfigError(f"Trainer: callbacks are a {type(callbacks).__name__}, expected a list")
        for callback in callbacks:
            made(callback, "a callback")
        self.model = model
        self.objective = Objective(model, loss, loss_weights, metrics)
        self.optimizer = optimizer
        self.accumulate = whole(accumulate, "accumulate", 1)
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.constraint = constraint
        self.keep_gradients = keep_gradients
        self.check_finite = check_finite
        self.callbacks = list(callbacks)
        #: What the last fit measured, complete to the last finished epoch even if it was interrupted or failed.
        self.history = History()
        #: The epochs that fit was asked for, and the batches of one epoch (None where the data do not tell).
        self.epochs = 0
        self.batches: int | None = None
        self.verbose = 0
        #: The signal that ended the last fit, if one did.
        self.interrupted_by: str | None = None
        self._run: Run | None = None
        self._class_weight: ClassWeight | None = None
        self._interrupts = Interrupts()
        #: What is done with a batch.
        self.stepper = Stepper(self) if distributed is False else stepper_for(self, distributed)

    @property
    def loss(self) -> Losses:
        """The loss, or the losses by output, as they were given."""
        return self.objective.loss

    @property
    def position(self) -> Position:
        """Where the running fit is: epoch and batch from 1, and steps in all."""
        return self._running("position").position

    def fit(
        self,
        train: Data,
        validation: Data | float | None = None,
        *,
        epochs: int = 1,
        batch_size: int = 64,
        seed: int = 0,
        shuffle: bool = True,
        verbose: int = 1,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeights | None = None,
        fast_dev_run: bool | int = False,
        augment: Callable[..., Any] | None = None,
    ) -> History:
        """Train for a number of epochs and return the history, which is ``trainer.history`` too.

        validation: data to evaluate after each epoch, or the fraction of ``train`` (arrays) to hold back for it.
        batch_size, shuffle: how arrays and data sets are cut; an iterable of batches is taken as it is.
        seed: the source of all chance in training. ``np.random.SeedSequence(seed)`` spawns one generator each for
            the order of the samples, for the model (dropout), and for the validation split; so the same seed, data
            and initial weights give the same bits, for any number of threads.
        verbose: 0 silent, 1 a bar and a line an epoch, 2 a line an epoch (:class:`cnnlib.callbacks.Progress`).
        sample_weight: ``train`` as ``(x, y, sample_weight)``; a fraction held back takes its weights along.
        class_weight: how much the samples of a class count, on top of that: a dict of weights by label, an array of
            them in the order of the classes, or "balanced" (:class:`cnnlib.weights.ClassWeight`). For training only:
            ``val_loss`` is that of ``evaluate``. CrossEntropyLoss(weight=…) counts there, too.
        fast_dev_run: try out whether all of it runs, before a long training: one epoch of one batch (of as many as
            the number says) of training and validation data, with all callbacks but those that write files. Model,
            optimizer and generators are afterwards as before; the history is returned.
        augment: a transform of :mod:`cnnlib.augment`, or any function ``(x, y, rng) -> (x, y)``, for the batches of
            training; what happens to a sample follows from ``seed``, the epoch and where in ``train`` it is.
        A batch costs J = Σ_n w_n J_n / Σ_n w_n, an epoch the same over all samples of its batches.

        SIGINT (Ctrl-C) and SIGTERM wait until the batch at hand is done; a second one does not. After SIGINT, or a
        ``KeyboardInterrupt`` from elsewhere, training ends as if it were done: the history so far is returned and its
        ``stop_reason`` tells. SIGTERM ends the process then. With a :class:`cnnlib.callbacks.Checkpoint` all is saved
        before.
        Fitting again goes on from the weights and the optimizer's state, at epoch 0 of a schedule.

        Raises NonFiniteError, naming epoch, batch, samples, tensor and likely cause, when a loss or gradient becomes
        NaN or infinite, before that step changes a weight (of large Linear layers: the rows with such a gradient);
        ConfigError, DataError and their kin for bad arguments.
        """
        if fast_dev_run is not False:
            count = 1 if fast_dev_run is True else whole(fast_dev_run, "fast_dev_run", 1, 2**31 - 1)
            how = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "verbose": verbose}
            return trial.fast_dev_run(
                self, count, train, validation, sample_weight, {**how, "class_weight": class_weight, "augment": augment}
            )
        epochs, seed = whole(epochs, "epochs", 1), whole(seed, "seed", 0)
        verbose, shuffle = whole(verbose, "verbose", 0, 2), flag(shuffle, "shuffle")
        fed = feed(
            train,
            validation,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            sample_weight=sample_weight,
            class_weight=class_weight,
            augment=augment,
        )
        verbose = verbose if self.stepper.main else 0
        callbacks = [*([Progress(verbose)] if verbose else []), *self._called()]
        callbacks.sort(key=lambda callback: callback.last)
        self._class_weight = fed.class_weight
        self._run = run = Run(fed.batches, self.objective, fed.settings | self._settings(fed.batches), self.accumulate)
        self.history, self.epochs, self.verbose, self.interrupted_by = run.history, epochs, verbose, None
        self.batches = len(fed.batches) if isinstance(fed.batches, Sized) else None
        with self.stepper.guarded(), held() as self._interrupts:
            self.stepper.begin(run, epochs, fed.dropout)
            try:
                for callback in callbacks:
                    callback.on_fit_begin(self)
                self.stepper.share_state()
                # A run that was stopped, and resumed, within an epoch still has that epoch to record.
                while run.position.epoch <= epochs and (run.position.batch or not self.history.stop_reason):
                    self._run_epoch(run, fed.validation, callbacks)
                self.history.stop_reason = self.history.stop_reason or "all epochs done"
            except KeyboardInterrupt:
                received = self._interrupts.received
                self.interrupted_by = received.name if received else "SIGINT"
                by = "from the keyboard" if self.interrupted_by == "SIGINT" else f"by {self.interrupted_by}"
                self.history.stop_reason = f"interrupted {by}"
            except BaseException as error:
                self.history.stop_reason = f"failed with {type(error).__name__}"
                raise
            finally:
                for callback in callbacks:
                    callback.on_fit_end(self)
                self._run, self._interrupts = None, Interrupts()
            self.stepper.end()
        return self.history

    def overfit_one_batch(self, data: Data, *, steps: int = 200, batch_size: int = 64, fall: float = 0.5) -> History:
        """Train on the first batch of the data again and again: a net that cannot learn that will learn nothing.

        steps: so many updates; a schedule is followed through its first epoch meanwhile. fall: what share of the first
        loss the mean of the last tenth may be. Return loss, metrics and rate of each step as a history, in which an
        "epoch" is a step. Model, optimizer and generators are afterwards as before; callbacks are not called.

        >>> import cnnlib
        >>> train, _ = cnnlib.datasets.mnist_sample()
        >>> trainer = Trainer(cnnlib.models.lenet5(rng=0), cnnlib.CrossEntropyLoss(), cnnlib.SGD(0.05, momentum=0.9))
        >>> trainer.overfit_one_batch(train, steps=40, batch_size=16)["accuracy"][-1]
        1.0

        Raises TrainingError, saying what may help, if the loss does not fall as far; NonFiniteError as ``fit`` does.
        """
        return trial.overfit_one_batch(self, data, steps, batch_size, fall)

    def stop(self, reason: str) -> None:
        """End the running fit after the batch at hand; an epoch cut short is recorded as far as it went."""
        self.history.stop_reason = reason

    def evaluate(self, data: Data, batch_size: int = 256) -> dict[str, float]:
        """Return ``loss`` and the metrics over all of the data, whatever the batch size; the model stays as it is.

        >>> import numpy as np
        >>> from cnnlib.losses import MSELoss
        >>> from cnnlib.layers import Linear
        >>> from cnnlib.model import Sequential
        >>> from cnnlib.optim import SGD
        >>> model = Sequential(Linear(2, 1), input_shape=(2,))
        >>> x = np.zeros((5, 2), np.float32)
        >>> Trainer(model, MSELoss(), SGD(0.1)).evaluate((x, model.predict(x)), batch_size=2)
        {'loss': 0.0}

        Raises DataError if there are no data.
        """
        return self._evaluate(data, batch_size)

    def _evaluate(self, data: Data, batch_size: int, callbacks: Sequence[Callback] = ()) -> dict[str, float]:
        # A copy, so that a callback may evaluate in the middle of an epoch.
        mean = Mean(self.objective.copy())
        for batch in self.stepper.deal(batches_of(data, batch_size, None)):
            prediction, y, weight = self.stepper.evaluate(*weighed(batch))
            if prediction is not None:
                mean.update(mean.objective.forward(prediction, y, weight), samples_of(prediction), prediction, y)
            self._heed(callbacks)
        return self.stepper.same(mean.compute)

    def train_step(self, x: Array, y: Array, sample_weight: ArrayLike | None = None) -> float:
        """Do one iteration on one batch (forward, loss, backward, update) and return the loss before the update.

        sample_weight: how much each sample counts in the loss, shape (N,); 1 if not given.
        There is an update whatever ``accumulate``. Gradients stay for you to look at, those of large Linear weights
        only with ``keep_gradients``.
        Raises NonFiniteError, and changes no weight, if the loss is NaN or infinite, or a gradient (in which case other
        large weights of Linear layers may have had their step already).
        """
        return self.stepper.step(x, y, sample_weight).values["loss"]

    def state_dict(self) -> dict[str, Any]:
        """Return all that the rest of the running fit depends on, in dicts of arrays and plain values.

        A :class:`cnnlib.callbacks.Checkpoint` keeps it. Raises TrainingError outside of ``fit``: there is no run then.
        """
        run = self._running("state_dict")
        lr = self.optimizer.lr
        return {
            "run": run.state_dict(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr": None if callable(lr) else lr,
            "accumulated": run.accumulation.state_dict(self.model.parameters()),
            "layers": {name: chance.state(layer) for name, layer in self.model.layers.items()},
            "callbacks": [[type(callback).__name__, callback.state_dict()] for callback in self.callbacks],
        }

    def load_state_dict(self, state: Mapping[str, Any], source: str = "the state") -> None:
        """Let the running fit, from its ``on_fit_begin`` hooks, go on where another one was when it gave `state`.

        source: what the messages call it. Raises ConfigError, listing the differences, for the state of another
        training; FileFormatError if it is not complete; TrainingError outside of ``fit``.
        """
        run = self._running("load_state_dict")
        try:
            run.check(state["run"], source)
            names = [type(callback).__name__ for callback in self.callbacks]
            if [name for name, _ in state["callbacks"]] != names:
                raise ConfigError(f"{source} has the callbacks {[n for n, _ in state['callbacks']]}, here are {names}")
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if state["lr"] is not None:
                self.optimizer.lr = state["lr"]
            run.accumulation.load_state_dict(state["accumulated"], self.model.parameters())
            for name, layer in self.model.layers.items():
                chance.load_state(layer, state["layers"][name])
            run.load_state_dict(state["run"])
            called = self._called()
            for callback, (_, own) in zip(self.callbacks, state["callbacks"], strict=True):
                if callback in called:
                    callback.load_state_dict(own)
        except ConfigError:
            raise
        except (CNNError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise FileFormatError(f"{source} does not hold what this training needs: {error!r}") from error

    def _running(self, what: str) -> Run:
        if self._run is None:
            raise TrainingError(f"Trainer.{what}: there is nothing of that kind outside of fit; ask in a callback")
        return self._run

    def _called(self) -> list[Callback]:
        """Return the callbacks that this process calls: those that write files are for one process alone."""
        return [callback for callback in self.callbacks if self.stepper.main or not callback.writes]

    def _settings(self, batches: Iterable[Batch]) -> dict[str, Any]:
        """Return what else two runs have in common if one goes on from the other."""
        loss = {str(k): v for k, v in self.loss.items()} if isinstance(self.loss, Mapping) else {"loss": self.loss}
        return {
            "samples": len(batches.data) if isinstance(batches, Batches) else None,
            "augment": _described(batches.augment) if isinstance(batches, Batches) else None,
            "optimizer": _described(self.optimizer),
            "loss": {name: type(part).__name__ for name, part in loss.items()},
            "loss_weights": self.objective.weights,
            "class_weights_of_losses": {
                name: own.tolist() for name, part in loss.items() if (own := getattr(part, "weight", None)) is not None
            },
            "metrics": list(self.objective.metrics),
            "accumulate": self.accumulate,
            "distributed": self.stepper.describe(),
            "clip_norm": self.clip_norm,
            "clip_value": self.clip_value,
            "constraint": None if self.constraint is None else repr(self.constraint),
            "parameters": {name: list(p.data.shape) for name, p in self.model.parameters().items()},
        }

    def _run_epoch(self, run: Run, validation: Data | None, callbacks: Sequence[Callback]) -> None:
        epoch = run.position.epoch
        for callback in callbacks:
            callback.on_epoch_begin(self, epoch)
        start = time.perf_counter() - run.seconds
        for given in () if self.history.stop_reason else self.stepper.deal(run.batches):
            x, y, weight = weighed(given, self._class_weight)
            batch = run.position.batch + 1
            update = (batch - 1) // self.accumulate
            updates = math.ceil(self.batches / self.accumulate) if self.batches else None
            self.optimizer.epoch = epoch - 1 + (update / updates if updates else 0.0)
            for callback in callbacks:
                callback.on_batch_begin(self, batch)
            outcome = self.stepper.step(x, y, weight, run)
            run.mean.update(*outcome)
            run.step_done()
            run.seconds = time.perf_counter() - start
            for callback in callbacks:
                callback.on_batch_end(self, batch, outcome.values["loss"])
            self._heed(callbacks)
            if self.history.stop_reason:
                break
        if run.accumulation.count:
            self.stepper.update(run.accumulation, self.model.parameters())
        validated = {} if validation is None else self._evaluate(validation, 256, callbacks)

        def measured() -> dict[str, float]:
            # A checkpoint may say that the epoch took no time.
            rate = run.mean.samples / run.seconds if run.seconds > 0 else math.inf
            times = {"lr": self.optimizer.current_lr, "seconds": run.seconds, "images_per_second": rate}
            return run.mean.compute() | {f"val_{name}": value for name, value in validated.items()} | times

        logs = self.stepper.same(measured)
        self.history.record(logs)
        run.epoch_done()
        for callback in callbacks:
            callback.on_epoch_end(self, epoch, logs)

    def _heed(self, callbacks: Sequence[Callback]) -> None:
        """End training if a signal came."""
        received, self.history.stop_reason = self.stepper.agreed(self._interrupts.received, self.history.stop_reason)
        if received is not None:
            self._interrupts.received = received
            for callback in callbacks:
                callback.on_interrupt(self)
            raise KeyboardInterrupt


def _described(part: object) -> str:
    """What tells one setting of a training from another; addresses do not."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(part))
