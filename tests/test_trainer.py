"""The trainer: it learns, it repeats itself bit by bit, it reports what happened, and it refuses what cannot be."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from cnnlib.callbacks import LambdaCallback
from cnnlib.errors import ConfigError, DataError, DTypeError, ShapeError, TrainingError
from cnnlib.layers import Dropout, Flatten, Linear, ReLU
from cnnlib.losses import CrossEntropyLoss, MSELoss
from cnnlib.metrics import TopKAccuracy
from cnnlib.model import Sequential
from cnnlib.optim import SGD, Adam
from cnnlib.schedules import StepLR
from cnnlib.trainer import Trainer


def _rings(n=60, seed=0):
    """Points of three rings around each other: not separable by lines."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    angle = rng.uniform(0, 2 * np.pi, n)
    radius = y + rng.uniform(0.2, 0.8, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32), y


def _model(p=0.0, dtype=np.float32):
    rng = np.random.default_rng(1)
    layers = [Linear(2, 32, rng=rng, dtype=dtype), ReLU(), Dropout(p), Linear(32, 3, rng=rng, dtype=dtype)]
    return Sequential(*layers, input_shape=(2,))


def _trainer(p=0.0, lr=0.1, callbacks=(), optimizer=None):
    return Trainer(_model(p), CrossEntropyLoss(), optimizer or SGD(lr, momentum=0.9), callbacks=callbacks)


def _bits(trainer):
    return b"".join(parameter.data.tobytes() for parameter in trainer.model.parameters().values())


def test_overfits_small_data():
    trainer = _trainer(optimizer=Adam(0.02))
    history = trainer.fit(_rings(), epochs=80, batch_size=16, verbose=0)
    assert history["loss"][-1] < 0.1 < 0.8 < history["loss"][0]
    assert trainer.evaluate(_rings())["accuracy"] == 1.0


def test_regression_finds_the_line():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    y = (x @ [1.0, -2.0, 0.5] + 3)[:, None]
    trainer = Trainer(Sequential(Linear(3, 1, rng=np.random.default_rng(0)), input_shape=(3,)), MSELoss(), SGD(0.3))
    history = trainer.fit((x, y), epochs=40, batch_size=10, verbose=0)
    assert list(history) == ["loss", "lr", "seconds", "images_per_second"]
    np.testing.assert_allclose(trainer.model.parameters()["0.weight"].data, [[1.0, -2.0, 0.5]], atol=1e-4)
    np.testing.assert_allclose(trainer.model.parameters()["0.bias"].data, [3.0], atol=1e-4)


@pytest.mark.parametrize(("p", "shuffle"), [(0.0, True), (0.3, False), (0.3, True)])
def test_seed_decides_every_bit(p, shuffle):
    runs = {}
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        trainer = _trainer(p)
        history = trainer.fit(_rings(), _rings(30, 1), epochs=3, batch_size=16, seed=seed, shuffle=shuffle, verbose=0)
        runs[name] = _bits(trainer), history["loss"], history["val_loss"]
    assert runs["first"] == runs["again"]
    assert runs["first"][0] != runs["other"][0]


def test_without_chance_the_seed_does_not_matter():
    trainers = [_trainer(), _trainer()]
    for seed, trainer in enumerate(trainers):
        trainer.fit(_rings(), epochs=2, seed=seed, shuffle=False, verbose=0)
    assert _bits(trainers[0]) == _bits(trainers[1])


def test_history_tells_each_epoch():
    trainer = _trainer(lr=StepLR(0.1, step_size=2, gamma=0.5))
    history = trainer.fit(_rings(50), _rings(30, 1), epochs=4, batch_size=16, verbose=0)
    assert history is trainer.history
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds", "images_per_second"]
    assert all(len(values) == 4 and all(type(v) is float for v in values) for values in history.values())
    assert history["lr"] == [0.1, 0.1, 0.05, 0.05]
    assert history.stop_reason == "all epochs done"
    np.testing.assert_allclose(np.multiply(history["seconds"], history["images_per_second"]), 50)
    assert history.best("val_accuracy")["val_accuracy"] == max(history["val_accuracy"])
    assert history["val_loss"][-1] == trainer.evaluate(_rings(30, 1))["loss"]


