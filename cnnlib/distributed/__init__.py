"""One training, or prediction, on many processes: data-parallel over MPI, to the same bits for any number of them.

``mpiexec -n 4 cnnlib train lenet5 --distributed``, or in a script ``Trainer(…, distributed=True)``; nothing else
changes, and one process without ``mpiexec`` is the case of one rank. Needs the extra ``mpi`` (mpi4py) and an MPI:
docs/scale-out.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnlib.arrays import flag, number, whole
from cnnlib.errors import ConfigError

if TYPE_CHECKING:
    from cnnlib.distributed.processes import World
    from cnnlib.model import Model
    from cnnlib.stepping import Stepper
    from cnnlib.trainer import Trainer

__all__ = ["Distributed", "predict", "stepper_for", "world"]


@dataclass(frozen=True)
class Distributed:
    """How processes train together: ``Trainer(…, distributed=Distributed(chunk=16))``; True is ``Distributed()``.

    chunk: samples that one process computes at once, at most. A batch of N samples is ⌈N / chunk⌉ chunks, so that many
    processes can share it; the result depends on it in the last digits, never on the number of processes.
    Batch normalisation sees a chunk at a time, and needs at least two samples there.
    exact: add up the chunks' gradients in one order, for the same bits with any number of processes. False: leave the
    order to MPI, which may take a little less time between hosts, and none less on one: docs/scale-out.md.
    timeout: how many seconds processes wait for one of them before the run is ended, naming it.

    >>> Distributed(chunk=16)
    Distributed(chunk=16, exact=True, timeout=60.0)
    """

    chunk: int = 32
    exact: bool = True
    timeout: float = 60.0

    def __post_init__(self) -> None:
        whole(self.chunk, "Distributed: chunk", 1)
        flag(self.exact, "Distributed: exact")
        if not number(self.timeout, "Distributed: timeout", 0) > 0:
            raise ConfigError(f"Distributed: timeout = {self.timeout!r}: expected seconds, more than 0")


def world() -> World:
    """Return the processes of this run: ``world().rank``, ``world().size``, ``world().main``.

    Raises MissingExtraError without mpi4py or an MPI.
    """
    from cnnlib.distributed.processes import world

    return world()


def predict(model: Model, x: Any, batch_size: int = 256) -> Any:
    """Return what ``model.predict(x, batch_size)`` does, on every process; each computes its part of the batches.

    x: all samples, the same on every process, of which each reads its own part; a memory-mapped file will do.
    Raises what ``model.predict`` raises.
    """
    from cnnlib.distributed.dealing import joined, length, part

    processes = world()
    with processes.guarded():
        batch_size = whole(batch_size, "batch_size", 1)
        samples = length(x)
        batches = -(-samples // batch_size)
        first, last = (batch_size * ((processes.rank + i) * batches // processes.size) for i in (0, 1))
        own = [model.predict(part(x, slice(first, last)), batch_size)] if first < min(last, samples) else []
        found = [one for given in processes.gather(own, "a prediction") for one in given]
        return joined(found) if found else model.predict(x, batch_size)


def stepper_for(trainer: Trainer, distributed: bool | Distributed) -> Stepper:
    """Return what takes a trainer's steps together with other processes.

    Raises MissingExtraError without mpi4py or an MPI, ConfigError for other values of `distributed` than Trainer takes.
    """
    from cnnlib.distributed.stepper import DistributedStepper

    if distributed is True:
        distributed = Distributed()
    if not isinstance(distributed, Distributed):
        raise ConfigError(f"distributed = {distributed!r}: expected True, False or Distributed(…)")
    return DistributedStepper(trainer, distributed)
