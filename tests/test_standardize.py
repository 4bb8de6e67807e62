"""Standardize: statistics of the training set, kept with the model (L32)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlib import load
from cnnlib.errors import ConfigError, DataError, DTypeError, ShapeError
from cnnlib.graph import Input
from cnnlib.layers import Linear, Standardize
from cnnlib.model import Sequential
from tests.helpers import check_gradient, normal


def test_training_data_get_mean_0_and_deviation_1(rng: np.random.Generator, dtype: type) -> None:
    # More samples than are converted at once; far from 0, where E[x²] - E[x]² would have no digits left.
    x = (1000 + normal(rng, 2500, 3) * [0.5, 2.0, 7.0]).astype(dtype)
    y = Standardize(3).fit(x).forward(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.mean(axis=0, dtype=np.float64), 0, atol=1e-3 if dtype == np.float32 else 1e-9)
    np.testing.assert_allclose(y.std(axis=0, dtype=np.float64), 1, rtol=1e-3 if dtype == np.float32 else 1e-4)


def test_the_formula(rng: np.random.Generator) -> None:
    images = normal(rng, 5, 2, 3, 4)
    each = Standardize((2, 3, 4), eps=0.5).fit(images)
    expected = (images - images.mean(axis=0)) / np.sqrt(images.var(axis=0) + 0.5)
    np.testing.assert_allclose(each.forward(images), expected, rtol=1e-12)
    channel = Standardize((2, 3, 4), per_channel=True, eps=0.5).fit(images)
    mean, var = (f(images, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.var))
    np.testing.assert_allclose(channel.forward(images), (images - mean) / np.sqrt(var + 0.5), rtol=1e-12)
    assert {name: value.shape for name, value in channel.buffers().items()} == {"mean": (2, 1, 1), "std": (2, 1, 1)}
    channel.forward(images, training=True)
    check_gradient(lambda: channel.forward(images, training=True), channel.backward, images)


def test_pixels_and_dead_pixels() -> None:
    pixels = np.zeros((4, 1, 2, 2), np.uint8)
    pixels[:2, 0, 0, 0] = 255
    layer = Standardize((1, 2, 2)).fit(pixels)
    np.testing.assert_array_equal(layer.buffers()["mean"], [[[0.5, 0], [0, 0]]])
    y = Sequential(layer, input_shape=(1, 2, 2)).predict(pixels)
    np.testing.assert_allclose(np.abs(y[:, 0, 0, 0]), 1, rtol=1e-4)
    assert (y[:, 0, 1] == 0).all()


def test_nothing_changes_before_fit_nor_in_training(rng: np.random.Generator) -> None:
    x = normal(rng, 6, 3)
    layer = Standardize(3)
    np.testing.assert_array_equal(layer.forward(x), x)
    layer.fit(x)
    before = {name: value.copy() for name, value in layer.buffers().items()}
    layer.forward(x + 9, training=True)
    layer.backward(x)
    for name, value in layer.buffers().items():
        np.testing.assert_array_equal(value, before[name])


def test_statistics_are_saved_with_the_model(tmp_path: Path, rng: np.random.Generator, dtype: type) -> None:
    x = normal(rng, 20, 3, dtype=dtype)
    model = Sequential(Standardize(3).fit(x), Linear(3, 2, rng=0, dtype=dtype), input_shape=3)
    assert list(model.state_dict()) == ["1.weight", "1.bias", "0.mean", "0.std"]
    assert list(model.parameters()) == ["1.weight", "1.bias"]
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "model.safetensors").predict(x), model.predict(x))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: Standardize(0), ConfigError, "shape = 0"),
        (lambda: Standardize(3, per_channel=True), ConfigError, "per_channel=True is for images"),
        (lambda: Standardize(3, eps=0), ConfigError, "eps = 0"),
        (lambda: Standardize(3).fit(np.zeros((4, 2))), ShapeError, r"of shape N × \(3,\), got \(4, 2\)"),
        (lambda: Standardize(3).fit(np.zeros((0, 3))), DataError, "needs data, got none"),
        (lambda: Standardize(2).fit([[1, np.nan]]), DataError, "NaN"),
        (lambda: Standardize(2).fit([["a", "b"]]), DTypeError, "U1"),
        (lambda: Standardize(3)(Input(2)), ShapeError, r"got an input of N × 2, needs N × 3: shape must be \(2,\)"),
    ],
)
def test_what_cannot_be_is_refused(wrong: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


def test_a_failed_fit_changes_nothing() -> None:
    layer = Standardize(1).fit([[1.0], [3.0]])
    with pytest.raises(DataError):
        layer.fit([[np.inf]])
    assert layer.buffers()["mean"] == 2