def test_training_metrics_are_those_of_the_training_batches():
    trainer = Trainer(_model(), CrossEntropyLoss(), SGD(0.0), metrics=["accuracy", TopKAccuracy(2)])
    history = trainer.fit(_rings(50), epochs=1, batch_size=16, verbose=0)
    evaluated = trainer.evaluate(_rings(50))
    assert list(evaluated) == ["loss", "accuracy", "top2_accuracy"]
    assert history["accuracy"][0] == evaluated["accuracy"]
    assert history["top2_accuracy"][0] == evaluated["top2_accuracy"]
    assert history["loss"][0] == pytest.approx(evaluated["loss"], rel=1e-6)


def test_evaluating_in_ragged_batches_is_evaluating_the_whole():
    x, y = _rings(50)
    trainer = Trainer(_model(dtype=np.float64), CrossEntropyLoss(), SGD(0.1))
    before = _bits(trainer)
    whole = trainer.evaluate((x, y), batch_size=50)
    ragged = trainer.evaluate((x, y), batch_size=16)
    assert ragged["loss"] == pytest.approx(whole["loss"], rel=1e-13)
    assert ragged["accuracy"] == whole["accuracy"]
    prediction = trainer.model.forward(x.astype(np.float64))
    assert whole == {
        "loss": CrossEntropyLoss().forward(prediction, y),
        "accuracy": np.mean(prediction.argmax(axis=1) == y),
    }
    assert _bits(trainer) == before


def test_evaluating_is_not_training():
    trainer = _trainer(p=0.5)
    trainer.model.train()
    first = trainer.evaluate(_rings())
    assert trainer.evaluate(_rings()) == first
    prediction = trainer.model.forward(_rings()[0], training=False)
    assert first["loss"] == CrossEntropyLoss().forward(prediction, _rings()[1])


def test_evaluating_within_an_epoch_does_not_disturb_it():
    callback = LambdaCallback(on_batch_end=lambda trainer, batch, loss: trainer.evaluate(_rings(30, 1)))
    plain, disturbed = (
        _trainer(p=0.2, callbacks=callbacks).fit(_rings(50), epochs=2, batch_size=16, verbose=0)
        for callbacks in ((), (callback,))
    )
    assert disturbed["accuracy"] == plain["accuracy"]
    assert disturbed["loss"] == plain["loss"]


def test_a_step_is_forward_backward_update():
    x, y = _rings(10)
    trainer, by_hand, loss = _trainer(optimizer=SGD(0.1)), _model(), CrossEntropyLoss()
    value = loss.forward(by_hand.forward(x, training=True), y)
    by_hand.backward(loss.backward())
    assert trainer.train_step(x, y) == value
    for name, parameter in trainer.model.parameters().items():
        other = by_hand.parameters()[name]
        np.testing.assert_array_equal(parameter.grad, other.grad)
        np.testing.assert_allclose(parameter.data, other.data - 0.1 * other.grad, rtol=1e-6, atol=1e-7)
    assert trainer.train_step(x, y) < value


def test_a_step_goes_up_then_down_then_updates():
    trace = []

    class Traced(ReLU):
        def __init__(self, label):
            super().__init__()
            self.label = label

        def apply(self, *xs, **options):
            trace.append(f"forward {self.label}")
            return super().apply(*xs, **options)

        def gradients(self, *args, **options):
            trace.append(f"backward {self.label}")
            return super().gradients(*args, **options)

    class TracedSGD(SGD):
        def step(self, parameters):
            trace.append("update")
            super().step(parameters)

    layers = [Traced("bottom"), Linear(2, 3, rng=np.random.default_rng(0)), Traced("top")]
    model = Sequential(*layers, input_shape=(2,))
    Trainer(model, CrossEntropyLoss(), TracedSGD(0.1)).train_step(*_rings(6))
    # Nothing below the lowest parameter needs a gradient, so "backward bottom" may be left out.
    assert [event for event in trace if event != "backward bottom"] == [
        "forward bottom",
        "forward top",
        "backward top",
        "update",
    ]


