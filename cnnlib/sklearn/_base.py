"""What the classifier and the regressor share: parameters, data as images or tables, training, pickles."""

from __future__ import annotations

import math
import multiprocessing
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from cnnlib import config, serialize
from cnnlib.arrays import flag, number, whole
from cnnlib.callbacks import Callback
from cnnlib.errors import ConfigError, DataError, ShapeError
from cnnlib.losses import Loss
from cnnlib.model import Model
from cnnlib.optim import SGD, Adam, AdamW, Optimizer
from cnnlib.sklearn._nets import Builder, build, input_shape_of
from cnnlib.trainer import Trainer
from cnnlib.weights import checked_weights

__all__ = ["NetEstimator"]

Array = NDArray[Any]
Score = Callable[[Model], float]


class _Watch(Callback):
    """scikit-learn's rule: stop when more than `patience` epochs in a row were not better than the best by `tol`.

    What is watched is a score on data held back, whose best epoch's weights come back at the end, or, without one, the
    training loss.
    """

    def __init__(self, tol: float | None, patience: float, score: Score | None) -> None:
        self._tol, self._patience, self._score = tol, patience, score
        self.scores: list[float] = []
        self.best = -math.inf
        self.converged = False
        self._waited = 0
        self._weights: dict[str, Array] | None = None

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        value = -logs["loss"] if self._score is None else self._score(trainer.model)
        self.scores.append(value)
        self._waited = 0 if self._tol is None or value >= self.best + self._tol else self._waited + 1
        if value > self.best:
            self.best = value
            if self._score is not None:
                self._weights = trainer.model.state_dict()
        if self._waited > self._patience:
            self.converged = True
            trainer.stop(f"no improvement of {self._tol:g} for {self._waited} epochs")

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._weights is not None:
            trainer.model.load_state_dict(self._weights)


class NetEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators; a subclass knows the targets and the loss."""

    model_: Model
    input_shape_: tuple[int, ...]
    n_outputs_: int
    #: The optimizer's state between calls of `partial_fit`.
    _optimizer_state: dict[str, Any]

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        *,
        model: str | Builder | None = None,
        input_shape: tuple[int, int, int] | None = None,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float | None = 0.0001,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.model = model
        self.input_shape = input_shape
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change

    # What a subclass defines.

    def _encoded(self, y: Array, new: bool) -> Array:
        """Return the targets as the loss takes them; if the net is to be `new`, keep what decodes its outputs."""
        raise NotImplementedError

    def _class_weights(self, y: Array, incremental: bool) -> Array | None:
        """Return what each sample counts by its class."""
        return None

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _score_of(self, output: Array, target: Array, sample_weight: Array | None) -> float:
        """Return the score of the net's output for encoded targets."""
        raise NotImplementedError

    # Data

    def _table(self, X: Any) -> tuple[Any, tuple[int, ...] | None]:
        """Return images N×C×H×W as N×features with the shape of one; a table as it is."""
        shape = getattr(X, "shape", ())
        if len(shape) == 3:
            raise ShapeError(f"X has the shape {shape}: images are N×C×H×W; add the channel axis, X[:, np.newaxis]")
        if len(shape) != 4:
            return X, None
        images = np.asarray(X)
        return images.reshape(len(images), math.prod(shape[1:])), tuple(shape[1:])

    def _dtypes(self, images: bool) -> list[type[np.generic]]:
        # A table of bytes may hold anything, an image's are pixels, which the model makes 0…1.
        return [np.float64, np.float32, *([np.uint8] if images else [])]

    def _inputs(self, X: Any) -> Array:
        """Return checked X, N×`input_shape_`, for a net that is fitted."""
        check_is_fitted(self)
        X, shape = self._table(X)
        if shape not in (None, self.input_shape_):
            raise ShapeError(f"X has images of shape {shape}, the estimator was fitted on {self.input_shape_}")
        X = validate_data(self, X, reset=False, dtype=self._dtypes(len(self.input_shape_) == 3))
        return np.asarray(X.reshape(len(X), *self.input_shape_))

    def _output(self, X: Any) -> Array:
        inputs = self._inputs(X)
        return np.asarray(self.model_.predict(inputs))

    # Training

    def _fit(self, X: Any, y: Any, sample_weight: Any, epochs: int, incremental: bool) -> None:
        """Train for at most so many epochs; go on from the net as it is if `incremental` or with `warm_start`."""
        first = not hasattr(self, "model_") or not (incremental or self.warm_start)
        held_back = flag(self.early_stopping, "early_stopping")
        if held_back and incremental:
            raise ConfigError("early_stopping=True: partial_fit has no data to hold back; set early_stopping=False")
        X, shape = self._table(X)
        images = (shape or self.input_shape) is not None
        X, y = validate_data(
            self,
            X,
            y,
            reset=first,
            dtype=self._dtypes(images),
            multi_output=self.__sklearn_tags__().target_tags.multi_output,
            y_numeric=is_regressor(self),
        )
        weight = None if sample_weight is None else checked_weights(sample_weight, "sample_weight", len(X))
        target = self._encoded(y, new=first and not incremental)
        by_class = self._class_weights(y, incremental)
        random = check_random_state(self.random_state)
        if first:
            self._start(X, shape, target, random)
        X = X.reshape(len(X), *self.input_shape_)
        score = None
        if held_back:
            train, score = self._hold_back(X, target, weight, random)
            X, target = X[train], target[train]
            weight, by_class = (None if part is None else part[train] for part in (weight, by_class))
        if by_class is not None:
            weight = by_class if weight is None else by_class * weight
        batch_size = min(200, len(X)) if self.batch_size == "auto" else whole(self.batch_size, "batch_size", 1)
        batch_size = min(batch_size, len(X))
        # The penalty alpha/2 ‖w‖² counts once against the sum of the weights of a batch, as they are on the average.
        batch_weight = (len(X) if weight is None else weight.sum()) / math.ceil(len(X) / batch_size)
        optimizer = self._optimizer(number(self.alpha, "alpha", 0) / (batch_weight or 1.0))
        if incremental and not first and hasattr(self, "_optimizer_state"):
            optimizer.load_state_dict(self._optimizer_state)
        tol = None if self.tol is None else number(self.tol, "tol", 0)
        patience = number(self.n_iter_no_change, "n_iter_no_change", 1)
        verbose = int(self.verbose) if isinstance(self.verbose, (bool, np.bool_)) else whole(self.verbose, "verbose", 0)
        watch = _Watch(None if incremental else tol, patience, score)
        trainer = Trainer(self.model_, self._loss(), optimizer, metrics=(), callbacks=[watch])
        _share_the_cores()
        history = trainer.fit(
            (X, target, weight),
            epochs=epochs,
            batch_size=batch_size,
            seed=int(random.randint(2**31 - 1)) + len(self.loss_curve_),
            shuffle=self.shuffle,
            verbose=min(verbose, 2),
        )
        if trainer.interrupted_by:
            if not history:
                raise KeyboardInterrupt  # before there was anything worth keeping
            warnings.warn("Training interrupted by user.", stacklevel=3)
        elif not incremental and tol is not None and not watch.converged:
            warnings.warn(
                f"{type(self).__name__}: max_iter = {epochs} epochs are over, and training had not converged yet; "
                "more of them may help, tol=None says that so many are meant",
                ConvergenceWarning,
                stacklevel=3,
            )
        if incremental:
            self._optimizer_state = optimizer.state_dict()
        self._record(history, watch.scores if held_back else None)

    def _start(self, X: Array, shape: tuple[int, ...] | None, target: Array, random: Any) -> None:
        """Make the net."""
        self.input_shape_ = input_shape_of(self.model, self.input_shape or shape, X.shape[1])
        if shape not in (None, self.input_shape_):
            raise ConfigError(f"input_shape = {self.input_shape}: X has images of shape {shape}")
        hidden = self.hidden_layer_sizes
        hidden = hidden.ravel().tolist() if isinstance(hidden, np.ndarray) else hidden
        hidden = hidden if isinstance(hidden, (tuple, list)) else [hidden]
        hidden = [whole(size, "hidden_layer_sizes", 1) for size in hidden]
        rng = np.random.default_rng(random.randint(2**31 - 1))
        # Images in float32, as everywhere in cnnlib; tables in their own type, as everywhere in scikit-learn.
        dtype = X.dtype if len(self.input_shape_) == 1 else np.float32
        self.model_ = build(self.model, self.input_shape_, hidden, self.n_outputs_, rng, dtype)
        self.loss_curve_: list[float] = []
        self.history_: dict[str, list[float]] = {}
        self.validation_scores_: list[float] | None = None
        self.__dict__.pop("_optimizer_state", None)

    def _hold_back(self, X: Array, target: Array, weight: Array | None, random: Any) -> tuple[Array, Score]:
        """Return where in the data the samples to train on are, and the score on the rest."""
        stratify = target if is_classifier(self) else None
        fraction = number(self.validation_fraction, "validation_fraction", 0, 1)
        train, held = train_test_split(np.arange(len(X)), test_size=fraction, random_state=random, stratify=stratify)
        if len(held) < 2:
            raise DataError(
                f"validation_fraction = {fraction} of {len(X)} samples holds back {len(held)}, not 2 or more"
            )
        x_held, target_held, weight_held = X[held], target[held], None if weight is None else weight[held]

        def score(model: Model) -> float:
            return self._score_of(model.predict(x_held), target_held, weight_held)

        return train, score

    def _optimizer(self, decay: float) -> Optimizer:
        lr = number(self.learning_rate_init, "learning_rate_init", 0)
        betas = (self.beta_1, self.beta_2)
        if self.solver == "sgd":
            nesterov = flag(self.nesterovs_momentum, "nesterovs_momentum") and self.momentum > 0
            return SGD(lr, self.momentum, decay, nesterov=nesterov)
        if self.solver in ("adam", "adamw"):
            return (Adam if self.solver == "adam" else AdamW)(lr, betas, self.epsilon, decay)
        raise ConfigError(f"solver = {self.solver!r}: expected 'adam', 'adamw' or 'sgd'")

    def _record(self, history: dict[str, list[float]], scores: list[float] | None) -> None:
        self.n_iter_ = len(history["loss"])
        for name, values in history.items():
            self.history_.setdefault(name, []).extend(values)
        self.loss_curve_ = self.history_["loss"]
        self.loss_ = self.loss_curve_[-1]
        self.best_loss_ = min(self.loss_curve_) if scores is None else None
        if scores is not None:
            self.validation_scores_ = [*(self.validation_scores_ or []), *scores]
        self.best_validation_score_ = max(scores) if scores else None

    # Pickles

    def __getstate__(self) -> dict[str, Any]:
        # The net as a file would hold it: its architecture in JSON, its weights as arrays.
        state: dict[str, Any] = super().__getstate__()
        if "model_" in state:
            model = state["model_"]
            state = {**state, "model_": (serialize.describe(model), model.state_dict())}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            metadata, arrays = state["model_"]
            state = {**state, "model_": serialize.rebuild(arrays, metadata, "a pickled estimator")}
        super().__setstate__(state)


def _share_the_cores() -> None:
    """In a worker process of joblib take the share of the cores that joblib tells other libraries to take."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    if (
        multiprocessing.current_process().name.startswith("Loky")
        and share.isdigit()
        and not os.environ.get("CNNLIB_NUM_THREADS")
    ):
        config.set_num_threads(max(1, min(int(share), config.get_num_threads())))
