"""Trials of a training, and the rate as a function: fast_dev_run, overfit_one_batch, LRSchedule, on_batch_begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlib.callbacks import Checkpoint, CSVLog, EarlyStopping, LambdaCallback, LRSchedule
from cnnlib.errors import ConfigError, DataError, NonFiniteError, TrainingError
from cnnlib.layers import Linear, ReLU
from cnnlib.losses import CrossEntropyLoss, MSELoss
from cnnlib.model import Sequential
from cnnlib.optim import SGD, Adam
from cnnlib.schedules import CosineLR, StepLR
from cnnlib.selftest import nets
from cnnlib.trainer import Trainer

DATA = nets.images(100)


class Noisy:
    """A data set with a generator of its own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(4)

    def __len__(self) -> int:
        return len(DATA[0])

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        return DATA[0][index] * self.rng.random(dtype=np.float32), DATA[1][index]


def _all_of(trainer: Trainer) -> Any:
    state = trainer.optimizer.state_dict()
    return nets.digest(trainer.model), {k: np.array(v).tobytes() for k, v in state.items()}, trainer.optimizer.lr


# fast_dev_run


@pytest.mark.parametrize("count", [True, 1, 3])
def test_fast_dev_run_does_a_few_batches_of_everything_and_leaves_no_trace(count: int, tmp_path: Path) -> None:
    calls: list[str] = []
    hooks: dict[str, Any] = {
        name: lambda trainer, *rest, name=name: calls.append(name)
        for name in ("on_fit_begin", "on_batch_begin", "on_batch_end", "on_epoch_end", "on_fit_end")
    }
    writers = Checkpoint(tmp_path / "run"), CSVLog(tmp_path / "log.csv")
    callbacks = [LambdaCallback(**hooks), EarlyStopping("val_loss"), *writers]
    trainer = nets.trainer(nets.build("normalized"), *callbacks)
    data, before = Noisy(), _all_of(trainer)
    history = trainer.fit(data, validation=DATA, epochs=7, batch_size=16, verbose=0, fast_dev_run=count)
    batch = ["on_batch_begin", "on_batch_end"]
    assert calls == ["on_fit_begin", *batch * int(count), "on_epoch_end", "on_fit_end"]
    assert set(history) >= {"loss", "val_loss", "accuracy"}
    assert len(history["loss"]) == 1
    assert list(tmp_path.iterdir()) == []
    assert _all_of(trainer) == before
    assert trainer.callbacks == callbacks
    assert data.rng.random() == np.random.default_rng(4).random()


def test_fast_dev_run_of_all_kinds_of_data_and_settings() -> None:
    trainer = nets.trainer(nets.build("normalized"))

    class Stream:
        seen = 0

        def __iter__(self) -> Any:
            for i in range(0, 100, 10):
                Stream.seen += 1
                yield DATA[0][i : i + 10], DATA[1][i : i + 10]

    trainer.fit(Stream(), validation=Stream(), verbose=0, fast_dev_run=2)
    assert Stream.seen == 4
    settings: dict[str, Any] = {"verbose": 0, "fast_dev_run": True, "batch_size": 32}
    trainer.fit(DATA, validation=0.25, sample_weight=np.arange(100), class_weight="balanced", **settings)
    whole = trainer.fit(DATA, verbose=0, fast_dev_run=10**6, shuffle=False)  # as many as there are
    np.testing.assert_array_equal(whole["loss"], trainer.fit(DATA, verbose=0, shuffle=False)["loss"])
    for bad in (0, -1, 1.5, "1", None):
        with pytest.raises(ConfigError, match="fast_dev_run"):
            trainer.fit(DATA, fast_dev_run=bad, verbose=0)  # type: ignore[arg-type]


def test_fast_dev_run_finds_what_would_fail_at_the_end_of_an_epoch() -> None:
    trainer = nets.trainer(nets.build("normalized"), EarlyStopping("val_los"))
    before = _all_of(trainer)
    with pytest.raises(ConfigError, match="'val_los' is not measured"):
        trainer.fit(DATA, validation=DATA, fast_dev_run=True, verbose=0)
    assert _all_of(trainer) == before


# overfit_one_batch


@pytest.mark.parametrize("optimizer", [lambda: SGD(0.05, 0.9), lambda: Adam(CosineLR(0.01, 5, warmup=1))])
def test_a_net_overfits_one_batch_and_is_as_before(optimizer: Any) -> None:
    trainer = Trainer(nets.build("normalized"), CrossEntropyLoss(), optimizer(), accumulate=4)
    data, before = Noisy(), _all_of(trainer)
    history = trainer.overfit_one_batch(data, steps=60, batch_size=16)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["accuracy"][-1] > 0.9
    assert len(history["loss"]) == len(history["lr"]) == 60
    assert _all_of(trainer) == before
    assert data.rng.random() == np.random.default_rng(4).random()
    assert trainer.keep_gradients is False


