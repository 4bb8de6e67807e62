"""The estimators: scikit-learn's own checks, what is theirs alone, and what scikit-learn's tools do with them."""

from __future__ import annotations

import copy
import pickle
import pickletools
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import cnnlib
from cnnlib import datasets
from cnnlib.errors import CNNError, ConfigError, DataError, ShapeError
from cnnlib.layers import Dropout, Flatten, Linear
from cnnlib.losses import CrossEntropyLoss
from cnnlib.model import Model, Sequential
from cnnlib.sklearn import CNNClassifier, CNNRegressor, _base
from tests.helpers import EXAMPLES, run_example

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
(DIGITS, LABELS), (TEST_DIGITS, TEST_LABELS) = datasets.mnist_sample()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([CNNClassifier(), CNNRegressor()])
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def short(**settings: Any) -> CNNClassifier:
    settings = {"max_iter": 4, "tol": None, "random_state": 0, "learning_rate_init": 0.01, **settings}
    return CNNClassifier(**{"hidden_layer_sizes": (8,), **settings})


def weights(estimator: Any) -> list[Any]:
    return list(estimator.model_.state_dict().values())


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(weights(a), weights(b), strict=True))


# What is learned


def test_labels_may_be_of_any_type() -> None:
    names = load_iris().target_names
    a, b = short(max_iter=60).fit(X, Y), short(max_iter=60).fit(X, names[Y])
    assert b.classes_.tolist() == names.tolist()
    np.testing.assert_array_equal(names[a.predict(X)], b.predict(X))
    assert a.score(X, Y) > 0.8
    assert same(a, b)


def test_probabilities() -> None:
    net = short().fit(X, Y)
    p = net.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(net.predict_log_proba(X), np.log(p), rtol=1e-9)
    np.testing.assert_array_equal(net.classes_[p.argmax(axis=1)], net.predict(X))


def test_what_is_recorded() -> None:
    net = short().fit(X, Y)
    assert net.n_iter_ == len(net.loss_curve_) == len(net.history_["loss"]) == 4
    assert net.loss_ == net.loss_curve_[-1] == net.best_loss_
    assert (net.n_features_in_, net.n_outputs_, net.input_shape_) == (4, 3, (4,))
    assert isinstance(net.model_, Model)
    assert net.model_.parameters()["1.weight"].data.dtype == np.float64
    assert short().fit(X.astype(np.float32), Y).model_.parameters()["1.weight"].data.dtype == np.float32


def test_random_state() -> None:
    assert same(short().fit(X, Y), short().fit(X, Y))
    assert not same(short().fit(X, Y), short(random_state=1).fit(X, Y))
    assert same(short(random_state=np.random.RandomState(3)).fit(X, Y), short(random_state=3).fit(X, Y))
    np.random.seed(5)  # noqa: NPY002
    first = short(random_state=None).fit(X, Y)
    np.random.seed(5)  # noqa: NPY002
    assert same(first, short(random_state=None).fit(X, Y))


def test_solvers_and_penalty() -> None:
    for solver in ("sgd", "adam", "adamw"):
        assert short(solver=solver, max_iter=100, learning_rate_init=0.02).fit(X, Y).score(X, Y) > 0.8
    sizes = [np.linalg.norm(weights(short(alpha=alpha, max_iter=100).fit(X, Y))[0]) for alpha in (0.0, 30.0)]
    assert sizes[1] < 0.8 * sizes[0]


def test_one_step_is_the_formula() -> None:
    """Gradient descent on the weighted mean and α/2 ‖w‖² / Σ weights: class weights times sample weights."""
    w = np.random.default_rng(0).uniform(0, 2, len(X))
    settings: dict[str, Any] = {"solver": "sgd", "momentum": 0.0, "alpha": 0.7, "learning_rate_init": 0.1}
    net = CNNClassifier((), batch_size=150, tol=None, random_state=0, class_weight={2: 3.0}, **settings)
    before = weights(net.set_params(max_iter=1, learning_rate_init=1e-30).fit(X, Y))
    after = weights(net.set_params(learning_rate_init=0.1).fit(X, Y, sample_weight=w))
    loss = CrossEntropyLoss(weight=[1, 1, 3])
    loss.forward(X @ before[0].T + before[1], Y, w)
    total = (w * np.array([1, 1, 3])[Y]).sum()
    expected = before[0] - 0.1 * (loss.backward().T @ X + 0.7 * before[0] / total)
    np.testing.assert_allclose(after[0], expected, rtol=1e-10)


