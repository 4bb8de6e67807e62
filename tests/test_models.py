"""The architectures by name, with the lecture's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from cnnlib.errors import ConfigError
from cnnlib.layers import Conv2d, Linear, ReLU
from cnnlib.model import Sequential
from cnnlib.models import MODELS, classic, lenet5, mlp

# The lecture's table, with parameters, multiply-adds and receptive fields worked out by hand.
LENET5 = """
Input                          | 1 × 28 × 28  |                 |           |           | 1 × 1
Conv (C_out=20, K=5, P=2, S=1) | 20 × 28 × 28 | 20 × 1 × 5 × 5  | 520       | 392,000   | 5 × 5
ReLU                           | 20 × 28 × 28 |                 |           |           | 5 × 5
MaxPool (K=2, S=2)             | 20 × 14 × 14 |                 |           |           | 6 × 6
Conv (C_out=50, K=5, P=2, S=1) | 50 × 14 × 14 | 50 × 20 × 5 × 5 | 25,050    | 4,900,000 | 14 × 14
ReLU                           | 50 × 14 × 14 |                 |           |           | 14 × 14
MaxPool (K=2, S=2)             | 50 × 7 × 7   |                 |           |           | 16 × 16
Flatten                        | 2450         |                 |           |           | 16 × 16
Linear (2450 → 500)            | 500          | 2450 × 500      | 1,225,500 | 1,225,000 | whole input
ReLU                           | 500          |                 |           |           | whole input
Linear (500 → 10)              | 10           | 500 × 10        | 5,010     | 5,000     | whole input
"""


def test_summary_of_lenet5_is_the_lectures_table() -> None:
    expected = [" ".join(line.replace("|", " ").split()) for line in LENET5.strip().splitlines()]
    lines = [" ".join(line.split()) for line in lenet5(rng=0).summary().splitlines()]
    assert lines[2:13] == expected
    assert lines[14:] == ["1,256,080 parameters (5.0 MB as float32), 6,522,000 multiply-adds a sample"]


def test_ten_filters_on_an_rgb_image() -> None:
    # L39: 760 parameters, 768,000 multiply-adds.
    model = Sequential(Conv2d(3, 10, 5, stride=1, padding=2), input_shape=(3, 32, 32))
    assert sum(p.data.size for p in model.parameters().values()) == 760
    assert "10 × 32 × 32  10 × 3 × 5 × 5         760        768,000            5 × 5" in model.summary()


def test_a_convolution_shares_its_weights() -> None:
    # L34: 5 outputs of 5 inputs need 25 weights if each sees all, 3 if all share a window of 3.
    assert Linear(5, 5).weight.data.size == 25
    assert Conv2d(1, 1, (1, 3), padding="same").weight.data.size == 3
    assert Conv2d(1, 1, (1, 3), padding="same").output_shape((1, 1, 5)) == (1, 1, 5)


@pytest.mark.parametrize("name", MODELS)
def test_every_named_model_takes_mnist(name: str, dtype: type) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), np.uint8)
    model = MODELS[name](rng=7, dtype=dtype)
    y = model.predict(x)
    assert (y.shape, y.dtype) == ((3, 10), dtype)
    np.testing.assert_array_equal(MODELS[name](rng=7, dtype=dtype).predict(x), y)
    assert (MODELS[name](rng=8, dtype=dtype).predict(x) != y).all()


def test_mlp_has_relu_between_linear_layers_only() -> None:
    layers = list(mlp([6, 5, 4, 3], rng=0).layers.values())
    assert [type(layer).__name__ for layer in layers] == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert mlp([6, 2], input_shape=(1, 2, 3), rng=0).predict(np.zeros((4, 1, 2, 3))).shape == (4, 2)
    with pytest.raises(ConfigError, match=r"sizes\[0\] = 6: input_shape \(2, 2\) has 4 elements"):
        mlp([6, 2], input_shape=(2, 2))
    with pytest.raises(ConfigError, match="at least two"):
        mlp([6])


def test_classic_alternates_as_the_lecture_says() -> None:
    model = classic((3, 32, 32), channels=(4, 8, 16), hidden=(20, 30), num_classes=7, init="he_normal", rng=0)
    kinds = [type(layer).__name__ for layer in model.layers.values()]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 3 + ["Flatten"] + ["Linear", "ReLU"] * 2 + ["Linear"]
    assert model.graph.nodes[9].shape == (16, 4, 4)
    assert isinstance(model.layers["1"], ReLU)
    first = model.layers["0"]
    assert isinstance(first, Conv2d)
    assert first.init == "he_normal"
