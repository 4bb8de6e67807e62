"""The bench of training on several processes: its model against numbers worked out by hand, and its smallest run.

No test looks at a time that was measured.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
sys.path.insert(0, str(BENCH))
import scaling_plan  # noqa: E402
from scaling_plan import Chunk, Link, Net, Overheads, Plan, ring, tree  # noqa: E402

# A megabyte takes a millisecond, a message one more.
LINK = Link("", 1e-3, 1e9)
FREE = Overheads(message=0.0, addition=0.0, adding=float("inf"))
# Forward 100 ms, backward 200 ms, of which the first of two pieces has half.
CHUNK = Chunk(forward=0.1, backward=0.2, whole=(0.1, 0.2), report=0, reading=0.0)
NET = Net("", pieces=(8_000_000, 4_000_000), update=0.01, chunks={4: CHUNK, 2: replace(CHUNK, forward=0.05)})
PLAN = Plan(NET, size=4, link=LINK, total=ring, overheads=FREE)


@pytest.mark.parametrize(
    ("total", "ranks", "seconds"),
    [
        (ring, 2, 0.010),  # 2 messages of 4 MB
        (ring, 4, 0.018),  # 6 of 2 MB
        (ring, 8, 0.028),  # 14 of 1 MB
        (tree, 2, 0.010),  # as the ring
        (tree, 4, 0.016),  # 4 messages, 12 MB in all
        (tree, 8, 0.020),  # 6, 14 MB
    ],
)
def test_a_sum_of_8_megabytes(total: Any, ranks: int, seconds: float) -> None:
    assert total(8e6, ranks, LINK) == pytest.approx(seconds)


def test_what_one_rank_takes() -> None:
    """Three chunks and an update; nobody to wait for."""
    assert PLAN.step(1, 12) == pytest.approx(3 * 0.3 + 0.01)


def test_the_first_piece_is_hidden_and_the_last_is_not() -> None:
    """The first: 18 ms of the 100 that are left. The last, at 4 ranks: 6 messages of 1 MB; then g(4): 4 more, 3 KB."""
    told = 4e-3 + 3 * 1024 / 1e9
    assert PLAN.waiting(4, CHUNK) == pytest.approx(0.012)
    assert PLAN.step(4, 4) == pytest.approx(0.31 + 0.012 + told)


def test_pieces_that_take_longer_than_the_backward_pass_queue_up() -> None:
    """At 0.1 GB/s: the first from 100 ms on, 6 messages of 21 ms, so until 226; the last 6 of 11 ms: 292, 92 late."""
    plan = replace(PLAN, link=Link("", 1e-3, 1e8))
    assert plan.waiting(4, CHUNK) == pytest.approx(0.092)


def test_a_message_costs_what_the_link_and_the_host_take() -> None:
    dear = replace(PLAN, overheads=replace(FREE, message=1e-3))
    assert dear.waiting(4, CHUNK) == pytest.approx(6 * 3e-3)


def test_predictions_go_to_the_first_rank() -> None:
    short = 4e-3 + 3 * 1024 / 1e9
    assert PLAN.telling(4, 0) == pytest.approx(short)
    assert PLAN.telling(4, 5000) == pytest.approx(short + 2e-3 + 3 * 5000 / 1e9)


def test_the_work_for_others() -> None:
    """Of 4 ranks with 2 chunks: 3 additions a piece of 1/4 of it, 6 chunks' predictions to read."""
    overheads = Overheads(message=0.0, addition=1e-3, adding=1e9)
    plan, chunk = replace(PLAN, overheads=overheads), replace(CHUNK, reading=1e-5)
    shared = 3 * 3e-3 + 6e-5
    assert plan.work(4, 2, chunk) == pytest.approx(shared + 3 * 2 * 1e-3)
    assert replace(plan, total=tree).work(4, 2, chunk) == pytest.approx(shared)
    assert plan.work(1, 2, chunk) == 0


def test_efficiency() -> None:
    together = 0.31 + 0.012 + 4e-3 + 3 * 1024 / 1e9
    assert PLAN.efficiency(4, 4) == pytest.approx(0.31 / together)
    assert PLAN.efficiency(4, 4, strong=True) == pytest.approx(1.21 / (4 * together))
    # With fewer samples than a chunk has, its size is theirs; the one alone keeps to the large ones.
    assert PLAN.efficiency(4, 2, strong=True) == pytest.approx(0.61 / (4 * (together - 0.05)))


def test_the_least_batch() -> None:
    """At 4 ranks of 1 or 2 samples too little is left to compute; 4 samples each are enough, as above."""
    net = replace(NET, chunks={1: CHUNK, 2: CHUNK, 4: CHUNK})
    assert replace(PLAN, net=net).least(4) == 16
    assert replace(PLAN, net=net, link=Link("", 1e9, 1e9)).least(4, most=64) is None


@pytest.fixture(scope="module")
def printed() -> str:
    pytest.importorskip("mpi4py")
    if not (Path(sys.executable).with_name("mpiexec").exists() or shutil.which("mpiexec")):
        pytest.skip("there is no mpiexec")
    paths = os.pathsep.join([str(BENCH.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(BENCH / "bench_distributed.py"), "--quick", "--markdown", "--cores", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def rows(printed: str, *cells: str) -> list[list[str]]:
    """The rows of the tables that begin with these cells, without them."""
    tables = [[cell.strip() for cell in row.split("|")[1:-1]] for row in printed.splitlines() if "|" in row]
    return [row[len(cells) :] for row in tables if row[: len(cells)] == list(cells)]


def test_the_smallest_run_measures_all_ways(printed: str) -> None:
    found = [(row[1], row[2], row[7]) for row in rows(printed, "lenet5", "64")]
    sent = "5.02"  # MB: 2 (2-1)/2 times 1 256 080 numbers, and what aligns them
    assert found[:3] == [("1 × 1", "Trainer", ""), ("1 × 2", "Trainer", ""), ("1 × 2", "distributed", "0")]
    assert found[3:] == [
        ("2 × 1", "exact, memory in common", "0"), ("2 × 1", "exact, messages", sent), ("2 × 1", "exact=False", sent),
    ]  # fmt: skip


def test_the_smallest_run_prints_its_costs_and_the_plan(printed: str) -> None:
    for size in (1, 2, 4, 8, 16, 32):
        assert len(rows(printed, "lenet5", str(size))) == 1
    for link in scaling_plan.LINKS:
        for total in scaling_plan.SUMS:
            *laws, batches = rows(printed, "lenet5", link.name, total)
            assert [law[0] for law in laws] == ["32 a rank", "64 a rank", "256 in all", "1024 in all", "4096 in all"]
            assert all(re.fullmatch(r"\d+%", cell) for law in laws[:2] for cell in law[1:11])
            assert len(batches) == len(scaling_plan.RANKS)


def test_without_mpiexec_it_says_what_to_install(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    code = "import sys, bench_distributed as b; sys.executable = sys.argv[1]; b.mpiexec()"
    environment = os.environ | {"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(BENCH), str(BENCH.parent)])}
    command = [sys.executable, "-c", code, str(tmp_path / "python")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "pip install mpich" in done.stderr
