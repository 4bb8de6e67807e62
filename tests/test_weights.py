"""Weights of samples and classes: in losses, in training, in what is recorded, and in what a run is resumed with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlib import datasets
from cnnlib.datasets.loader import WeightedDataset
from cnnlib.errors import CNNError, ConfigError, DataError, ShapeError
from cnnlib.graph import Input
from cnnlib.layers import Linear
from cnnlib.losses import BCELoss, CrossEntropyLoss, L1Loss, Loss, MSELoss
from cnnlib.model import Model, Sequential
from cnnlib.optim import SGD
from cnnlib.trainer import Trainer
from cnnlib.weights import ClassWeight
from tests.helpers import Array, check_gradient
from tests.test_checkpoint import Stop, fit, stop_at
from tests.test_losses import CASES, LABELS, _cases

WEIGHT = np.array([0.5, 2.0, 0.0, 1.0, 3.0])
BY_CLASS = np.array([0.25, 4.0, 1.0])


@pytest.fixture(params=CASES)
def case(request: Any, rng: np.random.Generator) -> Any:
    return _cases(rng)[request.param]


# Losses


def test_gradient_of_a_weighted_mean_is_its_derivative(case: Any) -> None:
    loss, prediction, target = case

    def gradient(direction: Array) -> Any:
        loss.forward(prediction, target, WEIGHT)
        return direction * loss.backward()

    check_gradient(lambda: np.array(loss.forward(prediction, target, WEIGHT)), gradient, prediction)


def test_a_weighted_batch_is_the_weighted_mean_of_its_samples(case: Any, dtype: Any) -> None:
    loss, prediction, target = case
    prediction = prediction.astype(dtype)
    value, tolerance = loss.forward(prediction, target, WEIGHT), 20 * float(np.finfo(dtype).eps)
    grad = loss.backward()
    assert type(value) is float
    assert grad.dtype == dtype
    assert loss.total_weight == WEIGHT.sum()
    values, grads = [], []
    for n in range(5):
        values.append(loss.forward(prediction[n : n + 1], target[n : n + 1]))
        grads.append(WEIGHT[n] * loss.backward())
    assert value == pytest.approx(WEIGHT @ values / WEIGHT.sum(), rel=tolerance)
    np.testing.assert_allclose(grad, np.concatenate(grads) / WEIGHT.sum(), rtol=tolerance, atol=1e-12)


def test_weights_are_repetitions_and_ones_change_nothing(case: Any) -> None:
    loss, prediction, target = case
    times = np.array([2, 0, 1, 3, 1])
    repeated = loss.forward(np.repeat(prediction, times, axis=0), np.repeat(target, times, axis=0))
    assert loss.total_weight == 7
    assert loss.forward(prediction, target, times) == pytest.approx(repeated, rel=1e-13)
    plain = loss.forward(prediction, target)
    assert loss.forward(prediction, target, np.ones(5, np.float32)) == pytest.approx(plain, rel=1e-14)


def test_batches_combine_by_their_total_weights(case: Any) -> None:
    """What gradient accumulation relies on."""
    loss, prediction, target = case
    whole = loss.forward(prediction, target, WEIGHT)
    whole_grad = loss.backward()
    parts, grads, totals = [], [], []
    for part in (slice(0, 2), slice(2, 5)):
        parts.append(loss.forward(prediction[part], target[part], WEIGHT[part]))
        grads.append(loss.backward() * loss.total_weight)
        totals.append(loss.total_weight)
    assert np.dot(parts, totals) / sum(totals) == pytest.approx(whole, rel=1e-13)
    np.testing.assert_allclose(np.concatenate(grads) / sum(totals), whole_grad, rtol=1e-13)


def test_a_batch_without_weight_costs_nothing(case: Any) -> None:
    loss, prediction, target = case
    assert loss.forward(prediction, target, np.zeros(5)) == 0.0
    assert loss.total_weight == 0.0
    assert not loss.backward().any()


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("kind", ["labels", "soft"])
def test_class_weights_are_pytorchs(rng: np.random.Generator, kind: str, from_logits: bool) -> None:
    torch = pytest.importorskip("torch")
    logits = rng.normal(size=(5, 3))
    soft = rng.dirichlet(np.ones(3), 5)
    given = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.CrossEntropyLoss(weight=torch.tensor(BY_CLASS))
    expected = theirs(given, torch.tensor(LABELS if kind == "labels" else soft))
    loss = CrossEntropyLoss(from_logits, weight=BY_CLASS)
    if from_logits:
        value = loss.forward(logits, LABELS if kind == "labels" else soft)
        expected.backward()
        np.testing.assert_allclose(loss.backward(), given.grad.numpy(), rtol=1e-12, atol=1e-15)
    else:
        p = torch.softmax(given, 1).detach().numpy()
        value = loss.forward(p, LABELS if kind == "labels" else soft)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    assert loss.total_weight == (BY_CLASS[LABELS].sum() if kind == "labels" else 5)


def test_class_weights_times_sample_weights(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(5, 3))
    both = CrossEntropyLoss(weight=BY_CLASS).forward(logits, LABELS, WEIGHT)
    assert both == pytest.approx(CrossEntropyLoss().forward(logits, LABELS, WEIGHT * BY_CLASS[LABELS]), rel=1e-14)
    one_hot = np.eye(3)[LABELS]
    loss = CrossEntropyLoss(weight=BY_CLASS)

    def gradient(direction: Array) -> Any:
        loss.forward(logits, one_hot, WEIGHT)
        return direction * loss.backward()

    check_gradient(lambda: np.array(loss.forward(logits, one_hot, WEIGHT)), gradient, logits)


class Own(Loss):
    """A loss as somebody would write it who never heard of weights."""

    def _check(self, prediction: Array, target: Array) -> Array:
        return target

    def _value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        return float((prediction - target).sum()) / len(target), np.ones_like(prediction) / len(target)


X = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MSELoss().forward(X, X, [1, 2, 3]), ShapeError, r"sample_weight has shape \(3,\): expected .*\(2,\)"),
        (lambda: MSELoss().forward(X, X, [[1], [2]]), ShapeError, r"sample_weight.ravel\(\)"),
        (lambda: L1Loss().forward(X, X, [1, -2]), DataError, r"sample_weight\[1\] = -2: .* at least 0"),
        (lambda: BCELoss(True).forward(X, X, [np.nan, 1]), DataError, r"sample_weight\[0\] = nan"),
        (lambda: BCELoss(True).forward(X, X, [1e308, 1e308]), DataError, "sum is not finite"),
        (lambda: MSELoss().forward(X, X, ["a", "b"]), CNNError, "numbers"),
        (lambda: Own().forward(X, X, [1, 1]), ConfigError, "takes no weights"),
        (lambda: CrossEntropyLoss(weight=[1, -1]), ConfigError, r"weight\[1\] = -1"),
        (lambda: CrossEntropyLoss(weight=2), ConfigError, r"shape \(\): expected a number each, \(C,\)"),
        (lambda: CrossEntropyLoss(weight=[1, 1]).forward(X, [0, 1]), ShapeError, "2 classes, the prediction has 3"),
    ],
)
def test_weights_that_are_none(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_repr_says_the_weights() -> None:
    assert repr(CrossEntropyLoss(weight=[1, 2])) == "CrossEntropyLoss(from_logits=True, weight=[1.0, 2.0])"


# Class weights


def test_balanced_is_scikit_learns(rng: np.random.Generator) -> None:
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    labels = rng.choice([0, 1, 3], 50, p=[0.7, 0.2, 0.1])
    by_class = compute("balanced", classes=np.array([0, 1, 3]), y=labels)
    balanced = ClassWeight("balanced", labels)
    np.testing.assert_allclose(balanced.of(np.array([0, 1, 3])), by_class, rtol=1e-15)
    np.testing.assert_allclose(ClassWeight("balanced", np.eye(4)[labels]).by_class, balanced.by_class)


@pytest.mark.parametrize(
    ("class_weight", "target", "error", "message"),
    [
        ("balance", LABELS, ConfigError, "expected 'balanced'"),
        ("balanced", None, ConfigError, "needs the labels"),
        ({"cat": 1}, LABELS, ConfigError, "a label = 'cat': expected an integer"),
        ({1: -1}, LABELS, ConfigError, r"class_weight\[1\] = -1"),
        ([1, np.inf, 1], LABELS, ConfigError, r"class_weight\[1\] = inf"),
        ([1, 1], LABELS, DataError, "2 weights, none for label 2"),
        ({0: 2}, LABELS * 0.5, ConfigError, "must be labels"),
        ({0: 2}, LABELS - 1, ConfigError, "must be labels"),
        ({0: 2}, {"main": LABELS}, ConfigError, "for several outputs CrossEntropyLoss"),
    ],
)
def test_class_weights_that_are_none(class_weight: Any, target: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ClassWeight(class_weight, target).of(target)


# Training


def data(n: int = 50) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(n, 3))
    return x, (x[:, 0] + 0.5 * rng.normal(size=n) > 0.8).astype(np.int64), rng.uniform(0, 2, n)


def trainer(loss: Any = None, lr: float = 0.1) -> Trainer:
    model = Sequential(Linear(3, 2, rng=0, dtype=np.float64), input_shape=(3,))
    return Trainer(model, loss or CrossEntropyLoss(), SGD(lr, momentum=0.9))


def trained(train: Any, loss: Any = None, **settings: Any) -> list[Array]:
    own = trainer(loss)
    own.fit(train, **{"epochs": 2, "batch_size": 16, "verbose": 0, **settings})
    return [*own.model.state_dict().values(), np.array(own.history["loss"]), np.array(own.history["accuracy"])]


class Rows:
    """A data set of somebody's own, with weights."""

    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: Any) -> Any:
        return tuple(part[index] for part in data())


