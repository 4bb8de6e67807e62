"""Many Python threads, with and without a global lock, and more than one interpreter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import cnnlib
from cnnlib import config
from cnnlib.layers import Conv2d, Flatten, Linear, ReLU
from cnnlib.model import Model, Sequential

NETS = ("lenet5", "resnet_mini", "inception_mini")
WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def in_threads(jobs: list[Callable[[], object]]) -> list[object]:
    """Return what the jobs return, each run in a thread of its own, all begun at once."""
    results: list[object] = [None] * len(jobs)
    barrier = threading.Barrier(len(jobs))

    def work(i: int) -> None:
        barrier.wait()
        try:
            results[i] = jobs[i]()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def net(name: str, seed: int = 0) -> Model:
    return getattr(cnnlib.models, name)(rng=seed)


@pytest.fixture(autouse=True)
def many_threads_in_turn() -> Iterator[None]:
    """All ask for the pool, and Python goes from thread to thread as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    with config.using(threads=4):
        yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("name", NETS)
def test_eight_threads_predict_with_one_model(name: str, rng: np.random.Generator) -> None:
    model = net(name)
    batches = [rng.random((n, 1, 28, 28), np.float32) for n in (1, 5, 64, 8, 64, 16, 3, 40)]
    with config.using(threads=1):
        expected = [{model.predict(x, batch_size=32).tobytes()} for x in batches]

    def job(x: np.ndarray) -> set[bytes]:
        return {model.predict(x, batch_size=32).tobytes() for _ in range(10)}

    assert in_threads([lambda x=x: job(x) for x in batches]) == expected


def train(name: str, seed: int) -> tuple[bytes, list[float]]:
    rng = np.random.default_rng(seed)
    x, y = rng.random((96, 1, 28, 28), np.float32), rng.integers(0, 10, 96)
    model = net(name, seed)
    trainer = cnnlib.Trainer(model, cnnlib.CrossEntropyLoss(), cnnlib.SGD(0.05, momentum=0.9), callbacks=[])
    history = trainer.fit((x, y), epochs=2, batch_size=32, seed=seed)
    return b"".join(array.tobytes() for array in model.state_dict().values()), list(history["loss"])


@pytest.mark.parametrize("name", NETS)
def test_four_threads_train_four_models(name: str) -> None:
    with config.using(threads=1):
        expected = [train(name, seed) for seed in range(4)]
    assert in_threads([lambda seed=seed: train(name, seed) for seed in range(4)]) == expected
    assert len({weights for weights, _ in expected}) == 4


def test_the_first_call_may_come_from_many_threads(rng: np.random.Generator) -> None:
    """A chain whose first array decides its shape."""
    x = rng.random((4, 1, 12, 12), np.float32)
    for _ in range(10):
        layers = [Conv2d(1, 3, 3, rng=0), ReLU(), Flatten(), Linear(300, 2, rng=1)]
        expected = Sequential(*layers, input_shape=(1, 12, 12)).predict(x).tobytes()
        model = Sequential(*layers)
        assert in_threads([lambda model=model: model.predict(x).tobytes()] * 8) == [expected] * 8


def test_features_of_many_nodes_from_many_threads(rng: np.random.Generator) -> None:
    """More nodes than a model keeps parts for."""
    model = net("lenet5")
    x = rng.random((8, 1, 28, 28), np.float32)
    names = model.graph.names[1:]
    expected = {name: model.features(x, name).tobytes() for name in names}

    def job(start: int) -> dict[str, bytes]:
        turns = (*names[start:], *names[:start]) * 3
        return {name: model.features(x, name).tobytes() for name in turns}

    assert in_threads([lambda i=i: job(i) for i in range(8)]) == [expected] * 8


def test_the_extension_needs_no_global_lock() -> None:
    code = "import sys, cnnlib; print(getattr(sys, '_is_gil_enabled', lambda: True)())"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == str(not WITHOUT_GIL), result.stderr


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
    create = lambda: interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    create = lambda: interpreters.create(**({"isolated": False} if sys.version_info < (3, 13) else {}))

def importing_elsewhere():
    code = f"import sys; sys.path[:] = {sys.path!r}\\ntry:\\n    import cnnlib; print('works', flush=True)\\n"
    code += "except ImportError as error: print('ImportError', flush=True)"
    other = create()
    interpreters.run_string(other, code)
    interpreters.destroy(other)
"""


@pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in ("_interpreters", "_xxsubinterpreters")),
    reason="no interpreters module in this Python",
)
@pytest.mark.parametrize("order", ["first here", "first there"])
def test_a_second_interpreter_is_refused_and_harms_nothing(order: str) -> None:
    """NumPy serves one interpreter of a process, so does cnnlib: the one that came first."""
    predict = "cnnlib.models.lenet5(rng=0).predict([[[[1.0] * 28] * 28]])"
    here = f"import cnnlib; before = {predict}"
    again = f"print('same', (before == {predict}).all())"
    refused = "try:\n    import cnnlib\n    print('works')\nexcept ImportError:\n    print('ImportError')"
    steps = [here, "importing_elsewhere()", again] if order == "first here" else ["importing_elsewhere()", refused]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join([SUBINTERPRETER, *steps])],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] in ("same True", "works", "ImportError")
    assert lines[0] in (("ImportError",) if order == "first here" else ("works", "ImportError"))
