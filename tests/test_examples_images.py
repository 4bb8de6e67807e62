"""The lecture's scripts on images, each run as a student runs it: its numbers, and a picture with something on it."""

from __future__ import annotations

import re

from helpers import run_lecture as run


def shares(output: str, line: str) -> list[float]:
    """Return the percentages of the line that begins so."""
    found = re.search(f"^{re.escape(line)}(.*)$", output, flags=re.M)
    assert found, output
    return [float(share) for share in re.findall(r"([\d.]+)%", found[1])]


def test_receptive_field(tmp_path) -> None:
    output = run(tmp_path, "receptive_field.py")
    fields = re.findall(r"formula (\d+) × \d+, stride (\d+), .* sees rows (.*), its gradient reaches rows (.*)", output)
    sizes, strides, seen, reached = zip(*fields, strict=True)
    assert sizes == ("3", "5", "6", "10", "12", "20")
    assert strides == ("1", "1", "2", "2", "4", "4")
    assert seen == reached
    assert "20 × 20       4     1.5" in output  # the last row of the summary


def test_convolution(tmp_path) -> None:
    output = run(tmp_path, "convolution.py")
    assert "L34: 3 parameters, 13 connections instead of 25 and 25\n" in output
    dot = re.search(r"\(3, 32, 32\) → \(6, 28, 28\); .* is (\S+), the sum of 75 products and the bias (\S+)\n", output)
    assert dot, output
    assert dot[1] == dot[2]
    sizes = [int(size) for size in re.findall(r"7 × 7 by 3 × 3 at stride [123]: (\d)", output)]
    assert sizes == [5, 3, 2]
    assert "(7 - 3)/3 + 1 = 2.33 is not a whole number" in output
    assert "L38: F = 3, P = 1: 32, F = 5, P = 2: 32, F = 7, P = 3: 32 of 32\n" in output
    assert "760 parameters (3.0 KB as float32), 768,000 multiply-adds a sample" in output


def test_pooling(tmp_path) -> None:
    output = run(tmp_path, "pooling.py")
    assert "→ [[6, 8], [3, 4]]\n" in output
    assert "average, K=2, S=2: [[3.25, 5.25], [2.0, 2.0]]\n" in output
    assert "64 × 224 × 224 → 64 × 112 × 112, 0 parameters" in output
    assert "96 × 55 × 55 → 96 × 27 × 27, 0 parameters" in output
    changed = [float(share) for share in re.findall(r"(\d+)% changes", output)]
    pixels, largest, mean, overlapping = changed
    assert overlapping < largest < mean < pixels


def test_lenet5(tmp_path) -> None:
    output = run(tmp_path, "lenet5.py", "--epochs", "1")
    assert "the same as models.lenet5(): True\n" in output
    assert "1,256,080 parameters" in output
    volumes = re.findall(r"^(?:input|\d): (.*), ([\d,]+) numbers$", output, flags=re.M)
    assert volumes == [("1 × 28 × 28", "784"), ("20 × 14 × 14", "3,920"), ("50 × 7 × 7", "2,450")]
    (accuracy,) = shares(output, "test accuracy: ")
    assert accuracy > 88
    wrong = re.search(r"(\d+) of 1,000 digits wrong", output)
    assert wrong, output
    assert 1000 - int(wrong[1]) == round(10 * accuracy)


def test_what_filters_see(tmp_path) -> None:
    output = run(tmp_path, "what_filters_see.py", "--epochs", "3")
    learned = shares(output, "separability of digits 0 to 4, learned: ")
    others = shares(output, "separability of digits 5 to 9, never seen: ")
    # General below: both rise above the pixels. Near the task above: only what was learned stays.
    pixels, first, _, hidden, scores = learned
    assert min(first, hidden, scores) > pixels + 4
    pixels, first, second, hidden, scores = others
    assert min(first, second) > pixels + 5
    assert scores < second - 10
    (right,) = shares(output, "the last layer alone, on the hidden features: ")
    assert right > 93