def test_all_ways_to_give_weights_are_one() -> None:
    x, y, w = data()
    expected = trained((x, y, w), shuffle=False)
    batches = [(x[i : i + 16], y[i : i + 16], w[i : i + 16]) for i in range(0, 50, 16)]
    weighted = WeightedDataset(datasets.ArrayDataset(x, y), w)
    ways = [weighted, Rows(), iter_anew(batches), datasets.Batches((x, y, w), 16)]
    for way in ways:
        np.testing.assert_equal(trained(way, shuffle=False), expected)
    np.testing.assert_equal(trained((x, y), sample_weight=w, shuffle=False), expected)
    np.testing.assert_equal(trained((x, y), sample_weight=w), trained((x, y, w)))
    np.testing.assert_equal(trained((x, y, None)), trained((x, y)))
    assert not np.array_equal(trained((x, y))[0], trained((x, y, w))[0])


def iter_anew(batches: Any) -> Any:
    class Stream:
        def __iter__(self) -> Any:
            return iter(batches)

    return Stream()


@pytest.mark.parametrize("given", [{1: 3.0}, [1, 3], np.array([1.0, 3.0]), "balanced"], ids=str)
def test_class_weights_are_sample_weights(given: Any) -> None:
    x, y, w = data()
    by_class = ClassWeight("balanced", y).by_class if isinstance(given, str) else np.array([1.0, 3.0])
    np.testing.assert_equal(trained((x, y), class_weight=given), trained((x, y, by_class[y])))
    np.testing.assert_equal(trained((x, y, w), class_weight=given), trained((x, y, by_class[y] * w)))
    loss = CrossEntropyLoss(weight=by_class)
    np.testing.assert_allclose(trained((x, y), class_weight=given)[0], trained((x, y), loss)[0], rtol=1e-13)


