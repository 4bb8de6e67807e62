"""Callbacks: when they are called, early stopping in all its endings, and what progress prints."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from cnnlib.callbacks import Callback, EarlyStopping, LambdaCallback
from cnnlib.errors import ConfigError
from cnnlib.history import History
from cnnlib.layers import Linear
from cnnlib.losses import CrossEntropyLoss
from cnnlib.model import Sequential
from cnnlib.optim import SGD
from cnnlib.trainer import Trainer

X, Y = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32), np.arange(10) % 2


def _fit(*callbacks, epochs=2, verbose=0, validation=None):
    model = Sequential(Linear(2, 2, rng=np.random.default_rng(0)), input_shape=(2,))
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1), callbacks=callbacks)
    trainer.fit((X, Y), validation, epochs=epochs, batch_size=5, verbose=verbose)
    return trainer


def test_hooks_are_called_in_order():
    events = []

    class Recorder(Callback):
        def on_fit_begin(self, trainer):
            events.append(("fit begins", trainer.epochs, trainer.batches))

        def on_epoch_begin(self, trainer, epoch):
            events.append(("epoch begins", epoch))

        def on_batch_end(self, trainer, batch, loss):
            events.append(("batch", batch, type(loss)))

        def on_epoch_end(self, trainer, epoch, logs):
            events.append(("epoch ends", epoch, logs == {k: v[-1] for k, v in trainer.history.items()}))

        def on_fit_end(self, trainer):
            events.append(("fit ends", trainer.history.stop_reason))

    _fit(Recorder(), Callback())
    epochs = [[("epoch begins", n), ("batch", 1, float), ("batch", 2, float), ("epoch ends", n, True)] for n in (1, 2)]
    assert events == [("fit begins", 2, 2), *epochs[0], *epochs[1], ("fit ends", "all epochs done")]


def test_lambda_callback_refuses_what_is_no_hook():
    with pytest.raises(ConfigError, match=r"unknown hook 'on_epoch'; there are: on_fit_begin, .*on_fit_end"):
        LambdaCallback(on_epoch=print)


class Script:
    """Give the epochs the values of a script, and keep the weights that each epoch ended with."""

    def __init__(self, *values, monitor="val_loss", then=None):
        self.weights = {}

        def on_epoch_end(trainer, epoch, logs):
            logs[monitor] = values[epoch - 1]
            self.weights[epoch] = trainer.model.parameters()["0.weight"].data.copy()

        def on_batch_end(trainer, batch, loss):
            if then and trainer.history.epochs == len(values):
                raise then

        self.callback = LambdaCallback(on_epoch_end=on_epoch_end, on_batch_end=on_batch_end)

    def assert_ends_with(self, trainer, epoch):
        np.testing.assert_array_equal(trainer.model.parameters()["0.weight"].data, self.weights[epoch])
        assert all((weights != self.weights[epoch]).any() for e, weights in self.weights.items() if e != epoch)


def test_early_stopping_stops_and_restores():
    script, stopping = Script(0.9, 0.5, 0.7, 0.6, 0.4), EarlyStopping(patience=2)
    trainer = _fit(script.callback, stopping, epochs=5)
    assert trainer.history.epochs == 4
    assert trainer.history.stop_reason == "no better val_loss for 2 epochs"
    assert (stopping.best, stopping.best_epoch) == (0.5, 2)
    script.assert_ends_with(trainer, 2)


def test_early_stopping_restores_when_the_epochs_run_out():
    script, stopping = Script(0.9, 0.5, 0.7), EarlyStopping(patience=5)
    script.assert_ends_with(_fit(script.callback, stopping, epochs=3), 2)


def test_early_stopping_restores_after_an_interrupt():
    script = Script(0.5, 0.7, then=KeyboardInterrupt)
    script.assert_ends_with(_fit(script.callback, EarlyStopping(), epochs=9), 1)


def test_early_stopping_restores_after_a_failure():
    script, stopping = Script(0.5, 0.7, then=RuntimeError("disk full")), EarlyStopping()
    model = Sequential(Linear(2, 2, rng=np.random.default_rng(0)), input_shape=(2,))
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1), callbacks=[script.callback, stopping])
    with pytest.raises(RuntimeError, match="disk full"):
        trainer.fit((X, Y), epochs=9, batch_size=5, verbose=0)
    script.assert_ends_with(trainer, 1)


def test_small_steps_do_not_count_for_patience_but_are_still_the_best():
    script, stopping = Script(0.50, 0.49, 0.48, 0.47), EarlyStopping(patience=2, min_delta=0.1)
    trainer = _fit(script.callback, stopping, epochs=4)
    assert trainer.history.epochs == 3
    script.assert_ends_with(trainer, 3)


def test_larger_accuracies_are_better():
    script = Script(0.5, 0.9, 0.7, monitor="val_accuracy")
    script.assert_ends_with(_fit(script.callback, EarlyStopping("val_accuracy"), epochs=3), 2)


def test_nan_is_never_the_best():
    nan = float("nan")
    script, stopping = Script(nan, 0.5, nan, nan), EarlyStopping(patience=2)
    trainer = _fit(script.callback, stopping, epochs=4)
    assert trainer.history.epochs == 4
    script.assert_ends_with(trainer, 2)


def test_early_stopping_starts_anew_with_every_fit():
    stopping = EarlyStopping("loss")
    trainer = _fit(stopping, epochs=3)
    assert stopping.best_epoch == 3
    trainer.fit((X, Y + 0), epochs=1, verbose=0)
    assert stopping.best_epoch == 1


def test_early_stopping_refuses_what_cannot_be():
    with pytest.raises(ConfigError, match=r"'val_loss' is not measured; .*loss, accuracy.*pass validation="):
        _fit(EarlyStopping())
    for settings in ({"patience": 0}, {"min_delta": -1.0}, {"mode": "lowest"}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            EarlyStopping(**settings)


def test_silence(capsys):
    _fit(verbose=0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_line_an_epoch_and_no_bar_where_there_is_no_terminal(capsys, verbose):
    trainer = _fit(verbose=verbose, validation=(X, Y))
    out, err = capsys.readouterr()
    assert err == ""
    first, second = out.splitlines()
    assert first.startswith(f"epoch 1/2  loss {trainer.history['loss'][0]:.4f}  accuracy 0.")
    assert second.startswith("epoch 2/2  loss ")
    assert "  val_loss 0." in second
    assert "  lr 0.1  " in second
    assert second.endswith(" images/s")


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_bar_on_a_terminal_for_verbose_1(capsys, monkeypatch, verbose):
    monkeypatch.setattr(sys, "stderr", _Terminal())
    _fit(verbose=verbose)
    assert ("epoch 2/2:" in sys.stderr.getvalue()) == (verbose == 1)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_an_early_end_is_said(capsys):
    _fit(LambdaCallback(on_epoch_end=lambda trainer, epoch, logs: trainer.stop("enough")), verbose=2)
    assert capsys.readouterr().out.splitlines()[-1] == "stopped: enough"


def test_history_reads_as_a_table_and_finds_the_best():
    history = History(loss=[0.9, 0.5, 0.1], val_accuracy=[0.5, 0.75, 0.75], lr=[0.1, 0.1, 0.05])
    assert repr(history).splitlines()[-1] == "    3  0.1000        0.7500  0.05"
    assert history.best() == {"epoch": 3, "loss": 0.1, "val_accuracy": 0.75, "lr": 0.05}
    assert history.best("val_accuracy")["epoch"] == 2
    assert history.best("loss", mode="max")["epoch"] == 1
    assert History(loss=[float("nan"), 2.0]).best()["epoch"] == 2
    assert repr(History()) == "History(no epochs)"
    with pytest.raises(ConfigError, match="'val_loss' was measured; there are: loss, val_accuracy, lr"):
        history.best("val_loss")
