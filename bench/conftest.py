"""What the benchmarks share: each task once, and the times of the definition to compare with."""

from __future__ import annotations

import functools

import pytest

import cnnlib
from cnnlib import config
from cnnlib.bench.named import LAYERS
from cnnlib.bench.work import KernelTask


@functools.lru_cache(maxsize=1)
def task(layer: str, which: str) -> KernelTask:
    """The latest task, which the contestants that follow each other share; more would fill the memory."""
    return KernelTask.of(LAYERS[layer], which)


@pytest.fixture(scope="session")
def medians() -> dict[tuple[str, str, str], float]:
    """Seconds by layer, pass and contestant, as far as measured."""
    return {}


@pytest.fixture(scope="session")
def peak() -> float:
    """GFLOP/s of multiply-adds in registers, on the threads and instruction set in use."""
    return config.measure_peak() / 1e9


def pytest_report_header() -> list[str]:
    return cnnlib.show_config().splitlines()
