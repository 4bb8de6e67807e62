"""Metrics: exact over any split into batches, and right about ties and NaN."""

from __future__ import annotations

import numpy as np
import pytest

from cnnlib.errors import ConfigError, DataError, ShapeError
from cnnlib.metrics import Accuracy, TopKAccuracy, resolve_metric


@pytest.mark.parametrize("metric", [Accuracy(), TopKAccuracy(1), TopKAccuracy(3)], ids=lambda m: m.name)
def test_ragged_batches_equal_the_whole(rng, metric):
    # Rounded, so that there are ties.
    prediction, labels = rng.normal(size=(101, 7)).round(1), rng.integers(0, 7, 101)
    metric.reset()
    metric.update(prediction, labels)
    whole = metric.compute()
    order = np.argsort(-prediction, axis=1, kind="stable")[:, : getattr(metric, "k", 1)]
    assert whole == np.mean((order == labels[:, None]).any(axis=1))
    metric.reset()
    for start in range(0, 101, 8):
        metric.update(prediction[start : start + 8], np.eye(7)[labels[start : start + 8]])
    assert metric.compute() == whole


def test_ties_go_to_the_first():
    for metric in (Accuracy(), TopKAccuracy(1)):
        metric.update([[0.5, 0.5], [0.5, 0.5]], [0, 1])
        assert metric.compute() == 0.5


def test_nan_is_no_hit_among_the_k_largest():
    top = TopKAccuracy(2)
    top.update([[np.nan, np.nan, np.nan], [np.nan, 1.0, 2.0]], [0, 1])
    assert top.compute() == 0.0


def test_k_beyond_the_classes_is_always_a_hit():
    top = resolve_metric("top5_accuracy")
    top.update([[0.0, 1.0, 2.0]], [0])
    assert (top.name, top.compute()) == ("top5_accuracy", 1.0)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="k must be at least 1"):
        TopKAccuracy(0)
    with pytest.raises(DataError, match="no samples"):
        Accuracy().compute()
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(3,\)"):
        Accuracy().update(np.zeros((2, 3)), np.zeros(3, int))
    with pytest.raises(ConfigError, match="unknown metric 'precision'"):
        resolve_metric("precision")
