"""Training on several processes: what it costs on this machine, and a plan for up to 1024 machines.

    python bench/bench_distributed.py             # LeNet-5 and ResNet-18: three minutes
    python bench/bench_distributed.py --quick     # LeNet-5 alone, few rounds: seconds, to see that it works
    python bench/bench_distributed.py --nets lenet5,cifar --batches lenet5=64,256 --rounds 15
    python bench/bench_distributed.py --markdown  # to paste

Needs mpi4py and an `mpiexec`, which it starts itself: one process for what runs on one rank, and as many as the machine
has cores for the rest. Both stay, and take turns in rounds of short blocks of steps on one batch; whoever is not asked
sleeps. A time is the median of the rounds' medians, a ratio the median of the ratios within each round.

The first table, of this machine:

    of 1×1      efficiency: images a second over those of a plain Trainer on 1 rank × 1 thread, and over the cores used
    of 1×all    images a second over those of a plain Trainer on 1 rank × all threads
    MB sent     of the gradient, by each rank in each step: 2 (P-1)/P times its size; through memory in common none is
    exchange    milliseconds of a step that a rank spends in it (mean of the ranks): adding up, sending, waiting
    model       what the formulas of the plan give for this host, where messages cost processor time: to judge them by

A step is `Trainer.train_step` and what `fit` asks all processes after each batch, whether to stop. "Trainer" is one
without `distributed`, whose chunk is the batch; all others take chunks of `--chunk` samples, or fewer where ranks would
have nothing to do. Then the plan, by the formulas of bench/scaling_plan.py from what is measured here before it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from scaling_plan import ENOUGH, LINKS, RANKS, SUMS, Chunk, Link, Net, Overheads, Plan, ring, tree
from scaling_worker import COMMON, MESSAGES, PLAIN, work

import cnnlib
from cnnlib import config
from cnnlib.bench.table import Column, head, line, number
from cnnlib.bench.timing import Timing

BATCHES = {"lenet5": (64, 256), "cifar": (64,), "resnet18": (32,)}
STRONG = (256, 1024, 4096)  # global batches
WEAK = (32, 64)  # samples a rank
SHORT, LONG = 8, 1 << 22  # bytes of the messages that are timed
LEGEND = """\
of 1×1: images/s over those of 1 × 1, for each core; of 1×all: over those of the Trainer on all cores
MB sent: of the gradient, by a rank in a step; exchange: ms of a step for adding up, sending, waiting
model: ms a step that the plan's formulas give for these ranks, from one rank's costs and messages here"""


class Way(NamedTuple):
    """A way to train. sums: None for a plain Trainer, else how the ranks' gradients become one."""

    ranks: int
    threads: int
    sums: str | None

    @property
    def title(self) -> str:
        return "Trainer" if self.sums is None else "distributed" if self.ranks == 1 else self.sums


def ways(cores: int) -> list[Way]:
    """Return all ways to train with one core or all of them; the first two are those that others are compared with."""
    together = [Way(cores, 1, sums) for sums in (COMMON, MESSAGES, PLAIN)]
    return [Way(1, 1, None), Way(1, cores, None), Way(1, cores, COMMON), *together]


def mpiexec() -> list[str]:
    """Return the command that starts processes; without one, exit saying how to get it."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None or find_spec("mpi4py") is None:
        sys.exit(
            f"there is no {'mpiexec' if found is None else 'mpi4py'} here: python -m pip install mpi4py, and an MPI, "
            "as your cluster's, your system's, or python -m pip install mpich"
        )
    version = subprocess.run([found, "--version"], stdout=subprocess.PIPE, text=True).stdout
    # Open MPI counts cores before it starts processes, and binds each to one; others do neither.
    open_mpi = "Open MPI" in version or "OpenRTE" in version
    return [found, *(["--oversubscribe", "--bind-to", "none", "--allow-run-as-root"] if open_mpi else [])]


class Job:
    """Ranks that wait for orders. Leaving the context ends them."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        command = [*mpiexec(), "-n", str(ranks), sys.executable, __file__, "--worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, do: str, **order: Any) -> Any:
        """Return the ranks' reply."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps({"do": do, **order}), file=self._process.stdin, flush=True)
        for reply in self._process.stdout:
            if reply.startswith("{"):
                return json.loads(reply)["reply"]
            print(reply, end="")
        sys.exit(f"the run on {self.ranks} rank{'s' * (self.ranks > 1)} ended early: its message is above")

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


@dataclass
class Measured:
    """A way's times, by rounds, and its seconds a step in the exchange."""

    timing: Timing
    exchange: float


