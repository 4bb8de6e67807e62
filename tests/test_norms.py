"""Clipping of gradients and the max-norm constraint, alone and in training."""

from __future__ import annotations

import numpy as np
import pytest

from cnnlib import optim
from cnnlib.errors import ConfigError, TrainingError
from cnnlib.layers import Conv2d, Flatten, Linear, Parameter, ReLU
from cnnlib.losses import MSELoss
from cnnlib.model import Sequential
from cnnlib.optim import SGD, MaxNorm, clip_grad_norm
from cnnlib.trainer import Trainer
from tests.helpers import normal, torch_numbers


def parameters(rng: np.random.Generator, dtype: type = np.float64) -> dict[str, Parameter]:
    found = {name: Parameter(normal(rng, *shape, dtype=dtype)) for name, shape in (("w", (50, 3, 2)), ("b", (50,)))}
    for parameter in found.values():
        parameter.grad = normal(rng, *parameter.data.shape, dtype=dtype)
    return found


def norm(arrays: list[np.ndarray]) -> float:
    return float(np.linalg.norm(np.concatenate([array.ravel() for array in arrays]).astype(np.float64)))


def gradients(found: dict[str, Parameter]) -> list[np.ndarray]:
    return [p.grad.copy() for p in found.values() if p.grad is not None]


def test_clipping_scales_all_gradients_together(rng: np.random.Generator, dtype: type) -> None:
    found = parameters(rng, dtype)
    found["none"] = Parameter(np.ones(2, dtype))
    before = gradients(found)
    expected = norm(before)
    assert clip_grad_norm(found, 2 * expected) == pytest.approx(expected)
    for grad, was in zip(gradients(found), before, strict=True):
        np.testing.assert_array_equal(grad, was)
    assert clip_grad_norm(found, 0.5) == pytest.approx(expected)
    assert norm(gradients(found)) == pytest.approx(0.5, rel=1e-5)
    for grad, was in zip(gradients(found), before, strict=True):
        np.testing.assert_allclose(grad, was * (0.5 / (expected + 1e-6)), rtol=1e-6)
        assert grad.dtype == dtype


