"""What ``cnnlib selftest --full`` checks: the promises of docs/guarantees.md, as far as a few minutes can tell."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import config, serialize
from cnnlib.errors import CNNError
from cnnlib.selftest import nets
from cnnlib.selftest.killed import kill_and_resume

__all__ = ["PROMISES", "run_promises", "trained"]

THREADS = (1, 2, 3, 4, 8)


def run_promises(write: Callable[[str], object] = print) -> bool:
    """Check all promises, `write` a line for each, return whether all were kept."""
    failures = 0
    for promise, check in PROMISES.items():
        start = time.perf_counter()
        try:
            outcome = f"ok      {promise}: {check()}"
        except Exception as error:
            failures += 1
            outcome = f"FAILED  {promise}: {type(error).__name__}: {error}"
        write(f"{outcome} ({time.perf_counter() - start:.0f} s)")
    write(f"{failures} of {len(PROMISES)} promises are BROKEN here" if failures else "all promises were kept")
    return not failures


def trained(net: str, dtype: DTypeLike, threads: int, steps: int = 2) -> str:
    """Return the hash of a net after some steps of training, of its gradients, and of what it predicts then."""
    model = nets.build(net, dtype)
    x, y = nets.images(21)  # a vector of images and some: 17 to train on, 20 and 1 to predict
    trainer = nets.trainer(model, adam=net == "residual")
    trainer.keep_gradients = True
    with config.using(threads=threads):
        for step in range(steps):
            part = slice(step % 5, step % 5 + 17)
            trainer.train_step(x[part], y[part])
        bits = [model.predict(x, batch_size=20), *(p.grad for p in model.parameters().values())]
    return nets.digest(model, {str(i): np.asarray(part).ravel().tolist() for i, part in enumerate(bits)})


def _same_bits() -> str:
    cases = list(product(config.supported_isas(), config.ALGORITHMS, (np.float32, np.float64), nets.NETS))
    for isa, algorithm, dtype, net in cases:
        with config.using(isa=isa, algorithm=algorithm):
            first, *others = (trained(net, dtype, threads) for threads in (*THREADS, 1))
        assert all(other == first for other in others), f"{net} in {np.dtype(dtype).name}, {isa}, {algorithm}"
    return f"{len(cases)} trainings, each on {', '.join(map(str, THREADS))} threads"


def _rounding() -> str:
    """Vectors of other widths add in another order; how far that leads, in units of eps of the largest output."""
    best, *others = config.supported_isas()
    found = dict.fromkeys(others, 0.0)
    x, y = nets.images(37)
    for net, algorithm in product(nets.NETS, config.ALGORITHMS):
        outputs = {}
        for isa in (best, *others):
            with config.using(isa=isa, algorithm=algorithm):
                model = nets.build(net)
                trainer, results = nets.trainer(model), [model.predict(x)]
                for step in range(3):
                    trainer.train_step(x[step : step + 33], y[step : step + 33])
                outputs[isa] = [*results, model.predict(x)]
        for isa in others:
            for own, first in zip(outputs[isa], outputs[best], strict=True):
                far = float(np.abs(own - first).max() / np.abs(first).max() / np.finfo(np.float32).eps)
                found[isa] = max(found[isa], far)
    assert all(far < 50 for far in found.values()), found
    return (
        f"against {best}, in eps of the largest output: {', '.join(f'{k} {v:.1f}' for k, v in found.items()) or 'none'}"
    )


def _killed() -> str:
    if not hasattr(os, "fork"):
        return "not checked, there is no os.fork here"
    kills = within = 0
    for net in ("normalized", "residual"):
        with tempfile.TemporaryDirectory() as folder:
            tally = kill_and_resume(Path(folder), 100, net, seed=os.getpid())
        kills, within = kills + tally.kills, within + tally.within_saves
    return f"{kills} kills, {within} of them within a save"


def _forked() -> str:
    if not hasattr(os, "fork"):
        return "not checked, there is no os.fork here"
    expected = trained("lenet5", np.float32, 4)
    for child in range(20):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = int(trained("lenet5", np.float32, 1 + child % 4) != expected)
            finally:
                os._exit(code)
        end = time.monotonic() + 60
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > end:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                raise AssertionError(f"child {child} hung")
            time.sleep(0.002)
        assert ended[1] == 0, f"child {child} ended with status {ended[1]}"
    return "20 children after parallel work of their parent"


def _threads() -> str:
    model, (x, _) = nets.build("lenet5"), nets.images(64)
    expected = model.predict(x).tobytes()
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: model.predict(x).tobytes(), range(200)):
            assert result == expected, "predictions differ"
    serial = [trained(net, np.float32, 2, 20) for net in nets.NETS]
    with ThreadPoolExecutor(4) as pool:
        nets_twice = [*nets.NETS, *nets.NETS]
        found = list(pool.map(lambda net: trained_here(net, 20), nets_twice))
    assert found == serial * 2, "trainings differ"
    return "8 threads with one model, 4 threads that train"


def trained_here(net: str, steps: int) -> str:
    """The same as `trained`, on the threads that are set: other Python threads may compute meanwhile."""
    return trained(net, np.float32, config.get_num_threads(), steps)


def _memory() -> str:
    model = nets.build("normalized")
    trainer, (x, y) = nets.trainer(model), nets.images(16)
    sizes: list[int] = []
    for step in range(20_001):
        trainer.train_step(x, y)
        if step % 2000 == 1000:
            sizes.append(_resident())
    growth = max(sizes) / sizes[0] - 1
    assert growth < 0.02, f"grew by {growth:.1%} in {step} steps"
    for step in range(2000):
        n = 1 + (step * 7919) % 200
        model.predict(np.resize(x, (n, 1, 28, 28)), batch_size=n)
        if step % 200 == 199:
            sizes.append(_resident())
    varied = max(sizes[-8:]) / sizes[-9] - 1
    assert varied < 0.02, f"grew by {varied:.1%} over batches of varying sizes"
    return f"{growth:+.2%} over 20,000 steps, {varied:+.2%} over 2,000 batches of varying sizes"


def _resident() -> int:
    """Return the process's resident memory in kB."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    except OSError:
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, check=True)
        return int(shown.stdout)


def _hostile_files() -> str:
    rng, refused, tries = np.random.default_rng(), 0, 2000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        nets.build("normalized").save(path)
        whole = path.read_bytes()
        for _ in range(tries):
            damaged = bytearray(whole)
            for place in rng.integers(len(whole) if rng.random() < 0.2 else 4000, size=rng.integers(1, 6)):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged[: rng.integers(len(whole))] if rng.random() < 0.2 else damaged)
            try:
                serialize.load(path)
            except CNNError:
                refused += 1
    return f"{tries} damaged model files, {refused} refused by an exception of cnnlib, the rest usable"


#: Each promise in a sentence, and what checks it: returns what it did, raises where the promise is broken.
PROMISES: dict[str, Callable[[], str]] = {
    "the same bits on any number of threads": _same_bits,
    "instruction sets differ by rounding alone": _rounding,
    "a killed training goes on to the same bits": _killed,
    "a forked child computes, and never hangs": _forked,
    "Python threads give the serial results": _threads,
    "memory is flat": _memory,
    "no file crashes it": _hostile_files,
}
