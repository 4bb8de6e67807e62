"""Weights of samples and of classes: how much each counts in a mean, J = Σ_n w_n J_n / Σ_n w_n."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnlib.arrays import number, numbers, plain, whole
from cnnlib.errors import CNNError, ConfigError, DataError, ShapeError

__all__ = ["ClassWeight", "ClassWeights", "checked_weights", "digest", "weighed"]

Array = NDArray[Any]

# What may be given as class weights: by label, in the order of the classes, or "balanced".
ClassWeights = Mapping[int, float] | ArrayLike | str


def checked_weights(weights: ArrayLike, name: str, count: int | None = None) -> Array:
    """Return weights as float64, shape (count,), if each is finite and none is negative.

    Raises DTypeError, ShapeError or DataError, naming them.

    >>> checked_weights([1, 0, 2], "sample_weight", 3)
    array([1., 0., 2.])
    """
    array = numbers(weights, name)
    if array.ndim != 1 or array.size == 0 or count not in (None, array.size):
        hint = f"; use {name}.ravel()" if array.ndim == 2 and array.size == count else ""
        raise ShapeError(f"{name} has shape {array.shape}: expected a number each, ({count or 'C'},){hint}")
    array = array.astype(np.float64, copy=False)
    bad = ~((array >= 0) & np.isfinite(array))
    if bad.any():
        index = int(bad.argmax())
        raise DataError(f"{name}[{index}] = {array[index]:g}: weights must be finite and at least 0")
    with np.errstate(over="ignore"):
        total = array.sum()
    if not np.isfinite(total):
        raise DataError(f"{name}: the weights' sum is not finite; divide them by their mean")
    return array


# A table of weights by class stays small.
_MOST_CLASSES = 2**24


class ClassWeight:
    """Sample weights made of labels: a sample counts what its class counts.

    class_weight: a dict of weights by label (1 for those it leaves out), weights in the order of the classes, or
    "balanced": N / (C · N_c) for each class c of the C that occur in `target`, N_c times of N, so that every class
    counts alike; scikit-learn's formula. target: that of all samples, as `of` takes it; only "balanced" needs it.

    Raises ConfigError for anything else.

    >>> ClassWeight("balanced", np.array([0, 0, 0, 1])).of(np.array([1, 0]))
    array([2.        , 0.66666667])
    >>> ClassWeight({7: 10}).of(np.array([7, 1]))
    array([10.,  1.])
    """

    def __init__(self, class_weight: ClassWeights, target: Any = None) -> None:
        self._complete = False
        if isinstance(class_weight, str):
            if class_weight != "balanced":
                raise ConfigError(f"class_weight = {class_weight!r}: expected 'balanced', a dict or an array")
            if target is None:
                raise ConfigError("class_weight='balanced' needs the labels of all data as an array; give a dict")
            present, counts = np.unique(_classes(target), return_counts=True)
            self.by_class = np.ones(present.max() + 1)
            self.by_class[present] = counts.sum() / (len(present) * counts)
        elif isinstance(class_weight, Mapping):
            labels = [whole(label, "class_weight: a label", 0, _MOST_CLASSES - 1) for label in class_weight]
            self.by_class = np.ones(max(labels, default=0) + 1)
            for label, weight in zip(labels, class_weight.values(), strict=True):
                self.by_class[label] = number(weight, f"class_weight[{label}]", 0)
        else:
            try:
                self.by_class = checked_weights(class_weight, "class_weight")
            except CNNError as error:
                raise ConfigError(str(error)) from None
            self._complete = True

    def of(self, target: Any) -> Array:
        """Return the weight of each sample, shape (N,): target holds labels (N,), or rows whose largest is the class.

        Raises DataError for a label that an array of weights has no place for, ConfigError for other targets.
        """
        labels = _classes(target)
        if not self._complete:
            return np.where(labels < len(self.by_class), self.by_class.take(labels, mode="clip"), 1.0)
        if labels.size and labels.max() >= len(self.by_class):
            raise DataError(f"class_weight has {len(self.by_class)} weights, none for label {labels.max()}")
        weights: Array = self.by_class[labels]
        return weights


def _classes(target: Any) -> Array:
    """Return labels (N,) as they are, rows N×C as the place of their largest."""
    array = np.empty(0) if isinstance(target, Mapping) else plain(target, "class_weight: the target")
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf":
        return np.asarray(array.argmax(axis=1))
    if array.ndim != 1 or array.dtype.kind not in "iu" or not ((array >= 0) & (array < _MOST_CLASSES)).all():
        raise ConfigError(
            "class_weight: the targets must be labels 0…C-1, shape (N,), or distributions, shape (N, C), of one "
            "output; for other targets give sample_weight, for several outputs CrossEntropyLoss(weight=…) for each"
        )
    return array.astype(np.int64, copy=False)


def weighed(batch: Any, class_weight: ClassWeight | None = None) -> tuple[Any, Any, Any]:
    """Return a batch ``(x, y)`` or ``(x, y, sample_weight)`` as x, y and the weights of its samples, None for ones.

    A class weight times a sample weight is what a sample counts. Raises DataError if it is not such a batch.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        of = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise DataError(f"a batch is a {type(batch).__name__}{of}: expected (x, y) or (x, y, sample_weight)")
    x, y, weight = (*batch, None)[:3]
    if class_weight is None or y is None:
        return x, y, weight
    by_class = class_weight.of(y)
    return x, y, by_class if weight is None else by_class * checked_weights(weight, "sample_weight", len(by_class))


def digest(weights: Array) -> str:
    """Return a few letters that other weights do not have."""
    return f"{len(weights)} with sum {weights.sum():g}, CRC-32 {zlib.crc32(weights.tobytes()):08x}"