def test_gradients_are_averages_over_the_batch():
    x, y = _rings(6)
    trainer = Trainer(_model(dtype=np.float64), CrossEntropyLoss(), SGD(0.0))
    trainer.train_step(x, y)
    batch = {name: parameter.grad.copy() for name, parameter in trainer.model.parameters().items()}
    sums = {name: np.zeros_like(grad) for name, grad in batch.items()}
    for sample in range(6):
        trainer.train_step(x[sample : sample + 1], y[sample : sample + 1])
        for name, parameter in trainer.model.parameters().items():
            sums[name] += parameter.grad / 6
    for name, grad in batch.items():
        np.testing.assert_allclose(grad, sums[name], rtol=1e-10, atol=1e-14)


def test_schedules_see_the_fraction_of_the_epoch():
    seen = []
    callback = LambdaCallback(on_batch_end=lambda trainer, batch, loss: seen.append(trainer.optimizer.epoch))
    _trainer(callbacks=[callback]).fit(_rings(50), epochs=2, batch_size=16, verbose=0)
    assert seen == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]


def test_images_are_converted_batch_by_batch():
    x = np.random.default_rng(0).integers(0, 256, (20000, 1, 28, 28), np.uint8)
    y = np.arange(20000) % 10
    model = Sequential(Flatten(), Linear(784, 10, rng=np.random.default_rng(0)), input_shape=(1, 28, 28))
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.01))
    tracemalloc.start()
    trainer.fit((x, y), (x, y), epochs=1, batch_size=256, verbose=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The images are 16 MB; a copy as float32 would be 63 MB.
    assert peak < 12e6


class _Listed:
    """A data set with len and indices."""

    def __len__(self):
        return 50

    def __getitem__(self, index):
        x, y = _rings(50)
        return x[index], y[index]


class _Stream:
    """An iterable of batches that does not know how many there are."""

    def __iter__(self):
        x, y = _rings(50)
        for start in range(0, 50, 16):
            yield x[start : start + 16], y[start : start + 16]


@pytest.mark.parametrize("data", [_Listed(), _Stream(), list(_rings(50))], ids=["data set", "iterable", "list"])
def test_data_sets_and_iterables_train_like_arrays(data):
    expected, trainer = _trainer(), _trainer()
    expected.fit(_rings(50), epochs=2, batch_size=16, shuffle=False, verbose=0)
    history = trainer.fit(data, data, epochs=2, batch_size=16, shuffle=False, verbose=0)
    assert _bits(trainer) == _bits(expected)
    assert history["val_loss"][-1] == pytest.approx(trainer.evaluate(_rings(50))["loss"], rel=1e-6)


def test_a_fraction_is_held_back_for_validation():
    batches = []
    callback = LambdaCallback(on_fit_begin=lambda trainer: batches.append(trainer.batches))
    history = _trainer(callbacks=[callback]).fit(_rings(60), 0.2, batch_size=16, verbose=0)
    assert batches == [3]
    assert "val_loss" in history


def test_stop_ends_after_the_batch_at_hand():
    def stop(trainer, batch, loss):
        if trainer.history.epochs == 1 and batch == 2:
            trainer.stop("enough")

    history = _trainer(callbacks=[LambdaCallback(on_batch_end=stop)]).fit(_rings(), epochs=9, batch_size=16, verbose=0)
    assert history.epochs == 2
    assert history.stop_reason == "enough"
    assert history["seconds"][1] * history["images_per_second"][1] == pytest.approx(32)


def test_the_keyboard_ends_training_but_keeps_the_history():
    def interrupt(trainer, batch, loss):
        if trainer.history.epochs == 2:
            raise KeyboardInterrupt

    trainer = _trainer(callbacks=[LambdaCallback(on_batch_end=interrupt)])
    history = trainer.fit(_rings(), epochs=9, verbose=0)
    assert history is trainer.history
    assert history.epochs == 2
    assert history.stop_reason == "interrupted from the keyboard"


def test_a_learning_rate_out_of_hand_is_named():
    trainer = _trainer(optimizer=SGD(1e12))
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            TrainingError,
            match=r"epoch \d, batch \d \(samples .*\): the loss is (nan|inf); .*learning rate \(now 1e\+12\)",
        ),
    ):
        trainer.fit(_rings(), epochs=9, batch_size=16, verbose=0)
    assert trainer.history.stop_reason == "failed with NonFiniteError"