@pytest.mark.parametrize("by_class", [None, [0.5, 3.0]])
def test_recorded_are_the_means_over_all_samples(by_class: Any) -> None:
    """Batches of 16, 16, 16 and 2 whose weights differ; with a learning rate of 0 an epoch sees one model."""
    x, y, w = data()
    w[48:] = 40.0
    own = trainer(CrossEntropyLoss(weight=by_class), lr=0.0)
    history = own.fit((x, y, w), (x, y, w), batch_size=16, verbose=0)
    whole = CrossEntropyLoss(weight=by_class).forward(own.model.predict(x), y, w)
    assert history["loss"][0] == pytest.approx(whole, rel=1e-14)
    assert history["val_loss"][0] == pytest.approx(whole, rel=1e-14)
    assert own.evaluate((x, y, w), batch_size=7)["loss"] == pytest.approx(whole, rel=1e-14)
    assert own.train_step(x, y, w) == pytest.approx(whole, rel=1e-14)
    assert history["accuracy"][0] == (own.model.predict(x).argmax(axis=1) == y).mean()


def test_several_outputs_each_have_their_mean() -> None:
    x, y, w = data()
    start = Input(3)
    heads = {name: Linear(3, 2, rng=seed, dtype=np.float64)(start) for seed, name in enumerate("ab")}
    model = Model(start, heads)
    losses = {"a": CrossEntropyLoss(weight=[1, 5]), "b": CrossEntropyLoss()}
    own = Trainer(model, losses, SGD(0.0), loss_weights={"b": 0.5})
    history = own.fit((x, y, w), batch_size=16, verbose=0)
    outputs = model.predict(x)
    a, b = (losses[name].forward(outputs[name], y, w) for name in "ab")
    assert history["a_loss"][0] == pytest.approx(a, rel=1e-13)
    assert history["loss"][0] == pytest.approx(a + 0.5 * b, rel=1e-13)