def test_what_does_not_learn_is_told_why() -> None:
    def trainer(lr: float, *layers: Any) -> Trainer:
        return Trainer(Sequential(*layers, input_shape=5), MSELoss(), SGD(lr))

    rng = np.random.default_rng(0)
    data = rng.standard_normal((30, 5)).astype(np.float32), rng.standard_normal((30, 2)).astype(np.float32)
    dead = Linear(5, 4, rng=0)
    dead.bias.data[:] = -100
    frozen = Linear(5, 4, rng=0)
    frozen.freeze()
    with pytest.raises(TrainingError, match=r"gradient of 0.weight, 0.bias.* is 0.*raise the learning rate") as caught:
        trainer(1e-3, dead, ReLU(), Linear(4, 2, rng=1)).overfit_one_batch(data, steps=20)
    assert "loss went from" in str(caught.value)
    with pytest.raises(TrainingError, match=r"no gradient reaches 0.weight, 0.bias \(frozen"):
        trainer(1e-6, frozen, Linear(4, 2, rng=1)).overfit_one_batch(data, steps=20)
    with pytest.raises(TrainingError, match="lower the learning rate"):
        trainer(2.0, Linear(5, 2, rng=1)).overfit_one_batch(data, steps=10)
    with pytest.raises(NonFiniteError):
        trainer(1e9, Linear(5, 2, rng=1)).overfit_one_batch(data)
    with pytest.raises(DataError, match="no batch"):
        trainer(0.1, Linear(5, 2, rng=1)).overfit_one_batch(iter(()))
    assert len(trainer(0.1, Linear(5, 2, rng=1)).overfit_one_batch(iter([data]), fall=0.99)["loss"]) == 200


# LRSchedule


def _rates(schedule: Any, by: str = "epoch", callbacks: Any = (), epochs: int = 3) -> tuple[Any, list[float]]:
    taken: list[float] = []
    look = LambdaCallback(on_batch_end=lambda trainer, batch, loss: taken.append(trainer.optimizer.current_lr))
    trainer = Trainer(nets.build("normalized"), CrossEntropyLoss(), SGD(0.1, 0.9), callbacks=[*callbacks, look])
    trainer.callbacks.insert(0, LRSchedule(schedule, by))
    history = trainer.fit(DATA, epochs=epochs, batch_size=40, verbose=0)
    return history, taken


def test_rates_by_epoch_by_step_and_by_schedule() -> None:
    history, taken = _rates(lambda epoch: 1 / (2 + epoch))
    assert history["lr"] == [1 / 2, 1 / 3, 1 / 4]
    assert taken == [rate for rate in history["lr"] for _ in range(3)]
    assert _rates(lambda epoch, lr: lr / 2)[0]["lr"] == [0.05, 0.025, 0.0125]
    assert _rates(lambda epoch, lr=3.0: 0.1)[0]["lr"] == [0.1] * 3
    history, taken = _rates(lambda step: 0.1 / (1 + step), by="step")
    assert taken == [0.1 / (1 + step) for step in range(9)]
    assert history["lr"] == taken[2::3]  # the rate that the epoch's last step took
    schedule = CosineLR(0.1, 3, warmup=1)
    history, taken = _rates(schedule)
    assert taken == pytest.approx([schedule(step / 3) for step in range(9)], rel=1e-12)


@pytest.mark.parametrize(
    ("schedule", "by"),
    [(lambda epoch, lr: lr / 2, "epoch"), (lambda s: 0.1 / (1 + s), "step"), (StepLR(0.1, 1), "epoch")],
)
@pytest.mark.parametrize("stop", [3, 4, 5])
def test_a_resumed_training_takes_the_same_rates(schedule: Any, by: str, stop: int, tmp_path: Path) -> None:
    def run(folder: Path, last: int = 0) -> Any:
        def interrupt(trainer: Trainer, batch: int, loss: float) -> None:
            if trainer.position.step == last:
                raise KeyboardInterrupt

        return _rates(schedule, by, [LambdaCallback(on_batch_end=interrupt), Checkpoint(folder, every=1, resume=True)])

    (expected, rates), _ = run(tmp_path / "whole"), run(tmp_path / "cut", stop)
    found, rest = run(tmp_path / "cut")
    assert {k: found[k] for k in ("loss", "lr")} == {k: expected[k] for k in ("loss", "lr")}
    assert rest == rates[-len(rest) :]


def test_lr_schedule_refuses() -> None:
    with pytest.raises(ConfigError, match="expected a function"):
        LRSchedule(0.1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'epoch' or 'step'"):
        LRSchedule(lambda epoch: 0.1, by="batch")
    with pytest.raises(ConfigError, match="lr must be a number"):
        _rates(lambda epoch: None)
    trainer = Trainer(nets.build("normalized"), CrossEntropyLoss(), SGD(CosineLR(0.1, 3)))
    trainer.callbacks.append(LRSchedule(lambda epoch: 0.1))
    with pytest.raises(ConfigError, match="is the schedule CosineLR"):
        trainer.fit(DATA, verbose=0)
