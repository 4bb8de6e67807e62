"""Training on several processes: `mpiexec` is started here, with two to five of them on however few cores there are."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnnlib
from cnnlib import checkpoint
from cnnlib.distributed import Distributed, processes
from cnnlib.distributed.chunks import Chunks, Node, division
from cnnlib.errors import ConfigError, MissingExtraError
from cnnlib.trainer import Trainer

WORKER = Path(__file__).with_name("distributed_worker.py")
CASES = ["everything", "ragged", "few", "accumulated", "frozen", "stream", "drawn"]


@cache
def mpiexec() -> tuple[str, ...]:
    """The command that starts processes, or a skipped test."""
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec")
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    more = ("--oversubscribe", "--allow-run-as-root") if "Open MPI" in version or "mpirun" in version else ()
    return (found, *more)


def environment(threads: int | None) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if k != "CNNLIB_NUM_THREADS"}
    own["PYTHONPATH"] = os.pathsep.join([str(WORKER.parent.parent), own.get("PYTHONPATH", "")])
    return own | ({} if threads is None else {"CNNLIB_NUM_THREADS": str(threads)})


def command(ranks: int, order: dict[str, Any]) -> list[str]:
    return [*mpiexec(), "-n", str(ranks), sys.executable, str(WORKER), json.dumps(order)]


def run(ranks: int, threads: int | None = 1, **order: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(ranks, order), capture_output=True, text=True, timeout=120, env=environment(threads))


def results(out: Path, ranks: int, threads: int | None = 1, **order: Any) -> list[dict[str, Any]]:
    """What each rank came to, by rank."""
    out.mkdir(exist_ok=True)
    done = run(ranks, threads, out=str(out), **order)
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(ranks)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process comes to, without mpiexec."""
    mpiexec()
    out = tmp_path_factory.mktemp("alone")
    order = json.dumps({"cases": CASES, "out": str(out)})
    subprocess.run([sys.executable, str(WORKER), order], check=True, timeout=120, env=environment(1))
    return dict(json.loads((out / "0.json").read_text()))


# The same bits


@pytest.mark.parametrize(("ranks", "threads"), [(1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1), (4, 2)])
def test_any_number_of_ranks_and_threads_comes_to_the_same_bits(
    ranks: int, threads: int, alone: dict[str, Any], tmp_path: Path
) -> None:
    for own in results(tmp_path, ranks, threads, cases=CASES):
        assert own.pop("threads") == threads
        assert own == {case: found for case, found in alone.items() if case != "threads"}


def test_messages_come_to_the_bits_of_common_memory(alone: dict[str, Any], tmp_path: Path) -> None:
    for own in results(tmp_path, 3, cases=CASES, memory=False):
        assert {case: own[case] for case in CASES} == {case: alone[case] for case in CASES}


def test_the_plain_sum_is_close(alone: dict[str, Any], tmp_path: Path) -> None:
    for own in results(tmp_path, 3, cases=["everything", "few", "accumulated"], exact=False):
        for case in ("everything", "few", "accumulated"):
            np.testing.assert_allclose(own[case]["loss"], alone[case]["loss"], rtol=1e-4)


def test_prediction_is_the_models_own(alone: dict[str, Any]) -> None:
    assert all(alone[case]["predict"] == alone[case]["alone"] for case in CASES)


@pytest.mark.parametrize("case", ["few", "accumulated", "stream"])
def test_it_learns_what_one_trainer_alone_does(case: str, alone: dict[str, Any]) -> None:
    """Up to rounding: the same net, without random numbers and batch statistics, trained without chunks."""
    sys.path.insert(0, str(WORKER.parent))
    import distributed_worker as worker

    x, y = worker.data()
    model, optimizer = worker.plain(), cnnlib.SGD(0.05, momentum=0.9)
    train: Any = [(x[i : i + 50], y[i : i + 50]) for i in range(0, len(x), 50)] if case == "stream" else (x, y)
    accumulated = case == "accumulated"
    trainer = Trainer(
        model, cnnlib.CrossEntropyLoss(), optimizer, accumulate=3 if accumulated else 1,
        clip_norm=0.5 if accumulated else None,
    )  # fmt: skip
    weight = np.linspace(0, 2, len(x)) if accumulated else None
    history = trainer.fit(
        train, epochs=3, batch_size=20 if accumulated else 64, seed=5, verbose=0, sample_weight=weight
    )
    np.testing.assert_allclose(alone[case]["loss"], history["loss"], rtol=2e-5)


