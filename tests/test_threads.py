"""The pool of threads: forks, processes, signals, refusals, callers from many Python threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to see the threads in")

# What every script begins with: a convolution that is worth four threads, its serial bits, the pool's threads by name.
START = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np, cnnlib
from cnnlib import functional as F
rng = np.random.default_rng(0)
x, w = rng.random((32, 8, 28, 28), np.float32), rng.random((16, 8, 3, 3), np.float32)
convolve = lambda: F.conv2d(x, w).tobytes()
cnnlib.set_num_threads(1)
serial = convolve()
cnnlib.set_num_threads(4)
def name_of(task):
    try:
        return (task / "comm").read_text()
    except (FileNotFoundError, ProcessLookupError):  # a thread that has been joined may still be on its way out
        return ""
def workers():
    return [task for task in Path("/proc/self/task").iterdir() if name_of(task).startswith("cnnlib/")]
"""


def run(tmp_path: Path, code: str, *, timeout: int = 60, **environment: str) -> str:
    """Return what a script prints that begins with START. A file, because multiprocessing imports it again."""
    script = tmp_path / "script.py"
    script.write_text(START + textwrap.dedent(code))
    result = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@needs_proc
def test_no_openmp_is_loaded_and_threads_start_when_needed(tmp_path: Path) -> None:
    code = """
    assert not workers()
    assert convolve() == serial
    print(len(workers()), any(name in Path("/proc/self/maps").read_text() for name in ("gomp", "iomp", "libomp")))
    """
    assert run(tmp_path, code) == "3 False"


@needs_fork
@needs_proc
def test_forked_children_have_threads_of_their_own(tmp_path: Path) -> None:
    """A child, and its child, from a parent whose pool is at rest."""
    code = """
    assert convolve() == serial and len(workers()) == 3
    for generation in range(2):
        if pid := os.fork():
            os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        assert not workers() and cnnlib.get_num_threads() == 4
        assert convolve() == serial and len(workers()) == 3
    """
    run(tmp_path, code)


@needs_fork
def test_a_fork_may_meet_the_pool_and_the_plans_at_any_moment(tmp_path: Path) -> None:
    """Also between two steps of Python in another thread, where a lock would stay locked in the child."""
    code = """
    sys.setswitchinterval(1e-6)
    model = cnnlib.models.lenet5(rng=0)
    images = rng.random((16, 1, 28, 28), np.float32)
    predicted = model.predict(images).tobytes()
    done = False
    def work():
        while not done:
            assert convolve() == serial and model.predict(images).tobytes() == predicted
    def predict_little():
        while not done: model.predict(images[:1])
    threads = [threading.Thread(target=target) for target in (work, work, predict_little, predict_little)]
    for thread in threads: thread.start()
    for _ in range(60):
        if not (pid := os.fork()):
            signal.alarm(30)  # ends a child that hangs
            right = convolve() == serial and model.predict(images).tobytes() == predicted
            os._exit(0 if right else 1)
        assert os.waitpid(pid, 0)[1] == 0
    done = True
    for thread in threads: thread.join()
    """
    run(tmp_path, code)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_every_kind(tmp_path: Path, method: str) -> None:
    code = f"""
    import multiprocessing as mp
    from concurrent.futures import ProcessPoolExecutor
    def right(_):
        return convolve() == serial
    if __name__ == "__main__":
        if {method!r} not in mp.get_all_start_methods():
            print("absent")
            sys.exit()
        assert right(0)
        context = mp.get_context({method!r})
        with context.Pool(2) as pool, ProcessPoolExecutor(2, mp_context=context) as executor:
            print(all(pool.map(right, range(8))), all(executor.map(right, range(8))))
    """
    printed = run(tmp_path, code, timeout=120)
    if printed == "absent":
        pytest.skip(f"no {method} on this system")
    assert printed == "True True"