def test_class_weights_move_the_boundary() -> None:
    x, y = make_blobs([900, 100], random_state=0, cluster_std=3.0)
    recalls = [
        (short(max_iter=30, class_weight=given).fit(x, y).predict(x)[y == 1] == 1).mean()
        for given in (None, "balanced")
    ]
    assert recalls[1] > recalls[0] + 0.05
    as_weights = short().fit(x, y, sample_weight=np.where(y == 1, 5.0, 0.5556))
    given = short(class_weight={1: 5.0, 0: 0.5556}).fit(x, y)
    assert same(given, as_weights)


def test_several_outputs() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    y = np.stack([x[:, 0], np.abs(x[:, 1])], axis=1)
    net = CNNRegressor((30,), learning_rate_init=0.01, random_state=0, early_stopping=True).fit(x, y)
    assert net.predict(x).shape == (300, 2)
    assert net.score(x, y) > 0.95
    assert net.best_validation_score_ == max(net.validation_scores_) > 0.9
    assert CNNRegressor((30,), max_iter=2, tol=None).fit(x, y[:, 0]).predict(x).shape == (300,)


# How it is trained


def test_partial_fit_is_fit_in_pieces() -> None:
    """Each call is an epoch, the optimizer's state goes on, also through a pickle."""
    classes = np.unique(Y)
    whole, pieces = short(shuffle=False).fit(X, Y), short(shuffle=False)
    for _ in range(4):
        pieces = pickle.loads(pickle.dumps(pieces.partial_fit(X, Y, classes)))
    assert same(whole, pieces)
    assert len(pieces.loss_curve_) == 4
    assert pieces.n_iter_ == 1
    pieces.partial_fit(X[:5], Y[:5])  # one class of three
    with pytest.raises(DataError, match=r"y has the classes \[0 7\], the net was made for \[0 1 2\]"):
        pieces.partial_fit(X[:2], [7, 0])
    with pytest.raises(DataError, match="not those of the first call"):
        pieces.partial_fit(X, Y, [1, 2])
    with pytest.raises(DataError, match="classes must be passed on the first call"):
        short().partial_fit(X, Y)
    with pytest.raises(ConfigError, match="partial_fit does not know"):
        short(class_weight="balanced").partial_fit(X, Y, classes)
    assert CNNRegressor(random_state=0).partial_fit(X, Y).partial_fit(X, Y).predict(X).shape == Y.shape


def test_warm_start_goes_on() -> None:
    net = short(warm_start=True).fit(X, Y)
    first = weights(net)
    net.fit(X, Y)
    assert len(net.loss_curve_) == 8
    assert net.n_iter_ == 4
    assert net.loss_curve_[4] < net.loss_curve_[0]
    assert not np.array_equal(first[0], weights(net)[0])
    with pytest.raises(DataError, match="the net was made for"):
        net.fit(X, Y + 1)
    assert len(short().fit(X, Y).fit(X, Y).loss_curve_) == 4


def test_convergence() -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter = 3 epochs are over"):
        CNNClassifier(max_iter=3).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CNNClassifier(max_iter=3, tol=None).fit(X, Y)
        net = CNNClassifier(max_iter=100, tol=10.0, n_iter_no_change=5).fit(X, Y)
    assert net.n_iter_ == 7  # the first one is the best, then one more than five


def test_early_stopping_keeps_the_best() -> None:
    x, y = make_blobs(300, centers=3, cluster_std=6.0, random_state=1)
    net = CNNClassifier((20,), early_stopping=True, validation_fraction=0.3, learning_rate_init=0.1, random_state=0)
    net.fit(x, y)
    assert net.n_iter_ < 200
    assert net.best_validation_score_ == max(net.validation_scores_)
    assert net.best_loss_ is None
    random = np.random.RandomState(0)
    random.randint(2**31 - 1)  # the net's own
    held = train_test_split(np.arange(300), test_size=0.3, random_state=random, stratify=y)[1]
    assert net.score(x[held], y[held]) == net.best_validation_score_


def test_an_interrupt_keeps_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_base._Watch, "on_epoch_end", interrupt)
    with pytest.warns(UserWarning, match="interrupted by user"):
        net = short().fit(X, Y)
    assert net.n_iter_ == 1
    assert net.predict(X).shape == Y.shape
    monkeypatch.setattr(_base._Watch, "on_batch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        short().fit(X, Y)


def test_weights_reach_the_net_through_a_search() -> None:
    rng = np.random.default_rng(1)
    w, grid = rng.uniform(size=len(X)), {"cnnclassifier__alpha": [0.0, 0.1]}
    pipeline = make_pipeline(StandardScaler(), short())
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, Y, cnnclassifier__sample_weight=w)
    direct = short(**{"alpha": search.best_params_["cnnclassifier__alpha"]}).fit(X, Y, w)
    np.testing.assert_allclose(weights(search.best_estimator_[-1])[0], weights(direct)[0], rtol=1e-9)
    assert not same(direct, short(alpha=direct.alpha).fit(X, Y))


