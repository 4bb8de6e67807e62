"""Batch normalisation: kernels against the definition, statistics while training and at test time, files."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, check_gradient, normal, poisoned

import cnnlib
from cnnlib import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Input,
    Linear,
    Model,
    ReLU,
    Sequential,
    functional,
    reference,
)
from cnnlib.errors import ConfigError, DataError, ShapeError
from cnnlib.recalibrate import recalibrate_batchnorm, use_statistics

SHAPES = [(2, 1), (3, 17), (65, 33), (130, 5), (3, 5, 7), (2, 3, 5, 5), (1, 2, 33, 33), (17, 16, 1, 1), (5, 3, 1, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels_meet_the_definition(isa, rng, dtype, shape) -> None:
    x, grad = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    weight, bias = normal(rng, shape[1], dtype=dtype), normal(rng, shape[1], dtype=dtype)
    terms = x.size // shape[1]
    moments = functional.batch_moments(x)
    for actual, expected in zip(moments, reference.batch_moments(x.astype(np.float64)), strict=True):
        assert_close(actual, expected, terms, term=1 / terms)
    wide = [array.astype(np.float64) for array in (x, *moments, weight, bias)]
    y = functional.batch_norm(x, *moments, weight, bias, out=poisoned(shape, dtype))
    assert_close(y, reference.batch_norm(*wide))
    assert_close(functional.batch_norm(x, *moments), reference.batch_norm(*wide[:3]))
    outs = poisoned(shape, dtype), poisoned((shape[1],), dtype), poisoned((shape[1],), dtype)
    actuals = functional.batch_norm_backward(grad, x, *moments, weight, out=outs)
    expecteds = reference.batch_norm_backward(grad.astype(np.float64), *wide[:4])
    slack = float(np.abs(weight).max() / np.sqrt(moments[1].min() + 1e-5))
    for actual, expected in zip(actuals, expecteds, strict=True):
        assert_close(actual, expected, terms, term=slack)


def test_definition_is_differentiated_rightly(rng) -> None:
    x, weight, bias = normal(rng, 4, 3, 2), normal(rng, 3), normal(rng, 3)

    def forward() -> np.ndarray:
        return reference.batch_norm(x, *reference.batch_moments(x), weight, bias)

    for which, array in enumerate((x, weight, bias)):
        check_gradient(
            forward,
            lambda g, i=which: reference.batch_norm_backward(g, x, *reference.batch_moments(x), weight)[i],
            array,
        )


def test_moments_do_not_cancel_far_from_zero(isa, dtype) -> None:
    """A variance as a difference of large squares would be all noise."""
    offset = 1000.0 if dtype == np.float32 else 1e7
    x = (offset + np.tile([[-1.0, 3.0], [1.0, 5.0]], (500, 1))).astype(dtype)
    for shaped in (x, np.ascontiguousarray(x.T)[None]):
        mean, var = functional.batch_moments(shaped)
        np.testing.assert_allclose(mean, [offset, offset + 4], rtol=1e-6)
        np.testing.assert_allclose(var, [1, 1], rtol=1e-6)


def test_same_bits_for_any_threads(isa, rng, dtype) -> None:
    images, grad = normal(rng, 20, 12, 31, 29, dtype=dtype), normal(rng, 20, 12, 31, 29, dtype=dtype)

    def everything() -> list[np.ndarray]:
        results: list[np.ndarray] = []
        for x, g in ((images, grad), (images.reshape(-1, 29), grad.reshape(-1, 29))):
            moments = functional.batch_moments(x)
            results += [*moments, functional.batch_norm(x, *moments), *functional.batch_norm_backward(g, x, *moments)]
        return results

    assert_same_bits_for_any_threads(everything)


def test_running_estimates_move_while_training_only(rng) -> None:
    norm, x = BatchNorm2d(2, momentum=0.25, dtype=np.float64), normal(rng, 3, 2, 4, 4)
    norm.forward(x)
    assert (norm.running_mean.tolist(), norm.running_var.tolist()) == ([0, 0], [1, 1])
    norm.forward(x, training=True)
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(norm.running_mean, 0.25 * mean, rtol=1e-14)
    np.testing.assert_allclose(norm.running_var, 0.75 + 0.25 * var, rtol=1e-14)
    norm.backward(x)
    expected = (x - norm.running_mean[:, None, None]) / np.sqrt(norm.running_var + 1e-5)[:, None, None]
    np.testing.assert_allclose(norm.forward(x), expected, rtol=1e-12)


def test_settings_and_shapes_are_checked() -> None:
    for settings in ({"eps": -1}, {"momentum": 1.5}, {"momentum": None}, {"num_features": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            BatchNorm1d(**{"num_features": 3, **settings})
    with pytest.raises(DataError, match="train on N > 1"):
        BatchNorm1d(3).forward(np.ones((1, 3), np.float32), training=True)
    for layer, shape, words in (
        (BatchNorm1d(3), (4,), "num_features must be 4"),
        (BatchNorm1d(3), (3, 2, 2), "needs N × 3: use BatchNorm1d for vectors, BatchNorm2d for images"),
        (BatchNorm2d(3), (3,), "needs N × 3 × H × W: use BatchNorm1d"),
    ):
        with pytest.raises(ShapeError, match=words):
            layer.output_shape(shape)
    assert BatchNorm1d(3, affine=False).parameters() == {}


def net() -> Sequential:
    return Sequential(
        Conv2d(1, 3, 3, rng=0), BatchNorm2d(3), ReLU(), Flatten(), Linear(48, 4, rng=1), BatchNorm1d(4, affine=False),
        input_shape=(1, 6, 6),
    )  # fmt: skip


def test_estimates_are_saved_with_the_model(tmp_path, rng) -> None:
    model, x = net(), normal(rng, 8, 1, 6, 6, dtype=np.float32)
    model.forward(x, training=True)
    assert {"1.running_mean", "1.running_var", "5.running_mean"} <= set(model.state_dict())
    model.save(tmp_path / "net.safetensors")
    twin = cnnlib.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))
    np.testing.assert_array_equal(twin.layers["5"].running_var, model.layers["5"].running_var)


def test_recalibration_takes_the_statistics_of_all_data(rng) -> None:
    model, x = net(), 3 + normal(rng, 50, 1, 6, 6, dtype=np.float32)
    recalibrate_batchnorm(model, x, batch_size=7)
    y = model.predict(x)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(axis=0, ddof=1), 1, rtol=1e-3)
    in_one = net()
    recalibrate_batchnorm(in_one, x, batch_size=50)
    np.testing.assert_allclose(in_one.predict(x), y, atol=1e-5)


def test_statistics_of_the_batch_at_test_time(rng) -> None:
    model, x = net(), 3 + normal(rng, 50, 1, 6, 6, dtype=np.float32)
    running = model.forward(x)
    use_statistics(model, "batch")
    y = model.forward(x)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    use_statistics(model, "running")
    np.testing.assert_array_equal(model.forward(x), running)
    with pytest.raises(ConfigError, match="'all'"):
        use_statistics(model, "all")


def test_recalibration_of_a_graph_with_branches_and_a_shared_layer(rng) -> None:
    a, b = Input(3), Input(3)
    norm = BatchNorm1d(3, dtype=np.float64)
    model = Model([a, b], norm(a) + norm(b))
    x, z = normal(rng, 20, 3), 5 + normal(rng, 20, 3)
    recalibrate_batchnorm(model, [x, z], batch_size=6)
    both = np.concatenate([x, z])
    np.testing.assert_allclose(norm.running_mean, both.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(norm.running_var, both.var(axis=0, ddof=1), rtol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("batch", [3, 32])
def test_a_relu_in_the_same_pass_changes_nothing(isa, rng, dtype, batch, affine) -> None:
    """Of vectors and of images, alone and between convolutions, in lanes where 32 images fill them."""
    norms = BatchNorm2d(5, affine=affine, dtype=dtype), BatchNorm1d(12, affine=affine, dtype=dtype)
    for norm in norms if affine else ():
        norm.weight.data[...], norm.bias.data[...] = normal(rng, norm.num_features), normal(rng, norm.num_features)
    convs = [Conv2d(c, k, 3, bias=False, dtype=dtype, rng=rng) for c, k in ((2, 5), (5, 3))]
    layers = [convs[0], norms[0], ReLU(), convs[1], Flatten(), norms[1], ReLU()]
    model = Sequential(*layers, input_shape=(2, 6, 6))
    x, dy = normal(rng, batch, 2, 6, 6, dtype=dtype), normal(rng, batch, 12, dtype=dtype)
    running = [array.copy() for norm in norms for array in norm.buffers().values()]

    planned, dx = model.forward(x, training=True), model.backward(dy)
    moved = [array.copy() for norm in norms for array in norm.buffers().values()]
    grads = [p.grad.copy() for p in model.parameters().values()]
    for array, before in zip((a for norm in norms for a in norm.buffers().values()), running, strict=True):
        array[...] = before
    model.zero_grad()

    alone, grad = x, dy
    for layer in layers:
        alone = layer.forward(alone, training=True)
    for layer in reversed(layers):
        grad = layer.backward(grad)
    assert_close(planned, alone, 200)
    assert_close(dx, grad, 200)
    for actual, expected in zip(grads, (p.grad for p in model.parameters().values()), strict=True):
        assert_close(actual, expected, 200)
    for array, expected in zip((a for norm in norms for a in norm.buffers().values()), moved, strict=True):
        assert_close(array, expected, 200)


def test_a_nan_passes_forward_and_opens_no_relu(rng) -> None:
    norm = BatchNorm2d(2, affine=False)
    norm.test_statistics = "running"
    model = Sequential(norm, ReLU(), input_shape=(2, 2, 2))
    x = normal(rng, 3, 2, 2, 2).astype(np.float32)
    x[1, 0, 0, 0] = np.nan
    y = model.predict(x)
    assert np.isnan(y[1, 0, 0, 0])
    assert np.isnan(y).sum() == 1
    assert (y[np.isfinite(y)] >= 0).all()
