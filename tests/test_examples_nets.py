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


def test_batch_norm(tmp_path) -> None:
    output = run(tmp_path, "batch_norm.py", "--epochs", "9")
    (rate, _, epoch), (plain_rate, _, plain_epoch) = (numbers(output, f"{net} BN")[:3] for net in ("with", "without"))
    assert rate >= 3 * plain_rate
    assert epoch < plain_epoch <= 9


def test_batch_norm_careless(tmp_path) -> None:
    output = run(tmp_path, "batch_norm_careless.py", "--epochs", "3")
    for factor in ("0.01", "0.1"):
        normalised, plain = numbers(output, f"2 epochs, weights × {factor} ")
        assert normalised > 80
        assert plain < 20
    normalised, plain = numbers(output, "2 epochs, weights × 1 ")
    assert min(normalised, plain) > 75  # so it is the factor that stops the net without BN
    assert re.search(r"weights × 10 +\d\d\.\d% +overflow\n", output)
    normalised, plain = numbers(output, "3 epochs with sigmoids")
    assert normalised > 80
    assert plain < 20


def test_batch_norm_statistics(tmp_path) -> None:
    output = run(tmp_path, "batch_norm_statistics.py", "--epochs", "1")
    batch, running, whole = numbers(output, "after 4 steps of training")
    assert running > 1.3 * whole
    assert batch == pytest.approx(whole, abs=3)
    batch, running, whole = numbers(output, "at the end, batches of 1 ")
    assert batch == 90  # one digit less itself is 0: all are told to be the same
    assert max(running, whole) < 20
    large, alone = (numbers(output, line) for line in ("at the end, batches of 64", "batches of 64, digit by digit"))
    assert alone[1:] == large[1:] == [running, whole]  # they do not look at the batch
    assert alone[0] > 40
    assert large[0] < 20


def test_dropout(tmp_path) -> None:
    output = run(tmp_path, "dropout.py", "--epochs", "3")
    plain, dropout, max_norm = (numbers(output, f"{net} ") for net in ("plain", "dropout", "dropout, max-norm"))
    assert [row[2] for row in (plain, dropout, max_norm)] == [1.62, 1.25, 1.05]
    assert max(row[1] for row in (plain, dropout, max_norm)) < 13
    # "When using dropout layers, training errors (losses) will increase."
    assert min(dropout[0], max_norm[0]) > 2 * plain[0]


def test_modern_mlp(tmp_path) -> None:
    output = run(tmp_path, "modern_mlp.py", "--epochs", "2")
    assert "Standardize → Flatten → Linear (784 → 100) → BatchNorm → PReLU → …" in output
    mean, deviation, _ = numbers(output, "standardised training images: mean")
    assert abs(mean) < 0.001
    assert 0.85 < deviation < 1  # 1, but for the pixels of the rim that never vary
    plain, *modern = (
        numbers(output, f"{net}  ") for net in ("plain: Linear, ReLU", "modern, PReLU", "modern, LeakyReLU")
    )
    for net in modern:
        assert net[0] > plain[0]  # after one epoch in the test
        assert net[1] > 80
    assert len(numbers(output, "slopes that PReLU learned, from 0.25, mean of each layer:")) == 8


def test_multiple_losses(tmp_path) -> None:
    output = run(tmp_path, "multiple_losses.py", "--epochs", "6")
    assert numbers(output, "gradients of J less the sum of those of its 5 losses: at most")[0] < 1e-6
    *alone, accuracy = numbers(output, "main loss alone")
    assert alone == sorted(alone)
    assert alone[4] > 50 * alone[0]
    assert accuracy < 20
    *helped, accuracy = numbers(output, "with auxiliary losses")
    assert helped[0] > 20 * alone[0]
    assert helped[4] == alone[4]  # no auxiliary loss is above the last hidden layer
    assert accuracy > 60
