"""Metrics: what is measured beside the loss, exactly over any split into batches.

A metric has a ``name`` and three methods: ``reset()``, ``update(prediction, target)`` for every batch, and
``compute()`` for the value over all batches since ``reset``. Where metrics are asked for, a name will do:
``"accuracy"``, ``"top5_accuracy"``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnlib.arrays import numbers, whole
from cnnlib.errors import ConfigError, DataError, ShapeError

__all__ = ["Accuracy", "BinaryAccuracy", "Metric", "TopKAccuracy", "resolve_metric"]

Array = NDArray[Any]


class Metric(Protocol):
    """What a Trainer asks of a metric; any object that has it will do."""

    name: str

    def reset(self) -> None:
        """Forget all batches."""

    def update(self, prediction: Array, target: Array) -> None:
        """Count in a batch: the model's output and the target that the loss gets."""

    def compute(self) -> float:
        """Return the value over the batches since ``reset``."""


class _ShareOfHits:
    """A metric that is the share of something that holds, counted in integers: exact over batches."""

    name: str

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._hits = self._samples = 0

    def compute(self) -> float:
        """Return hits / samples. Raises DataError if there were no samples."""
        if not self._samples:
            raise DataError(f"metric {self.name!r}: no samples since reset()")
        return self._hits / self._samples

    def _count(self, hit: Array) -> None:
        self._hits += int(np.count_nonzero(hit))
        self._samples += hit.size


class _Ranked(_ShareOfHits):
    """Hits by the rank of the class among the outputs."""

    def update(self, prediction: ArrayLike, target: ArrayLike) -> None:
        """Count in a batch. Raises ShapeError if it is not classification."""
        prediction, target = numbers(prediction, "the prediction"), numbers(target, "the target")
        shape = prediction.shape
        if len(shape) != 2 or shape[0] < 1 or shape[1] < 2 or target.shape not in (shape, shape[:1]):
            raise ShapeError(
                f"metric {self.name!r}: expected a prediction N×C, C at least 2, and a target of N labels or N×C, got "
                f"{shape} and {target.shape}; it measures classification: leave it out for other tasks, and take "
                f"BinaryAccuracy where one output tells two classes apart"
            )
        self._count(self._hit(prediction, target if target.ndim == 1 else target.argmax(axis=1)))

    def _hit(self, prediction: Array, labels: Array) -> Array:
        raise NotImplementedError


class Accuracy(_Ranked):
    """The share of samples whose largest output is at their class; of equal outputs the first counts.

    prediction: N×C logits or probabilities; target: N labels, or N×C one-hot or soft (its largest is the class).

    >>> accuracy = Accuracy()
    >>> accuracy.update([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], [1, 0, 0])
    >>> round(accuracy.compute(), 4)
    0.6667
    """

    name = "accuracy"

    def _hit(self, prediction: Array, labels: Array) -> Array:
        return np.asarray(prediction.argmax(axis=1) == labels)


class BinaryAccuracy(_ShareOfHits):
    """The share of outputs on the right side of `threshold`: above it where the target is above ½, else not.

    threshold: 0.5 for probabilities, as Sigmoid makes them; 0 for the scores that BCELoss(from_logits=True) reads.
    prediction, target: N×…, the same shape; each element counts. Its name is "accuracy".

    >>> accuracy = BinaryAccuracy()
    >>> accuracy.update([[0.9], [0.2], [0.7], [0.4]], [[1], [0], [0], [0]])
    >>> accuracy.compute()
    0.75
    """

    name = "accuracy"

    def __init__(self, threshold: float = 0.5) -> None:
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            raise ConfigError(f"BinaryAccuracy: threshold must be a number, got {threshold!r}")
        self.threshold = threshold
        super().__init__()

    def update(self, prediction: ArrayLike, target: ArrayLike) -> None:
        """Count in a batch. Raises ShapeError unless the shapes are equal."""
        prediction, target = numbers(prediction, "the prediction"), numbers(target, "the target")
        if prediction.shape != target.shape or prediction.size == 0:
            raise ShapeError(
                f"metric {self.name!r}: expected a prediction and a target of one shape, got {prediction.shape} and "
                f"{target.shape}; BinaryAccuracy is for outputs that each tell two classes apart"
            )
        # A NaN is on no side: it is never a hit.
        self._count(((prediction > self.threshold) == (target > 0.5)) & ~np.isnan(prediction))


class TopKAccuracy(_Ranked):
    """The share of samples whose class is among the k largest outputs; of equal outputs the first ones count.

    Shapes as in :class:`Accuracy`, which is this for k = 1.

    >>> top2 = TopKAccuracy(2)
    >>> top2.update([[0.1, 0.6, 0.3], [0.5, 0.3, 0.2]], [2, 2])
    >>> top2.name, top2.compute()
    ('top2_accuracy', 0.5)
    """

    def __init__(self, k: int) -> None:
        k = whole(k, "TopKAccuracy: k", -(2**31), 2**31)
        if k < 1:
            raise ConfigError(f"TopKAccuracy: k must be at least 1, got {k}")
        self.k = k
        self.name = f"top{k}_accuracy"
        super().__init__()

    def _hit(self, prediction: Array, labels: Array) -> Array:
        own = prediction[np.arange(len(labels)), labels][:, None]
        first = np.arange(prediction.shape[1]) < labels[:, None]
        # "not <=" rather than ">": a NaN ranks above every number, and a NaN at the class itself is never a hit.
        rank = np.count_nonzero(~(prediction <= own) | ((prediction == own) & first), axis=1)
        return np.asarray(rank < self.k)


_BY_NAME: dict[str, Callable[[], Metric]] = {"accuracy": Accuracy, "top5_accuracy": lambda: TopKAccuracy(5)}


def resolve_metric(metric: str | Metric) -> Metric:
    """Return the metric of a name, or the metric itself.

    Raises ConfigError for an unknown name, listing the known ones.

    >>> resolve_metric("accuracy").name
    'accuracy'
    """
    if not isinstance(metric, str):
        if not all(hasattr(metric, part) for part in ("name", "reset", "update", "compute")):
            raise ConfigError(f"{metric!r} is no metric: it lacks name, reset(), update() or compute()")
        return metric
    if metric not in _BY_NAME:
        raise ConfigError(f"unknown metric {metric!r}; known names: {', '.join(_BY_NAME)}; or pass a Metric")
    return _BY_NAME[metric]()
