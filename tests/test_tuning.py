"""Learning rates that follow what is measured: plateaus, one cycle, the range test; and the log that shows it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlib.callbacks import Checkpoint, CSVLog, LambdaCallback, ReduceLROnPlateau
from cnnlib.errors import ConfigError, DataError
from cnnlib.layers import Linear
from cnnlib.losses import CrossEntropyLoss
from cnnlib.lr_finder import LRFinder
from cnnlib.model import Sequential
from cnnlib.optim import SGD, Adam
from cnnlib.schedules import CosineLR, OneCycleLR
from cnnlib.selftest import nets
from cnnlib.trainer import Trainer
from tests.helpers import torch_numbers

NUMBERS = torch_numbers()
PLATEAUS = [(case["settings"], case["rates"]) for case in NUMBERS["plateau"]["cases"]]


def _trainer(*callbacks: Any, lr: Any = 1.0) -> Trainer:
    model = Sequential(Linear(2, 2, rng=0), input_shape=2)
    return Trainer(model, CrossEntropyLoss(), SGD(lr), callbacks=callbacks)


@pytest.mark.parametrize(("settings", "rates"), PLATEAUS)
def test_plateau_reduces_as_pytorch_does(settings: dict[str, Any], rates: list[float]) -> None:
    plateau = ReduceLROnPlateau("loss", **settings)
    trainer = _trainer(plateau)
    plateau.on_fit_begin(trainer)
    found = []
    for epoch, value in enumerate(NUMBERS["plateau"]["measured"], 1):
        if epoch == 11:  # what it remembers can be kept
            kept = plateau.state_dict()
            plateau = ReduceLROnPlateau("loss", **settings)
            plateau.load_state_dict(kept)
        plateau.on_epoch_end(trainer, epoch, {"loss": value})
        found.append(trainer.optimizer.current_lr)
    assert found == pytest.approx(rates, rel=1e-12)


def test_plateau_in_a_resumed_training(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def run(folder: Path, stop: int) -> list[float]:
        def maybe(trainer: Any, epoch: int, logs: Any) -> None:
            if epoch == stop:
                raise Stop

        model = nets.build("normalized")
        plateau = ReduceLROnPlateau("loss", 0.5, 0, mode="max")  # the loss falls: each epoch is a plateau
        callbacks = [plateau, LambdaCallback(on_epoch_end=maybe), Checkpoint(folder, resume=True)]
        trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1, 0.9), callbacks=callbacks)
        return trainer.fit(nets.images(64), epochs=5, batch_size=16, verbose=0)["lr"]

    whole = run(tmp_path / "a", 0)
    assert whole == [0.1, 0.1, 0.05, 0.025, 0.0125]
    with pytest.raises(Stop):
        run(tmp_path / "b", 4)
    assert run(tmp_path / "b", 0) == whole


def test_plateau_refuses_what_it_cannot_do() -> None:
    data = np.eye(2, dtype=np.float32), np.arange(2)
    with pytest.raises(ConfigError, match="is the schedule CosineLR"):
        _trainer(ReduceLROnPlateau("loss"), lr=CosineLR(0.1, 2)).fit(data, verbose=0)
    with pytest.raises(ConfigError, match=r"'val_loss' is not measured; there are: loss, .*; pass validation"):
        _trainer(ReduceLROnPlateau()).fit(data, verbose=0)
    for settings in ({"factor": 1}, {"factor": 0}, {"patience": -1}, {"cooldown": -1}, {"min_lr": -1}, {"mode": "up"}):
        with pytest.raises(ConfigError):
            ReduceLROnPlateau("loss", **settings)


@pytest.mark.parametrize("case", NUMBERS["one_cycle"])
def test_one_cycle_is_pytorchs(case: dict[str, Any]) -> None:
    """Of n steps PyTorch rises over the first pct_start · n - 1 of n - 1 intervals, this over pct_start of epochs."""
    schedule = OneCycleLR(epochs=1, **case["settings"])
    share, last = schedule.pct_start, case["steps"] - 1
    top = share * case["steps"] - 1
    for step, rate in enumerate(case["rates"]):
        epoch = share * step / top if step <= top else share + (1 - share) * (step - top) / (last - top)
        assert schedule(epoch) == pytest.approx(rate, rel=1e-9)


def test_one_cycle_beyond_its_ends() -> None:
    schedule = OneCycleLR(0.1, epochs=1)
    assert schedule(7.0) == schedule(1.0)
    assert OneCycleLR(0.1, 5, pct_start=0)(0) == 0.1
    assert OneCycleLR(0.1, 5, pct_start=1)(5) == 0.1


@pytest.mark.parametrize("settings", [(0, 1), (0.1, 0), (0.1, 1, 1.5), (0.1, 1, 0.3, 0), (0.1, 1, 0.3, 25, 0)])
def test_one_cycle_refuses(settings: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="OneCycleLR"):
        OneCycleLR(*settings)


def test_csv_log_holds_the_history_to_the_bit_also_of_a_resumed_training(tmp_path: Path) -> None:
    def run(epochs: int) -> Any:
        log, kept = CSVLog(tmp_path / "log.csv"), Checkpoint(tmp_path / "run", resume=True)
        trainer = Trainer(nets.build("normalized"), CrossEntropyLoss(), SGD(0.1), callbacks=[log, kept])
        return trainer.fit(nets.images(50), epochs=epochs, batch_size=16, verbose=0)

    run(2)
    history = run(4)
    with open(tmp_path / "log.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row.pop("epoch") for row in rows] == ["1", "2", "3", "4"]
    assert {name: [float(row[name]) for row in rows] for name in rows[0]} == dict(history)
    with pytest.raises(FileNotFoundError):
        Trainer(nets.build("normalized"), CrossEntropyLoss(), SGD(0.1), callbacks=[CSVLog(tmp_path / "no" / "x")]).fit(
            nets.images(9), verbose=0
        )


@pytest.mark.parametrize("optimizer", [lambda: SGD(CosineLR(0.1, 3), 0.9), lambda: Adam(0.01)])
def test_the_range_test_finds_a_rate_and_leaves_no_trace(optimizer: Any) -> None:
    model, data = nets.build("normalized"), nets.images(200)
    trainer = Trainer(model, CrossEntropyLoss(), optimizer())
    trainer.train_step(data[0][:16], data[1][:16])
    before, lr = nets.digest(model), trainer.optimizer.lr
    state = trainer.optimizer.state_dict()
    finder = LRFinder(trainer).run(data, batch_size=16, steps=60)
    assert nets.digest(model) == before
    assert trainer.optimizer.lr is lr
    assert all(np.array_equal(array, state[name]) for name, array in trainer.optimizer.state_dict().items())
    assert 1e-4 < finder.suggestion < 1
    assert len(finder.rates) == len(finder.losses) == len(finder.smoothed)
    again = LRFinder(trainer).run(data, batch_size=16, steps=60)
    assert again.losses == finder.losses  # dropout's masks, too, are those of before


def test_the_range_test_refuses() -> None:
    trainer = nets.trainer(nets.build("normalized"))
    with pytest.raises(DataError, match="run it first"):
        _ = LRFinder(trainer).suggestion
    for settings in ({"start_lr": 0.0}, {"start_lr": 1.0, "end_lr": 0.5}, {"steps": 5}, {"end_lr": float("inf")}):
        with pytest.raises(ConfigError, match="LRFinder"):
            LRFinder(trainer).run(nets.images(8), **settings)
    with pytest.raises(DataError, match="no batches"):
        LRFinder(trainer).run(iter(()))


def test_the_range_test_as_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    finder = LRFinder(nets.trainer(nets.build("normalized"))).run(nets.images(64), steps=40, batch_size=16)
    figure = finder.plot(save=tmp_path / "lr.png")
    assert (tmp_path / "lr.png").stat().st_size > 5000
    assert f"suggested: {finder.suggestion:.2g}" in [line.get_label() for line in figure.axes[0].lines]