def measure(
    jobs: Mapping[int, Job], compared: Sequence[Way], rounds: int, seconds: float, **what: Any
) -> dict[Way, Measured]:
    """Time one net with one batch in all ways, in turn."""
    times: dict[Way, list[list[float]]] = {way: [] for way in compared}
    exchange: dict[Way, list[float]] = {way: [] for way in compared}

    def ask(way: Way, warm: int, count: int) -> Any:
        return jobs[way.ranks].ask("steps", sums=way.sums, threads=way.threads, warm=warm, count=count, **what)

    last = {way: ask(way, 1, 1)["times"][-1] for way in compared}
    for i in range(rounds):
        for way in [*compared[i % len(compared) :], *compared[: i % len(compared)]]:
            time.sleep(0.02)  # whoever was asked before is at rest then
            count = max(1, int(seconds / last[way]))
            reply = ask(way, count // 2, count)
            times[way].append(reply["times"])
            exchange[way].append(reply["exchange"])
            last[way] = statistics.median(reply["times"])
    return {way: Measured(Timing(times[way]), statistics.median(exchange[way])) for way in compared}


MEASURED: list[Column] = [
    ("net", -9), ("batch", 5), ("chunk", 5), ("ranks×threads", -13), ("gradients", -23), ("ms/step", 8),
    ("images/s", 8), ("of 1×1", 6), ("of 1×all", 8), ("MB sent", 7), ("exchange", 8), ("model", 8),
]  # fmt: skip


def measured_lines(
    name: str, batch: int, chunk: int, found: Mapping[Way, Measured], plans: Mapping[str, Plan], markdown: bool
) -> Iterator[str]:
    """Yield the rows of one net and batch. plans: what the model is asked, by the way of the sums."""
    base, whole, *_ = found
    for way, own in found.items():
        median, cores = own.timing.median, way.ranks * way.threads
        speedup, of_whole = (1 / statistics.median(own.timing.ratios_to(found[w].timing)) for w in (base, whole))
        cells = [name, str(batch), "" if way.sums is None else str(chunk), f"{way.ranks} × {way.threads}", way.title]
        cells += [number(median * 1e3), number(batch / median), f"{speedup / cores:.0%}", f"{of_whole:.0%}"]
        if way.sums is not None:
            plan = plans.get(way.sums) if way.ranks > 1 else None
            sent = 2 * (way.ranks - 1) / way.ranks * sum(plan.net.pieces) / 1e6 if plan else 0
            fits = plan and batch % (way.ranks * chunk) == 0
            predicted = plan.step(way.ranks, batch // way.ranks) * 1e3 if plan and fits else None
            cells += [number(sent) if sent else "0", number(own.exchange * 1e3), number(predicted)]
        else:
            cells += [""] * 3
        yield line(MEASURED, cells, markdown)


COMPUTED: list[Column] = [
    ("net", -9), ("samples", 7), ("forward", 8), ("backward", 8), ("update", 8), ("images/s", 8), ("report", 8),
    ("pieces: MB, and at which part of backward they are whole", -57),
]  # fmt: skip


def computed_lines(net: Net, markdown: bool) -> Iterator[str]:
    """Yield what a chunk of each size costs."""
    for size, chunk in net.chunks.items():
        parts = (chunk.forward, chunk.backward, net.update)
        pieces = zip(net.pieces, chunk.whole, strict=True)
        cells = [net.name, str(size), *(number(part * 1e3) for part in parts), number(size / sum(parts))]
        cells += [str(chunk.report), ", ".join(f"{n / 1e6:.1f} {whole / chunk.backward:.0%}" for n, whole in pieces)]
        yield line(COMPUTED, cells, markdown)


PLANNED: list[Column] = [
    ("net", -9), ("link", -10), ("sum", -11), ("samples", -11), *((str(ranks), 5) for ranks in RANKS), ("below", 5),
]  # fmt: skip
LEAST: list[Column] = [("net", -9), ("link", -10), ("sum", -11), *((str(ranks), 7) for ranks in RANKS)]


def planned_lines(title: str, plan: Plan, markdown: bool) -> Iterator[str]:
    """Yield efficiencies, by numbers of ranks; the last column is the first number that is not efficient enough."""
    laws = [(f"{n} a rank", n, False) for n in WEAK] + [(f"{n} in all", n, True) for n in STRONG]
    for law, samples, strong in laws:
        by_ranks = {
            ranks: plan.efficiency(ranks, samples // ranks if strong else samples, strong)
            for ranks in RANKS
            if not strong or samples >= ranks
        }
        below = next((str(ranks) for ranks, value in by_ranks.items() if value < ENOUGH), "")
        cells = [f"{by_ranks[ranks]:.0%}" if ranks in by_ranks else "" for ranks in RANKS]
        yield line(PLANNED, [plan.net.name, plan.link.name, title, law, *cells, below], markdown)


def least_line(title: str, plan: Plan, markdown: bool) -> str:
    """Return the least global batches that are efficient enough, by numbers of ranks."""
    cells = [str(plan.least(ranks) or "none") for ranks in RANKS]
    return line(LEAST, [plan.net.name, plan.link.name, title, *cells], markdown)


class Bench:
    """All of it: what is measured and printed, one part after the other."""

    def __init__(self, args: argparse.Namespace, jobs: Mapping[int, Job]) -> None:
        self._args, self._jobs, self._cores = args, jobs, args.cores
        self._message, self._bulk = jobs[self._cores].ask("messages", sizes=[SHORT, LONG], rounds=50)
        sizes = [2**k for k in range(args.chunk.bit_length())]
        self._overheads = self._costs(self._cores)
        self._nets = {name: self._net(name, sizes, self._cores) for name in args.nets}

    def print_measured(self) -> None:
        args, here = self._args, Link("here", 0.0, LONG / self._bulk)
        overheads = self._costs(1)
        print(f"\nMeasured here, {args.rounds} rounds:\n\n{head(MEASURED, args.markdown)}", flush=True)
        for name in self._nets:
            for batch in args.batches.get(name, BATCHES[name]):
                chunk = min(args.chunk, -(-batch // self._cores))
                net = self._net(name, [chunk], 1)
                plans = {
                    way: Plan(net, chunk, here, total, overheads) for way, total in ((MESSAGES, ring), (PLAIN, tree))
                }
                what = {"name": name, "batch": batch, "chunk": chunk, "metrics": args.metrics}
                found = measure(self._jobs, ways(self._cores), args.rounds, args.seconds, **what)
                print(*measured_lines(name, batch, chunk, found, plans, args.markdown), sep="\n", flush=True)
        print(f"\n{LEGEND}")

    def print_costs(self) -> None:
        markdown, own = self._args.markdown, self._overheads
        print(
            f"\nWhat the plan is made of: a chunk on one rank of {self._cores} threads, in ms; its report, in bytes\n"
        )
        print(head(COMPUTED, markdown))
        for net in self._nets.values():
            print(*computed_lines(net, markdown), sep="\n")
        reading = [f"{net.chunks[self._args.chunk].reading * 1e6:.0f} µs ({net.name})" for net in self._nets.values()]
        print(
            f"\nA message of {SHORT} bytes: {self._message * 1e6:.1f} µs; of {LONG >> 20} MB: "
            f"{LONG / self._bulk / 1e9:.2f} GB/s. An addition: {own.addition * 1e6:.2f} µs to begin, "
            f"{own.adding / 1e9:.1f} GB/s.\n"
            f"Reading the predictions of {self._args.chunk} samples: {', '.join(reading)}"
        )

    def print_plan(self) -> None:
        markdown = self._args.markdown
        plans = [
            (title, Plan(net, self._args.chunk, link, total, self._overheads))
            for net in self._nets.values()
            for link in LINKS
            for title, total in SUMS.items()
        ]
        assumed = ", ".join(f"{link.latency * 1e6:g} µs ({link.name})" for link in LINKS)
        print("\nThe plan: efficiency by numbers of ranks, each a machine like this one with a link of its own.")
        print(f"Assumed: a message takes {assumed} more than here; the backward pass goes on meanwhile.")
        print(
            f"below: the first number of ranks with less than {ENOUGH:.0%}, if any. No figure: more ranks than samples."
        )
        print(f"\n{head(PLANNED, markdown)}")
        for title, plan in plans:
            print(*planned_lines(title, plan, markdown), sep="\n")
        print(f"\nThe least batch, of all ranks, with which they are {ENOUGH:.0%} efficient\n\n{head(LEAST, markdown)}")
        for title, plan in plans:
            print(least_line(title, plan, markdown))

    def _net(self, name: str, sizes: Sequence[int], threads: int) -> Net:
        """Return a net's costs on one rank."""
        more = {"seconds": self._args.seconds, "metrics": self._args.metrics}
        reply = self._jobs[1].ask("chunks", name=name, sizes=sizes, threads=threads, **more)
        update = statistics.median(row.pop("update") for row in reply["chunks"])
        chunks = {row.pop("samples"): Chunk(**row) for row in reply["chunks"]}
        return Net(name, tuple(reply["pieces"]), update, chunks)

    def _costs(self, threads: int) -> Overheads:
        return Overheads(message=self._message, **self._jobs[1].ask("overheads", threads=threads))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="lenet5,resnet18", help=f"some of {','.join(BATCHES)} (%(default)s)")
    parser.add_argument("--batches", action="append", default=[], metavar="NET=N,N", help="of a net; may be repeated")
    parser.add_argument("--chunk", type=int, default=32, help="most samples of a chunk, a power of two (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="how often each takes its turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.2, help="of a turn, at least one step (%(default)s)")
    cores = max(2, cnnlib.get_num_threads())
    parser.add_argument("--cores", type=int, default=cores, help="how many threads, or ranks, there are (%(default)s)")
    parser.add_argument(
        "--no-metrics",
        dest="metrics",
        action="store_const",
        const=[],
        help="no accuracy: predictions stay where they are",
    )
    parser.add_argument("--quick", action="store_true", help="LeNet-5 with one batch, one round: to see that it works")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--worker", action="store_true", help="be one of the ranks, as mpiexec is told")
    args = parser.parse_args()
    if args.chunk < 1 or args.chunk & (args.chunk - 1):
        parser.error(f"--chunk {args.chunk}: expected a power of two, for which the plan has measurements")
    if args.cores < 2:
        parser.error(f"--cores {args.cores}: expected 2 or more, to compare one rank with several")
    args.nets = args.nets.split(",")
    pairs = (given.partition("=") for given in args.batches)
    args.batches = {net: tuple(map(int, batches.split(","))) for net, _, batches in pairs}
    if args.quick:
        args.nets, args.batches, args.rounds, args.seconds = ["lenet5"], {"lenet5": (64,)}, 1, 0.02
    if unknown := {*args.nets, *args.batches} - set(BATCHES):
        parser.error(f"no net {', '.join(sorted(unknown))}: expected some of {', '.join(BATCHES)}")
    return args


def main() -> None:
    args = options()
    if args.worker:
        work()
        return
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"cnnlib {cnnlib.__version__}, {config.get_isa()}, {args.cores} of {os.cpu_count()} cores{load}", flush=True)
    with ExitStack() as stack:
        bench = Bench(args, {ranks: stack.enter_context(Job(ranks)) for ranks in (1, args.cores)})
        bench.print_measured()
    bench.print_costs()
    bench.print_plan()


if __name__ == "__main__":
    main()
