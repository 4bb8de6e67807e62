"""The examples, run as a reader runs them: each at a small budget, in a folder of its own, with an accuracy gate."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import EXAMPLES
from helpers import run_example as run

import cnnlib


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


def test_mnist_99(tmp_path) -> None:
    output = run(tmp_path, "mnist_99.py", "--sample", "--seeds", "2")
    assert accuracy(output) >= 94
    shares = [float(share) for share in re.findall(r"test accuracy: ([\d.]+)% of 1,000 digits", output)]
    assert shares[0] != shares[1]  # other seeds, other nets
    assert f"mean of 2: {sum(shares) / 2:.3f}%" in output
    held_back = run(tmp_path, "mnist_99.py", "--sample", "--held-back")
    assert accuracy(held_back) >= 92
    assert "of 667 digits" in held_back


def test_sklearn_digits(tmp_path) -> None:
    pytest.importorskip("sklearn")
    output = run(tmp_path, "sklearn_digits.py", "--epochs", "6")
    assert accuracy(output) >= 95
    assert re.findall(r"^0\.\d+ 0\.0003 (\w+)$", output, flags=re.M) == ["mlp", "small_cnn"]


def test_pytorch_weights(tmp_path) -> None:
    pytest.importorskip("torch")
    output = run(tmp_path, "pytorch_weights.py", "--epochs", "1")
    assert output.count("<All keys matched successfully>") == 2
    differences = re.findall(r"largest difference: (\S+)", output)
    assert len(differences) == 2
    assert all(float(difference) < 1e-4 for difference in differences)  # of logits of about ten
    assert accuracy(output) >= 90


def test_pytorch_weights_without_pytorch(tmp_path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "pytorch_weights.py"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(EXAMPLES.parent)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["this example needs PyTorch: pip install torch"]


def test_every_example_is_short_and_has_a_test() -> None:
    tests = sorted(Path(__file__).parent.glob("test_examples*.py"))
    source = "".join(path.read_text(encoding="utf-8") for path in tests)
    scripts = [path for path in sorted(EXAMPLES.rglob("*.py")) if path.name != "common.py"]
    assert {path.parent.name for path in scripts} == {"examples", "lecture"}
    for path in scripts:
        assert re.search(rf'["/]{path.stem}(\.py)?"', source), f"{path.name} is run by no test_examples*.py"
        ceiling = 70 if path.parent.name == "lecture" else 60  # these draw a picture, too
        assert len(path.read_text(encoding="utf-8").splitlines()) < ceiling, path.name
