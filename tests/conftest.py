"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from cnnlib import _kernels

# Drawn cases are the same on every run and machine; the fixtures below may stay as they are from example to example.
settings.register_profile(
    "cnnlib",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("cnnlib")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(371)


@pytest.fixture(params=_kernels.isa_supported())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once for every instruction set that this machine has."""
    before = _kernels.isa_active()
    _kernels.set_isa(request.param)
    yield request.param
    _kernels.set_isa(before)


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request: pytest.FixtureRequest) -> type[np.floating]:
    return request.param


@pytest.fixture
def direct() -> Iterator[None]:
    """Convolutions as plain sums: Winograd's tiles leave rounding errors where a gradient is 0."""
    before = _kernels.get_algorithm()
    _kernels.set_algorithm("direct")
    yield
    _kernels.set_algorithm(before)
