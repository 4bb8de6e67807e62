"""Optimizers: PyTorch's numbers, state that survives a checkpoint, and what they refuse."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from cnnlib import optim
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.layers.parameter import Parameter
from cnnlib.optim import SGD, Adagrad, Adam, AdamW, Lion, Optimizer, RMSprop
from cnnlib.schedules import StepLR
from tests.helpers import torch_numbers

NUMBERS = torch_numbers()
START, CENTRE, CURVATURE, NOISE = (np.array(value) for value in NUMBERS["descent"].values())
TABLE = [(partial(getattr(optim, row["name"]), **row["settings"]), row["weights"]) for row in NUMBERS["optimizers"]]
OPTIMIZERS = [make for make, _ in TABLE]


def _parameters(dtype=np.float64):
    return {"0.weight": Parameter(START.astype(dtype)), "0.bias": Parameter(START[:2].astype(dtype))}


def _descend(optimizer, parameters, steps, start=0):
    for noise in NOISE[start : start + steps]:
        optimizer.zero_grad(parameters)
        for parameter in parameters.values():
            n = parameter.data.size
            grad = 2 * CURVATURE[:n] * (parameter.data - CENTRE[:n]) + noise[:n]
            parameter.grad = grad.astype(parameter.data.dtype)
        optimizer.step(parameters)
    return parameters


@pytest.mark.parametrize(("make", "expected"), TABLE, ids=lambda value: repr(value()) if callable(value) else "")
def test_updates_are_those_of_pytorch(make, expected, dtype):
    """After each step, of every optimizer in the table, which PyTorch made."""
    optimizer, parameters = make(), _parameters(dtype)
    tolerance = 1e-11 if dtype is np.float64 else 2e-5
    for step, weights in enumerate(expected):
        _descend(optimizer, parameters, 1, step)
        np.testing.assert_allclose(parameters["0.weight"].data, weights, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(parameters["0.bias"].data, weights[:2], rtol=tolerance, atol=tolerance)


def test_the_table_has_every_optimizer():
    public = {name for name, value in vars(optim).items() if isinstance(value, type) and issubclass(value, Optimizer)}
    assert {row["name"] for row in NUMBERS["optimizers"]} == public - {"Optimizer"}


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_restored_state_continues_with_the_same_bits(make):
    whole = _descend(make(), _parameters(np.float32), 7)
    first = make()
    parameters = _descend(first, _parameters(np.float32), 3)
    first.epoch = 1.5
    state = first.state_dict()
    saved = {key: np.array(value) for key, value in state.items()}
    copies = {name: Parameter(parameter.data.copy()) for name, parameter in parameters.items()}
    _descend(first, parameters, 1, 3)
    for key, value in state.items():
        np.testing.assert_array_equal(value, saved[key], err_msg=f"the next step changed the saved {key}")
    second = make()
    second.load_state_dict(saved)
    assert second.epoch == 1.5
    _descend(second, copies, 4, 3)
    for name in whole:
        assert whole[name].data.tobytes() == copies[name].data.tobytes()


def test_state_keys_are_flat():
    adam, sgd = Adam(), SGD(0.1)
    _descend(adam, _parameters(), 2)
    _descend(sgd, _parameters(), 2)
    assert list(adam.state_dict()) == [
        "epoch", "0.weight.steps", "0.weight.m", "0.weight.v", "0.bias.steps", "0.bias.m", "0.bias.v",
    ]  # fmt: skip
    assert adam.state_dict()["0.bias.steps"] == 2
    assert list(sgd.state_dict()) == ["epoch", "0.weight.steps", "0.bias.steps"]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_parameters_without_gradient_are_left_alone(make):
    parameters = _parameters()
    parameters["0.weight"].grad = np.ones(3)
    optimizer = make()
    optimizer.step(parameters)
    np.testing.assert_array_equal(parameters["0.bias"].data, START[:2])
    assert (parameters["0.weight"].data != START).all()
    assert not any(key.startswith("0.bias") for key in optimizer.state_dict())


def test_zero_grad_forgets():
    parameters = _parameters()
    parameters["0.weight"].grad = np.ones(3)
    SGD(0.1).zero_grad(parameters)
    assert all(parameter.grad is None for parameter in parameters.values())


def test_schedule_gives_the_rate_of_the_epoch():
    optimizer = SGD(StepLR(0.5, step_size=1, gamma=0.5))
    parameters = {"w": Parameter(np.zeros(1))}
    parameters["w"].grad = np.ones(1)
    for epoch, lr, expected in ((0.0, 0.5, -0.5), (0.5, 0.5, -1.0), (1.0, 0.25, -1.25)):
        optimizer.epoch = epoch
        optimizer.step(parameters)
        assert optimizer.current_lr == lr
        assert parameters["w"].data[0] == expected
    optimizer.lr = 0.125
    assert optimizer.current_lr == 0.125


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-0.1), "SGD: lr .*-0.1"),
        (lambda: SGD("fast"), "SGD: lr .*'fast'"),
        (lambda: SGD(math.nan), "lr .*nan"),
        (lambda: SGD(0.1, momentum=1.0), "momentum .*below 1"),
        (lambda: SGD(0.1, weight_decay=-1), "weight_decay"),
        (lambda: SGD(0.1, nesterov=True), "needs a momentum"),
        (lambda: Adam(betas=(0.9, 1.0)), r"Adam: betas\[1\]"),
        (lambda: Adam(betas=(0.9,)), "two numbers"),
        (lambda: Adam(eps=-1e-8), "eps"),
        (lambda: AdamW(weight_decay=math.inf), "AdamW: weight_decay"),
        (lambda: RMSprop(alpha=1.0), "RMSprop: alpha .*below 1"),
        (lambda: RMSprop(momentum=-0.1), "RMSprop: momentum"),
        (lambda: RMSprop(centered=2), "centered"),
        (lambda: Adagrad(lr_decay=-1), "Adagrad: lr_decay"),
        (lambda: Adagrad(initial_accumulator_value=math.nan), "initial_accumulator_value"),
        (lambda: Lion(betas=0.9), "Lion: betas must be two numbers"),
        (lambda: SGD(lambda epoch: -1.0).current_lr, "schedule .* epoch 0.*-1.0"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_bad_assignment_keeps_the_old_rate():
    optimizer = SGD(0.1)
    with pytest.raises(ConfigError, match="lr"):
        optimizer.lr = -1.0
    assert optimizer.current_lr == 0.1


@pytest.mark.parametrize(
    ("saved_by", "loaded_by", "message"),
    [
        (SGD(0.1), Adam(), "'0.weight' should have .*'m', 'v'.*another optimizer"),
        (Adam(), SGD(0.1, momentum=0.9), "velocity"),
        (SGD(0.1, momentum=0.9), SGD(0.1), "another optimizer"),
        (RMSprop(centered=True), RMSprop(), "another optimizer"),
        (Lion(), Adagrad(), "total"),
    ],
)
def test_state_of_another_optimizer_is_refused(saved_by, loaded_by, message):
    _descend(saved_by, _parameters(), 1)
    before = loaded_by.state_dict()
    with pytest.raises(ConfigError, match=message):
        loaded_by.load_state_dict(saved_by.state_dict())
    assert loaded_by.state_dict() == before
    with pytest.raises(ConfigError, match="epoch"):
        loaded_by.load_state_dict({})


def test_state_of_another_shape_is_refused():
    optimizer = Adam()
    _descend(optimizer, {"w": Parameter(np.zeros(3))}, 1)
    with pytest.raises(ShapeError, match=r"m of parameter 'w' is float64 \(3,\), the parameter float64 \(2,\)"):
        _descend(optimizer, {"w": Parameter(np.zeros(2))}, 1)


def test_a_constant_gradient_does_not_break_centred_rmsprop(dtype):
    """Its variance is 0: rounding may make it negative, whose root is none."""
    optimizer, parameters = RMSprop(1e-3, alpha=0.5, eps=1e-4, centered=True), {"w": Parameter(np.zeros(5, dtype))}
    for _ in range(200):
        parameters["w"].grad = np.array([1.1, -3.3, 0.7, 1e-3, 0], dtype)
        optimizer.step(parameters)
    assert np.isfinite(parameters["w"].data).all()


def test_new_rules_wait_for_step():
    """No kernel of backward takes them: a Trainer leaves their steps to `step`."""
    for optimizer in (RMSprop(), Adagrad(), Lion()):
        assert optimizer.during_backward(_parameters()) is None
