"""Losses: a number for how wrong a prediction is, and its gradient.

``value = loss.forward(prediction, target)`` then ``grad = loss.backward()``. Every loss averages over the N samples
of the batch, so gradients are the mean of the gradients of its samples. A new loss is a subclass of :class:`Loss`
that turns a checked target into value and gradient together.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnlib import functional
from cnnlib.arrays import plain
from cnnlib.errors import DataError, DTypeError, ShapeError, TrainingError

__all__ = ["BCELoss", "CrossEntropyLoss", "L1Loss", "Loss", "MSELoss"]

Array = NDArray[Any]

# How far probabilities may miss the range 0…1 and the sum 1 by rounding, before they are taken for a mistake.
_PROBABILITY_TOLERANCE = 1e-3


class Loss:
    """Base of the losses: checks what goes in, keeps the gradient between ``forward`` and ``backward``."""

    #: Metrics that a Trainer measures with this loss when it is not told otherwise.
    default_metrics: ClassVar[tuple[str, ...]] = ()

    _gradient: Array | None = None

    def forward(self, prediction: ArrayLike, target: ArrayLike) -> float:
        """Return the loss of a batch, averaged over its samples; ``backward`` then has the gradient.

        Raises ShapeError, DTypeError or DataError, naming what the loss expected.
        """
        prediction = plain(prediction, "the prediction")
        if prediction.dtype not in (np.float32, np.float64):
            raise DTypeError(f"{self!r}: the prediction must be float32 or float64, got {prediction.dtype}")
        if prediction.ndim == 0:
            raise ShapeError(f"{self!r}: the prediction must have a batch axis, got a scalar")
        if prediction.size == 0:
            raise DataError(f"{self!r}: the batch is empty (prediction of shape {prediction.shape})")
        checked = self._check(prediction, plain(target, "the target"))
        value, self._gradient = self._value_and_gradient(prediction, checked)
        return value

    def backward(self) -> Array:
        """Return the gradient of the last ``forward`` for its prediction: same shape and dtype, 1/N included.

        Raises TrainingError if ``forward`` did not come before.
        """
        if self._gradient is None:
            raise TrainingError(f"{self!r}: backward before forward; call forward(prediction, target) first")
        return self._gradient

    def _check(self, prediction: Array, target: Array) -> Array:
        """Return the target as ``_value_and_gradient`` takes it, or raise."""
        raise NotImplementedError

    def _value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CrossEntropyLoss(Loss):
    """Cross-entropy between predicted and true classes, from logits (softmax included) or from probabilities.

    With logits y, p = softmax(y) and ŷ the target distribution (one-hot for class indices)::

        from_logits=True:   J = -1/N Σ_n Σ_i ŷ_i log p_i     ∂J/∂y = (p - ŷ) / N
        from_logits=False:  the same J of given p            ∂J/∂p = -ŷ_i / (p_i N)

    Both give the same J and the same parameter gradients (lecture: L03, L06, L08). The fused form is exact for
    logits of any size; prefer it for training. On probabilities, where J is infinite at p_i = 0, p_i is read as no
    less than the dtype's smallest normal number, 1.2e-38 in float32: a sample costs at most 87.3 (708.4 in
    float64) and its gradient is huge but finite.

    prediction: N×C, float32 or float64. target: N class indices (any integer type) in 0…C-1, or N×C one-hot or soft
    targets, non-negative with rows that sum to 1, converted to the prediction's dtype.

    Raises ShapeError for other shapes, DTypeError for float labels, DataError for labels out of range, for target
    rows that are not distributions, and for "probabilities" that are none.

    >>> loss = CrossEntropyLoss()
    >>> round(loss.forward(np.array([[0.0, 0.0], [0.0, 1000.0]]), np.array([0, 1])), 4)
    0.3466
    >>> loss.backward()
    array([[-0.25,  0.25],
           [ 0.  ,  0.  ]])
    """

    default_metrics = ("accuracy",)

    def __init__(self, from_logits: bool = True) -> None:
        self.from_logits = from_logits

    def _check(self, prediction: Array, target: Array) -> Array:
        if prediction.ndim != 2:
            raise ShapeError(f"{self!r}: the prediction must be N×C, got shape {prediction.shape}")
        if not self.from_logits:
            self._check_probabilities(prediction)
        if target.shape == prediction.shape:
            return self._distributions(target, prediction.dtype)
        if target.shape == prediction.shape[:1]:
            return self._labels(target, prediction.shape[1])
        n, classes = prediction.shape
        hint = "; use target.ravel()" if target.shape == (n, 1) else ""
        raise ShapeError(
            f"{self!r}: with a prediction of shape {prediction.shape}, the target must be {n} class indices, shape "
            f"({n},), or distributions, shape ({n}, {classes}); got shape {target.shape}{hint}"
        )

    def _labels(self, target: Array, classes: int) -> Array:
        if target.dtype.kind not in "iu":
            raise DTypeError(
                f"{self!r}: class indices must be integers, got {target.dtype}; use target.astype(np.int64), "
                f"or one-hot targets of shape ({len(target)}, {classes})"
            )
        if target.min() < 0 or target.max() >= classes:
            index = int(np.flatnonzero((target < 0) | (target >= classes))[0])
            raise DataError(
                f"{self!r}: label {target[index]} at index {index} is out of range; the prediction has {classes} "
                f"classes, so labels must be 0…{classes - 1}"
            )
        return target.astype(np.int64, copy=False)

    def _distributions(self, target: Array, dtype: np.dtype[Any]) -> Array:
        if target.dtype.kind not in "biuf":
            raise DTypeError(f"{self!r}: target distributions must be numbers, got {target.dtype}")
        target = target.astype(dtype, copy=False)
        sums = target.sum(axis=1)
        # Written so that a NaN fails too.
        good = (np.abs(sums - 1.0) <= _PROBABILITY_TOLERANCE) & (target.min(axis=1) >= 0.0)
        if not good.all():
            index = int(np.argmin(good))
            raise DataError(
                f"{self!r}: target row {index} is not a distribution: sum {sums[index]:g}, smallest "
                f"{target[index].min():g}; rows must be non-negative and sum to 1"
            )
        return target

    def _check_probabilities(self, prediction: Array) -> None:
        # A NaN passes: it makes the value NaN, and who trains is told there.
        bad = (prediction < 0.0) | (prediction > 1.0 + _PROBABILITY_TOLERANCE)
        if bad.any():
            sample, column = (int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"{self!r}: prediction[{sample}, {column}] = {prediction[sample, column]:g} is not a probability; "
                "end the model with Softmax, or use CrossEntropyLoss(from_logits=True) on logits"
            )

    def _value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        if self.from_logits:
            return functional.cross_entropy(prediction, target)
        n = len(prediction)
        grad = np.zeros_like(prediction)
        floor = np.finfo(prediction.dtype).tiny
        if target.ndim == 1:
            samples = np.arange(n)
            p = np.maximum(prediction[samples, target], floor)
            grad[samples, target] = -1.0 / (p * n)
            return -float(np.log(p).mean()), grad
        p = np.maximum(prediction, floor)
        np.divide(-target, p * n, out=grad)
        return -float((target * np.log(p)).sum()) / n, grad

    def __repr__(self) -> str:
        return f"CrossEntropyLoss(from_logits={self.from_logits})"


class _Elementwise(Loss):
    """A loss whose target has the prediction's shape."""

    def _check(self, prediction: Array, target: Array) -> Array:
        if target.dtype.kind not in "biuf":
            raise DTypeError(f"{self!r}: the target must be real numbers, got {target.dtype}")
        if target.shape != prediction.shape:
            fix = f"; use target.reshape{prediction.shape}" if target.size == prediction.size else ""
            raise ShapeError(
                f"{self!r}: the target must have the prediction's shape {prediction.shape}, got {target.shape}{fix}"
            )
        return target.astype(prediction.dtype, copy=False)


