"""What runs is chosen once, can be forced, and says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cnnlib
from cnnlib import _kernels, config
from cnnlib.errors import ConfigError


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


def test_the_best_supported_instruction_set_is_in_use() -> None:
    built, supported = _kernels.isa_built(), _kernels.isa_supported()
    assert built[-1] == supported[-1] == "baseline"
    assert [name for name in built if name in supported] == list(supported)
    environment = {key: value for key, value in os.environ.items() if key != "CNNLIB_ISA"}
    best = subprocess.run(
        [sys.executable, "-c", "from cnnlib import _kernels; print(_kernels.isa_active())"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert best.stdout.strip() == supported[0]


def test_cpu_flags_agree_with_the_kernels_choice() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists() or "flags" not in cpuinfo.read_text():
        pytest.skip("no x86 flags to compare with")
    flags = set(cpuinfo.read_text().partition("flags")[2].splitlines()[0].split())
    assert ("avx2" in _kernels.isa_supported()) == ({"avx2", "fma"} <= flags)
    assert ("avx512" in _kernels.isa_supported()) == ({"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= flags)


@pytest.mark.parametrize("isa", _kernels.isa_supported())
def test_environment_forces_an_instruction_set(isa: str) -> None:
    result = run("import cnnlib; print(cnnlib.show_config())", CNNLIB_ISA=isa)
    assert f"in use            {isa}," in result.stdout


@pytest.mark.parametrize("isa", ["sse9", "AVX2 ", "neon" if "neon" not in _kernels.isa_supported() else "avx512"])
def test_environment_refuses_what_is_not_there(isa: str) -> None:
    result = run("import cnnlib", CNNLIB_ISA=isa)
    assert result.returncode == 1
    assert "ConfigError" in result.stderr
    assert repr(isa) in result.stderr
    assert "baseline" in result.stderr


def test_threads_from_the_environment() -> None:
    result = run("import cnnlib; print(cnnlib.get_num_threads(), cnnlib.show_config())", CNNLIB_NUM_THREADS="3")
    assert result.stdout.startswith("3 ")
    assert "3: set by CNNLIB_NUM_THREADS" in result.stdout


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "100000"])
def test_wrong_threads_in_the_environment(value: str) -> None:
    result = run("import cnnlib", CNNLIB_NUM_THREADS=value)
    assert result.returncode == 1
    assert "CNNLIB_NUM_THREADS" in result.stderr
    assert "1 to 1024" in result.stderr


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True, None, 10**9])
def test_wrong_threads(value: object) -> None:
    before = cnnlib.get_num_threads()
    with pytest.raises(ConfigError, match="1 to 1024"):
        cnnlib.set_num_threads(value)  # type: ignore[arg-type]
    assert cnnlib.get_num_threads() == before


def test_all_algorithms_are_offered_and_no_others() -> None:
    before = config.get_algorithm()
    assert before in config.ALGORITHMS
    for name in config.ALGORITHMS:
        with config.using(algorithm=name):
            assert config.get_algorithm() == name
        assert config.get_algorithm() == before
    with pytest.raises(ConfigError, match="'fastest' is unknown") as caught:
        config.set_algorithm("fastest")
    offered = str(caught.value).partition(": use ")[2].split(" or ")
    assert sorted(name.strip("'") for part in offered for name in part.split(", ")) == sorted(config.ALGORITHMS)
