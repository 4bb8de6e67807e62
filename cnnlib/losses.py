"""Losses: a number for how wrong a prediction is, and its gradient.

``value = loss.forward(prediction, target)`` then ``grad = loss.backward()``. Every loss averages over the N samples
of the batch, so gradients are the mean of the gradients of its samples. With ``sample_weight`` w, shape (N,), the mean
is a weighted one: with J_n what sample n alone would cost, J = Σ_n w_n J_n / W, W = Σ_n w_n, and 0 where W = 0.
A new loss is a subclass of :class:`Loss` that turns a checked target into value and gradient together, and into the
costs of the samples if it is to take weights.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnlib import functional
from cnnlib.arrays import as_integers, plain
from cnnlib.errors import CNNError, ConfigError, DataError, DTypeError, ShapeError, TrainingError
from cnnlib.files import brief
from cnnlib.weights import checked_weights

__all__ = ["BCELoss", "CrossEntropyLoss", "L1Loss", "Loss", "MSELoss"]

Array = NDArray[Any]

# How far probabilities may miss the range 0…1 and the sum 1 by rounding, before they are taken for a mistake.
_PROBABILITY_TOLERANCE = 1e-3


class Loss:
    """Base of the losses: checks what goes in, keeps the gradient between ``forward`` and ``backward``."""

    #: Metrics that a Trainer measures with this loss when it is not told otherwise.
    default_metrics: ClassVar[tuple[str, ...]] = ()

    #: What the mean of the last ``forward`` was divided by: N, or the sum W of the weights. Batches b together have
    #: the loss Σ_b W_b J_b / Σ_b W_b, and gradients that combine alike. None before.
    total_weight: float | None = None

    _gradient: Array | None = None

    def forward(self, prediction: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the loss of a batch, averaged over its samples; ``backward`` then has the gradient.

        sample_weight: how much each sample counts in the mean, shape (N,), finite and at least 0; 1 if not given.

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
        weight = sample_weight
        if weight is not None:
            weight = checked_weights(weight, f"{self!r}: sample_weight", len(prediction))
        value, self._gradient, self.total_weight = self._mean(prediction, checked, weight)
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

    def _mean(self, prediction: Array, target: Array, weight: Array | None) -> tuple[float, Array, float]:
        """Return the mean, its gradient, and what it was divided by."""
        value, gradient = self._value_and_gradient(prediction, target)
        n = len(prediction)
        if weight is None:
            return value, gradient, float(n)
        total = weight.sum()
        share = weight / total if total else weight
        # The gradient has 1/N where w_n / W belongs.
        factor = (share * n).astype(gradient.dtype).reshape(n, *[1] * (gradient.ndim - 1))
        return float(share @ self._costs(prediction, target)), gradient * factor, float(total)

    def _value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        """Return the mean over the samples, and its gradient."""
        raise NotImplementedError

    def _costs(self, prediction: Array, target: Array) -> Array:
        """Return what each sample costs, shape (N,); the value is their mean."""
        raise ConfigError(f"{self!r} takes no weights: it has no _costs(prediction, target), shape (N,)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CrossEntropyLoss(Loss):
    """Cross-entropy between predicted and true classes, from logits (softmax included) or from probabilities.

    With logits y, p = softmax(y) and ŷ the target distribution (one-hot for class indices)::

        from_logits=True:   J = -1/N Σ_n Σ_i ŷ_i log p_i     ∂J/∂y = (p - ŷ) / N
        from_logits=False:  the same J of given p            ∂J/∂p = -ŷ_i / (p_i N)

    With class weights v and sample weights w, PyTorch's formulas: of class indices y_n, J = Σ_n u_n J_n / Σ_n u_n with
    u_n = w_n v_(y_n); of distributions, J = -Σ_n w_n Σ_i v_i ŷ_i log p_i / Σ_n w_n.

    Both give the same J and the same parameter gradients (lecture: L03, L06, L08). The fused form is exact for
    logits of any size; prefer it for training. On probabilities, where J is infinite at p_i = 0, p_i is read as no
    less than the dtype's smallest normal number, 1.2e-38 in float32: a sample costs at most 87.3 (708.4 in
    float64) and its gradient is huge but finite.

    weight: v, how much each class counts, shape (C,), finite and at least 0; 1 if not given.
    prediction: N×C, float32 or float64. target: N class indices (any integer type) in 0…C-1, or N×C one-hot or soft
    targets, non-negative with rows that sum to 1, converted to the prediction's dtype.

    Raises ConfigError for bad weights, ShapeError for other shapes, DTypeError for float labels, DataError for
    labels out of range, for target rows that are not distributions, and for "probabilities" that are none.

    >>> loss = CrossEntropyLoss()
    >>> round(loss.forward(np.array([[0.0, 0.0], [0.0, 1000.0]]), np.array([0, 1])), 4)
    0.3466
    >>> loss.backward()
    array([[-0.25,  0.25],
           [ 0.  ,  0.  ]])
    >>> rare = CrossEntropyLoss(weight=[1, 9])
    >>> round(rare.forward(np.array([[0.0, 0.0], [0.0, 1000.0]]), np.array([0, 1])), 4), rare.total_weight
    (0.0693, 10.0)
    """

    default_metrics = ("accuracy",)

    def __init__(self, from_logits: bool = True, *, weight: ArrayLike | None = None) -> None:
        self.from_logits = from_logits
        try:
            self.weight = None if weight is None else checked_weights(weight, "CrossEntropyLoss: weight")
        except CNNError as error:
            raise ConfigError(str(error)) from None

    def _check(self, prediction: Array, target: Array) -> Array:
        if prediction.ndim != 2:
            raise ShapeError(f"{self!r}: the prediction must be N×C, got shape {prediction.shape}")
        if self.weight is not None and len(self.weight) != prediction.shape[1]:
            raise ShapeError(
                f"{self!r}: there are weights for {len(self.weight)} classes, the prediction has {prediction.shape[1]}"
            )
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
                f"{self!r}: class indices must be integers, got {target.dtype}; use {as_integers(target)}, "
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

    def _mean(self, prediction: Array, target: Array, weight: Array | None) -> tuple[float, Array, float]:
        if weight is None and self.weight is None:
            return super()._mean(prediction, target, weight)
        n, classes = prediction.shape
        sample = np.ones(n) if weight is None else weight
        by_class = np.ones(classes) if self.weight is None else self.weight
        if target.ndim == 1:
            sample = sample * by_class[target]
        total = float(sample.sum())
        factor = sample * (n / total) if total else sample
        # As J is linear in ŷ, weights are a target whose rows sum to something else than 1.
        weighted = np.zeros_like(prediction)
        if target.ndim == 1:
            weighted[np.arange(n), target] = factor
        else:
            np.multiply(target * by_class, factor[:, np.newaxis], out=weighted, casting="same_kind")
        return *self._value_and_gradient(prediction, weighted), total

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
        weight = "" if self.weight is None else f", weight={brief(self.weight.tolist())}"
        return f"CrossEntropyLoss(from_logits={self.from_logits}{weight})"


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

    def _costs(self, prediction: Array, target: Array) -> Array:
        return _summed(np.subtract(prediction, target, dtype=np.float64) ** 2) / 2


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

    def _costs(self, prediction: Array, target: Array) -> Array:
        return _summed(np.abs(np.subtract(prediction, target, dtype=np.float64)))


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

    def _costs(self, prediction: Array, target: Array) -> Array:
        if self.from_logits:
            return _summed(np.maximum(prediction, 0) - prediction * target + np.log1p(np.exp(-np.abs(prediction))))
        floor = np.finfo(prediction.dtype).tiny
        yes, no = np.maximum(prediction, floor), np.maximum(1 - prediction, floor)
        return -_summed(target * np.log(yes) + (1 - target) * np.log(no))

    def __repr__(self) -> str:
        return f"BCELoss(from_logits={self.from_logits})"


def _summed(costs: Array) -> Array:
    """Return the sum of each sample's elements, shape (N,), in float64."""
    return np.asarray(costs.reshape(len(costs), -1).sum(axis=1, dtype=np.float64))
