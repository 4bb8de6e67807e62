"""The rivals: what is installed, and what each makes of a task."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from cnnlib.bench import with_onnx, with_torch
from cnnlib.bench.work import Contestant, Task
from cnnlib.errors import ConfigError

__all__ = ["RIVALS", "blas_is_limited", "chosen", "contestants", "limit_blas"]

#: The rivals in the order of their columns, and the packages that they need.
RIVALS: dict[str, tuple[str, ...]] = {"reference": (), "torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx")}


def chosen(names: Sequence[str] | None) -> list[str]:
    """Return the rivals to run: those of `names`, or all that are installed.

    Raises ConfigError for a name that is unknown or not installed.
    """
    missing = {
        rival: [package for package in packages if not _installed(package)] for rival, packages in RIVALS.items()
    }
    if names is None:
        return [rival for rival in RIVALS if not missing[rival]]
    for name in names:
        if name not in RIVALS:
            raise ConfigError(f"--against {name}: expected none, or some of {', '.join(RIVALS)}")
        if missing[name]:
            raise ConfigError(f"--against {name}: not installed here; pip install {' '.join(missing[name])}")
    return [rival for rival in RIVALS if rival in names]


def contestants(task: Task, rival: str, threads: int) -> dict[str, Contestant]:
    """Return the ways in which `rival` does `task`, by variant; none if it cannot."""
    by_rival: dict[str, Callable[[Task, int], dict[str, Contestant]]] = {
        "reference": lambda task, _: {"": task.contestant("reference")},
        "torch": with_torch.contestants,
        "onnxruntime": with_onnx.contestants,
    }
    return by_rival[rival](task, threads)


def blas_is_limited() -> bool:
    """Whether the number of threads of NumPy's BLAS can be set: it has no interface for that of its own."""
    return _installed("threadpoolctl")


@contextmanager
def limit_blas(threads: int) -> Iterator[None]:
    """Hold NumPy's BLAS to `threads`, where that can be done."""
    if not blas_is_limited():
        yield
        return
    with importlib.import_module("threadpoolctl").threadpool_limits(threads, user_api="blas"):
        yield


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