@needs_proc
def test_signals_are_left_to_the_users_threads(tmp_path: Path) -> None:
    """What is sent to the process is blocked in workers; what their own instructions cause is not."""
    code = """
    assert convolve() == serial
    def blocked(worker):
        mask = int((worker / "status").read_text().partition("SigBlk:")[2].split()[0], 16)
        return [bool(mask >> number - 1 & 1) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGSEGV)]
    end = time.monotonic() + 10  # a thread that is still being started blocks all
    while any(blocked(worker)[2] for worker in workers()) and time.monotonic() < end:
        time.sleep(0.01)
    for worker in workers():
        print(*blocked(worker))
    """
    assert run(tmp_path, code).splitlines() == ["True True False"] * 3


def test_control_c_stops_a_computation(tmp_path: Path) -> None:
    code = """
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True: convolve()
    except KeyboardInterrupt:
        print("stopped", convolve() == serial)
    """
    assert run(tmp_path, code) == "stopped True"


@pytest.mark.skipif(not hasattr(os, "setuid") or os.name == "nt", reason="no users on this system")
@needs_proc
def test_a_system_without_threads_left_computes_on_fewer(tmp_path: Path) -> None:
    """The process is its user's only one and may have no more threads; when it may, they are there."""
    code = """
    import resource
    if os.getuid() == 0:
        try:
            os.setresuid(61234, 61234, -1)  # root is not held to limits
        except OSError:
            print("root")
            sys.exit()
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, most))
    assert convolve() == serial and convolve() == serial
    refused = len(workers())
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    assert convolve() == serial
    still = len(workers())
    cnnlib.set_num_threads(4)
    assert convolve() == serial
    print(refused, still, len(workers()))
    """
    printed = run(tmp_path, code)
    if printed == "root":
        pytest.skip("root, who is not held to limits, and may not become another user")
    assert printed == "0 0 3"


@pytest.mark.parametrize("threads", [2, 4])
def test_idle_threads_use_no_processor(tmp_path: Path, threads: int) -> None:
    """A thread that spins for the length of the sleep uses 0.2 s; for the promised moment, 0.1 ms."""
    code = f"""
    cnnlib.set_num_threads({threads})
    used = []
    for _ in range(5):
        convolve()
        start = time.process_time()
        time.sleep(0.2)
        used.append(time.process_time() - start)
    print(min(used) < 0.01)
    """
    assert run(tmp_path, code, OPENBLAS_NUM_THREADS="1") == "True"


def test_threads_keep_no_process_from_ending(tmp_path: Path) -> None:
    """At rest, and in the middle of a loop of a daemon thread."""
    code = """
    def work():
        while True: convolve()
    assert convolve() == serial
    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.1)
    print("last line")
    """
    assert run(tmp_path, code) == "last line"


UPWARD = {"x86_64": 0x800, "AMD64": 0x800, "aarch64": 0x400000, "arm64": 0x400000}


@pytest.mark.skipif(platform.machine() not in UPWARD, reason="FE_UPWARD is not known for this processor")
def test_workers_round_as_their_caller_does(tmp_path: Path) -> None:
    """A thread may have been told, by fast-math libraries for one, to round or flush in a way of its own."""
    code = f"""
    import ctypes, ctypes.util
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    assert convolve() == serial  # the workers are there
    libm.fesetround({UPWARD[platform.machine()]})
    parallel = {{convolve() for _ in range(20)}}
    cnnlib.set_num_threads(1)
    upward = convolve()
    libm.fesetround(0)
    cnnlib.set_num_threads(4)
    print(upward != serial, parallel == {{upward}}, convolve() == serial)
    """
    assert run(tmp_path, code) == "True True True"


def test_a_busy_pool_is_not_waited_for(tmp_path: Path) -> None:
    """Many Python threads get the serial bits, and no pool of their own."""
    code = """
    same = []
    barrier = threading.Barrier(8)
    def work():
        barrier.wait()
        same.extend(convolve() == serial for _ in range(20))
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(len(same), all(same), len(workers()) if Path("/proc/self/task").exists() else 3)
    """
    assert run(tmp_path, code) == "160 True 3"
