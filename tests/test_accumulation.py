"""Several batches a step: the step of one batch as large, whatever hangs on it, and exact when it is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlib import Input, Model, checkpoint
from cnnlib.callbacks import Checkpoint, LambdaCallback
from cnnlib.errors import ConfigError, FileFormatError, NonFiniteError
from cnnlib.layers import Conv2d, Flatten, Linear, ReLU
from cnnlib.losses import CrossEntropyLoss, MSELoss
from cnnlib.model import Sequential
from cnnlib.optim import SGD, Adam, MaxNorm, RMSprop
from cnnlib.schedules import CosineLR
from cnnlib.selftest import nets
from cnnlib.trainer import Trainer

RNG = np.random.default_rng(8)
X, Y = RNG.standard_normal((50, 2, 6, 6)), RNG.integers(0, 4, 50)  # 50: groups of 24, 24 and 2


def build(dtype: Any = np.float64, hidden: int = 8) -> Sequential:
    layers = (
        Conv2d(2, 3, 3, dtype=dtype),
        ReLU(),
        Flatten(),
        Linear(48, hidden, dtype=dtype),
        Linear(hidden, 4, dtype=dtype),
    )
    model = Sequential(*layers, input_shape=(2, 6, 6))
    model.initialize(3)
    return model


def trained(batch_size: int, accumulate: int = 1, optimizer: Any = None, data: Any = (X, Y), **settings: Any) -> Any:
    fit = {key: settings.pop(key) for key in ("class_weight", "sample_weight") if key in settings}
    model = settings.pop("model", build)()
    optimizer = optimizer or SGD(CosineLR(0.1, 3, warmup=1), 0.9, 0.01)
    trainer = Trainer(model, settings.pop("loss", CrossEntropyLoss()), optimizer, accumulate=accumulate, **settings)
    history = trainer.fit(data, epochs=3, batch_size=batch_size, verbose=0, **fit)
    return model.state_dict(), history


def assert_same(one: Any, other: Any, tolerance: float = 1e-11) -> None:
    for name in one[0]:
        np.testing.assert_allclose(one[0][name], other[0][name], rtol=tolerance, atol=tolerance, err_msg=name)
    assert one[1]["loss"] == pytest.approx(other[1]["loss"], rel=tolerance)
    assert one[1]["lr"] == other[1]["lr"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": lambda: Adam(0.01)},
        {"optimizer": lambda: RMSprop(0.01, momentum=0.9)},
        {"clip_norm": 0.5},
        {"clip_value": 0.01},
        {"clip_value": 0.05, "clip_norm": 0.1, "constraint": MaxNorm(0.5)},
        {"class_weight": {0: 5.0, 3: 0.0}},
        {"sample_weight": RNG.random(50) * (np.arange(50) > 20)},
        {"loss": CrossEntropyLoss(weight=[0.1, 2, 3, 1])},
        {"model": lambda: build(hidden=4000)},  # a weight that is updated in backward when nothing is accumulated
    ],
    ids=lambda settings: ",".join(settings) or "plain",
)
def test_the_step_is_that_of_one_large_batch(settings: dict[str, Any]) -> None:
    make = settings.pop("optimizer", lambda: None)
    whole = trained(24, optimizer=make(), **settings)
    assert_same(trained(8, 3, optimizer=make(), **settings), whole)
    assert_same(trained(5, 10, optimizer=make(), **settings), trained(50, optimizer=make(), **settings))


def test_float32_agrees_up_to_rounding() -> None:
    data = X.astype(np.float32), Y
    one, other = (trained(*sizes, data=data, model=lambda: build(np.float32)) for sizes in ((24,), (8, 3)))
    assert_same(one, other, 1e-4)


def test_ragged_batches_count_by_their_sizes() -> None:
    class Ragged:
        """Batches of 1, 10, 2, 11 (a step of 24), the rest in one (another step)."""

        def __init__(self, *borders: int) -> None:
            self.borders = borders

        def __iter__(self) -> Iterator[Any]:
            for start, end in zip(self.borders, self.borders[1:], strict=False):
                yield X[start:end], Y[start:end]

    optimizer = lambda: SGD(0.1, 0.9)  # noqa: E731
    whole = trained(1, optimizer=optimizer(), data=Ragged(0, 24, 50))
    assert_same(trained(1, 4, optimizer=optimizer(), data=Ragged(0, 1, 11, 13, 24, 50)), whole)
    assert_same(
        trained(1, 9, optimizer=optimizer(), data=Ragged(0, 3, 5, 50)), trained(50, optimizer=optimizer()), 1e-9
    )


def _branches() -> Model:
    x = Input((2, 6, 6))
    hidden = ReLU()(Linear(72, 5, rng=0, dtype=np.float64)(Flatten()(x)))
    return Model(x, {n: Linear(5, 4, rng=i, dtype=np.float64, name=n)(hidden) for i, n in enumerate(("a", "b"))})


def test_named_outputs() -> None:
    settings: dict[str, Any] = {"loss": {"a": CrossEntropyLoss(), "b": MSELoss()}, "loss_weights": {"b": 0.3}}
    data = X, {"a": Y, "b": RNG.standard_normal((50, 4))}
    settings |= {"model": _branches, "data": data, "sample_weight": RNG.random(50)}
    assert_same(trained(8, 3, **settings), trained(24, **settings))
    settings["loss"]["a"] = CrossEntropyLoss(weight=[1, 2, 3, 4])
    with pytest.raises(ConfigError, match="weigh this batch differently"):
        trained(8, 3, **settings)


def test_updates_and_gradients_as_a_callback_sees_them() -> None:
    """Weights change after every third batch and after an epoch's last; `grad` is the mean's then."""
    seen: list[Any] = []

    def look(trainer: Trainer, batch: int, loss: float) -> None:
        weight = trainer.model.parameters()["0.weight"]
        seen.append((weight.data.copy(), None if weight.grad is None else weight.grad.copy()))

    model = build()
    before = model.state_dict()["0.weight"]
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1), callbacks=[LambdaCallback(on_batch_end=look)], accumulate=3)
    trainer.fit((X, Y), batch_size=8, shuffle=False, verbose=0)
    changed = [not np.array_equal(now[0], was) for now, was in zip(seen, [before, *(s[0] for s in seen)], strict=False)]
    assert changed == [False, False, True, False, False, True, False]
    assert not np.array_equal(model.state_dict()["0.weight"], seen[-1][0])  # the last group, of one batch
    np.testing.assert_allclose(before - seen[2][0], 0.1 * seen[2][1], rtol=1e-12)


def test_train_step_is_one_step() -> None:
    model = build()
    before = model.state_dict()
    Trainer(model, CrossEntropyLoss(), SGD(0.1), accumulate=5).train_step(X, Y)
    assert not np.array_equal(model.state_dict()["0.weight"], before["0.weight"])


@pytest.mark.parametrize("stop", range(1, 8))
def test_stopped_anywhere_and_resumed(tmp_path: Path, stop: int) -> None:
    """Seven batches an epoch in steps of three: a checkpoint within a step holds the gradients so far."""

    def run(folder: Path, last: int = 0) -> str:
        def fail(trainer: Trainer, batch: int, loss: float) -> None:
            if trainer.position.step == last:
                raise KeyboardInterrupt

        model = nets.build("residual")
        callbacks = [LambdaCallback(on_batch_end=fail), Checkpoint(folder, every=1, resume=True)]
        trainer = Trainer(model, CrossEntropyLoss(), Adam(0.01), callbacks=callbacks, accumulate=3, clip_norm=1.0)
        history = trainer.fit(nets.images(100), validation=0.1, epochs=3, batch_size=14, verbose=0)
        return nets.digest(model, history)

    expected = run(tmp_path / "whole")
    run(tmp_path / "cut", 7 + stop)
    kept = checkpoint.newest(tmp_path / "cut")[1]
    assert (kept["accumulated"] is None) == ((stop - 1) % 3 == 0)
    assert run(tmp_path / "cut") == expected


def test_trainer_stop_within_a_step_takes_what_there_is() -> None:
    def stop(trainer: Trainer, batch: int, loss: float) -> None:
        if batch == 4:
            trainer.stop("enough")

    found = trained(8, 3, optimizer=SGD(0.1), callbacks=[LambdaCallback(on_batch_end=stop)])
    assert len(found[1]["loss"]) == 1
    rest = trained(
        8, 3, optimizer=SGD(0.1), callbacks=[LambdaCallback(on_batch_end=lambda t, b, _: b == 3 and t.stop(""))]
    )
    assert not np.array_equal(found[0]["0.weight"], rest[0]["0.weight"])


def test_a_checkpoint_that_lies_about_the_step_is_refused(tmp_path: Path) -> None:
    from cnnlib import serialize

    def run() -> None:
        model = build()
        callbacks = [Checkpoint(tmp_path, every=1, keep=1, resume=True), LambdaCallback(on_batch_end=interrupt)]
        Trainer(model, CrossEntropyLoss(), SGD(0.1), callbacks=callbacks, accumulate=3).fit(
            (X, Y), batch_size=8, verbose=0
        )

    def interrupt(trainer: Trainer, batch: int, loss: float) -> None:
        if batch == 3:
            raise KeyboardInterrupt

    run()
    path, state, _ = checkpoint.newest(tmp_path)
    for change in ({"count": 3}, {"count": 0}, {"weight": -1.0}, {"gradients": {"0.weight": np.zeros(3)}}):
        wrong = {**state, "accumulated": {**state["accumulated"], **change}}
        checkpoint.write(path, wrong, serialize.architecture(build()))
        with pytest.raises(FileFormatError, match=r"cannot be a part|does not hold"):
            run()


def test_a_bad_number_within_a_step_names_its_batch_and_changes_nothing() -> None:
    x = X.copy()
    x[12, 0, 0, 0] = np.nan
    model = build()
    before = model.state_dict()
    with pytest.raises(NonFiniteError, match="epoch 1, batch 2") as caught:
        Trainer(model, CrossEntropyLoss(), SGD(0.1), accumulate=3).fit((x, Y), batch_size=8, shuffle=False, verbose=0)
    assert caught.value.samples == (12,)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("bad", [{"accumulate": 0}, {"accumulate": 1.5}, {"accumulate": True}, {"clip_value": -1}])
def test_nonsense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Trainer(build(), CrossEntropyLoss(), SGD(0.1), **bad)