def test_each_process_reads_its_own_samples_only(tmp_path: Path) -> None:
    first, second = (np.array(own["counted"]["read"]) for own in results(tmp_path, 2, case="counted"))
    assert (first + second == 3).all()  # once an epoch
    assert 0.3 < first.sum() / (first + second).sum() < 0.7


def test_ranks_without_a_chunk_wait_and_are_warned_of(alone: dict[str, Any], tmp_path: Path) -> None:
    done = run(5, case="everything", out=str(tmp_path), verbose=1)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("a batch of 64 is 4 chunks of 16 samples: of 5 processes") == 1
    assert json.loads((tmp_path / "4.json").read_text())["everything"] == alone["everything"]


def test_rank_0_alone_speaks_and_says_which_process_is_which(tmp_path: Path) -> None:
    done = run(3, case="ragged", out=str(tmp_path), verbose=2)
    assert re.search(r"^3 ranks: 0 = PID \d+, 1 = PID \d+, 2 = PID \d+ on \S+; 1 thread each$", done.stdout, re.M)
    assert done.stdout.count("epoch 3/3") == 1


def test_cores_are_shared_unless_somebody_says_how_many_threads(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert [own["threads"] for own in results(tmp_path, 2, None, case="few")] == [max(1, cores // 2)] * 2


# Faults


def test_an_interrupted_training_goes_on_with_other_numbers_of_ranks(alone: dict[str, Any], tmp_path: Path) -> None:
    folder, order = tmp_path / "run", {"case": "everything", "out": str(tmp_path)}
    for ranks, signum in ((2, signal.SIGTERM), (4, signal.SIGINT)):
        started = subprocess.Popen(
            command(ranks, order | {"slow": True, "folder": str(folder)}),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(1),
        )  # fmt: skip
        assert started.stdout is not None
        lines = iter(started.stdout.readline, "")
        next(line for i, line in enumerate(line for line in lines if line.startswith("batch")) if i == 1)
        started.send_signal(signum)
        rest, errors = started.communicate(timeout=60)
        # Not by what is printed: Open MPI passes nothing on any more.
        seen = re.findall(r"batch (\d+)", rest) or ["2"]
        assert checkpoint.paths(folder)[0].name >= checkpoint.file_name(int(seen[-1])), rest + errors
    own = results(tmp_path, 3, case="everything", folder=str(folder))
    assert [one["everything"]["digest"] for one in own] == [alone["everything"]["digest"]] * 3


@pytest.mark.parametrize("what", ["kill", "hang", "raise", "exit"])
def test_a_process_that_fails_ends_the_run(what: str, alone: dict[str, Any], tmp_path: Path) -> None:
    start = time.monotonic()
    done = run(
        3, case="everything", out=str(tmp_path), fault=what, folder=str(tmp_path / "run"), timeout=3.0, verbose=1
    )
    assert done.returncode != 0
    assert time.monotonic() - start < 20
    process = re.search(r"1 = PID (\d+)", done.stdout)
    assert process is not None, done.stdout + done.stderr
    text = done.stdout + done.stderr
    if what == "kill":  # MPI ends all at once, before any could speak; it names the process
        assert f"{process[1]} RUNNING AT" in text or f"PID {process[1]}" in text
        assert "signal 9" in text or "Killed" in text
    elif what == "hang":
        assert f"rank 1 (PID {process[1]} on " in done.stderr
        assert "did not come to the gradients of batch 6 within 3 seconds: hung, or slower than that" in done.stderr
    else:
        assert f"cnnlib: rank 1 (PID {process[1]} on " in done.stderr
        assert {"raise": "ValueError: the disk is on fire", "exit": "SystemExit: 3"}[what] in done.stderr
    own = results(tmp_path, 2, case="everything", folder=str(tmp_path / "run"))
    assert own[0]["everything"]["digest"] == alone["everything"]["digest"]


def test_killed_at_random_moments(alone: dict[str, Any], tmp_path: Path) -> None:
    rng, folder = np.random.default_rng(os.getpid()), tmp_path / "run"
    for ranks in (2, 3, 2, 4, 3):
        started = subprocess.Popen(
            command(ranks, {"case": "everything", "out": str(tmp_path), "folder": str(folder), "slow": True}),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(1), start_new_session=True,
        )  # fmt: skip
        time.sleep(0.7 + 0.8 * rng.random())
        victims = _workers(started.pid)
        if victims:
            os.kill(int(rng.choice(victims)), signal.SIGKILL)
        started.wait(timeout=60)
    own = results(tmp_path, 2, case="everything", folder=str(folder))
    assert own[1]["everything"]["digest"] == alone["everything"]["digest"]


def _workers(ancestor: int) -> list[int]:
    """The processes below another one that run Python."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    below = {ancestor}
    for _ in range(4):
        below |= {int(pid) for pid, parent, _ in rows if int(parent) in below}
    return [int(pid) for pid, _, args in rows if int(pid) in below and args.startswith(sys.executable)]


@pytest.mark.parametrize(
    ("differ", "text"),
    [
        ("seed", "seed: 5 on rank 0; 6 on rank 1"),
        ("model", "'1.weight': [32, 144]"),
        ("isa", "'baseline' on rank 1"),
    ],
)
def test_processes_that_differ_are_told(differ: str, text: str, tmp_path: Path) -> None:
    if differ == "isa" and cnnlib.config.get_isa() == "baseline":
        pytest.skip("there is no other instruction set")
    done = run(2, case="few", out=str(tmp_path), differ=differ)
    assert done.returncode != 0
    assert "the processes of this run do not train the same" in done.stderr
    assert text in done.stderr
    assert done.stderr.count("ConfigError") == 1  # rank 0 speaks for all


def test_a_bad_number_is_found_where_it_is(tmp_path: Path) -> None:
    done = run(3, case="few", out=str(tmp_path), nan=130)
    assert done.returncode != 0
    assert done.stderr.count("NonFiniteError") == 1
    assert "(samples 130): the loss is nan; the inputs of this batch contain NaN or infinity" in done.stderr


def test_one_that_stops_stops_all(tmp_path: Path) -> None:
    for own in results(tmp_path, 3, case="few", fault="stop", step=4):
        assert own["few"]["stop"] == "one has had enough"


# The command line


@pytest.mark.parametrize("ranks", [1, 2])
def test_train_and_evaluate(ranks: int, tmp_path: Path) -> None:
    def cli(*arguments: str) -> str:
        start = [*mpiexec(), "-n", str(ranks), sys.executable, "-m", "cnnlib"]
        done = subprocess.run(
            [*start, *arguments], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment(1)
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = cli("train", "lenet5", "--data", "sample", "--epochs", "1", "--batch-size", "128", "--distributed")
    assert said.count("saved     lenet5.safetensors") == said.count("epoch 1/1") == 1
    assert "accuracy  " in cli("evaluate", "lenet5.safetensors", "--distributed")
    weights = hashlib.sha256()
    for name, array in sorted(cnnlib.load(tmp_path / "lenet5.safetensors").state_dict().items()):
        weights.update(name.encode() + array.tobytes())
    _trained[ranks] = weights.hexdigest()
    assert len(set(_trained.values())) == 1


_trained: dict[int, str] = {}


# Alone


def test_without_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    processes.world.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'cnnlib\[mpi\]' and an MPI: pip install mpich"):
        Trainer(cnnlib.models.lenet5(), cnnlib.CrossEntropyLoss(), cnnlib.SGD(0.1), distributed=True)


@pytest.mark.parametrize("settings", [{"chunk": 0}, {"chunk": 1.5}, {"exact": 1}, {"timeout": 0}, {"timeout": "x"}])
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Distributed(**settings)


@given(st.integers(1, 300), st.integers(1, 12))
def test_sums_do_not_depend_on_who_makes_them(count: int, processes: int) -> None:
    dealt = division(count, processes)
    tree = dealt.tree
    values: dict[Node, str] = {}
    for (first, last), nodes in zip(itertools.pairwise(dealt.dealt), dealt.nodes, strict=True):
        values |= {node: _sum(count, node) for node in nodes}
        assert len(nodes) <= max(1, 2 * tree.root.level)
        assert tree.depth(first, last) <= len(nodes) + tree.root.level + 1
        assert tree.depth(first, last) <= dealt.depth
    assert tree.total(values, lambda a, b: f"({a}+{b})") == _sum(count, tree.root)


def _sum(count: int, node: Node) -> str:
    """The definition: the sum of a node's leaves, in brackets as it is made."""
    if node.level == 0:
        return str(node.place)
    left, right = (Node(node.level - 1, 2 * node.place + i) for i in (0, 1))
    if right.place << right.level >= count:
        return _sum(count, left)
    return f"({_sum(count, left)}+{_sum(count, right)})"


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 9))
def test_every_sample_is_in_one_chunk_of_one_process(samples: int, size: int, processes: int) -> None:
    chunks = Chunks(samples, size)
    widths = np.diff(chunks.edges)
    assert chunks.edges[0] == 0
    assert chunks.edges[-1] == samples
    assert widths.max() <= size
    assert widths.min() >= widths.max() - 1
    dealt = division(chunks.number, processes).dealt
    assert dealt[0] == 0
    assert dealt[-1] == chunks.number
    assert (np.diff(dealt) >= 0).all()
