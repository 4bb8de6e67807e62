"""How many threads there are by default: cores, affinity mask, quotas of control groups, faked and real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cnnlib
from cnnlib import config
from cnnlib.threads import MAX_THREADS, cpu_quota, default_threads

HALF_A_CPU, ONE_AND_A_HALF, TWO = "50000 100000", "150000 100000", "200000 100000"


def run(code: str, **environment: str) -> str:
    settings = {**os.environ, "CNNLIB_NUM_THREADS": "", **environment}
    done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fake(folder: Path, membership: str, quotas: dict[str, str]) -> tuple[Path, Path]:
    """Write a folder of control groups: each quota by its group's folder, version 1's under cpu/."""
    groups, member = folder / "groups", folder / "membership"
    member.write_text(membership)
    for name, text in quotas.items():
        group = groups / name
        group.mkdir(parents=True, exist_ok=True)
        if name.startswith("cpu"):
            quota, period = text.split()
            (group / "cpu.cfs_quota_us").write_text(quota + "\n")
            (group / "cpu.cfs_period_us").write_text(period + "\n")
        else:
            (group / "cpu.max").write_text(text + "\n")
    return groups, member


V2, V1 = "0::/user/job\n", "5:memory:/user/job\n4:cpu,cpuacct:/user/job\n1:name=systemd:/x\n"


@pytest.mark.parametrize(
    ("membership", "quotas", "expected", "where"),
    [
        # version 2: its own group, one around it, the smallest of several, others' groups
        (V2, {"user/job": ONE_AND_A_HALF}, 1.5, "user/job"),
        (V2, {"user/job": "max 100000", "user": HALF_A_CPU}, 0.5, "user"),
        (V2, {"user/job": TWO, "user": ONE_AND_A_HALF, "": "max 100000"}, 1.5, "user"),
        (V2, {"user/job": ONE_AND_A_HALF, "user": TWO}, 1.5, "user/job"),
        (V2, {"user/job": "max 100000", "user/other": HALF_A_CPU, "other": HALF_A_CPU}, None, ""),
        (V2, {"user/job": "max 100000"}, None, ""),
        (V2, {}, None, ""),
        # a container that sees its own part only, under the name that the host gives it, or beside it
        ("0::/docker/0123abcd\n", {"": ONE_AND_A_HALF}, 1.5, ""),
        ("0::/../../elsewhere\n", {"": ONE_AND_A_HALF}, 1.5, ""),
        ("", {"": ONE_AND_A_HALF}, 1.5, ""),
        # version 1, and both at once
        (V1, {"cpu/user/job": ONE_AND_A_HALF}, 1.5, "cpu/user/job"),
        (V1, {"cpu,cpuacct/user": ONE_AND_A_HALF, "cpu,cpuacct/user/job": "-1 100000"}, 1.5, "cpu,cpuacct/user"),
        (V1, {"cpu/user/job": "-1 100000"}, None, ""),
        ("1:cpu:/\n", {"cpu": TWO}, 2.0, "cpu"),
        ("", {"cpu": TWO}, 2.0, "cpu"),
        (V1 + "0::/user\n", {"unified/user": HALF_A_CPU, "cpu/user": TWO}, 0.5, "unified/user"),
        ("1:cpuset,cpuacct:/user\n", {"cpuset,cpuacct/user": HALF_A_CPU, "cpuset/user": HALF_A_CPU}, None, ""),
        # what is not a quota
        *((V2, {"user/job": text}, None, "") for text in ("", "100000", "0 100000", "100000 0", "-5 100000", "x y")),
        *((V2, {"user/job": text}, None, "") for text in ("inf 1", "nan 1", "1 2 3", "9" * 4000 + " 1")),
        *((text, {"user/job": HALF_A_CPU}, None, "") for text in ("garbage", ":::::\n\n", "0", "\0" * 100)),
    ],
)  # fmt: skip
def test_quota(tmp_path: Path, membership: str, quotas: dict[str, str], expected: float | None, where: str) -> None:
    groups, member = fake(tmp_path, membership, quotas)
    found = cpu_quota(groups, member)
    assert found == (None if expected is None else (expected, os.path.join(groups, where)))
    unlimited, _ = default_threads(tmp_path / "nothing", tmp_path / "nobody")
    threads, reason = default_threads(groups, member)
    assert threads == (unlimited if expected is None else min(unlimited, max(1, int(expected))))
    assert ("quota" in reason) == (expected is not None)
    assert f"quota of {expected:.2f} CPUs" in reason if expected else True


def test_binary_garbage_is_no_quota(tmp_path: Path) -> None:
    groups, member = fake(tmp_path, V2, {"user/job": ONE_AND_A_HALF})
    (groups / "user/job/cpu.max").write_bytes(bytes(range(256)) * 1000)
    assert cpu_quota(groups, member) is None
    member.write_bytes(b"\xff\xfe" * 100)
    assert cpu_quota(groups, member) is None
    (groups / "cpu.max").mkdir(parents=True)
    assert cpu_quota(groups, member) is None


def test_the_report_says_how_the_number_came_about() -> None:
    shown = run("import cnnlib; print(cnnlib.show_config())")
    assert re.search(rf"^threads +(\d+): the least of {os.cpu_count()} cores", shown, re.MULTILINE)
    shown = run("import cnnlib; print(cnnlib.show_config())", CNNLIB_NUM_THREADS="3")
    assert re.search(r"^threads +3: set by CNNLIB_NUM_THREADS$", shown, re.MULTILINE)
    with config.using(threads=2):
        assert cnnlib.show_config().endswith("2: set by set_num_threads")


def test_the_kernels_take_as_many_threads_as_the_policy_grants() -> None:
    with config.using(threads=MAX_THREADS):
        assert cnnlib.get_num_threads() == MAX_THREADS


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks on this system")
def test_the_affinity_mask_counts() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import cnnlib; print(cnnlib.show_config())"
    )
    assert re.search(r"^threads +1: the least of .*\b1 in the affinity mask", run(code), re.MULTILINE)


@pytest.fixture
def real_group() -> Iterator[tuple[Path, str]]:
    """A control group of version 1 or 2 that may limit the CPU, and the name of the file with its quota."""
    for top, file in (("cpu", "cpu.cfs_quota_us"), ("unified", "cpu.max"), ("", "cpu.max")):
        group = Path("/sys/fs/cgroup", top, f"cnnlib-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / file).exists():
                yield group, file
                return
        finally:
            group.rmdir()
    pytest.skip("no control group for the CPU can be made here")


def test_a_real_quota(real_group: tuple[Path, str]) -> None:
    group, file = real_group
    quota = "100000 100000" if file == "cpu.max" else "100000"
    code = f"""
import os
from pathlib import Path
home = Path({str(group)!r})
(home / {file!r}).write_text({quota!r})
(home / "cgroup.procs").write_text(str(os.getpid()))
import cnnlib
print(cnnlib.show_config())
"""
    shown = run(code)
    assert re.search(rf"^threads +1: the least of .* a quota of 1.00 CPUs in {group}$", shown, re.MULTILINE)
