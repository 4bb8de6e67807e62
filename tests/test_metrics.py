"""Metrics: exact over any split into batches, and right about ties and NaN."""

from __future__ import annotations

import numpy as np
import pytest

from cnnlib.errors import ConfigError, DataError, ShapeError
from cnnlib.metrics import Accuracy, BinaryAccuracy, TopKAccuracy, resolve_metric


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


def test_one_output_tells_two_classes_apart(rng):
    score, target = rng.normal(size=(50, 1)), rng.integers(0, 2, (50, 1))
    expected = np.mean((score > 0) == target)
    probability = 1 / (1 + np.exp(-score))
    for metric, prediction in ((BinaryAccuracy(), probability), (BinaryAccuracy(0), score)):
        for part in (slice(0, 7), slice(7, 50)):
            metric.update(prediction[part], target[part])
        assert metric.compute() == expected
    metric.reset()
    metric.update([0.0, np.nan, np.nan, 1.0], [0.0, 0.0, 1.0, 0.9])
    assert metric.compute() == 0.5
    with pytest.raises(ShapeError, match=r"\(2, 1\) and \(2,\)"):
        metric.update(np.zeros((2, 1)), np.zeros(2))
    with pytest.raises(ConfigError, match="threshold must be a number, got '0'"):
        BinaryAccuracy("0")


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="k must be at least 1"):
        TopKAccuracy(0)
    with pytest.raises(DataError, match="no samples"):
        Accuracy().compute()
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(3,\)"):
        Accuracy().update(np.zeros((2, 3)), np.zeros(3, int))
    with pytest.raises(ShapeError, match="BinaryAccuracy where one output"):
        Accuracy().update(np.zeros((2, 1)), np.zeros((2, 1)))
    with pytest.raises(ConfigError, match="unknown metric 'precision'"):
        resolve_metric("precision")
