"""The table: a row's measurements, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["RivalTime", "Row", "Table"]


@dataclass(frozen=True)
class RivalTime:
    """A rival's best variant, and how many times cnnlib's median is shorter."""

    median_ms: float
    min_ms: float
    ratio: float
    variant: str = ""
    others: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """All that rule 7 of a claim asks for: see the head of `cnnlib.bench`."""

    layer: str
    which: str
    shape: str
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

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)


HEADINGS = {"reference": "× NumPy", "torch": "× torch", "onnxruntime": "× ORT"}
LEGEND = """\
ms: median of all calls; GFLOP/s, GB/s and ratios are of medians
{rivals}{mark}peak: share of that of multiply-adds in registers; padding counts as work, so skipping it can pass 100 %
error: largest deviation from float64 over the largest value"""
RIVALS = "× NumPy, × torch, × ORT: how many times longer the rival takes; above 1, cnnlib is faster\n"
MARK = "* the better of PyTorch's variants was channels_last, or the fused optimizer\n"


class Table:
    """Prints rows one by one, aligned for a terminal or as Markdown; columns only for `rivals` that run."""

    def __init__(self, rivals: Sequence[str], isas: bool, markdown: bool) -> None:
        self.rivals, self.isas, self.markdown = rivals, isas, markdown
        self._columns = {"layer": -8, "pass": -7, "shape": -23}
        if isas:
            self._columns["isa"] = -8
        self._columns |= {"thr": 3, "ms": 8, "min": 8, "GFLOP/s": 7, "GB/s": 5, "peak": 5, "error": 7}
        self._columns |= {HEADINGS[rival]: 8 for rival in rivals}

    def head(self) -> str:
        """Return the heading and its rule."""
        rule = ["-" * abs(width) for width in self._columns.values()]
        if self.markdown:
            rule = [r if width < 0 else f"{r[1:]}:" for r, width in zip(rule, self._columns.values(), strict=True)]
        return f"{self._line(list(self._columns))}\n{self._line(rule)}"

    def line(self, row: Row) -> str:
        """Return a row."""
        cells = [row.layer, row.which, row.shape, *([row.isa] if self.isas else []), str(row.threads)]
        cells += [_number(row.median_ms), _number(row.min_ms), _number(row.gflops), _number(row.gbytes)]
        cells += ["" if row.share_of_peak is None else f"{row.share_of_peak:.0%}", f"{row.error:.1e}"]
        for rival in self.rivals:
            time = row.rivals.get(rival)
            mark = "*" if time and time.variant in ("channels_last", "fused") else " "
            cells.append(f"{_number(time.ratio)}{mark if rival == 'torch' else ''}" if time else "")
        return self._line(cells)

    def legend(self) -> str:
        """Return what the columns mean."""
        return LEGEND.format(rivals=RIVALS if self.rivals else "", mark=MARK if "torch" in self.rivals else "")

    def _line(self, cells: Sequence[str]) -> str:
        padded = [
            f"{cell:<{-width}}" if width < 0 else f"{cell:>{width}}"
            for cell, width in zip(cells, self._columns.values(), strict=True)
        ]
        return f"| {' | '.join(padded)} |" if self.markdown else " ".join(padded).rstrip()


def _number(value: float | None) -> str:
    """Three digits that matter, the whole part entire.

    >>> [_number(x) for x in (1234.5, 56.78, 9.8765, 0.0123456, None)]
    ['1234', '56.8', '9.88', '0.0123', '']
    """
    if value is None:
        return ""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{digits}f}"
