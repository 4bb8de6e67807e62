"""The command ``cnnlib bench``: times the tasks, prints the tables, writes them as JSON."""

from __future__ import annotations

import itertools
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

from cnnlib import config
from cnnlib.bench import rivals, summary
from cnnlib.bench.options import Options, parse
from cnnlib.bench.summary import Claim, Setting
from cnnlib.bench.table import RivalTime, Row, Table, error_lines
from cnnlib.bench.timing import Pace, Timing, interleave, settle
from cnnlib.bench.work import Contestant, KernelTask, Task, verify
from cnnlib.serialize import write_atomically

__all__ = ["main", "measure"]

# Of the peak of as many separate cores: less than this is not explained by a lower clock.
CROWDED = 0.75


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cnnlib bench`` with the arguments `argv` and return the exit status.

    Raises ConfigError for arguments that cannot be used, WrongResultError if any contestant computes something wrong.
    """
    options = parse(argv)
    table = Table(options.against, len(options.isas) > 1, options.markdown)
    header, shown = _header(options.against), config.show_config()
    print("\n".join(f"{key:<16}  {value}" for key, value in header.items()), shown, sep="\n", flush=True)
    settings = list(dict.fromkeys(itertools.chain.from_iterable(map(options.settings, options.names))))
    peaks = {setting: _peak(*setting) for setting in settings}
    _print_peaks(peaks)
    print(f"\n{table.head()}", flush=True)
    rows = []
    for task in options.tasks():
        for setting in options.settings(task.layer):
            # What else runs on the machine can only lower a peak: the highest so far is nearest to the truth.
            peaks[setting] = max(peaks[setting], _peak(*setting, seconds=0.03))
            rows.append(measure(task, *setting, peaks[setting], options.against, options.pace))
            print(table.line(rows[-1]), flush=True)
    claims = _claims(rows, options)
    print(f"\n{table.legend()}")
    if errors := error_lines(rows, options.markdown):
        print("\nErrors of the algorithms that set_algorithm offers:\n", *errors, sep="\n")
    if claims:
        print("", *summary.lines(claims, options.markdown), sep="\n")
    print("\nAfterwards, to show how steady the machine was:")
    _print_peaks({setting: _peak(*setting) for setting in settings})
    if options.json:
        report = {
            "header": header,
            "config": shown,
            "pace": vars(options.pace),
            "peaks": [{"isa": isa, "threads": n, "gflops": peak} for (isa, n), peak in peaks.items()],
            "rows": [row.as_json() for row in rows],
            "claims": [claim.as_json() for claim in claims],
        }
        write_atomically(options.json, json.dumps(report, indent=1, ensure_ascii=False).encode())
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
        by_algorithm = _errors_by_algorithm(task, runs["cnnlib", ""])
        calls = {name: contestant.run for name, contestant in runs.items()}
        timings = interleave(calls, pace, sparing=[("reference", "")])
    own = timings["cnnlib", ""]
    by_rival = {
        rival: {variant: timing for (name, variant), timing in timings.items() if name == rival} for rival in against
    }
    gflops = task.flops / own.median / 1e9 if task.flops else None
    return Row(
        layer=task.layer,
        which=task.which,
        shape=task.shape,
        batch=task.batch,
        isa=isa,
        threads=threads,
        median_ms=own.median * 1e3,
        min_ms=own.best * 1e3,
        calls=own.calls,
        gflops=gflops,
        gbytes=task.bytes / own.median / 1e9 if task.bytes else None,
        share_of_peak=gflops / peak if gflops else None,
        error=errors["cnnlib", ""],
        rivals={rival: _best(variants, own) for rival, variants in by_rival.items() if variants},
        errors=by_algorithm,
    )


def _errors_by_algorithm(task: Task, contestant: Contestant) -> dict[str, float]:
    """Return the error of every algorithm that is offered, for a convolution."""
    errors = {}
    if isinstance(task, KernelTask) and task.named.kind == "conv2d":
        for name in config.ALGORITHMS:
            with config.using(algorithm=name):
                errors[name] = verify(task, f"cnnlib's {name!r} algorithm", contestant)
    return errors


def _best(variants: Mapping[str, Timing], own: Timing) -> RivalTime:
    medians = {variant: timing.median * 1e3 for variant, timing in variants.items()}
    best = min(medians, key=medians.__getitem__)
    ratios = variants[best].ratios_to(own)
    quartiles = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    ratio, least = statistics.median(ratios), variants[best].best * 1e3
    return RivalTime(medians.pop(best), least, ratio, quartiles, variant=best, others=medians)


def _claims(rows: Sequence[Row], options: Options) -> list[Claim]:
    claims, own_settings = summary.claims(rows), options.own_settings()
    if len(own_settings) > 1:
        claims += summary.claims_of_itself(summary.against_itself(own_settings, options.pace))
    return claims


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


def _print_peaks(peaks: Mapping[Setting, float]) -> None:
    for (isa, n), peak in peaks.items():
        line = f"{'peak':<16}  {peak:.0f} GFLOP/s with {isa} on {n} thread{'s' * (n > 1)}"
        if n > 1:
            factor = peak / _peak(isa, 1)
            line += f", {factor:.1f} times one thread's"
            if factor < CROWDED * n:
                line += ": they share cores, with each other or with something else that runs"
        print(line)
