"""The examples, run as a reader runs them: each at a small budget, in a folder of its own, with an accuracy gate."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cnnlib

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(folder: Path, name: str, *options: str) -> str:
    """Return what an example prints. It imports the cnnlib that is tested."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(cnnlib.__file__).parent.parent), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def accuracy(output: str) -> float:
    found = re.search(r"test accuracy: ([\d.]+)%", output)
    assert found, output
    return float(found[1])


def test_train_lenet5(tmp_path) -> None:
    output = run(tmp_path, "train_lenet5.py", "--epochs", "2", "--out", "small.safetensors")
    assert accuracy(output) >= 92
    assert "1,256,080 parameters" in output
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]
    _, (x, y) = cnnlib.datasets.mnist_sample()
    model = cnnlib.load(tmp_path / "small.safetensors")
    assert 100 * np.mean(model.predict(x).argmax(axis=1) == y) == pytest.approx(accuracy(output))


def test_branches(tmp_path) -> None:
    output = run(tmp_path, "branches.py", "--epochs", "2")
    assert accuracy(output) >= 90
    assert re.search(r"concat +Concat .* maxpool2d, maxpool2d_1\n", output)
    assert re.search(r"add +Add .* concat, relu_2\n", output)


def test_mlp_collapse(tmp_path) -> None:
    output = run(tmp_path, "mlp_collapse.py")
    difference = re.search(r"largest difference of their outputs: (\S+)", output)
    assert difference, output
    assert float(difference[1]) < 1e-5
    linear, bent = (float(share) for share in re.findall(r"accuracy ([\d.]+)%", output))
    assert linear < 70  # a line does little better than guessing
    assert bent > 95


def test_every_example_is_short_and_has_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in source, path.name
        assert len(path.read_text(encoding="utf-8").splitlines()) < 60, path.name
