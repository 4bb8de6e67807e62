"""How many threads a call may use when nobody says: the least of cores, affinity mask and quota of the control groups.

A quota is rounded down: 1.5 CPUs give one thread, and less than one CPU does, too. Two threads would use 1.5 CPUs up
before the end of each period of a tenth of a second and stop for the rest of it. With LeNet-5 on two cores a training
step was 1.05 times as fast with two threads as with one, at 1.2 CPUs 0.87 times; predicting 64 images was 1.3 times as
fast, but one call in a hundred took 27 ms instead of 6, and images one by one went at 0.78 of the rate.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["MAX_THREADS", "cpu_quota", "default_threads"]

#: As CNN_MOST_THREADS in csrc/cnn.h.
MAX_THREADS = 1024

Folder = str | os.PathLike[str]


def default_threads(groups: Folder = "/sys/fs/cgroup", membership: Folder = "/proc/self/cgroup") -> tuple[int, str]:
    """Return the number and how it came about, in words.

    groups: where the control groups are mounted. membership: the file that says which of them this process is in.

    >>> threads, reason = default_threads()
    >>> reason.startswith("the least of")
    True
    """
    cores = os.cpu_count() or 1
    limits = {f"{cores} cores": cores}
    if hasattr(os, "sched_getaffinity"):
        mask = len(os.sched_getaffinity(0))
        limits[f"{mask} in the affinity mask"] = mask
    quota, group = cpu_quota(groups, membership) or (float("inf"), "")
    if group:
        limits[f"a quota of {quota:.2f} CPUs in {group}"] = max(1, int(quota))
    return min(*limits.values(), MAX_THREADS), f"the least of {', '.join(limits)}"


def cpu_quota(groups: Folder, membership: Folder) -> tuple[float, str] | None:
    """Return the smallest quota in CPUs of this process's control group and those around it, and which has it.

    None: no limit, or none that can be read.
    """
    quotas = [(quota, folder) for folder in _groups_of(groups, membership) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _groups_of(groups: Folder, membership: Folder) -> Iterator[str]:
    """Yield the folders of the groups that may limit the CPU, of version 2 and 1, from the innermost outward.

    Inside a container the file may name the group as the host sees it, while only the container's own part is mounted:
    so folders need not exist, and the outermost one is always among them.
    """
    for line in [*_read(membership).splitlines(), "0::/", "1:cpu:/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = [name for name in path.split("/") if name not in ("", "..")]
        for hierarchy in ("cpu", controllers) if controllers else ("", "unified"):
            for depth in range(len(names), -1, -1):
                yield os.path.join(groups, hierarchy, *names[:depth])


def _quota(folder: str) -> float | None:
    """Version 2's cpu.max, ``quota period`` or ``max period``, else version 1's two files, the quota -1 for none."""
    text = _read(folder, "cpu.max") or " ".join(_read(folder, f"cpu.cfs_{part}_us") for part in ("quota", "period"))
    try:
        quota, period = map(int, text.split())
        return quota / period if quota > 0 and period > 0 else None
    except (ValueError, OverflowError):
        return None


def _read(*path: Folder) -> str:
    """Return a small file's text, nothing if it cannot be read."""
    try:
        with open(os.path.join(*path), encoding="utf-8") as file:
            return file.read(1 << 16)
    except (OSError, ValueError):
        return ""
