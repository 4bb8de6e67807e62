"""What the table says in short: ratios that the rows give, and cnnlib against itself."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cnnlib import config
from cnnlib.bench.architectures import NETS
from cnnlib.bench.named import GROUPS, LAYERS
from cnnlib.bench.nets import NetTask
from cnnlib.bench.table import Row, head, line, number
from cnnlib.bench.timing import Pace, Timing, interleave
from cnnlib.bench.work import verify

__all__ = ["Claim", "Setting", "against_itself", "claims", "claims_of_itself", "lines"]

Setting = tuple[str, int]  # instruction set and threads

NAMES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}

# Which passes of a net the summary tells, of those that have many; all of the others.
HEADLINES = {"lenet5": (("train", 64), ("predict", 64), ("predict", 1))}

#: The net that is measured against itself, and its batch.
OWN_NET, OWN_BATCH = "lenet5", 64


@dataclass(frozen=True)
class Claim:
    """How many times faster cnnlib does something than what it is compared with.

    ratio: of the times that count; best: of the shortest calls. Where the two differ, something else was running.
    """

    what: str
    isa: str
    threads: int
    against: str
    ratio: float
    best: float

    def as_json(self) -> dict[str, Any]:
        """Return the claim as JSON values."""
        return asdict(self)


# What is said, against which rival in words, and the rows, with the rival's name, whose geometric mean is meant.
Told = tuple[str, str, str, list[Row]]


def claims(rows: Sequence[Row]) -> list[Claim]:
    """Return what `rows` say against PyTorch and ONNX Runtime, as far as they were measured."""
    found = []
    for isa, threads in dict.fromkeys((row.isa, row.threads) for row in rows):
        here = [row for row in rows if (row.isa, row.threads) == (isa, threads)]
        for what, against, rival, members in [*_of_nets(here), *_of_groups(here), *_worst(here)]:
            ratio = statistics.geometric_mean(row.rivals[rival].ratio for row in members)
            best = statistics.geometric_mean(row.rivals[rival].min_ms / row.min_ms for row in members)
            found.append(Claim(what, isa, threads, against, ratio, best))
    return found


def _of_nets(rows: Sequence[Row]) -> Iterator[Told]:
    for row in rows:
        if row.layer in NETS and (row.which, row.batch) in HEADLINES.get(row.layer, NETS[row.layer].passes):
            against = [rival for rival in NAMES if rival in row.rivals]
            if against:
                fastest = min(against, key=lambda rival: row.rivals[rival].ratio)
                words = NAMES[fastest] + (", the faster" if len(against) > 1 else "")
                yield _title(row.layer, row.which, row.batch), words, fastest, [row]


def _title(net: str, which: str, batch: int) -> str:
    action = "training step" if which == "train" else "prediction"
    return f"{NETS[net].title}, {action}, {f'batch {batch}' if batch > 1 else 'one image'}"


def _of_groups(rows: Sequence[Row]) -> Iterator[Told]:
    for kind, layers in GROUPS.items():
        for which in ("forward", "backward"):
            members = [row for row in rows if row.layer in layers and row.which == which and "torch" in row.rivals]
            if members:
                names = ", ".join(row.layer for row in members)
                yield f"{kind} ({names}), {which}", NAMES["torch"], "torch", members


def _worst(rows: Sequence[Row]) -> Iterator[Told]:
    kinds: dict[str, Callable[[Row], bool]] = {
        "slowest convolution": lambda row: LAYERS[row.layer].kind == "conv2d" and row.which in ("forward", "backward"),
        "slowest other layer": lambda row: LAYERS[row.layer].kind != "conv2d",
    }
    for what, belongs in kinds.items():
        members = [row for row in rows if row.layer in LAYERS and "torch" in row.rivals and belongs(row)]
        if members:
            worst = min(members, key=lambda row: row.rivals["torch"].ratio)
            yield f"{what}: {worst.layer} {worst.which}", NAMES["torch"], "torch", [worst]


def against_itself(settings: Sequence[Setting], pace: Pace) -> dict[Setting, Timing]:
    """Time a training step in each of `settings`, in turn; verified as every contestant is."""
    task = NetTask(NETS[OWN_NET], "train", OWN_BATCH)
    calls = {}
    for isa, threads in settings:
        contestant = task.contestant("cnnlib")
        with config.using(isa, threads):
            verify(task, "cnnlib", contestant)

        def step(run: Callable[[], Any] = contestant.run, isa: str = isa, threads: int = threads) -> None:
            with config.using(isa, threads):
                run()

        calls[isa, threads] = step
    return interleave(calls, pace)


def claims_of_itself(timings: Mapping[Setting, Timing]) -> list[Claim]:
    """Return how many times faster the first setting is than each other one, or for instruction sets the reverse."""
    (isa, threads), own = next(iter(timings.items()))
    what, found = _title(OWN_NET, "train", OWN_BATCH), []
    for (other_isa, other_threads), other in timings.items():
        if other_threads != threads:
            against = f"itself on {other_threads} thread{'s' * (other_threads > 1)}"
            found.append(_claim_of_itself(what, isa, threads, against, own, other))
        elif other_isa != isa:
            found.append(_claim_of_itself(what, other_isa, threads, f"itself with {isa}", other, own))
    return found


def _claim_of_itself(what: str, isa: str, threads: int, against: str, own: Timing, other: Timing) -> Claim:
    return Claim(what, isa, threads, against, statistics.median(other.ratios_to(own)), other.best / own.best)


def lines(found: Sequence[Claim], markdown: bool) -> list[str]:
    """Return the claims as a table."""
    width = max(len(claim.what) for claim in found)
    columns = [("in short", -width), ("isa", -8), ("thr", 3), ("against", -24), ("× faster", 8), ("min", 8)]
    rows = [
        [claim.what, claim.isa, str(claim.threads), claim.against, number(claim.ratio), number(claim.best)]
        for claim in found
    ]
    return [head(columns, markdown), *(line(columns, cells, markdown) for cells in rows)]