# Images


def test_images_in_any_form_are_the_same() -> None:
    images, labels = DIGITS[:200], LABELS[:200]
    settings: dict[str, Any] = {"max_iter": 1, "tol": None, "random_state": 0, "batch_size": 32}
    nets = [
        CNNClassifier(model="lenet5", **settings).fit(images, labels),
        CNNClassifier(model="lenet5", input_shape=(1, 28, 28), **settings).fit(images.reshape(200, -1), labels),
        CNNClassifier(model="lenet5", **settings).fit(images.astype(np.float32) * np.float32(1 / 255), labels),
    ]
    for net in nets:
        assert net.input_shape_ == (1, 28, 28)
        assert net.n_features_in_ == 784
        assert same(net, nets[0])
    np.testing.assert_array_equal(nets[0].predict(images), nets[1].predict(images.reshape(200, -1)))
    assert nets[0].model_.parameters()["0.weight"].data.dtype == np.float32
    default = CNNClassifier(**settings).fit(images, labels)
    assert [type(layer).__name__ for layer in default.model_][:3] == ["Conv2d", "ReLU", "MaxPool2d"]


@pytest.mark.parametrize("model", ["classic", "vgg_mini", "resnet_mini", "inception_mini", "mlp", "modern_mlp", None])
@pytest.mark.parametrize("shape", [(3, 12, 9), (1, 28, 28)])
def test_nets_by_name(model: Any, shape: Any) -> None:
    x = np.random.default_rng(0).random((12, *shape)).astype(np.float32)
    y = np.arange(12) % 3
    assert CNNClassifier(model=model, max_iter=1, tol=None).fit(x, y).predict_proba(x).shape == (12, 3)
    small = CNNRegressor(max_iter=1, tol=None).fit(x[:, :, :3, :1], y)
    assert small.predict(x[:, :, :3, :1]).shape == (12,)


def with_dropout(input_shape: Any, n_outputs: int, rng: Any) -> Sequential:
    return Sequential(
        Flatten(), Dropout(0.2), Linear(np.prod(input_shape), n_outputs, rng=rng), input_shape=input_shape
    )