class MSELoss(_Elementwise):
    """Half the squared distance, averaged over the samples: the lecture's mean squared error (L20).

    J = 1/(2N) Σ_n ‖z_n - ẑ_n‖²      ∂J/∂z = (z - ẑ) / N

    prediction: N×…, float32 or float64; target: the same shape, converted to the prediction's dtype by value.
    The squares of a vector target sum over its features and average over N only. PyTorch's ``MSELoss`` averages
    over all elements and has no ½: it is 2/features times this one.

    Raises ShapeError unless the shapes are equal: N against N×1 would broadcast to N×N.

    >>> loss = MSELoss()
    >>> loss.forward(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [0.0, 4.0]]))
    3.25
    >>> loss.backward()
    array([[0. , 1. ],
           [1.5, 0. ]])
    """

    def _value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        return functional.mse_loss(prediction, target)


class L1Loss(_Elementwise):
    """Absolute distance, averaged over the samples: the lecture's L1 (L21), which an outlier cannot dominate.

    J = 1/N Σ_n |z_n - ẑ_n|      ∂J/∂z = sign(z - ẑ) / N, 0 at z = ẑ

    prediction: N×…, float32 or float64; target: the same shape, converted to the prediction's dtype by value.
    Vector targets sum over their features and average over N only; PyTorch's ``L1Loss`` averages over all elements.

    Raises ShapeError unless the shapes are equal: N against N×1 would broadcast to N×N.

    >>> loss = L1Loss()
    >>> loss.forward(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [9.0, 4.0]]))
    4.0
    >>> loss.backward()
    array([[ 0. ,  0.5],
           [-0.5,  0. ]])
    """

    def _value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        return functional.l1_loss(prediction, target)


