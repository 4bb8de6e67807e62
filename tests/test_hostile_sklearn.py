"""Parameters of the estimators that are nonsense: an error that scikit-learn's users expect, or sense."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from cnnlib.sklearn import CNNClassifier, CNNRegressor
from tests.test_hostile_arrays import BAD

X = np.random.default_rng(0).normal(size=(12, 4))
Y = np.arange(12) % 3


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_nonsense_is_refused_or_taken_for_what_it_is(estimator: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A ValueError, as scikit-learn's own estimators raise it, or a net that predicts."""
    wrong = []
    for name in inspect.signature(estimator).parameters:
        for bad in BAD:
            large = isinstance(bad, int) and bad > 1000 and name in ("max_iter", "hidden_layer_sizes")
            # scikit-learn itself reads random_state, and 1.6 fails to say what is wrong with a tuple.
            theirs = name == "random_state" and isinstance(bad, tuple)
            if large or theirs or (name == "model" and callable(bad)):
                continue
            small: dict[str, Any] = {"hidden_layer_sizes": (4,), "max_iter": 1, "tol": None}
            if name == "validation_fraction":
                small["early_stopping"] = True
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    assert len(estimator(**{**small, name: bad}).fit(X, Y).predict(X)) == 12
            except ValueError:
                pass
            except Exception as error:
                wrong.append(f"{name} = {str(bad)[:40]!r}: {type(error).__name__}: {str(error)[:120]!r}")
    assert not wrong, "\n".join(wrong)
