"""Every kernel against its definition in NumPy, verified before it is timed: `pytest bench/ --benchmark-only`."""

from __future__ import annotations

import time
from typing import Any

import pytest
from conftest import task

import cnnlib
from cnnlib import config
from cnnlib.bench.named import LAYERS
from cnnlib.bench.timing import settle
from cnnlib.bench.work import verify

# About as long as one contestant is timed on one pass; slow ones get two calls.
SECONDS = 0.2

CASES = [
    pytest.param(layer.name, which, contestant, id=f"{layer.net.lower()}-{layer.name}-{which}-{contestant}")
    for layer in LAYERS.values()
    for which in layer.passes
    for contestant in ("reference", "cnnlib")
]


@pytest.mark.parametrize(("layer", "which", "name"), CASES)
def test_kernel(
    benchmark: Any, layer: str, which: str, name: str, medians: dict[tuple[str, str, str], float], peak: float
) -> None:
    work = task(layer, which)
    contestant = work.contestant(name)
    error = verify(work, name, contestant)
    start = time.perf_counter()
    contestant.run()
    rounds = min(500, max(2, int(SECONDS / (time.perf_counter() - start))))
    settle()
    benchmark.group = f"{layer} {which}, {work.shape}"
    benchmark.pedantic(contestant.run, rounds=rounds, warmup_rounds=rounds // 5)
    benchmark.extra_info.update(isa=config.get_isa(), threads=cnnlib.get_num_threads(), error=error)
    if benchmark.stats is None:  # --benchmark-disable: verified, not timed
        return
    median = medians[layer, which, name] = benchmark.stats.stats.median
    benchmark.extra_info["GB/s"] = work.bytes / median / 1e9
    if work.flops:
        gflops = work.flops / median / 1e9
        benchmark.extra_info.update({"GFLOP/s": gflops, "share of peak": gflops / peak})
    if (layer, which, "reference") in medians:
        benchmark.extra_info["times faster than the definition"] = medians[layer, which, "reference"] / median