def test_a_net_of_ones_own() -> None:
    net = short(model=with_dropout).fit(X, Y)
    assert same(net, clone(net).fit(X, Y))
    assert isinstance(net.model_["1"], Dropout)
    for bad, message in {
        lambda shape, n: Sequential(Linear(4, 5), input_shape=4): r"outputs \[\(5,\)\]: expected one of shape \(3,\)",
        lambda shape, n: "net": "returned a str",
        net.model_: "model is a Sequential: expected a name, or a function",
        "lenet": "model = 'lenet' is unknown; there are: classic",
        "lenet5": r"input_shape = \(1, 28, 28\) has 784 elements, X has 4",
        "classic": "is for images: give X of shape N×C×H×W, or input_shape",
    }.items():
        with pytest.raises(ConfigError, match=message):
            short(model=bad).fit(X, Y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "lbfgs"}, "expected 'adam', 'adamw' or 'sgd'"),
        ({"alpha": -1}, "alpha = -1"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"max_iter": 0}, "max_iter = 0"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes = 0"),
        ({"learning_rate_init": "x"}, "learning_rate_init = 'x'"),
        ({"tol": -1.0}, "tol = -1"),
        ({"n_iter_no_change": 0}, "n_iter_no_change = 0"),
        ({"early_stopping": 1}, "early_stopping = 1"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "test_size = 1"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction = 1"),
        ({"input_shape": (1, 2, 3)}, "6 elements, X has 4 features"),
        ({"input_shape": 4}, "input_shape = 4"),
        ({"class_weight": "even"}, "class_weight"),
    ],
)
def test_bad_parameters(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        short(**settings).fit(X, Y)


def test_bad_images() -> None:
    net = CNNClassifier(max_iter=1, tol=None).fit(DIGITS[:20], LABELS[:20])
    for images, message in {
        "grey": (DIGITS[:20, 0], r"add the channel axis, X\[:, np.newaxis\]"),
        "small": (DIGITS[:20, :, :14], r"images of shape \(1, 14, 28\), the estimator was fitted on \(1, 28, 28\)"),
    }.values():
        with pytest.raises(ShapeError, match=message):
            net.predict(images)
    with pytest.raises(CNNError, match=r"X has images of shape \(1, 28, 28\)"):
        CNNClassifier(input_shape=(1, 14, 56)).fit(DIGITS[:20], LABELS[:20])
    with pytest.raises(NotFittedError):
        CNNClassifier().predict(DIGITS)


# Files and processes


def test_a_pickle_holds_json_and_arrays(tmp_path: Path) -> None:
    net = short(model="modern_mlp").fit(X, Y)
    pickled = pickle.dumps(net)
    named = {str(argument) for _, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)}
    assert {name for name in named if name.startswith("cnnlib.")} == {"cnnlib.sklearn._classifier"}
    for other in (pickle.loads(pickled), copy.deepcopy(net)):
        assert repr(other) == repr(net)
        np.testing.assert_array_equal(other.predict_proba(X), net.predict_proba(X))
        assert other.history_ == net.history_
    net.model_.save(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(cnnlib.load(tmp_path / "net.safetensors").predict(X).argmax(axis=1), net.predict(X))


def test_importing_cnnlib_does_not_import_scikit_learn() -> None:
    code = (
        "import sys, cnnlib, cnnlib.sklearn; print('sklearn' in sys.modules, dir(cnnlib.sklearn.CNNClassifier) and 1)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "False 1\n"
    code = (
        "import sys; sys.modules['sklearn'] = None\nimport cnnlib.sklearn\n"
        "try: cnnlib.sklearn.CNNRegressor\nexcept ImportError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (
        result.stdout
        == "cnnlib.sklearn.CNNRegressor needs the package 'scikit-learn 1.6': pip install 'cnnlib[sklearn]'\n"
    )


def test_search_in_processes() -> None:
    grid = {"cnnclassifier__hidden_layer_sizes": [(4,), (12,)], "cnnclassifier__alpha": [1e-4, 1e-2]}
    pipeline = make_pipeline(StandardScaler(), short(max_iter=20))
    alone = GridSearchCV(pipeline, grid, cv=3).fit(X, Y)
    together = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(X, Y)
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"])
    assert same(alone.best_estimator_[-1], together.best_estimator_[-1])
    kept = cross_validate(short(), X, Y, cv=2, n_jobs=2, return_estimator=True)["estimator"]
    assert kept[0].predict(X).shape == Y.shape


def test_a_search_on_mnist() -> None:
    """1500 digits; what is found beats logistic regression, and tells 93 % of the test digits."""
    x, y = DIGITS[:1500].reshape(1500, -1), LABELS[:1500]
    settings: dict[str, Any] = {"model": "classic", "input_shape": (1, 28, 28), "batch_size": 32, "tol": None}
    net = CNNClassifier((64,), max_iter=5, random_state=0, **settings)
    to_float = FunctionTransformer(lambda x: x.astype(np.float32))
    search = GridSearchCV(
        make_pipeline(to_float, MinMaxScaler(), net), {"cnnclassifier__learning_rate_init": [1e-5, 2e-3]}, cv=2
    )
    search.fit(x, y)
    assert search.best_params_ == {"cnnclassifier__learning_rate_init": 2e-3}
    accuracy = search.score(TEST_DIGITS.reshape(len(TEST_DIGITS), -1), TEST_LABELS)
    linear = make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=200)).fit(x, y)
    assert accuracy > linear.score(TEST_DIGITS.reshape(len(TEST_DIGITS), -1), TEST_LABELS)
    assert accuracy >= 0.93


def test_cross_validation_on_digits() -> None:
    x, y = load_digits(return_X_y=True)
    net = CNNClassifier(input_shape=(1, 8, 8), max_iter=20, learning_rate_init=3e-3, tol=None, random_state=0)
    assert cross_val_score(make_pipeline(MinMaxScaler(), net), x, y, cv=3).min() > 0.92


def test_the_guide_runs(tmp_path: Path) -> None:
    guide = (EXAMPLES.parent / "docs" / "scikit-learn.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", guide, flags=re.M | re.S)
    assert len(blocks) == 4
    script = tmp_path / "guide.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    score, shape, best, r2 = run_example(tmp_path, str(script)).splitlines()
    assert float(score) > 0.9
    assert shape == "(3, 10)"
    assert best.startswith("{'cnnclassifier__learning_rate_init': ")
    assert float(r2) > 0.9
