"""The lecture's scripts on graphs, losses and activations: each prints what the lecture claims, and draws a picture."""

from __future__ import annotations

import re

import pytest
from helpers import run_lecture as run


def numbers(output: str, line: str) -> list[float]:
    """Return the numbers after the beginning of the line that begins so."""
    found = re.search(rf"^ *{re.escape(line)}(.*)$", output, flags=re.M)
    assert found, output
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e[-+]\d+)?", found[1].replace(",", ""))]


def test_linear_regression(tmp_path) -> None:
    output = run(tmp_path, "linear_regression.py")
    for line, weight in (("w0 = b", 1), ("w1", 3), ("w2", -2)):
        truth, learned, exact = numbers(output, line)
        assert truth == weight
        # 1,000 samples with noise of deviation ½ tell each weight to ½/√1000, and SGD stays as near to that.
        assert abs(learned - truth) < 0.05
        assert abs(learned - exact) < 0.03
    first, last, _ = numbers(output, "J of a batch:")
    assert first > 10 * last
    assert last == pytest.approx(0.25, abs=0.03)  # the noise's variance is what cannot be learned


def test_logistic_regression(tmp_path) -> None:
    output = run(tmp_path, "logistic_regression.py", "--epochs", "3")
    for task, accuracy in (("3 or 8", 93), ("digits", 84)):
        plain, fused = (numbers(output, f"{task}, {way}") for way in ("plain", "fused"))
        assert plain == pytest.approx(fused, abs=2e-4)
        assert plain[1] < plain[0]
        assert plain[2] > accuracy
        assert numbers(output, f"{task}: plain and fused end at")[0] < 1e-5
    assert "J at the score -1000 where ŷ = 1: plain 708.4, fused 1000.0\n" in output
    p, difference, plain, fused = (numbers(output, line) for line in ("p  ", "p - ŷ", "plain", "fused"))
    assert sum(p) == pytest.approx(1, abs=0.006)
    label = int(numbers(output, "a ")[0])
    assert difference == pytest.approx([share - (i == label) for i, share in enumerate(p)], abs=0.0011)
    assert plain == fused == difference


def test_scalar_graph(tmp_path) -> None:
    output = run(tmp_path, "scalar_graph.py")
    rows = {line.split()[0]: line.split()[-2:] for line in output.splitlines()[1:7]}
    assert rows == {
        "a": ["5", "3"],
        "b": ["3", "6"],
        "c": ["2", "9"],
        "u": ["6", "3"],
        "v": ["11", "3"],
        "J": ["33", "1"],
    }
    assert "dJ/da, dJ/db, dJ/dc = [3. 3.] [6. 3.] [9. 3.]\n" in output
    assert f"50 links v ← v + v, {2.0**50:.4g} paths: dv/da = {2.0**50:.4g} after 50 steps back\n" in output


def test_mlp_collapse(tmp_path) -> None:
    output = run(tmp_path, "mlp_collapse.py")
    stack, one, bent = (
        numbers(output, line) for line in ("Linear, Linear ", "its collapse: one Linear", "Linear, ReLU")
    )
    assert (stack[0], one[0], bent[0]) == (322, 6, 322)
    assert stack[1] == one[1] < 70  # a line does little better than guessing
    assert bent[1] > 97
    assert numbers(output, "outputs of the stack and of its collapse differ by at most")[0] < 1e-5


def test_activations(tmp_path) -> None:
    output = run(tmp_path, "activations.py")
    sigmoid, tanh, relu, leaky, prelu = (
        numbers(output, name) for name in ("sigmoid", "tanh", "ReLU", "leaky ReLU", "PReLU  ")
    )
    assert [row[:3] for row in (sigmoid, tanh, relu, leaky, prelu)] == [
        [0.10, 0.25, 0.10],
        [0.07, 1, 0.07],
        [0, 0, 1],
        [0.1, 0.1, 1],
        [0.25, 0.25, 1],
    ]
    # He's weights multiply the gradient by √2 a layer, the sigmoid by ¼ at most.
    for layers, left in zip((1, 5, 10, 20), sigmoid[3:], strict=True):
        assert left < 1.1 * (2**0.5 / 4) ** layers
    for row in (tanh, relu, leaky, prelu):
        assert 0.3 < row[-1] < 5
    assert numbers(output, "PReLU on |x|: α goes from") == [0.25, pytest.approx(-1, abs=1e-3)]


def test_l1_and_l2(tmp_path) -> None:
    output = run(tmp_path, "l1_and_l2.py", "--epochs", "25")
    (*mse, clean_2), (*l1, clean_1) = (numbers(output, "0%")[i : i + 3] for i in (0, 3))
    for line in (mse, l1):
        assert line == pytest.approx([2, 1], abs=0.08)
    assert clean_2 < clean_1  # under normal noise, least squares is the better estimate
    for share in ("5%", "10%", "20%"):
        _, _, off_2, _, _, off_1 = numbers(output, share)
        assert off_2 > 5 * off_1


def test_depth_and_width(tmp_path) -> None:
    output = run(tmp_path, "depth_and_width.py", "--epochs", "10")
    for tents, neurons, least in ((1, 10, 3), (2, 12, 7), (4, 16, 31), (8, 24, 511)):
        layers, built, error, shallow = numbers(output, f"{tents} ")
        assert (layers, built, shallow) == (tents + 1, neurons, least)
        assert error < 1e-11
    nets = {name: numbers(output, f"depth {name} ") for name in ("1", "1, wide", "2", "3", "4")}
    assert nets.pop("1, wide")[0] > 4900
    assert all(900 < parameters <= 1000 for parameters, *_ in nets.values())
    # Medians and ranges of three seeds, at a budget so small that depth 4 is behind depth 3.
    shallow, deeper, best, deepest = nets.values()
    assert shallow[1] > deeper[1] > best[1]
    assert shallow[1] > 2 * best[1]
    assert shallow[2] > max(best[3], deepest[3])  # the luckiest shallow net against the unluckiest deep ones
