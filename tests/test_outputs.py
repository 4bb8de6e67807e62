"""Models of several named outputs, and training them on a loss for each (L33)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlib import load
from cnnlib.callbacks import EarlyStopping
from cnnlib.datasets import Batches, GroupedDataset
from cnnlib.errors import ConfigError, DataError, GraphError, ShapeError, TrainingError
from cnnlib.graph import Input
from cnnlib.layers import Concat, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Softmax
from cnnlib.losses import CrossEntropyLoss, MSELoss
from cnnlib.metrics import Accuracy, TopKAccuracy
from cnnlib.model import Model, Sequential
from cnnlib.optim import SGD, Adam
from cnnlib.trainer import Trainer
from tests.helpers import check_gradient, normal


def branching(dtype: type = np.float32) -> Model:
    """A trunk with a classifier on its middle and one, beside a regression, on its top: branches meet twice."""
    x = Input((1, 6, 6), "image")
    trunk = ReLU()(Conv2d(1, 3, 3, rng=0, dtype=dtype, name="trunk")(x))
    low = Flatten()(MaxPool2d(2)(trunk))
    aux = Linear(12, 4, rng=1, dtype=dtype, name="aux_head")(low)
    high = ReLU()(Linear(48, 8, rng=2, dtype=dtype)(Flatten()(trunk)))
    main = Linear(20, 4, rng=3, dtype=dtype, name="main_head")(Concat()(high, low))
    size = Linear(8, 1, rng=4, dtype=dtype, name="size_head")(high)
    return Model(x, {"main": main, "aux": aux, "size": size})


LOSSES = {"main": CrossEntropyLoss(), "aux": CrossEntropyLoss(), "size": MSELoss()}
WEIGHTS = {"aux": 0.3, "size": 2.0}


def data(n: int = 40) -> tuple[Any, dict[str, Any]]:
    """Images with one bright quarter; which quarter it is, and how bright, is asked for."""
    rng = np.random.default_rng(9)
    which, bright = np.arange(n) % 4, rng.uniform(1, 2, n)
    x = rng.normal(0, 0.1, (n, 1, 6, 6)).astype(np.float32)
    for i, (quarter, value) in enumerate(zip(which, bright, strict=True)):
        row, column = divmod(quarter, 2)
        x[i, 0, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3] += value
    return x, {"main": which, "aux": which, "size": bright[:, None]}


def trainer(**options: Any) -> Trainer:
    return Trainer(branching(), LOSSES, SGD(0.05, momentum=0.9), loss_weights=WEIGHTS, **options)


def test_outputs_come_by_name(rng: np.random.Generator) -> None:
    model = branching()
    x = normal(rng, 5, 1, 6, 6, dtype=np.float32)
    for outputs in (model.forward(x), model.predict(x, batch_size=2), model(x, training=True)):
        assert {name: y.shape for name, y in outputs.items()} == {"main": (5, 4), "aux": (5, 4), "size": (5, 1)}
    assert model.output_names == ("main", "aux", "size")
    alone = Model(model.graph.nodes[0], {"only": model.node("main")})
    assert list(alone.forward(x)) == ["only"]
    np.testing.assert_array_equal(alone.forward(x)["only"], model.forward(x)["main"])
    assert Model(model.graph.nodes[0], model.node("main")).output_names is None


def test_gradients_meet_where_branches_meet(rng: np.random.Generator) -> None:
    model = branching(np.float64)
    x = normal(rng, 3, 1, 6, 6)
    dys = {name: normal(rng, *y.shape) for name, y in model.forward(x).items()}
    model.forward(x, training=True)
    dx = model.backward(dict(reversed(dys.items())))
    together = {name: p.grad.copy() for name, p in model.parameters().items() if p.grad is not None}
    assert set(together) == set(model.parameters())
    model.zero_grad()
    total = np.zeros_like(dx)
    for name, dy in dys.items():
        model.forward(x, training=True)
        total += model.backward({other: dy if other == name else np.zeros_like(dys[other]) for other in dys})
    np.testing.assert_allclose(dx, total, rtol=0, atol=1e-12)
    for name, parameter in model.parameters().items():
        np.testing.assert_allclose(parameter.grad, together[name], rtol=0, atol=1e-12)


def test_weighted_losses_have_the_gradient_of_their_sum(rng: np.random.Generator) -> None:
    model = branching(np.float64)
    x, targets = normal(rng, 4, 1, 6, 6), {"main": [0, 3, 1, 2], "aux": [1, 1, 2, 0], "size": normal(rng, 4, 1)}
    loss = Trainer(model, LOSSES, SGD(0.1), loss_weights=WEIGHTS).objective

    def value() -> Any:
        parts = loss.forward(model.forward(x, training=True), targets)
        assert parts["loss"] == pytest.approx(parts["main_loss"] + 0.3 * parts["aux_loss"] + 2 * parts["size_loss"])
        return np.array([parts["loss"]])

    def gradients(direction: Any) -> dict[str, Any]:
        value()
        model.zero_grad()
        dx = model.backward({name: dy * direction[0] for name, dy in loss.backward().items()})
        return {"x": dx, **{name: p.grad for name, p in model.parameters().items()}}

    arrays = {"x": x, **{name: p.data for name, p in model.parameters().items()}}
    for name, array in arrays.items():
        check_gradient(value, lambda direction, name=name: gradients(direction)[name], array)


def test_training_learns_all_outputs_and_reports_each() -> None:
    run = Trainer(branching(), LOSSES, Adam(0.01), loss_weights=WEIGHTS)
    history = run.fit(data(), validation=0.25, epochs=40, batch_size=8, verbose=0)
    names = ["loss", "main_loss", "aux_loss", "size_loss", "main_accuracy", "aux_accuracy"]
    assert list(history) == [*names, *(f"val_{name}" for name in names), "lr", "seconds", "images_per_second"]
    result = run.evaluate(data(), batch_size=7)
    assert list(result) == names
    assert result["main_accuracy"] == result["aux_accuracy"] == 1.0
    assert result["size_loss"] < 0.02 < 0.2 < history["size_loss"][0]
    assert result["loss"] == pytest.approx(result["main_loss"] + 0.3 * result["aux_loss"] + 2 * result["size_loss"])
    assert result == pytest.approx(run.evaluate(data(), batch_size=40))
    assert history.best("val_main_accuracy")["val_main_accuracy"] == max(history["val_main_accuracy"])


def test_same_seed_gives_the_same_bits() -> None:
    runs = [trainer(clip_norm=1.0) for _ in range(3)]
    for run, seed in zip(runs, (1, 1, 2), strict=True):
        run.fit(data(), validation=0.25, epochs=2, batch_size=8, seed=seed, verbose=0)
    bits = [b"".join(p.data.tobytes() for p in run.model.parameters().values()) for run in runs]
    assert bits[0] == bits[1] != bits[2]
    assert runs[0].history["val_size_loss"] == runs[1].history["val_size_loss"]


def test_a_step_is_that_of_the_weighted_sum() -> None:
    x, targets = data(8)
    run, model = trainer(), branching()
    parts = {name: copy.copy(loss) for name, loss in LOSSES.items()}
    predictions = model.forward(x, training=True)
    value = sum(WEIGHTS.get(name, 1) * loss.forward(predictions[name], targets[name]) for name, loss in parts.items())
    model.backward({name: WEIGHTS.get(name, 1) * loss.backward() for name, loss in parts.items()})
    SGD(0.05, momentum=0.9).step(model.parameters())
    assert run.train_step(x, targets) == pytest.approx(value)
    for name, parameter in model.parameters().items():
        np.testing.assert_allclose(run.model.parameters()[name].data, parameter.data, rtol=1e-5, atol=1e-7)


def test_one_array_and_one_loss_object_may_serve_all_outputs() -> None:
    x = Input(3)
    shared, both = CrossEntropyLoss(), Linear(3, 2, rng=0)
    model = Model(x, {"a": both(x), "b": Linear(2, 2, rng=1)(both(x))})
    metrics = Accuracy()
    run = Trainer(model, {"a": shared, "b": shared}, Adam(0.05), metrics=[metrics, "accuracy"])
    points = np.random.default_rng(0).normal(size=(60, 3))
    labels = (points[:, 0] > 0).astype(int)
    history = run.fit((points, labels), epochs=30, batch_size=20, verbose=0)
    assert history["a_accuracy"][-1] > 0.95
    assert history["b_accuracy"][-1] > 0.95
    parts = (slice(0, 5), slice(5, 60))
    wrong = run.evaluate((points[part], {"b": labels[part], "a": 1 - labels[part]}) for part in parts)
    assert wrong["a_accuracy"] < run.evaluate((points, labels))["a_accuracy"]
    assert wrong["b_loss"] == pytest.approx(run.evaluate((points, labels))["b_loss"])


def test_metrics_may_differ_by_output() -> None:
    chosen = {"main": ["accuracy", TopKAccuracy(2)], "aux": "accuracy"}
    run = trainer(metrics=chosen, callbacks=[EarlyStopping("val_main_top2_accuracy", patience=3)])
    run.fit(data(), validation=data(), epochs=3, batch_size=8, verbose=0)
    assert {name for name in run.history if name.endswith("accuracy") and not name.startswith("val_")} == {
        "main_accuracy",
        "main_top2_accuracy",
        "aux_accuracy",
    }


def test_names_are_saved(tmp_path: Path, rng: np.random.Generator) -> None:
    model, x = branching(), normal(rng, 3, 1, 6, 6, dtype=np.float32)
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    expected = model.predict(x)
    assert list(again.predict(x)) == list(expected)
    for name, y in again.predict(x).items():
        np.testing.assert_array_equal(y, expected[name])


def test_outputs_that_share_a_node_get_the_sum(rng: np.random.Generator) -> None:
    x = Input(3)
    y = Linear(3, 2, rng=0, dtype=np.float64)(x)
    model = Model(x, {"a": y, "b": y})
    dy = normal(rng, 4, 2)
    model.forward(normal(rng, 4, 3), training=True)
    np.testing.assert_allclose(model.backward({"a": dy, "b": 2 * dy}), 3 * dy @ model[0].parameters()["weight"].data)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: Trainer(branching(), MSELoss(), SGD(1)), GraphError, "loss: the model's outputs have names: .*'main'"),
        (
            lambda: Trainer(branching(), {"main": MSELoss(), "top": MSELoss()}, SGD(1)),
            GraphError,
            "loss: missing 'aux', 'size'; unknown 'top'; the model's outputs are 'main', 'aux', 'size'",
        ),
        (lambda: Trainer(branching(), LOSSES, SGD(1), loss_weights={"x": 1}), GraphError, "loss_weights: unknown 'x'"),
        (lambda: Trainer(branching(), LOSSES, SGD(1), loss_weights={"aux": -1}), ConfigError, r"\['aux'\] = -1"),
        (lambda: Trainer(branching(), LOSSES, SGD(1), metrics={"x": []}), GraphError, "metrics: unknown 'x'"),
        (lambda: Trainer(Sequential(ReLU()), {"main": MSELoss()}, SGD(1)), ConfigError, "has no name: give one loss"),
        (lambda: trainer().evaluate((data()[0], {"main": data()[1]["main"]})), GraphError, "targets: missing 'aux'"),
        (lambda: trainer().evaluate((data()[0], {})), DataError, "empty dict"),
        (lambda: trainer().evaluate((data()[0], {"main": np.zeros(3)})), ShapeError, "targets 'main': .* one length"),
        (lambda: branching().backward({}), TrainingError, "backward before forward"),
        (lambda: Model(Input(2), {"": Input(2)}), GraphError, "which is not among"),
        (lambda: Model(Input(2), {}), GraphError, "needs outputs"),
        (lambda: trainer(clip_norm=0), ConfigError, "clip_norm = 0"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


def test_backward_lists_the_names(rng: np.random.Generator) -> None:
    model = branching()
    y = model.forward(normal(rng, 2, 1, 6, 6), training=True)
    with pytest.raises(GraphError, match="backward: missing 'size'; unknown 'siez'"):
        model.backward({"main": y["main"], "aux": y["aux"], "siez": y["size"]})
    with pytest.raises(GraphError, match=r"backward: .*give a dict with 'main', 'aux', 'size'"):
        model.backward(list(y.values()))
    with pytest.raises(ConfigError, match="name = 3"):
        Model(model.graph.nodes[0], {3: model.node("main")})  # type: ignore[dict-item]


def test_several_outputs_need_names_to_be_trained() -> None:
    x = Input(3)
    model = Model(x, [Linear(3, 2)(x), Linear(3, 2)(x)])
    with pytest.raises(ConfigError, match="the model has 2 outputs without names: name them"):
        Trainer(model, MSELoss(), SGD(0.1)).train_step(np.ones((4, 3)), np.ones((4, 2)))


def test_several_inputs_and_outputs_train_on_batches(rng: np.random.Generator) -> None:
    a, b = Input(3, "a"), Input(2, "b")
    model = Model([a, b], {"sum": Linear(5, 1, rng=0)(Concat()(a, b)), "b": Linear(2, 1, rng=1)(b)})
    run = Trainer(model, {"sum": MSELoss(), "b": MSELoss()}, SGD(0.1))
    x = [normal(rng, 64, 3, dtype=np.float32), normal(rng, 64, 2, dtype=np.float32)]
    targets = {"sum": (x[0].sum(axis=1) + x[1].sum(axis=1))[:, None], "b": x[1][:, :1] - x[1][:, 1:]}
    history = run.fit(iter([(x, targets)] * 200), verbose=0)
    assert list(history)[:3] == ["loss", "sum_loss", "b_loss"]
    assert run.evaluate(iter([(x, targets)]))["loss"] < 1e-3
    x[1][5] = np.nan
    with pytest.raises(TrainingError, match="the inputs of this batch contain NaN"):
        run.train_step(x, targets)


@pytest.mark.parametrize("named", [False, True])
def test_several_inputs_train_on_arrays(rng: np.random.Generator, named: bool) -> None:
    """As on the batches that are cut from the arrays by hand, in every order of samples."""

    def trainer() -> Trainer:
        a, b = Input(3, "a"), Input(2, "b")
        top = Linear(5, 1, rng=0)(Concat()(a, b))
        return Trainer(
            Model([a, b], {"sum": top} if named else top), {"sum": MSELoss()} if named else MSELoss(), SGD(0.1)
        )

    xs = normal(rng, 70, 3, dtype=np.float32), normal(rng, 70, 2, dtype=np.float32)
    y: Any = xs[0][:, :1] + xs[1][:, 1:]
    y = {"sum": y} if named else y
    run, by_hand = trainer(), trainer()
    history = run.fit((xs, y), (list(xs), y), epochs=2, batch_size=32, shuffle=False, verbose=0)
    batches = list(Batches(GroupedDataset(xs, y), 32))
    assert [len(x[1]) for x, _ in batches] == [32, 32, 6]
    by_hand.fit(iter(batches * 2), verbose=0)
    for own, other in zip(run.model.parameters().values(), by_hand.model.parameters().values(), strict=True):
        np.testing.assert_array_equal(own.data, other.data)
    assert history["val_loss"][-1] == run.evaluate((xs, y))["loss"]
    shuffled = trainer().fit((xs, y), 0.2, epochs=40, batch_size=16, verbose=0)
    assert shuffled["loss"][-1] < shuffled["val_loss"][0]
    assert shuffled["val_loss"][-1] < 1e-3


def test_a_loss_that_is_not_finite_is_named() -> None:
    x, targets = data(8)
    targets["size"][3] = np.nan
    with pytest.raises(TrainingError, match="the size_loss is nan; the targets of this batch contain NaN"):
        trainer().train_step(x, targets)


def test_probabilities_beside_logits() -> None:
    x = Input(3)
    logits = Linear(3, 4, rng=0, dtype=np.float64)(x)
    model = Model(x, {"logits": logits, "probabilities": Softmax()(logits)})
    losses = {"logits": CrossEntropyLoss(), "probabilities": CrossEntropyLoss(from_logits=False)}
    result = Trainer(model, losses, SGD(0.1)).evaluate((np.eye(3), np.array([0, 1, 3])))
    assert result["logits_loss"] == pytest.approx(result["probabilities_loss"])
