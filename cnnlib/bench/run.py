"""The command ``cnnlib bench``: chooses the tasks, times them, prints the table, writes it as JSON."""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cnnlib import config
from cnnlib.bench import rivals
from cnnlib.bench.named import LAYERS
from cnnlib.bench.nets import NET, NET_PASSES, NetTask
from cnnlib.bench.table import RivalTime, Row, Table
from cnnlib.bench.timing import Pace, Timing, interleave, settle
from cnnlib.bench.work import KernelTask, Task, verify
from cnnlib.errors import ConfigError
from cnnlib.serialize import write_atomically

__all__ = ["main", "measure"]

QUICK_LAYERS = ("lenet1", "lenet2", "pool1", "fc1", "relu1", "loss", "sgd", NET)
QUICK_PACE = Pace(rounds=3, block=0.03, slow=1)

# Of the peak of as many separate cores: less than this is not explained by a lower clock.
CROWDED = 0.75


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cnnlib bench`` with the arguments `argv` and return the exit status.

    Raises ConfigError for arguments that cannot be used, WrongResultError if any contestant computes something wrong.
    """
    arguments = _parser().parse_args(argv)
    names = _layers(arguments.layers) or (list(QUICK_LAYERS) if arguments.quick else [*LAYERS, NET])
    isas = _words(arguments.isa) or [config.get_isa()]
    threads = _numbers(arguments.threads) or [config.get_num_threads()]
    wanted = _words(arguments.against)
    against = rivals.chosen(None if not wanted else [] if wanted == ["none"] else wanted)
    pace = QUICK_PACE if arguments.quick else Pace()
    table = Table(against, len(isas) > 1, arguments.markdown)
    header, shown = _header(against), config.show_config()
    print("\n".join(f"{key:<16}  {value}" for key, value in header.items()), shown, sep="\n", flush=True)
    settings = list(itertools.product(isas, threads))
    peaks = {setting: _peak(*setting) for setting in settings}
    _print_peaks(peaks)
    print(f"\n{table.head()}", flush=True)
    rows = []
    for task in _tasks(names):
        for setting in settings:
            # What else runs on the machine can only lower a peak: the highest so far is nearest to the truth.
            peaks[setting] = max(peaks[setting], _peak(*setting, seconds=0.03))
            rows.append(measure(task, *setting, peaks[setting], against, pace))
            print(table.line(rows[-1]), flush=True)
    print(f"\n{table.legend()}\nAfterwards, to show how steady the machine was:")
    _print_peaks({setting: _peak(*setting) for setting in settings})
    if arguments.json:
        report = {
            "header": header,
            "config": shown,
            "pace": vars(pace),
            "peaks": [{"isa": isa, "threads": n, "gflops": peak} for (isa, n), peak in peaks.items()],
            "rows": [row.as_json() for row in rows],
        }
        write_atomically(arguments.json, json.dumps(report, indent=1, ensure_ascii=False).encode())
    return 0


def measure(task: Task, isa: str, threads: int, peak: float, against: Sequence[str], pace: Pace) -> Row:
    """Verify all contestants, time them in turn and return the row; `peak` in GFLOP/s.

    Raises WrongResultError, with nothing timed, if a result is wrong.
    """
    with config.using(isa, threads), rivals.limit_blas(threads):
        runs = {("cnnlib", ""): task.contestant("cnnlib")}
        for rival in against:
            for variant, contestant in rivals.contestants(task, rival, threads).items():
                runs[rival, variant] = contestant
        errors = {name: verify(task, name[0], contestant) for name, contestant in runs.items()}
        timings = interleave({name: contestant.run for name, contestant in runs.items()}, pace)
    own = timings["cnnlib", ""]
    by_rival = {
        rival: {variant: timing for (name, variant), timing in timings.items() if name == rival} for rival in against
    }
    gflops = task.flops / own.median / 1e9 if task.flops else None
    return Row(
        layer=task.layer,
        which=task.which,
        shape=task.shape,
        isa=isa,
        threads=threads,
        median_ms=own.median * 1e3,
        min_ms=own.best * 1e3,
        calls=len(own.samples),
        gflops=gflops,
        gbytes=task.bytes / own.median / 1e9 if task.bytes else None,
        share_of_peak=gflops / peak if gflops else None,
        error=errors["cnnlib", ""],
        rivals={rival: _best(variants, own) for rival, variants in by_rival.items() if variants},
    )


def _best(variants: Mapping[str, Timing], own: Timing) -> RivalTime:
    medians = {variant: timing.median * 1e3 for variant, timing in variants.items()}
    best = min(medians, key=medians.__getitem__)
    ratio = variants[best].median / own.median
    return RivalTime(medians.pop(best), variants[best].best * 1e3, ratio, variant=best, others=medians)


def _tasks(names: Sequence[str]) -> Iterator[Task]:
    """Yield the tasks one by one, so that the arrays of only one are in memory."""
    for name in names:
        if name == NET:
            yield from (NetTask(which, batch) for which, batch in NET_PASSES)
        else:
            yield from (KernelTask.of(LAYERS[name], which) for which in LAYERS[name].passes)


def _peak(isa: str, threads: int, seconds: float = 0.3) -> float:
    with config.using(isa, threads):
        settle()
        return config.measure_peak(seconds) / 1e9


def _header(against: Sequence[str]) -> dict[str, str]:
    packages = itertools.chain.from_iterable(rivals.RIVALS[rival] for rival in against)
    header = {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}
    if hasattr(os, "getloadavg"):
        header["load"] = f"{os.getloadavg()[0]:.1f} busy threads on {os.cpu_count()} cores over the last minute"
    header |= {package: _version(package) for package in packages}
    if "reference" in against and not rivals.blas_is_limited():
        header["NumPy's BLAS"] = "takes the threads it likes; install threadpoolctl to hold it to the row's number"
    return header


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "version unknown"


def _print_peaks(peaks: Mapping[tuple[str, int], float]) -> None:
    for (isa, n), peak in peaks.items():
        line = f"{'peak':<16}  {peak:.0f} GFLOP/s with {isa} on {n} thread{'s' * (n > 1)}"
        if n > 1:
            factor = peak / _peak(isa, 1)
            line += f", {factor:.1f} times one thread's"
            if factor < CROWDED * n:
                line += ": they share cores, with each other or with something else that runs"
        print(line)


def _layers(texts: Sequence[str]) -> list[str]:
    names = _words(texts)
    if unknown := [name for name in names if name not in (*LAYERS, NET)]:
        raise ConfigError(f"--layers {', '.join(unknown)}: unknown; there are {', '.join([*LAYERS, NET])}")
    return names


def _numbers(texts: Sequence[str]) -> list[int]:
    words = _words(texts)
    if wrong := [word for word in words if not word.isdecimal()]:
        raise ConfigError(f"--threads {', '.join(wrong)}: expected numbers such as 1,2")
    return [int(word) for word in words]


def _words(texts: Sequence[str]) -> list[str]:
    """Return the words of arguments in which commas separate as well as blanks do."""
    return [word for text in texts for word in text.split(",") if word]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cnnlib bench",
        description="Time cnnlib's kernels and LeNet-5, verified, against the NumPy definition and what is installed.",
        epilog=f"layers: {', '.join([*LAYERS, NET])}",
    )
    many: dict[str, Any] = {"nargs": "+", "default": []}
    against = f"none, or some of {','.join(rivals.RIVALS)} (default: all installed)"
    parser.add_argument("--layers", metavar="NAME", help="only these layers (default: all)", **many)
    parser.add_argument("--threads", metavar="N", help="such as 1,2 (default: as configured)", **many)
    parser.add_argument("--isa", metavar="NAME", help="instruction sets (default: the one in use)", **many)
    parser.add_argument("--against", metavar="RIVAL", help=against, **many)
    parser.add_argument("--quick", action="store_true", help="few layers, few samples: seconds instead of minutes")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write all measurements to FILE")
    return parser
