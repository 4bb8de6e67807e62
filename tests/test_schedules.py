"""Learning-rate schedules: their numbers, and what they refuse."""

from __future__ import annotations

import dataclasses
import math

import pytest

from cnnlib import schedules
from cnnlib.errors import ConfigError
from cnnlib.schedules import CosineLR, StepLR
from tests.helpers import torch_numbers


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (2.99, 1), (3, 0.1), (5.5, 0.1), (6, 0.01), (30, 1e-10)])
def test_step_falls_after_every_step_size_epochs(epoch, factor):
    assert StepLR(0.5, step_size=3)(epoch) == pytest.approx(0.5 * factor, rel=1e-12)


@pytest.mark.parametrize(
    ("epoch", "lr"),
    [
        (0, 0.01),
        (1, 0.055),
        (2, 0.1),
        (2 + 4 / 3, 0.01 + 0.09 * 0.75),  # cos(π/3) = 1/2
        (4, 0.055),
        (6, 0.01),
        (100, 0.01),
    ],
)
def test_cosine_rises_linearly_then_falls_along_the_cosine(epoch, lr):
    assert CosineLR(0.1, epochs=6, min_lr=0.01, warmup=2)(epoch) == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize("row", torch_numbers()["schedules"], ids=lambda row: f"{row['name']}{row['settings']}")
def test_rates_are_those_of_pytorch(row):
    """Of warm-up, too: PyTorch's SequentialLR of LinearLR and CosineAnnealingLR."""
    schedule = getattr(schedules, row["name"])(**row["settings"])
    assert [schedule(epoch) for epoch in range(len(row["rates"]))] == pytest.approx(row["rates"], rel=1e-12)


def test_cosine_without_warmup_starts_at_the_top():
    assert CosineLR(0.1, epochs=3)(0.0) == 0.1


@pytest.mark.parametrize("schedule", [StepLR(0.1, 2), CosineLR(0.1, 5)])
def test_schedules_are_values(schedule):
    assert schedule == dataclasses.replace(schedule)
    assert hash(schedule) == hash(dataclasses.replace(schedule))
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.lr = 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: StepLR(-0.1, 1),
        lambda: StepLR(0.1, 0),
        lambda: StepLR(0.1, 1, gamma=0),
        lambda: StepLR(math.nan, 1),
        lambda: CosineLR(0.1, 0),
        lambda: CosineLR(0.1, 3, warmup=3),
        lambda: CosineLR(0.1, 3, min_lr=0.2),
        lambda: CosineLR(math.inf, 3),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(ConfigError, match="expected"):
        make()
