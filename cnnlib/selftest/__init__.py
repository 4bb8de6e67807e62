"""The self-test: what cnnlib promises, checked on this machine. `kernels` by default, `promises` with ``--full``."""

from cnnlib.selftest.kernels import run
from cnnlib.selftest.promises import run_promises

__all__ = ["run", "run_promises"]
