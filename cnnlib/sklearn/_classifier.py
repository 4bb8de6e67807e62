"""CNNClassifier: a net that tells classes apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from cnnlib import functional
from cnnlib.arrays import whole
from cnnlib.errors import ConfigError, DataError
from cnnlib.losses import CrossEntropyLoss, Loss
from cnnlib.sklearn._base import NetEstimator
from cnnlib.sklearn._nets import Builder

__all__ = ["CNNClassifier"]

Array = NDArray[Any]


class CNNClassifier(ClassifierMixin, NetEstimator):  # type: ignore[misc]
    """A net that tells classes apart, as scikit-learn's estimators do: CNN on images, multi-layer perceptron on tables.

    X is N×features, or images N×C×H×W, which may also lie flat, one a row, with ``input_shape=(C, H, W)``. Images of
    uint8 become 0…1. y is N labels of any type. What is minimised is the mean cross-entropy over the samples of a
    batch, each counting its sample weight times its class weight, plus alpha/2 ‖w‖² / Σ weights of a batch.

    The parameters are MLPClassifier's but for these:

    model: the net; None for "classic" on images and "mlp" on tables; a name of :mod:`cnnlib.models`: "lenet5",
        "classic", "vgg_mini", "resnet_mini", "inception_mini", "mlp", "modern_mlp" (with batch normalisation); or a
        function ``(input_shape, n_outputs) -> Model`` that returns logits. If it has a parameter `rng`, it gets the
        generator that `random_state` seeds, to draw the weights from.
    hidden_layer_sizes: of "mlp" and "modern_mlp"; in "classic", of the layers between the convolutions and the output.
    input_shape: (channels, height, width) of images that lie flat.
    solver: "adam", "adamw" or "sgd".
    alpha: the penalty; it counts for all parameters, biases too.
    tol: None to train `max_iter` epochs, whatever the loss does, and to hear no ConvergenceWarning.
    early_stopping: besides, the weights of the best epoch come back, as in MLPClassifier.
    class_weight: a dict of weights by class, or "balanced", as scikit-learn's other classifiers have it.

    By name, nets for images compute in float32, those for tables in X's own type. After `fit` there are:

    model_: the :class:`cnnlib.Model`, to save, export or look into. classes_, n_features_in_, n_outputs_, input_shape_.
    n_iter_: the epochs of the last fit. loss_curve_, loss_: the mean cross-entropy of each epoch and the last one, as
    it was met while the weights moved, without the penalty. history_: all that a Trainer records. best_loss_,
    validation_scores_, best_validation_score_: as in MLPClassifier.

    Raises ValueError, most as errors of :mod:`cnnlib.errors`, for bad parameters and data, in `fit`.

    >>> from cnnlib import datasets
    >>> x, y = datasets.mnist_sample()[0]
    >>> net = CNNClassifier(model="lenet5", max_iter=2, batch_size=32, tol=None, random_state=0)
    >>> net.fit(x[:1000], y[:1000]).predict_proba(x[:5]).shape
    (5, 10)
    """

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
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            model=model,
            input_shape=input_shape,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNClassifier:
        """Train a new net, or with ``warm_start`` go on with the one there is; return the estimator.

        X: N×features, or images N×C×H×W. y: N labels of any type. sample_weight: how much each sample counts, (N,).
        """
        self._fit(X, y, sample_weight, whole(self.max_iter, "max_iter", 1), incremental=False)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> CNNClassifier:
        """Train for one epoch on the data given, and go on from there in the next call; return the estimator.

        classes: all labels that will ever come, in the first call, unless y has them all.
        """
        if classes is not None:
            known = unique_labels(classes)
            if not hasattr(self, "classes_"):
                self.classes_ = known
            elif not np.array_equal(known, self.classes_):
                raise DataError(f"classes = {classes} are not those of the first call to partial_fit, {self.classes_}")
        elif not hasattr(self, "classes_"):
            raise DataError("classes must be passed on the first call to partial_fit.")
        self._fit(X, y, sample_weight, 1, incremental=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the most likely class of each sample, shape (N,)."""
        best = self._output(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, N×C in the order of ``classes_``: the softmax of the net's output."""
        return functional.softmax(self._output(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`."""
        logits = self._output(X)
        shifted = logits - logits.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))

    def _encoded(self, y: Array, new: bool) -> Array:
        check_classification_targets(y)
        labels = np.unique(y)
        if new:
            self.classes_ = labels
        elif not np.isin(labels, self.classes_).all():
            raise DataError(f"y has the classes {labels}, the net was made for {self.classes_}")
        self.n_outputs_ = len(self.classes_)
        return np.searchsorted(self.classes_, y)

    def _class_weights(self, y: Array, incremental: bool) -> Array | None:
        if self.class_weight is None:
            return None
        if incremental and isinstance(self.class_weight, str):
            raise ConfigError(
                f"class_weight = {self.class_weight!r}: partial_fit does not know how many samples of each class will "
                "come; give a dict of weights"
            )
        return np.asarray(compute_sample_weight(self.class_weight, y))

    def _loss(self) -> Loss:
        return CrossEntropyLoss()

    def _score_of(self, output: Array, target: Array, sample_weight: Array | None) -> float:
        return float(accuracy_score(target, output.argmax(axis=1), sample_weight=sample_weight))