class BCELoss(_Elementwise):
    """Binary cross-entropy, averaged over the samples: logistic regression's loss (lecture: L02).

    With σ the probability of the target ŷ = 1, given (from_logits=False) or made of a score y (from_logits=True)::

        J = 1/N Σ_n -ŷ log σ - (1 - ŷ) log(1 - σ)
        from_logits=False:  ∂J/∂σ = ((1 - ŷ)/(1 - σ) - ŷ/σ) / N
        from_logits=True:   ∂J/∂y = (σ(y) - ŷ) / N

    The fused form takes J = max(y, 0) - y ŷ + log(1 + e^-|y|), exact for scores of any size; prefer it for training.
    On probabilities, where J is infinite at the wrong end, σ and 1 - σ are read as no less than the dtype's smallest
    normal number, as CrossEntropyLoss does.

    prediction: N×…, float32 or float64. target: the same shape, in 0…1, bool or any number. Vector targets sum over
    their features and average over N only; PyTorch's ``BCELoss`` averages over all elements.

    Accuracy is measured by `cnnlib.metrics.BinaryAccuracy`.

    Raises ShapeError unless the shapes are equal, DataError for targets, or "probabilities", outside 0…1.

    >>> loss = BCELoss(from_logits=True)
    >>> round(loss.forward(np.array([[1000.0], [-1000.0], [0.0], [0.0]]), np.array([[0], [0], [1], [0]])), 6)
    250.346574
    >>> loss.backward().ravel().tolist()
    [0.25, 0.0, -0.125, 0.125]
    """

    def __init__(self, from_logits: bool = False) -> None:
        self.from_logits = from_logits

    def _check(self, prediction: Array, target: Array) -> Array:
        target = super()._check(prediction, target)
        self._check_unit(target, "target", "use labels 0 and 1, or probabilities")
        if not self.from_logits:
            self._check_unit(prediction, "prediction", "end the model with Sigmoid, or use BCELoss(from_logits=True)")
        return target

    def _check_unit(self, array: Array, what: str, fix: str) -> None:
        # A NaN in a prediction makes the value NaN, and who trains is told there; in a target it is a mistake.
        if array.min() >= 0.0 and array.max() <= 1.0:
            return
        bad = (array < 0.0) | (array > 1.0) | (np.isnan(array) if what == "target" else False)
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            raise DataError(f"{self!r}: {what}[{', '.join(map(str, index))}] = {array[index]:g} is not in 0…1; {fix}")

    def _value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        return functional.binary_cross_entropy(prediction, target, self.from_logits)

    def __repr__(self) -> str:
        return f"BCELoss(from_logits={self.from_logits})"
