"""CNNRegressor: a net that predicts numbers."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from cnnlib.arrays import whole
from cnnlib.losses import Loss, MSELoss
from cnnlib.sklearn._base import NetEstimator

__all__ = ["CNNRegressor"]

Array = NDArray[Any]


class CNNRegressor(RegressorMixin, NetEstimator):  # type: ignore[misc]
    """A net that predicts one number a sample, or several, as scikit-learn's regressors do.

    X as for :class:`CNNClassifier`; y: N numbers, or N×outputs. What is minimised is half the squared distance,
    averaged over the samples of a batch by their weights and summed over the outputs, plus the penalty. Scaled targets
    train best (scikit-learn's TransformedTargetRegressor).

    Parameters and attributes are CNNClassifier's, without what concerns classes; `early_stopping` watches R².

    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 200)[:, np.newaxis]
    >>> net = CNNRegressor((50,), learning_rate_init=0.01, random_state=0).fit(x, np.abs(x[:, 0]))
    >>> net.predict(x[:5]).shape, bool(net.score(x, np.abs(x[:, 0])) > 0.95)
    ((5,), True)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNRegressor:
        """Train a new net, or with ``warm_start`` go on with the one there is; return the estimator.

        X: N×features, or images N×C×H×W. y: (N,) or (N, outputs). sample_weight: how much each sample counts, (N,).
        """
        self._fit(X, y, sample_weight, whole(self.max_iter, "max_iter", 1), incremental=False)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNRegressor:
        """Train for one epoch on the data given, and go on from there in the next call; return the estimator."""
        self._fit(X, y, sample_weight, 1, incremental=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the outputs: (N,), or (N, outputs) if y was of that shape."""
        output = self._output(X)
        return output[:, 0] if self._flat else output

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _encoded(self, y: Array, new: bool) -> Array:
        if new or not hasattr(self, "model_"):
            self._flat = y.ndim == 1
            self.n_outputs_ = 1 if self._flat else y.shape[1]
        return y.reshape(len(y), -1)

    def _loss(self) -> Loss:
        return MSELoss()

    def _score_of(self, output: Array, target: Array, sample_weight: Array | None) -> float:
        return float(r2_score(target, output, sample_weight=sample_weight))
