"""The table: a row's measurements, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Column", "RivalTime", "Row", "Table", "error_lines", "head", "line", "number"]

Column = tuple[str, int]  # heading and width, negative where cells are flush left


@dataclass(frozen=True)
class RivalTime:
    """A rival's best variant, and how many times cnnlib's time is shorter: median and quartiles of the rounds."""

    median_ms: float
    min_ms: float
    ratio: float
    quartiles: tuple[float, float] = (0.0, 0.0)
    variant: str = ""
    others: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """All that rule 7 of a claim asks for: see the head of `cnnlib.bench`.

    errors: of a convolution, the error of every algorithm, by name.
    """

    layer: str
    which: str
    shape: str
    batch: int
    isa: str
    threads: int
    median_ms: float
    min_ms: float
    calls: int
    gflops: float | None
    gbytes: float | None
    share_of_peak: float | None
    error: float
    rivals: dict[str, RivalTime]
    errors: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)


HEADINGS = {"reference": "× NumPy", "torch": "× torch", "onnxruntime": "× ORT"}
LEGEND = """\
ms: median of the rounds; GFLOP/s and GB/s are of it; min: the shortest call
{rivals}{mark}peak: share of that of multiply-adds in registers; padding counts as work, so skipping it can pass 100 %
error: largest deviation from float64 over the largest value; of a training step, the worst gradient's deviation over
its own length, which one ReLU whose input rounds to the other side of 0 makes large"""
RIVALS = "× NumPy, × torch, × ORT: how many times longer the rival takes, median of rounds; above 1, cnnlib is faster\n"
MARK = "* the better of PyTorch's variants was channels_last, or the fused optimizer\n"


class Table:
    """Prints rows one by one, aligned for a terminal or as Markdown; columns only for `rivals` that run."""

    def __init__(self, rivals: Sequence[str], isas: bool, markdown: bool) -> None:
        self.rivals, self.isas, self.markdown = rivals, isas, markdown
        self._columns = [("layer", -8), ("pass", -8), ("shape", -27), *([("isa", -8)] if isas else [])]
        self._columns += [("thr", 3), ("ms", 8), ("min", 8), ("GFLOP/s", 7), ("GB/s", 5), ("peak", 5), ("error", 7)]
        self._columns += [(HEADINGS[rival], 8) for rival in rivals]

    def head(self) -> str:
        """Return the heading and its rule."""
        return head(self._columns, self.markdown)

    def line(self, row: Row) -> str:
        """Return a row."""
        cells = [row.layer, row.which, row.shape, *([row.isa] if self.isas else []), str(row.threads)]
        cells += [number(row.median_ms), number(row.min_ms), number(row.gflops), number(row.gbytes)]
        cells += ["" if row.share_of_peak is None else f"{row.share_of_peak:.0%}", f"{row.error:.1e}"]
        for rival in self.rivals:
            time = row.rivals.get(rival)
            mark = "*" if time and time.variant in ("channels_last", "fused") else " "
            cells.append(f"{number(time.ratio)}{mark if rival == 'torch' else ''}" if time else "")
        return line(self._columns, cells, self.markdown)

    def legend(self) -> str:
        """Return what the columns mean."""
        return LEGEND.format(rivals=RIVALS if self.rivals else "", mark=MARK if "torch" in self.rivals else "")


def error_lines(rows: Sequence[Row], markdown: bool) -> list[str]:
    """Return the table of the algorithms' errors, each beside its ratio to the first algorithm's; [] without any.

    Threads do not change a result: one line for each layer, pass and instruction set.
    """
    measured = {(row.layer, row.which, row.isa): row.errors for row in rows if row.errors}
    if not measured:
        return []
    first, *others = next(iter(measured.values()))
    columns = [("layer", -8), ("pass", -8), ("isa", -8), (first, 8)]
    for name in others:
        columns += [(name, 8), (f"× {first}", 8)]
    lines = [head(columns, markdown)]
    for key, errors in measured.items():
        cells = [*key, f"{errors[first]:.1e}"]
        for name in others:
            cells += [f"{errors[name]:.1e}", number(errors[name] / errors[first]) if errors[first] else ""]
        lines.append(line(columns, cells, markdown))
    return lines


def head(columns: Sequence[Column], markdown: bool) -> str:
    """Return headings and their rule, aligned for a terminal or as Markdown."""
    rule = ["-" * abs(width) for _, width in columns]
    if markdown:
        rule = [r if width < 0 else f"{r[1:]}:" for r, (_, width) in zip(rule, columns, strict=True)]
    return f"{line(columns, [name for name, _ in columns], markdown)}\n{line(columns, rule, markdown)}"


def line(columns: Sequence[Column], cells: Sequence[str], markdown: bool) -> str:
    """Return one row of cells."""
    padded = [
        f"{cell:<{-width}}" if width < 0 else f"{cell:>{width}}"
        for cell, (_, width) in zip(cells, columns, strict=True)
    ]
    return f"| {' | '.join(padded)} |" if markdown else " ".join(padded).rstrip()


def number(value: float | None) -> str:
    """Three digits that matter, the whole part entire.

    >>> [number(x) for x in (1234.5, 56.78, 9.8765, 0.0123456, None)]
    ['1234', '56.8', '9.88', '0.0123', '']
    """
    if value is None:
        return ""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{digits}f}"
