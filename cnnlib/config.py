"""What runs: instruction set and number of threads, chosen when cnnlib is imported, changed and reported here.

Environment, read once at import:
  CNNLIB_ISA           an instruction set of `show_config()`'s list instead of the best one
  CNNLIB_NUM_THREADS   upper bound of threads per call instead of what cnnlib.threads finds
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import _kernels
from cnnlib._version import __version__
from cnnlib.errors import ConfigError
from cnnlib.threads import MAX_THREADS, default_threads

__all__ = [
    "ALGORITHMS",
    "describe",
    "get_algorithm",
    "get_isa",
    "get_num_threads",
    "measure_peak",
    "set_algorithm",
    "set_default_threads",
    "set_isa",
    "set_num_threads",
    "show_config",
    "supported_isas",
    "using",
]

#: The names that `set_algorithm` takes, the plain sum first.
ALGORITHMS = ("direct", "accurate", "fast")

_reason = "not configured yet"


def set_num_threads(n: int) -> None:
    """Let each call use at most `n` threads (1 … 1024); results do not depend on it, bit for bit.

    Raises ConfigError for anything but such an integer.

    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    _set_threads(n, "set_num_threads", "set by set_num_threads")


def set_default_threads(n: int, reason: str) -> None:
    """Let each call use at most `n` threads for this reason, unless somebody has said how many."""
    if not _reason.startswith("set by"):
        _set_threads(n, "default threads", reason)


def get_num_threads() -> int:
    """Return how many threads a large call uses."""
    threads: int = _kernels.get_num_threads()
    return threads


def set_isa(name: str) -> None:
    """Use the instruction set `name` from now on, process-wide; not while another thread computes.

    Raises ConfigError for one that is unknown or that this processor does not have.
    """
    _kernels.set_isa(name)


def get_isa() -> str:
    """Return the name of the instruction set in use.

    >>> set_isa(get_isa())
    """
    return _kernels.isa_active()


def set_algorithm(name: str) -> None:
    """Compute convolutions by ``"accurate"`` (default), ``"fast"`` or ``"direct"``; not while another thread computes.

    direct: the plain sum. accurate: Winograd's tiles of 6×6 or 7×7 pixels for 3×3 and 5×5 filters at stride 1, and
    tiles of 5×5 for 3×3 filters at stride 2, where that is less work, with up to about twice the direct sum's rounding
    error; everything else direct. fast: tiles of 8×8 as well, with up to about fifteen times its error. Which way a
    convolution takes follows from its sizes and the instruction set alone, and shows in ``model.plan(batch_size)``.
    Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. Raises ConfigError for
    another name.

    >>> set_algorithm("fast")
    >>> set_algorithm("accurate")
    """
    _kernels.set_algorithm(name)


def get_algorithm() -> str:
    """Return the name of the convolution algorithm in use."""
    return _kernels.get_algorithm()


def supported_isas() -> tuple[str, ...]:
    """Return the names of the instruction sets that are built and that this processor has, best first.

    >>> supported_isas()[-1]
    'baseline'
    """
    return _kernels.isa_supported()


@contextmanager
def using(isa: str | None = None, threads: int | None = None, algorithm: str | None = None) -> Iterator[None]:
    """Run a block on another instruction set, number of threads or algorithm, process-wide; then all is as before.

    >>> with using(isa="baseline", threads=1):
    ...     get_isa(), get_num_threads()
    ('baseline', 1)

    Raises ConfigError as `set_isa`, `set_num_threads` and `set_algorithm` do.
    """
    before = get_isa(), _kernels.get_num_threads(), _reason, get_algorithm()
    try:
        if isa is not None:
            set_isa(isa)
        if threads is not None:
            set_num_threads(threads)
        if algorithm is not None:
            set_algorithm(algorithm)
        yield
    finally:
        set_isa(before[0])
        _set_threads(before[1], "threads", before[2])
        set_algorithm(before[3])


def measure_peak(seconds: float = 0.2, dtype: DTypeLike = np.float32) -> float:
    """Return the most floating-point operations a second that vector multiply-adds reach here, on all threads in use.

    Measured in registers for `seconds`, the best of short stretches: the bound that no kernel exceeds.

    >>> measure_peak(seconds=0.01) > 1e6
    True
    """
    double, best, n = np.dtype(dtype) == np.float64, 0.0, 1000
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or not best:
        operations = _kernels.fma_peak(n, double)
        best = max(best, operations / (time.perf_counter() - start))
        if operations < 1e-3 * best:  # shorter than a millisecond: starting and stopping weighs too much
            n *= 2
    return best


def show_config() -> str:
    """Return what runs here: versions, compiler, instruction sets built, supported and picked, threads and why.

    >>> print(show_config())  # doctest: +ELLIPSIS
    cnnlib ...
    """
    rows = describe()
    width = max(map(len, rows))
    return "\n".join(f"{key:<{width}}  {value}" for key, value in rows.items())


def describe() -> dict[str, str]:
    """Return the rows of `show_config` by their names.

    >>> list(describe())[1:]
    ['machine', 'compiler', 'instruction sets', 'in use', 'threads']
    """
    supported = _kernels.isa_supported()
    return {
        f"cnnlib {__version__}": f"Python {platform.python_version()}, NumPy {np.__version__}",
        "machine": f"{_processor()} ({platform.machine()}, {platform.system()})",
        "compiler": _kernels.compiler(),
        "instruction sets": ", ".join(
            name if name in supported else f"{name} (not on this processor)" for name in _kernels.isa_built()
        ),
        "in use": f"{_kernels.isa_active()}, {_kernels.lanes()} float32 values per vector",
        "threads": f"{get_num_threads()}: {_reason}",
    }


def configure(environment: Mapping[str, str]) -> None:
    """Apply the environment; raises ConfigError for a value that cannot be used."""
    if isa := environment.get("CNNLIB_ISA", ""):
        try:
            _kernels.set_isa(isa)
        except ConfigError as error:
            raise ConfigError(f"CNNLIB_ISA: {error}") from None
    if threads := environment.get("CNNLIB_NUM_THREADS", ""):
        _set_threads(
            int(threads) if threads.isdecimal() else threads, "CNNLIB_NUM_THREADS", "set by CNNLIB_NUM_THREADS"
        )
    else:
        threads_here, reason = default_threads()
        _set_threads(threads_here, "default threads", reason)


def _set_threads(n: object, name: str, reason: str) -> None:
    global _reason
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= MAX_THREADS:
        raise ConfigError(f"{name} = {n!r}: the number of threads is an integer from 1 to {MAX_THREADS}")
    _kernels.set_num_threads(int(n))
    _reason = reason


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
