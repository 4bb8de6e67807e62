"""How OpenMP's idle threads wait, which can only be said before its runtime is loaded.

By default they spin for milliseconds after each call. On a machine that does anything else at the same time, the
spinning thread uses up its turn, and the next call waits for it to get another one: with both cores kept busy by other
processes, a LeNet-5 convolution took up to 36 ms instead of 2.4 ms. So they sleep almost at once here. Whoever has set
one of the variables below knows better; what is set here is unset again, so that child processes do not inherit it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["waiting_asleep"]

# GNU's runtime, then LLVM's and Intel's.
_SETTINGS = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
_USERS = ("OMP_WAIT_POLICY", *_SETTINGS)


@contextmanager
def waiting_asleep() -> Iterator[None]:
    """Within the block, a runtime that is loaded finds these settings."""
    chosen = {} if any(name in os.environ for name in _USERS) else _SETTINGS
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name in chosen:
            del os.environ[name]