def test_clipping_agrees_with_pytorch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    found = parameters(rng)
    theirs = []
    for parameter in found.values():
        theirs.append(torch.nn.Parameter(torch.from_numpy(parameter.data.copy())))
        theirs[-1].grad = torch.from_numpy(np.array(parameter.grad))
    assert clip_grad_norm(found, 1.5) == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, 1.5)))
    for ours, their in zip(gradients(found), theirs, strict=True):
        np.testing.assert_allclose(ours, their.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", ["clip_grad_norm", "clip_grad_value"])
def test_clipping_is_that_of_pytorchs_table(name: str, dtype: type) -> None:
    for row in torch_numbers()[name]:
        found = {str(i): Parameter(np.zeros(len(grad), dtype)) for i, grad in enumerate(row["before"])}
        for parameter, grad in zip(found.values(), row["before"], strict=True):
            parameter.grad = np.array(grad, dtype)
        getattr(optim, name)(found, row["limit"])
        for ours, theirs in zip(gradients(found), row["after"], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6 if dtype is np.float32 else 1e-12)


def test_clipping_by_value_keeps_nan_and_leaves_frozen_gradients_out(dtype: type) -> None:
    found = {name: Parameter(np.zeros(3, dtype)) for name in ("w", "frozen", "none")}
    for name in ("w", "frozen"):
        found[name].grad = np.array([np.nan, np.inf, -0.5], dtype)
    found["frozen"].frozen = True
    optim.clip_grad_value(found, 0.75)
    np.testing.assert_array_equal(found["w"].grad, np.array([np.nan, 0.75, -0.5], dtype))
    np.testing.assert_array_equal(found["frozen"].grad, np.array([np.nan, np.inf, -0.5], dtype))
    for bad in (0, -1.0, np.nan, np.inf, True, "1"):
        with pytest.raises(ConfigError, match="clip_value"):
            optim.clip_grad_value(found, bad)  # type: ignore[arg-type]


def test_clipping_leaves_frozen_gradients_out(rng: np.random.Generator) -> None:
    found = parameters(rng)
    found["w"].frozen = True
    frozen, alone = gradients(found)
    assert clip_grad_norm(found, 1e-3) == pytest.approx(norm([alone]))
    np.testing.assert_array_equal(found["w"].grad, frozen)
    assert norm(gradients(found)[1:]) == pytest.approx(1e-3, rel=1e-4)


def test_clipping_refuses_what_has_no_norm(rng: np.random.Generator) -> None:
    found = parameters(rng)
    assert found["b"].grad is not None
    found["b"].grad[7] = np.inf
    before = gradients(found)
    with pytest.raises(TrainingError, match="gradient of b has NaN, infinite"):
        clip_grad_norm(found, 1.0)
    for grad, was in zip(gradients(found), before, strict=True):
        np.testing.assert_array_equal(grad, was)
    for wrong in (0, -1, np.nan, np.inf, "1", True):
        with pytest.raises(ConfigError, match="max_norm"):
            clip_grad_norm(found, wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="MaxNorm: c"):
            MaxNorm(wrong)  # type: ignore[arg-type]


def test_max_norm_shortens_long_rows_only(rng: np.random.Generator, dtype: type) -> None:
    found = parameters(rng, dtype)
    found["frozen"] = Parameter(np.full((2, 3), 9, dtype))
    found["frozen"].frozen = True
    before = {name: parameter.data.copy() for name, parameter in found.items()}
    rows = np.linalg.norm(before["w"].reshape(50, -1), axis=1)
    limit = float(np.median(rows))
    MaxNorm(limit).apply(found)
    expected = before["w"] * np.minimum(1, limit / rows)[:, None, None]
    np.testing.assert_allclose(found["w"].data, expected, rtol=1e-6)
    np.testing.assert_array_equal(found["w"].data[rows <= limit], before["w"][rows <= limit])
    for name in ("b", "frozen"):
        np.testing.assert_array_equal(found[name].data, before[name])


def test_a_trainer_clips_before_and_bounds_after_the_update(rng: np.random.Generator) -> None:
    def model() -> Sequential:
        return Sequential(Conv2d(1, 3, 3, rng=0), ReLU(), Flatten(), Linear(12, 2, rng=1), input_shape=(1, 4, 4))

    x, y = normal(rng, 8, 1, 4, 4, dtype=np.float32), 100 * normal(rng, 8, 2, dtype=np.float32)
    clipped = model()
    before = clipped.state_dict()
    Trainer(clipped, MSELoss(), SGD(0.5), clip_norm=0.1).train_step(x, y)
    step = [value - before[name] for name, value in clipped.state_dict().items()]
    assert norm(step) == pytest.approx(0.5 * 0.1, rel=1e-4)

    by_value = model()
    Trainer(by_value, MSELoss(), SGD(0.5), clip_value=0.01).train_step(x, y)
    steps = np.concatenate([(value - before[name]).ravel() for name, value in by_value.state_dict().items()])
    assert np.abs(steps).max() == pytest.approx(0.5 * 0.01, rel=1e-4)
    both = model()  # by value first
    Trainer(both, MSELoss(), SGD(0.5), clip_value=0.01, clip_norm=0.02).train_step(x, y)
    ratios = [
        (value - before[name]) / (by_value.state_dict()[name] - before[name])
        for name, value in both.state_dict().items()
    ]
    np.testing.assert_allclose(np.concatenate([r.ravel() for r in ratios]), 0.01 / np.linalg.norm(steps), rtol=1e-2)

    bounded = model()
    constraint = MaxNorm(0.7)
    Trainer(bounded, MSELoss(), SGD(0.01), constraint=constraint).fit((x, y), epochs=3, batch_size=4, verbose=0)
    for name in ("0.weight", "3.weight"):
        rows = np.linalg.norm(bounded.parameters()[name].data.reshape(-1, 9 if name[0] == "0" else 12), axis=1)
        assert rows.max() == pytest.approx(0.7, rel=1e-5)
    assert np.abs(bounded.parameters()["3.bias"].data).max() > 0.7
    assert repr(constraint) == "MaxNorm(0.7)"
