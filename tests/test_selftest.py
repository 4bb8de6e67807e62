"""The self-test passes here, covers what there is, and notices a kernel that is wrong in any way."""

from __future__ import annotations

import numpy as np
import pytest

from cnnlib import _kernels, config, functional
from cnnlib.cli import main
from cnnlib.errors import ShapeError
from cnnlib.selftest import kernels


@pytest.fixture
def one_isa(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "supported_isas", lambda: (config.get_isa(),))


def lines() -> tuple[bool, list[str]]:
    written: list[str] = []
    return kernels.run(written.append), written


def test_it_passes_and_leaves_everything_as_it_was(capsys) -> None:
    before = config.show_config()
    assert main(["selftest"]) == 0
    output = capsys.readouterr().out
    assert config.show_config() == before
    for isa in config.supported_isas():
        assert f"{isa}, 1, 2, 4 threads" in output
    assert "FAILED" not in output
    checks = len(set(functional.__all__) - {"as_input"}) + 1  # and LeNet-5
    assert f"all {checks * len(config.supported_isas())} checks passed" in output


def test_every_array_function_is_checked() -> None:
    checked = {case.function for case in kernels._cases(np.random.default_rng(0))}
    assert checked == set(functional.__all__) - {"as_input"}


def wrong_value(result, **_):
    result[-1] *= 1.001
    return result


def unwritten(result, **_):
    result.reshape(-1)[-1] = np.nan
    return result


def depends_on_threads(result, **_):
    result += config.get_num_threads() * np.finfo(result.dtype).eps * result
    return result


@pytest.mark.parametrize("damage", [wrong_value, unwritten, depends_on_threads])
@pytest.mark.parametrize("name", ["conv2d", "linear", "max_pool2d", "softmax_backward"])
def test_a_wrong_kernel_is_noticed(one_isa, monkeypatch, name, damage) -> None:
    right = getattr(functional, name)
    monkeypatch.setattr(functional, name, lambda *args, **kwargs: damage(right(*args, **kwargs)))
    passed, written = lines()
    assert not passed
    bad = [line for line in written if line.startswith("  FAILED")]
    assert any(f" {name} " in line for line in bad)
    assert ("depend on the number of threads" in bad[0]) == (damage is depends_on_threads)
    assert "do not trust" in written[-2]


def test_a_gradient_in_the_wrong_place_is_noticed(one_isa, monkeypatch) -> None:
    def swapped(right):
        def backward(dx, dw, *arguments):
            right(dx, dw, *arguments)
            if dw is not None:
                dw *= -1

        return backward

    right = _kernels.linear_backward
    monkeypatch.setattr(_kernels, "linear_backward", {name: swapped(right[name]) for name in ("float", "double")})
    passed, written = lines()
    assert not passed
    assert [line.split()[1] for line in written if line.startswith("  FAILED")] == ["linear_backward", "LeNet-5"]


def test_a_kernel_that_raises_is_a_failure(one_isa, monkeypatch, capsys) -> None:
    def refuse(*_, **__):
        raise ShapeError("no such tile")

    monkeypatch.setattr(functional, "avg_pool2d", refuse)
    assert main(["selftest"]) == 1
    assert "FAILED: ShapeError: no such tile" in capsys.readouterr().out
