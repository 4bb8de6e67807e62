"""Memory: flat over long trainings and changing shapes; where there is none, MemoryError and a model as it was before.

Both are looked at in processes of their own: this file, as a program. CNNLIB_TEST_FULL=1 asks for all 20,000 training
steps and 2,000 batches.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import cnnlib
from cnnlib import SGD, Adam, CrossEntropyLoss, Sequential, Trainer, _kernels
from cnnlib.layers import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU
from cnnlib.models import lenet5

FULL = os.environ.get("CNNLIB_TEST_FULL") == "1"
STEPS, SHAPES = (20_000, 2_000) if FULL else (2_000, 320)
CYCLE = 40  # shapes, many more than plans are kept
PAGE = 4096


def net(size: int = 8, seed: int = 0) -> Sequential:
    block = Conv2d(1, 6, 3, padding=1, rng=seed), BatchNorm2d(6), ReLU(), MaxPool2d(2), Dropout(0.25), Flatten()
    return Sequential(*block, Linear(6 * (size // 2) ** 2, 10, rng=seed), input_shape=(1, size, size))


def memory(field: int) -> int:
    """Bytes of this process, of address space (field 0) or resident (1)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[field]) * PAGE


def demand_flat(step: Callable[[int], None], count: int, every: int) -> None:
    """Run `count` steps, and look `every` so many of them; the first quarter may grow."""
    seen = []
    for i in range(count):
        step(i)
        if (i + 1) % every == 0:
            gc.collect()
            seen.append(memory(1))
    settled = seen[len(seen) // 4 :]
    print(f"{count} steps: {settled[0] / 1e6:.2f} MB, then {min(settled) / 1e6:.2f} to {max(settled) / 1e6:.2f} MB")
    assert len(settled) > 3
    assert max(settled) <= 1.02 * settled[0]
    assert min(settled) >= 0.98 * settled[0]


def steps() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((16, 1, 8, 8), dtype=np.float32), rng.integers(0, 10, 16)
    trainer = Trainer(net(), CrossEntropyLoss(), SGD(0.01, momentum=0.9))
    demand_flat(lambda i: trainer.train_step(x, y) and None, STEPS, STEPS // 20)


def batches() -> None:
    """Batches of other sizes through one model, in the same order again and again."""
    rng = np.random.default_rng(0)
    sizes = rng.permutation(300)[:CYCLE] + 1
    x, y = rng.random((300, 1, 8, 8), dtype=np.float32), rng.integers(0, 10, 300)
    model = net()
    trainer = Trainer(model, CrossEntropyLoss(), Adam(0.01))

    def step(i: int) -> None:
        n = sizes[i % CYCLE]
        trainer.train_step(x[:n], y[:n])
        model.predict(x[:n])

    demand_flat(step, SHAPES, CYCLE)
    assert len(model._plans._idle) <= model._plans.limit


def images() -> None:
    """Images of other sizes, each with a model of its own, which nobody keeps."""
    rng = np.random.default_rng(0)

    def step(i: int) -> None:
        size, n = 4 + 2 * (i % CYCLE % 8), 1 + 7 * (i % CYCLE)
        x, y = rng.random((n, 1, size, size), dtype=np.float32), rng.integers(0, 10, n)
        model = net(size)
        Trainer(model, CrossEntropyLoss(), Adam(0.01)).train_step(x, y)
        model.predict(x)

    demand_flat(step, SHAPES, CYCLE)


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """Leave `more` bytes of address space to what is asked for inside."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory(0) + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def failures() -> None:
    """Every call at ever higher limits, until it has what it needs: MemoryError, and nothing has changed."""
    rng = np.random.default_rng(0)
    x, y = rng.random((200, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 200)
    path = Path(sys.argv[2]) / "model.safetensors"
    lenet5(rng=0).save(path)

    def train(model: Sequential) -> None:
        Trainer(model, CrossEntropyLoss(), Adam(0.01)).train_step(x, y)

    def gradients(model: Sequential) -> None:
        model.backward(model.forward(x, training=True))

    calls: dict[str, tuple[Callable[[Sequential], object], Callable[[], Sequential]]] = {
        "forward": (lambda model: model.forward(x), lambda: net(28)),
        "predict": (lambda model: model.predict(x, batch_size=200), lambda: lenet5(rng=0)),
        "gradients": (gradients, lambda: lenet5(rng=0)),
        "train_step": (train, lambda: net(28)),
        "load": (lambda _: cnnlib.load(path), lambda: net(28)),
    }
    messages: set[str] = set()
    for name, (call, make) in calls.items():
        call(make())  # what is imported or built on use exists now
        failed, limit, ended = 0, 0, False
        while not ended:
            model = make()
            weights, right = [p.data.copy() for p in model.parameters().values()], model.predict(x[:50])
            gc.collect()
            _kernels.release_workspace()
            try:
                with at_most(limit):
                    call(model)
                ended = True
            except MemoryError as error:
                failed += 1
                messages.add(str(error))
                for parameter, before in zip(model.parameters().values(), weights, strict=True):
                    assert np.array_equal(parameter.data, before), name
                # A training pass may have moved estimates of batch normalisation before it failed.
                assert np.array_equal(model.predict(x[:50]), right) or name == "train_step", name
                call(model)
            limit += limit // 4 + (128 << 10)
        print(name, "failed at", failed, "limits", flush=True)
        assert failed > 3
    assert any("workspace" in message for message in messages)  # in C, and not in NumPy alone


def run_program(task: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(cnnlib.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, task, str(folder)],
        # Large arrays are the system's at once, not kept by malloc for a next time.
        env={**os.environ, "PYTHONPATH": path, "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-500:]}\n{done.stderr[-3000:]}"
    return done.stdout


pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc"),
    pytest.mark.skipif("CNNLIB_SANITIZED" in os.environ, reason="AddressSanitizer takes memory of its own"),
]


@pytest.mark.parametrize("task", ["steps", "batches", "images"])
def test_resident_memory_is_flat(task: str, tmp_path: Path) -> None:
    assert "steps:" in run_program(task, tmp_path)


def test_a_failed_allocation_is_a_memory_error_and_changes_nothing(tmp_path: Path) -> None:
    assert run_program("failures", tmp_path).count("failed at") == 5


if __name__ == "__main__":
    {"steps": steps, "batches": batches, "images": images, "failures": failures}[sys.argv[1]]()
