"""The architectures by name, with the lecture's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnnlib import load
from cnnlib.datasets import mnist_sample
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.layers import Conv2d, Linear, ReLU
from cnnlib.losses import CrossEntropyLoss
from cnnlib.model import Sequential
from cnnlib.models import MODELS, classic, inception_mini, lenet5, mlp, modern_mlp, resnet_mini, vgg_mini
from cnnlib.optim import SGD
from cnnlib.schedules import CosineLR
from cnnlib.trainer import Trainer
from tests.helpers import normal

# The lecture's table, with parameters, multiply-adds and receptive fields (size, stride, centre) worked out by hand.
LENET5 = """
Input                          | 1 × 28 × 28  |                 |           |           | 1 × 1   | 1 | 0
Conv (C_out=20, K=5, P=2, S=1) | 20 × 28 × 28 | 20 × 1 × 5 × 5  | 520       | 392,000   | 5 × 5   | 1 | 0
ReLU                           | 20 × 28 × 28 |                 |           |           | 5 × 5   | 1 | 0
MaxPool (K=2, S=2)             | 20 × 14 × 14 |                 |           |           | 6 × 6   | 2 | 0.5
Conv (C_out=50, K=5, P=2, S=1) | 50 × 14 × 14 | 50 × 20 × 5 × 5 | 25,050    | 4,900,000 | 14 × 14 | 2 | 0.5
ReLU                           | 50 × 14 × 14 |                 |           |           | 14 × 14 | 2 | 0.5
MaxPool (K=2, S=2)             | 50 × 7 × 7   |                 |           |           | 16 × 16 | 4 | 1.5
Flatten                        | 2450         |                 |           |           | 16 × 16 | 4 | 1.5
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
    assert "10 × 32 × 32  10 × 3 × 5 × 5         760        768,000            5 × 5       1       0" in model.summary()


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


def test_modern_mlp_has_a_norm_and_a_slope_for_each_neuron(rng: np.random.Generator) -> None:
    model = modern_mlp([6, 5, 4, 3], input_shape=(1, 2, 3), rng=0)
    kinds = [type(layer).__name__ for layer in model]
    assert kinds == ["Flatten", *["Linear", "BatchNorm1d", "PReLU"] * 2, "Linear"]
    assert [p.data.shape for p in model["3"].parameters().values()] == [(5,)]
    assert set(model["1"].parameters()) == {"weight"}
    assert type(modern_mlp([6, 5, 3], activation="leaky_relu", rng=0)["3"]).__name__ == "LeakyReLU"
    with pytest.raises(ConfigError, match="activation = 'gelu'"):
        modern_mlp([6, 3], activation="gelu")
    data = normal(rng, 50, 6) * 9 + 4
    standardised = modern_mlp([6, 5, 3], standardize=data, rng=0, dtype=np.float64)
    inputs = standardised.features(data, 0)
    np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-4)


def test_resnet_mini_adds_and_inception_mini_concatenates() -> None:
    resnet = resnet_mini((3, 32, 32), channels=(4, 8, 8), blocks=2, num_classes=7, rng=0)
    kinds = [type(layer).__name__ for layer in resnet]
    assert kinds.count("Add") == 6
    # Two a block, one at the start, one where the number of channels changes and one where the size alone does.
    assert kinds.count("Conv2d") == 12 + 1 + 2
    assert [resnet.node(f"block{i}").shape for i in range(1, 7)] == [(4, 32, 32)] * 2 + [(8, 16, 16)] * 2 + [
        (8, 8, 8)
    ] * 2
    assert resnet.node("features").shape == (8,)
    inception = inception_mini((3, 32, 32), widths=(6, 9), num_classes=7, rng=0)
    assert [inception.node(f"inception{i}").shape for i in (1, 2)] == [(24, 16, 16), (36, 8, 8)]
    assert [inception.node(name).shape for name in ("features", "head")] == [(36,), (7,)]


def test_vgg_mini_halves_the_image_for_each_width() -> None:
    vgg = vgg_mini((3, 20, 9), channels=(4, 6), num_classes=7, init="glorot_normal", rng=0, dtype=np.float64)
    block = ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]
    assert [type(layer).__name__ for layer in vgg] == [*block, *block, "Flatten", "Linear"]
    pooled = [node.shape for node in vgg.graph.nodes if type(node.layer).__name__ == "MaxPool2d"]
    assert pooled == [(4, 10, 4), (6, 5, 2)]
    assert vgg.graph.nodes[-1].shape == (7,)
    assert {parameter.data.dtype for parameter in vgg.parameters().values()} == {np.dtype(np.float64)}
    with pytest.raises(ShapeError, match="height 1"):
        vgg_mini((3, 4, 4))


@pytest.mark.parametrize("name", ["modern_mlp", "resnet_mini", "inception_mini", "vgg_mini"])
def test_new_models_learn_digits_and_come_back_from_files(name: str, tmp_path: Path) -> None:
    (x, y), (x_test, y_test) = mnist_sample()
    model = {
        "modern_mlp": lambda: modern_mlp((784, 64, 32, 10), standardize=x, input_shape=(1, 28, 28), rng=0),
        "resnet_mini": lambda: resnet_mini(channels=(4, 8, 16), rng=0),
        "inception_mini": lambda: inception_mini(widths=(4, 6), rng=0),
        "vgg_mini": lambda: vgg_mini(channels=(4, 8), rng=0),
    }[name]()
    trainer = Trainer(model, CrossEntropyLoss(), SGD(CosineLR(0.1, 2), momentum=0.9))
    trainer.fit((x, y), epochs=2, batch_size=32, verbose=0)
    result = trainer.evaluate((x_test, y_test))
    assert result["accuracy"] > 0.8
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(x_test), model.predict(x_test))
    assert again.summary() == model.summary()
