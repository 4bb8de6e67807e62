"""Profile of a model: how long each step of its plan takes, forward and backward, and how fast that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnlib import chance
from cnnlib.arrays import flag
from cnnlib.config import get_num_threads
from cnnlib.layers.checks import count
from cnnlib.plan import Plan
from cnnlib.plan_table import PlanRow, aligned, plan_table

if TYPE_CHECKING:
    from cnnlib.model import Model

__all__ = ["Profile", "ProfileRow", "profile"]


@dataclass(frozen=True)
class ProfileRow:
    """One step: the layers that run together, by name, and as what. Times are medians in milliseconds of one batch.

    share: of the time of all steps. multiply_adds: of the batch, forward. gflops: floating-point operations, two for
    each multiply-add of both passes as the formula has it, per nanosecond; None where they are not what takes the time.
    A convolution by Winograd's tiles multiplies less than that, and may seem faster than the machine can be.
    """

    layers: str
    runs: str
    forward_ms: float
    backward_ms: float | None
    share: float
    multiply_adds: int
    gflops: float | None


@dataclass(frozen=True)
class Profile:
    """What `Model.profile` returns: `rows`, one for each step, in their order, and, printed, a table."""

    batch: int
    dtype: str
    rounds: int
    threads: int
    rows: tuple[ProfileRow, ...]

    @property
    def forward_ms(self) -> float:
        """What all steps take forward."""
        return sum(row.forward_ms for row in self.rows)

    @property
    def backward_ms(self) -> float | None:
        """What all steps take backward; None for inference."""
        times = [row.backward_ms for row in self.rows if row.backward_ms is not None]
        return sum(times) if times else None

    def __str__(self) -> str:
        lines = [["layers", "runs", "forward ms", "backward ms", "share", "multiply-adds", "GFLOP/s"]]
        for row in self.rows:
            times = f"{row.forward_ms:.3f}", _ms(row.backward_ms), f"{row.share:.0%}"
            work = f"{row.multiply_adds:,}" if row.multiply_adds else ""
            lines.append([row.layers, row.runs, *times, work, "" if row.gflops is None else f"{row.gflops:.1f}"])
        total = sum(row.multiply_adds for row in self.rows)
        lines.append(["all", "", f"{self.forward_ms:.3f}", _ms(self.backward_ms), "100%", f"{total:,}", ""])
        whole = self.forward_ms + (self.backward_ms or 0)
        speed = f", {self.batch / whole * 1e3:,.0f} samples/s" if whole else ""
        mode = "inference" if self.backward_ms is None else "training"
        how = f"median of {self.rounds} rounds on {self.threads} thread{'s' * (self.threads > 1)}"
        return "\n".join([f"batch {self.batch}, {self.dtype}, {mode}, {how}{speed}", *aligned(lines, 2)])


def profile(model: Model, x: Any, training: bool, rounds: int) -> Profile:
    """Do what `Model.profile` says."""
    training, rounds = flag(training, "training"), count(rounds, "rounds")
    xs = model._arrays(x)
    plan = Plan(model.graph, len(xs[0]), model._dtype(xs), training)
    before = model.state_dict()
    generators = {name: chance.state(layer) for name, layer in model.layers.items()}
    try:
        table = plan_table(plan, rounds, xs)
    finally:
        if training:
            model.zero_grad()
        model.load_state_dict(before)
        for name, layer in model.layers.items():
            chance.load_state(layer, generators[name])
    return Profile(table.batch, table.dtype, rounds, get_num_threads(), tuple(map(_row, table.rows)))


def _row(row: PlanRow) -> ProfileRow:
    seconds = (row.forward_ms + (row.backward_ms or 0)) / 1e3
    operations = 2 * (row.multiply_adds + row.backward_multiply_adds)
    gflops = operations / seconds / 1e9 if operations and seconds else None
    times = row.forward_ms, row.backward_ms
    return ProfileRow(row.names, row.runs, *times, row.measured, row.multiply_adds, gflops)


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
