"""What bench/bench_distributed.py asks of the processes that it starts: timed steps, and the costs of their parts.

Every rank runs `work`. Rank 0 reads orders from its standard input, a line of JSON each, all ranks follow them, and
rank 0 prints a line of JSON with what came of it. Who waits for an order sleeps.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

import cnnlib
from cnnlib import functional
from cnnlib.bench.architectures import NETS
from cnnlib.bench.nets import LEARNING_RATE, MOMENTUM, NetTask
from cnnlib.distributed import Distributed, processes, world
from cnnlib.distributed.chunks import Node, Tree
from cnnlib.distributed.flat import Layout
from cnnlib.distributed.summation import Summation

__all__ = ["COMMON", "MESSAGES", "PLAIN", "work"]

#: How the ranks' gradients become one.
COMMON, MESSAGES, PLAIN = "exact, memory in common", "exact, messages", "exact=False"
PAUSE = 0.005  # seconds between two looks for an order
# What a rank does for the exchange: hands out pieces, adds up, waits, tells the others.
EXCHANGE = (
    (Summation, ("_begin", "_advance", "result")),
    (processes.World, ("gather", "to_main", "largest")),
)


class Stopwatch:
    """Adds up the seconds spent in some methods; what one calls of the others counts once."""

    def __init__(self) -> None:
        self.seconds, self._running = 0.0, False

    def watch(self, owner: type, name: str) -> None:
        former = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._running:
                return former(*args, **kwargs)
            self._running, start = True, time.perf_counter()
            try:
                return former(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start
                self._running = False

        setattr(owner, name, timed)


class Trainers:
    """The trainers of one net and batch, by the way of their sums; None: a plain Trainer."""

    def __init__(self, name: str, batch: int, chunk: int, metrics: Sequence[str] | None) -> None:
        self.x, self.y = NetTask(NETS[name], "train", batch).data
        self._name, self._metrics = name, metrics
        self._settings = partial(Distributed, chunk=chunk, timeout=600)
        self._made: dict[str | None, cnnlib.Trainer] = {}

    def __getitem__(self, sums: str | None) -> cnnlib.Trainer:
        if sums not in self._made:
            # Several ranks take the same chunks in all ways: one model's memory serves them.
            alike = next(iter(self._made.values())) if self._made and world().size > 1 else None
            self._made[sums] = cnnlib.Trainer(
                alike.model if alike else NETS[self._name].build(rng=0),
                cnnlib.CrossEntropyLoss(),
                alike.optimizer if alike else cnnlib.SGD(LEARNING_RATE, momentum=MOMENTUM),
                metrics=self._metrics,
                distributed=False if sums is None else self._settings(exact=sums != PLAIN),
            )
        return self._made[sums]


class Pass:
    """Forward, backward and update of one chunk, timed. whole: when in the backward pass each piece was there."""

    def __init__(self, trainer: cnnlib.Trainer, layout: Layout, x: Any, y: Any) -> None:
        self._pieces, clock = layout.piece_of, time.perf_counter
        self._left = [list(self._pieces.values()).count(piece) for piece in range(len(layout.pieces))]
        self.whole = [0.0] * len(self._left)
        start = clock()
        self.prediction = trainer.model.forward(x, training=True)
        self.values = trainer.objective.forward(self.prediction, y, None)
        self._begin = clock()
        trainer.model.backward(trainer.objective.backward(1.0), input_grad=False, finished=self._finished)
        end = clock()
        trainer.optimizer.step(trainer.model.parameters())
        self.forward, self.backward, self.update = self._begin - start, end - self._begin, clock() - end
        self.whole[-1] = self.backward  # it has what batch normalisation remembers, too

    def _finished(self, parameters: Sequence[Any]) -> None:
        for piece in (self._pieces[id(parameter)] for parameter in parameters):
            self._left[piece] -= 1
            if not self._left[piece]:
                self.whole[piece] = time.perf_counter() - self._begin


class Worker:
    """One rank; its public methods are what it can be asked for."""

    def __init__(self) -> None:
        self._trainers: dict[str, Trainers] = {}
        self._shares, self._watch = processes.World.shares, Stopwatch()
        for owner, names in EXCHANGE:
            for name in names:
                self._watch.watch(owner, name)

    def steps(self, sums: str | None, threads: int, warm: int, count: int, **what: Any) -> dict[str, Any]:
        """Take some steps; return the seconds of each, and those of a step that ranks spent on the exchange."""
        key = repr(what)
        if key not in self._trainers:  # one net at a time: the memory of a large one is large
            self._trainers = {key: Trainers(**what)}
        trainers = self._trainers[key]
        trainer, times = trainers[sums], []
        cnnlib.set_num_threads(threads)
        # Without memory in common there are messages.
        processes.World.shares = self._shares if sums == COMMON else lambda self, size: False  # type: ignore[method-assign]
        for i in range(-warm, count):
            if i == 0:
                world().meet("the first step")
                self._watch.seconds = 0.0
            start = time.perf_counter()
            trainer.train_step(trainers.x, trainers.y)
            trainer.stepper.agreed(None, "")
            if i >= 0:
                times.append(time.perf_counter() - start)
        spent = world().gather(self._watch.seconds / count, "the times")
        return {"times": times, "exchange": statistics.mean(spent)}

    def chunks(
        self, name: str, sizes: Sequence[int], threads: int, seconds: float, metrics: Sequence[str] | None
    ) -> dict[str, Any]:
        """Time the parts of a step with chunks of some sizes, as one rank computes them, for some seconds each."""
        cnnlib.set_num_threads(threads)
        optimizer, pickle = cnnlib.SGD(LEARNING_RATE, momentum=MOMENTUM), world().mpi.pickle
        trainer = cnnlib.Trainer(NETS[name].build(rng=0), cnnlib.CrossEntropyLoss(), optimizer, metrics=metrics)
        layout = Layout(trainer.model)
        flat = layout.array()
        data = NetTask(NETS[name], "train", max(sizes)).data
        found = []
        for size in sizes:
            x, y = (array[:size] for array in data)
            passes: list[Pass] = []
            end = 0.0
            while len(passes) < 3 or time.perf_counter() < end:
                layout.place(flat)
                passes.append(Pass(trainer, layout, x, y))
                end = end or time.perf_counter() + seconds
            counted = passes[1:]  # the first makes plans and memory
            times = {
                part: np.median([getattr(one, part) for one in counted], axis=0).tolist()
                for part in ("forward", "backward", "whole", "update")
            }
            # Without metrics rank 0 is sent nothing.
            told = pickle.dumps([(counted[0].prediction, y)]) if trainer.objective.metrics else b""
            reading = seconds_of(partial(pickle.loads, told)) if told else 0.0
            found.append({"samples": size, "report": len(told), "reading": reading, **times})
        return {"pieces": [(p.stop - p.start) * layout.dtype.itemsize for p in layout.pieces], "chunks": found}

    def overheads(self, threads: int) -> dict[str, float]:
        """Time what a process does for each other one: begin an addition, add (bytes a second)."""
        cnnlib.set_num_threads(threads)
        many, width = 256, 1 << 18

        def add(values: Mapping[Node, Any]) -> Any:
            return Tree(len(values)).total(values, lambda left, right: functional.add(left, right, out=left))

        short = {Node(0, i): np.zeros(16, np.float32) for i in range(many)}
        long = {Node(0, i): np.zeros(width, np.float32) for i in range(17)}
        addition = seconds_of(partial(add, short)) / (many - 1)
        adding = 4 * width / max(seconds_of(partial(add, long)) / 16 - addition, 1e-9)
        return {"addition": addition, "adding": adding}

    def messages(self, sizes: Sequence[int], rounds: int) -> list[float]:
        """Time messages there and back between the first two ranks; return half the least of it for each size."""
        own, found = world(), []
        for size in sizes:
            data, times = np.zeros(size, np.uint8), []
            for _ in range(rounds):
                own.meet("a message")
                start = time.perf_counter()
                # The first sends, then receives; the second the other way round.
                for send in {0: (True, False), 1: (False, True)}.get(own.rank, ()):
                    other = 1 - own.rank
                    own.wait([(own.sums.Isend if send else own.sums.Irecv)(data, other)], "a message")
                times.append((time.perf_counter() - start) / 2)
            found.append(min(times))
        return found


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the least time of a short call: what else runs on the machine can only lengthen it."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def work() -> None:
    """Follow orders until there are no more."""
    worker, comm = Worker(), world().mpi.COMM_WORLD.Dup()
    while True:
        if world().main:
            order = json.loads(sys.stdin.readline() or "null")
            for rank in range(1, world().size):
                comm.send(order, rank)
        else:
            while not comm.iprobe(0):
                time.sleep(PAUSE)
            order = comm.recv(source=0)
        if order is None:
            return
        reply = getattr(worker, order.pop("do"))(**order)
        if world().main:
            print(json.dumps({"reply": reply}), flush=True)
