"""The lecture's scripts on fully connected nets, each run as a student runs it, at a smaller budget."""

from __future__ import annotations

import re

import pytest
from helpers import run_lecture as run


def numbers(output: str, line: str) -> list[float]:
    """Return the numbers of the line that begins so, after its beginning."""
    found = re.search(rf"^ *{re.escape(line)}(.*)$", output, flags=re.M)
    assert found, output
    return [float(number) for number in re.findall(r"[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?", found[1].replace(",", ""))]


def test_mlp_mnist(tmp_path) -> None:
    output = run(tmp_path, "mlp_mnist.py", "--epochs", "4")
    assert "images: (4000, 1, 32, 32) to train on, (1000, 1, 32, 32) to test on" in output
    assert numbers(output, "Linear (1024 → 512)")[:4] == [512, 1024, 512, 1024 * 512 + 512]
    assert numbers(output, "test accuracy:")[0] >= 91
    assert "val_accuracy" in output


def test_branches(tmp_path) -> None:
    output = run(tmp_path, "branches.py", "--epochs", "2")
    first, second, both = (
        numbers(output, f"through the {way}:") for way in ("first layer", "second layer", "sum of both")
    )
    assert len(both) == 4
    assert both == pytest.approx([a + b for a, b in zip(first, second, strict=True)], abs=0.002)
    assert numbers(output, "test accuracy:")[0] >= 90
    assert re.search(r"concat +Concat .* maxpool2d, maxpool2d_1\n", output)
    assert re.search(r"add +Add .* concat, relu_2\n", output)
