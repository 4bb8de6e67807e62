"""What can be done with a finished model: reading features, freezing, sharing layers, putting models together."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from cnnlib import functional, load
from cnnlib.errors import ConfigError, GraphError, ShapeError
from cnnlib.graph import Input
from cnnlib.layers import (
    Add,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    PReLU,
    ReLU,
)
from cnnlib.losses import MSELoss
from cnnlib.model import Model, Sequential
from cnnlib.models import lenet5
from cnnlib.optim import SGD, Adam
from cnnlib.trainer import Trainer
from tests.helpers import check_gradient, normal


class Counting(ReLU):
    """A ReLU that counts its runs, forward and backward."""

    runs = 0
    gradients_run = 0

    def apply(self, *xs: Any, **options: Any) -> Any:
        self.runs += 1
        return super().apply(*xs, **options)

    def gradients(self, *arguments: Any) -> Any:
        self.gradients_run += 1
        return super().gradients(*arguments)


def two_inputs() -> Model:
    a, b = Input(3, "a"), Input(2, "b")
    low = ReLU()(Linear(3, 4, rng=0, name="low")(a))
    return Model([a, b], {"top": Linear(6, 2, rng=1, name="head")(Concat()(low, b))})


def test_features_are_the_values_on_the_way(rng: np.random.Generator) -> None:
    model = lenet5(rng=0)
    x = rng.integers(0, 256, (7, 1, 28, 28), np.uint8)
    y = (x / 255).astype(np.float32)
    np.testing.assert_allclose(model.features(x, "input"), y, rtol=1e-6)
    for i, (name, layer) in enumerate(model.layers.items()):
        y = layer.forward(y)
        for at in (name, i, i - len(model)):
            found = model.features(x, at, batch_size=3)
            assert found.shape == y.shape
            np.testing.assert_allclose(found, y, rtol=1e-4, atol=1e-5)
    many = model.features(x, ["2", "7", -1])
    assert {name: value.shape for name, value in many.items()} == {"2": (7, 20, 14, 14), "7": (7, 500), -1: (7, 10)}
    np.testing.assert_array_equal(many["2"], model.features(x, "2"))
    assert list(model.features(x, ["7"])) == ["7"]


def test_features_run_no_further_than_needed_and_follow_the_weights() -> None:
    above = Counting()
    model = Sequential(Linear(3, 4, rng=0), Dropout(0.9), above, input_shape=3).train()
    x = np.ones((2, 3), np.float32)
    before = model.features(x, "0")
    assert above.runs == 0
    np.testing.assert_array_equal(model.features(x, "1"), before)
    model[0].parameters()["weight"].data[:] = 0
    np.testing.assert_array_equal(model.features(x, "0"), np.broadcast_to(model[0].parameters()["bias"].data, (2, 4)))


def test_features_take_only_the_inputs_that_count(rng: np.random.Generator) -> None:
    model = two_inputs()
    a, b = normal(rng, 5, 3, dtype=np.float32), normal(rng, 5, 2, dtype=np.float32)
    np.testing.assert_array_equal(model.features([a, b], "relu"), model["relu"](model["low"](a)))
    np.testing.assert_array_equal(model.features([a, b], "b"), b)
    np.testing.assert_array_equal(model.features([a, b], "top"), model.predict([a, b])["top"])
    with pytest.raises(ShapeError, match="2 inputs"):
        model.features(a, "relu")


def test_features_keep_the_dtype_and_serve_threads(rng: np.random.Generator) -> None:
    model = Sequential(Flatten(), Linear(8, 3, rng=0, dtype=np.float64), ReLU(), input_shape=(2, 2, 2))
    x = rng.integers(0, 256, (50, 2, 2, 2), np.uint8)
    assert model.features(x, "0").dtype == np.float64
    places = ["0", "1", "2", "input"] * 20
    expected = {at: model.features(x, at) for at in places}
    with ThreadPoolExecutor(4) as pool:
        for at, found in zip(places, pool.map(lambda at: model.features(x, at, 20), places), strict=True):
            np.testing.assert_array_equal(found, expected[at])
    again = copy.deepcopy(model)
    again[1].parameters()["weight"].data[:] = 0
    assert not np.array_equal(again.features(x, "1"), expected["1"])


def test_a_sequential_learns_its_shape_from_features() -> None:
    assert Sequential(Flatten(), ReLU()).features(np.ones((2, 3, 4, 4)), "0").shape == (2, 48)


def test_layers_by_name_and_position() -> None:
    model = two_inputs()
    assert len(model) == 4
    assert [type(layer) for layer in model] == [Linear, ReLU, Concat, Linear]
    assert model["head"] is model[-1] is model["top"] is model.layers["head"] is model.node("head").layer
    twice = Linear(2, 2, rng=0, name="twice")
    x = Input(2)
    shared = Model(x, twice(ReLU()(twice(x))))
    assert shared["twice_1"] is shared["twice"] is shared[0]
    for name in ("tail", 4, -5):
        with pytest.raises(GraphError, match=r"no .*; there are a, b, low, relu, concat, head, outputs top"):
            model[name]
    with pytest.raises(GraphError, match="'a' is an input"):
        model["a"]


def test_frozen_layers_stay_and_the_others_learn(rng: np.random.Generator) -> None:
    low = Counting()
    model = Sequential(Linear(3, 8, rng=0), low, Linear(8, 8, rng=1), ReLU(), Linear(8, 1, rng=2), input_shape=3)
    x, y = normal(rng, 40, 3, dtype=np.float32), normal(rng, 40, 1, dtype=np.float32)
    trainer = Trainer(model, MSELoss(), Adam(0.01))

    def changed() -> set[str]:
        before = model.state_dict()
        trainer.fit((x, y), epochs=1, batch_size=20, verbose=0)
        return {name[0] for name, value in model.state_dict().items() if not np.array_equal(value, before[name])}

    assert changed() == {"0", "2", "4"}
    model["0"].freeze()
    ran = low.gradients_run
    assert changed() == {"2", "4"}
    assert low.gradients_run == ran, "nothing below needs this gradient"
    assert model["0"].parameters()["weight"].grad is None
    model["2"].freeze()
    assert changed() == {"4"}
    model["0"].freeze(False)
    assert changed() == {"0", "4"}
    assert low.gradients_run > ran
    model["2"].parameters()["bias"].frozen = False
    weight = model["2"].parameters()["weight"].data.copy()
    assert changed() == {"0", "2", "4"}
    np.testing.assert_array_equal(model["2"].parameters()["weight"].data, weight)


def test_gradients_pass_through_frozen_layers(rng: np.random.Generator) -> None:
    model = Sequential(Linear(3, 4, rng=0, dtype=np.float64), Linear(4, 2, rng=1, dtype=np.float64), input_shape=3)
    x, dy = normal(rng, 5, 3), normal(rng, 5, 2)
    model.forward(x, training=True)
    expected = model.backward(dy)
    lower = model["0"].parameters()["weight"].grad
    assert lower is not None
    lower = lower.copy()
    model["1"].freeze()
    model.zero_grad()
    model.forward(x, training=True)
    np.testing.assert_array_equal(model.backward(dy), expected)
    np.testing.assert_array_equal(model["0"].parameters()["weight"].grad, lower)
    assert model["1"].parameters()["weight"].grad is None
    for layer in model:
        layer.freeze()
    model.zero_grad()
    model.forward(x, training=True)
    assert model.backward(dy, input_grad=False) is None
    np.testing.assert_array_equal(model.backward(dy), expected)


F64 = np.dtype(np.float64)
LEARNERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear_backward": (lambda: Linear(3, 3, rng=0, dtype=F64), (4, 3)),
    "conv2d_backward": (lambda: Conv2d(3, 3, 3, padding=1, rng=0, dtype=F64), (4, 3, 5, 5)),
    "batch_norm_backward": (lambda: BatchNorm2d(3, dtype=F64), (4, 3, 5, 5)),
    "prelu_backward": (lambda: PReLU(3, dtype=F64), (4, 3, 5, 5)),
}
FROZEN = [(name, names) for name in LEARNERS for names in (("weight",), ("bias",), ("weight", "bias"))]


@pytest.mark.parametrize(("function", "frozen"), FROZEN)
def test_gradients_of_frozen_parameters_are_not_computed(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, function: str, frozen: tuple[str, ...]
) -> None:
    make, shape = LEARNERS[function]
    layer, needed, original = make(), [], getattr(functional, function)
    x, dy = normal(rng, *shape), normal(rng, *shape)
    layer.forward(x, training=True)
    dx = layer.backward(dy)
    expected = {name: parameter.grad.copy() for name, parameter in layer.parameters().items()}

    def spy(*arguments: Any, needs: Any, **options: Any) -> Any:
        needed.append(dict(zip(("x", "weight", "bias"), needs, strict=False)))
        return original(*arguments, needs=needs, **options)

    monkeypatch.setattr(functional, function, spy)
    for name, parameter in layer.parameters().items():
        parameter.frozen = name in frozen
        parameter.zero_grad()
    np.testing.assert_array_equal(layer.backward(dy), dx)
    assert needed == [{"x": True, **{name: name not in frozen for name in expected}}]
    for name, parameter in layer.parameters().items():
        if name in frozen:
            assert parameter.grad is None
        else:
            np.testing.assert_array_equal(parameter.grad, expected[name])


def test_optimizers_pass_frozen_parameters_by() -> None:
    model = Sequential(Linear(2, 2, rng=0), input_shape=2)
    model.forward(np.ones((1, 2)), training=True)
    model.backward(np.ones((1, 2)))
    before = model.state_dict()
    model[0].freeze()
    SGD(0.1, weight_decay=0.1).step(model.parameters())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_gradients_of_a_shared_layer_add(rng: np.random.Generator) -> None:
    # The same convolution on two images, and once more on what comes of the first.
    a, b = Input((2, 4, 4), "a"), Input((2, 4, 4), "b")
    conv = Conv2d(2, 2, 3, padding=1, rng=0, dtype=np.float64, name="shared")
    model = Model([a, b], Add()(ReLU()(conv(conv(a))), conv(b)))
    assert list(model.parameters()) == ["shared.weight", "shared.bias"]
    xs = [normal(rng, 2, 2, 4, 4), normal(rng, 2, 2, 4, 4)]

    def gradients(dy: Any) -> list[Any]:
        model.zero_grad()
        model.forward(xs, training=True)
        return [*model.backward(dy), *(p.grad for p in model.parameters().values())]

    arrays = [*xs, *(p.data for p in model.parameters().values())]
    for i, array in enumerate(arrays):
        check_gradient(lambda: model.forward(xs), lambda dy, i=i: gradients(dy)[i], array)


def test_a_model_on_nodes_shares_its_layers(rng: np.random.Generator, tmp_path: Any) -> None:
    # A Siamese pair: one trunk on two inputs.
    trunk = Sequential(Conv2d(1, 2, 3, rng=0), MaxPool2d(2), Flatten(), Linear(8, 3, rng=1))
    a, b = Input((1, 6, 6), "a"), Input((1, 6, 6), "b")
    model = Model([a, b], {"both": Linear(6, 2, rng=2, name="head")(Concat()(trunk(a), trunk(b)))})
    x = [normal(rng, 4, 1, 6, 6, dtype=np.float32) for _ in range(2)]
    parts = np.concatenate([trunk.predict(image) for image in x], axis=1)
    np.testing.assert_allclose(model.predict(x)["both"], model["head"](parts), rtol=1e-5, atol=1e-6)
    assert len(model.parameters()) == len(trunk.parameters()) + 2
    model.save(tmp_path / "pair.safetensors")
    again = load(tmp_path / "pair.safetensors")
    np.testing.assert_array_equal(again.predict(x)["both"], model.predict(x)["both"])
    assert len(again.parameters()) == len(model.parameters())


def test_models_of_several_ends_on_nodes(rng: np.random.Generator) -> None:
    part = two_inputs()
    x = Input(3)
    placed = part([x, Linear(3, 2, rng=5)(x)])
    model = Model(x, placed["top"])
    values = normal(rng, 4, 3, dtype=np.float32)
    np.testing.assert_allclose(
        model.predict(values), part.predict([values, model["linear"](values)])["top"], rtol=1e-5, atol=1e-6
    )
    with pytest.raises(GraphError, match="called on 1 nodes, it has 2 inputs"):
        part(x)
    with pytest.raises(ShapeError, match="input 'b' of the model needs N × 2, the node gives N × 3"):
        part([x, x])


def test_a_new_head_on_an_old_node(rng: np.random.Generator) -> None:
    old = lenet5(rng=0)
    for layer in list(old)[:-1]:
        layer.freeze()
    new = Model(old.node("input"), Linear(500, 3, rng=1, name="head")(old.node(-2)))
    x = rng.integers(0, 256, (30, 1, 28, 28), np.uint8)
    before, features = old.predict(x), old.features(x, -2)
    Trainer(new, MSELoss(), SGD(0.01)).fit((x, features[:, :3].copy()), epochs=2, batch_size=10, verbose=0)
    np.testing.assert_array_equal(old.predict(x), before)
    np.testing.assert_allclose(new["head"](features), new.predict(x), rtol=1e-4, atol=1e-5)


def test_eval_chooses_the_statistics_of_batch_normalisation(rng: np.random.Generator) -> None:
    x = normal(rng, 20, 3, dtype=np.float32) * 5 + 2
    model = Sequential(BatchNorm1d(3), input_shape=3)
    np.testing.assert_allclose(model.eval().predict(x), x, rtol=1e-4)
    assert model.eval(bn_stats="batch") is model
    np.testing.assert_allclose(model.eval().predict(x), (x - x.mean(axis=0)) / x.std(axis=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.eval("running").predict(x), x, rtol=1e-4)
    with pytest.raises(ConfigError, match="'all': expected 'running' or 'batch'"):
        model.eval("all")  # type: ignore[arg-type]