def test_a_fraction_that_is_held_back_takes_its_weights_along() -> None:
    x, y, w = data()
    own = trainer(lr=0.0)
    history = own.fit((x, y), 0.2, sample_weight=w, batch_size=50, verbose=0)
    rng = np.random.default_rng(np.random.SeedSequence(0).spawn(3)[2])
    (x_train, y_train), (x_held, y_held) = datasets.split(x, y, 0.2, rng)
    of = {tuple(row): weight for row, weight in zip(x, w, strict=True)}
    for name, part, labels in (("loss", x_train, y_train), ("val_loss", x_held, y_held)):
        weight = [of[tuple(row)] for row in part]
        value = CrossEntropyLoss().forward(own.model.predict(part), labels, weight)
        assert history[name][0] == pytest.approx(value, rel=1e-13), name


def test_what_fit_refuses() -> None:
    x, y, w = data()
    for message, call in {
        "given twice": lambda: trainer().fit((x, y, w), sample_weight=w),
        "not of 50|50,": lambda: trainer().fit((x, y), sample_weight=w[:3]),
        "needs the labels": lambda: trainer().fit(Rows(), class_weight="balanced"),
        "pair .* or a data set": lambda: trainer().fit(iter_anew([(x, y)]), sample_weight=w),
        "a batch is a tuple of 4": lambda: trainer().fit(iter_anew([(x, y, w, w)]), verbose=0),
        "must be labels": lambda: trainer(MSELoss()).fit((x, x[:, :1]), class_weight={0: 1}),
    }.items():
        with pytest.raises(CNNError, match=message):
            call()


# Resuming

WEIGHTS = np.random.default_rng(1).uniform(0, 3, 100)


@pytest.mark.parametrize("step", [1, 5, 7])
def test_a_weighted_run_goes_on_exactly(tmp_path: Path, step: int) -> None:
    settings: dict[str, Any] = {"sample_weight": WEIGHTS, "class_weight": "balanced"}
    with pytest.raises(Stop):
        fit(tmp_path, stop_at(step), every=1, **settings)
    resumed = fit(tmp_path, stop_at(-1), every=1, **settings)
    assert resumed == fit(None, **settings)
    assert resumed != fit(None)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({}, "sample_weight: '100 with sum .* there, None here"),
        ({"sample_weight": WEIGHTS[::-1]}, "sample_weight: "),
        ({"sample_weight": WEIGHTS, "class_weight": {1: 2.0}}, r"class_weight: None there, \[1.0, 2.0\] here"),
    ],
)
def test_other_weights_are_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop):
        fit(tmp_path, stop_at(5), every=1, sample_weight=WEIGHTS)
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path, stop_at(-1), every=1, **other)