def test_bad_numbers_are_named_and_change_no_weight():
    x, y = _rings(10)
    x[3, 1] = np.nan
    trainer = _trainer()
    before = _bits(trainer)
    with pytest.raises(TrainingError, match=r"^the loss is nan; the inputs of this batch contain NaN"):
        trainer.train_step(x, y)
    with pytest.raises(TrainingError, match=r"^epoch 1, batch 1 \(samples 3\): the loss is nan; the inputs"):
        trainer.fit((x, y), verbose=0)
    assert _bits(trainer) == before
    trainer.model.parameters()["0.weight"].data[0, 0] = np.inf
    with np.errstate(all="ignore"), pytest.raises(TrainingError, match=r"parameter '0.weight' became NaN or infinite"):
        trainer.train_step(*_rings(10))
    model = Sequential(Linear(2, 1, rng=np.random.default_rng(0)), input_shape=(2,))
    with pytest.raises(TrainingError, match="the targets of this batch contain NaN"):
        Trainer(model, MSELoss(), SGD(0.1)).train_step(_rings(2)[0], np.array([[math.nan], [0.0]]))


@pytest.mark.parametrize(
    ("fit", "error", "message"),
    [
        (lambda t: t.fit(_rings(), epochs=0), ConfigError, "epochs = 0: expected an integer of at least 1"),
        (lambda t: t.fit(_rings(), verbose=3), ConfigError, "verbose = 3: expected an integer from 0 to 2"),
        (lambda t: t.fit(_rings(), epochs="3"), ConfigError, "epochs = '3': expected an integer"),
        (lambda t: t.fit(_rings(), epochs=1.5), ConfigError, r"epochs = 1\.5"),
        (lambda t: t.fit(_rings(), seed="x"), ConfigError, "seed = 'x': expected an integer of at least 0"),
        (lambda t: t.fit(_rings(), seed=-1), ConfigError, "seed = -1"),
        (lambda t: t.fit(_rings(), shuffle="yes"), ConfigError, "shuffle = 'yes': expected True or False"),
        (lambda t: t.fit(_rings(), "held", verbose=0), DTypeError, "got str"),
        (lambda t: t.fit(_rings(), batch_size=0), ConfigError, "batch_size"),
        (lambda t: t.fit(_Stream(), 0.5), ConfigError, "validation fraction needs train as arrays"),
        (lambda t: t.fit(_rings()[0]), DTypeError, r"pair \(x, y\)"),
        (lambda t: t.fit((_rings()[0], _rings()[1][:-1])), ShapeError, "one length"),
        (lambda t: t.fit((_rings()[0], _rings()[1] + 1), verbose=0), DataError, "label 3 .* 0…2"),
        (lambda t: t.fit(iter(_Stream()), epochs=2), DataError, "generator runs only once"),
        (lambda t: t.fit(_Stream(), iter(_Stream()), epochs=2), DataError, "generator runs only once"),
        (lambda t: t.fit(iter(()), verbose=0), DataError, "no batches"),
        (lambda t: t.evaluate(iter(())), DataError, "no batches"),
        (lambda t: Trainer(t.model, t.loss, t.optimizer, metrics=["f1"]), ConfigError, "'f1'; known names: accuracy"),
    ],
)
def test_what_cannot_be_is_refused(fit, error, message):
    with pytest.raises(error, match=message):
        fit(_trainer())


def test_accuracy_of_a_regression_is_refused():
    x = _rings(4)[0]
    model = Sequential(Linear(2, 1, rng=np.random.default_rng(0)), input_shape=(2,))
    trainer = Trainer(model, MSELoss(), SGD(0.1), metrics="accuracy")
    with pytest.raises(ShapeError, match="measures classification"):
        trainer.evaluate((x, np.zeros((4, 1))))
