"""Nets as estimators of scikit-learn, for Pipeline, GridSearchCV, cross_val_score and the like (extra `sklearn`).

>>> from sklearn.datasets import load_iris
>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> from cnnlib.sklearn import CNNClassifier
>>> net = make_pipeline(StandardScaler(), CNNClassifier((20,), learning_rate_init=0.01, random_state=0))
>>> bool(net.fit(*load_iris(return_X_y=True)).score(*load_iris(return_X_y=True)) > 0.95)
True

The parameters are named as those of scikit-learn's MLPClassifier, and mean the same but where the docstrings say so.
scikit-learn, 1.6 or later, is imported when one of the estimators is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnlib.sklearn._classifier import CNNClassifier
    from cnnlib.sklearn._regressor import CNNRegressor

__all__ = ["CNNClassifier", "CNNRegressor"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from cnnlib.sklearn import _classifier, _regressor
    except ImportError as error:
        from cnnlib.errors import MissingExtraError

        if (error.name or "").split(".")[0] != "sklearn":
            raise
        raise MissingExtraError("scikit-learn 1.6", "sklearn", f"cnnlib.sklearn.{name}") from None
    return _classifier.CNNClassifier if name == "CNNClassifier" else _regressor.CNNRegressor
