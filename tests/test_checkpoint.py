"""Checkpoints: what they hold, how a training goes on from one, what is refused, and what a failing disk does."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnlib
from cnnlib import checkpoint
from cnnlib.callbacks import Callback, Checkpoint, EarlyStopping, LambdaCallback
from cnnlib.datasets.loader import Batches
from cnnlib.errors import CNNError, ConfigError, FileFormatError, TrainingError
from cnnlib.layers import Linear
from cnnlib.losses import CrossEntropyLoss
from cnnlib.metrics import Accuracy
from cnnlib.model import Sequential
from cnnlib.optim import SGD
from cnnlib.selftest import nets
from cnnlib.serialize import load_state, save_state

STATE = {
    "array": np.arange(6, dtype=np.float64).reshape(2, 3),
    "a/b": {"c": np.zeros((0, 2), np.float32)},
    "a": {"b/c": np.array(7)},
    "numbers": [1, -2.5, float("inf"), 2**127, True, None, "ü"],
    "view": np.arange(6)[::-2],
}


class Stop(Exception):
    """What ends a training in these tests."""


def stop_at(step: int) -> Callback:
    def stop(trainer: Any, *_: Any) -> None:
        if trainer.position.step == step:
            raise Stop

    return LambdaCallback(on_batch_end=stop)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return np.array_equal(a, b) and getattr(a, "dtype", None) == getattr(b, "dtype", None)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x"
    checkpoint.write(path, STATE, "{}")
    assert equal(checkpoint.read(path), STATE)


@pytest.mark.parametrize(
    ("state", "place"),
    [({"a": [1, {2: 3}]}, "a/1 is a dict"), ({"a": {"tensor": "b"}}, "a is a dict"), ({"f": print}, "f is a builtin")],
)
def test_what_a_file_cannot_hold_is_named(tmp_path: Path, state: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        checkpoint.write(tmp_path / "x", state, "{}")
    assert list(tmp_path.iterdir()) == []


def test_every_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    checkpoint.write(path, {"array": np.arange(5.0), "text": "abc"}, "{}")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(8), *rng.integers(8, len(whole), 300)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            state = checkpoint.read(path)
        except FileFormatError:
            pass
        else:  # white space between the parts of the header
            assert equal(state, {"array": np.arange(5.0), "text": "abc"})
    for length in rng.integers(0, len(whole), 50):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"x: damaged"):
            checkpoint.read(path)


def test_states_that_lie_are_refused(tmp_path: Path) -> None:
    """A checksum keeps out damage, not malice: whoever writes it writes the rest."""
    from cnnlib.serialize import checksum

    path = tmp_path / "x"
    for text in ("", "7", "[" * 100_000, '{"a": {"tensor": "none"}}', '{"a": {"tensor": [1]}}', "{" * 5):
        metadata = {"format": "cnnlib-checkpoint", "format_version": "1", "architecture": "{}", "state": text}
        save_state({}, path, metadata | {"sha256": checksum({}, metadata)})
        with pytest.raises(FileFormatError, match="the state in the file"):
            checkpoint.read(path)


# Training


def fit(folder: Path | None, *callbacks: Callback, net: str = "normalized", data: Any = None, **settings: Any) -> str:
    """Train in four epochs, from the checkpoints in a folder if there are any; return the hash of what comes out."""
    every = settings.pop("every", None)
    kept = [] if folder is None else [Checkpoint(folder, every, resume=True)]
    model = nets.build(net)
    trainer = nets.trainer(model, *callbacks, *kept, epochs=4)
    trainer.clip_norm = settings.pop("clip_norm", None)
    options = {"validation": 0.25, "epochs": 4, "batch_size": 16, "seed": 3, "verbose": 0} | settings
    return nets.digest(model, trainer.fit(nets.images(100) if data is None else data, **options))


@pytest.mark.parametrize("step", [1, 4, 5, 7, 17])
@pytest.mark.parametrize("every", [None, 2, 3])
def test_a_run_goes_on_from_any_batch(tmp_path: Path, step: int, every: int | None) -> None:
    with pytest.raises(Stop):
        fit(tmp_path, stop_at(step), every=every)
    assert fit(tmp_path, LambdaCallback(), every=every) == fit(None)


class Source:
    """What draws from a generator of its own while it is read."""

    def __init__(self) -> None:
        self.x, self.y = nets.images(100)
        self.rng = np.random.default_rng(8)


class Moving(Source):
    """A data set."""

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Any) -> Any:
        return np.roll(self.x[index], int(self.rng.integers(3)), axis=3), self.y[index]


class Stream(Source):
    """An iterable of batches."""

    def __iter__(self) -> Any:
        for part in np.array_split(self.rng.permutation(len(self.y)), 5):
            yield np.roll(self.x[part], int(self.rng.integers(3)), axis=3), self.y[part]


class Own(Stream):
    """An iterable that keeps its place itself."""

    def __init__(self) -> None:
        super().__init__()
        self.place = 0

    def __iter__(self) -> Any:
        for place in range(self.place, 5):
            self.place = place + 1
            yield self.x[place::5], self.y[place::5]
        self.place = 0

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


def _batches() -> Any:
    return Batches(Moving(), 16, rng=np.random.default_rng(4), drop_last=True)


@pytest.mark.parametrize("data", [Moving, Stream, Own, _batches])
def test_data_of_all_kinds_go_on_where_they_were(tmp_path: Path, data: Any) -> None:
    with pytest.raises(Stop):
        fit(tmp_path, stop_at(8), every=3, data=data(), validation=None)
    assert fit(tmp_path, LambdaCallback(), every=3, data=data(), validation=None) == fit(
        None, data=data(), validation=None
    )


def test_callbacks_and_metrics_go_on(tmp_path: Path) -> None:
    """Patience that began before the kill ends training after it; a metric without state_dict goes on counting."""

    class Count:
        name = "count"

        def reset(self) -> None:
            self.n = 0

        def update(self, prediction: Any, target: Any) -> None:
            self.n += len(target)

        def compute(self) -> float:
            return self.n

    def run(folder: Path, *more: Callback) -> tuple[str, Any]:
        model = nets.build("normalized")
        stopping = EarlyStopping("loss", patience=2, mode="max")  # the loss falls: the first epoch stays the best
        trainer = nets.trainer(model, stopping, *more, Checkpoint(folder, 1, resume=True))
        trainer = cnnlib.Trainer(
            model, trainer.loss, trainer.optimizer, [Accuracy(), Count()], callbacks=trainer.callbacks
        )
        history = trainer.fit(nets.images(80), epochs=9, batch_size=16, verbose=0)
        return nets.digest(model, history), history

    whole, history = run(tmp_path / "a", LambdaCallback())
    assert history["count"] == [80] * 3
    assert "no better loss for 2 epochs" in history.stop_reason
    with pytest.raises(Stop):
        run(tmp_path / "b", stop_at(13))
    assert run(tmp_path / "b", LambdaCallback())[0] == whole
    assert run(tmp_path / "b", LambdaCallback())[0] == whole  # once more, when all is done


def test_a_learning_rate_that_was_changed_by_hand_stays_changed(tmp_path: Path) -> None:
    def run(folder: Path, *more: Callback) -> str:
        model = nets.build("normalized")
        trainer = cnnlib.Trainer(
            model, CrossEntropyLoss(), SGD(0.1), callbacks=[*more, Checkpoint(folder, resume=True)]
        )
        return nets.digest(model, trainer.fit(nets.images(64), epochs=4, batch_size=32, verbose=0))

    def halve(trainer: Any, *_: Any) -> None:
        trainer.optimizer.lr /= 2

    def halve_and_stop(trainer: Any, epoch: int, logs: Any) -> None:
        if epoch == 3:
            raise Stop
        halve(trainer)

    whole = run(tmp_path / "a", LambdaCallback(on_epoch_end=halve))
    with pytest.raises(Stop):
        run(tmp_path / "b", LambdaCallback(on_epoch_end=halve_and_stop))
    assert run(tmp_path / "b", LambdaCallback(on_epoch_end=halve)) == whole


def test_more_epochs_are_allowed(tmp_path: Path) -> None:
    def run(folder: Path, epochs: int) -> str:
        model = nets.build("lenet5")
        trainer = cnnlib.Trainer(model, CrossEntropyLoss(), SGD(0.1, 0.9), callbacks=[Checkpoint(folder, resume=True)])
        return nets.digest(model, trainer.fit(nets.images(32), epochs=epochs, batch_size=16, verbose=0))

    run(tmp_path / "a", 1)
    assert run(tmp_path / "a", 3) == run(tmp_path / "b", 3)


def test_the_newest_stay_and_the_best_is_kept(tmp_path: Path) -> None:
    fit(tmp_path, every=1)
    assert [path.name for path in checkpoint.paths(tmp_path)] == [checkpoint.file_name(n) for n in (20, 19, 18)]
    best = cnnlib.load(tmp_path / "best.safetensors")
    saved = cnnlib.load(checkpoint.paths(tmp_path)[0])
    assert nets.digest(saved) == nets.digest(best)  # the last epoch is the best here
    assert load_state(tmp_path / "best.safetensors")[1]["epoch"] == "4"


def test_a_damaged_newest_one_is_named_and_the_one_before_is_used(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        fit(tmp_path, stop_at(9), every=2)
    newest, before = checkpoint.paths(tmp_path)[:2]
    newest.write_bytes(newest.read_bytes()[:-1000])
    (tmp_path / f".{newest.name}.0123456789abcdef.tmp").write_bytes(b"from a killed process")
    with pytest.warns(RuntimeWarning, match=f"{newest.name}: damaged.*going on from {before.name}"):
        resumed = fit(tmp_path, LambdaCallback(), every=2)
    assert resumed == fit(None)
    assert (tmp_path / f"{newest.name}.damaged").exists()
    assert not list(tmp_path.glob(".*"))
    for path in checkpoint.paths(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(FileFormatError, match="none of the checkpoints can be read"):
        fit(tmp_path, LambdaCallback())


def test_an_earlier_run_is_not_overwritten(tmp_path: Path) -> None:
    fit(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"holds the checkpoints of an earlier training.*resume=True"):
        nets.trainer(nets.build("normalized"), Checkpoint(tmp_path)).fit(nets.images(20), verbose=0)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 4}, "seed: 3 there, 4 here"),
        ({"clip_norm": 2.0}, r"clip_norm: None there, 2\.0 here"),
        ({"batch_size": 20}, "batch_size: 16 there, 20 here"),
        ({"net": "lenet5"}, "parameters: "),
        ({"data": nets.images(101)}, "samples: 75 there, 76 here"),
    ],
)
def test_another_training_is_refused_by_its_differences(tmp_path: Path, settings: Any, message: str) -> None:
    fit(tmp_path)
    with pytest.raises(ConfigError, match=f"is of another training:\n  {message}"):
        fit(tmp_path, **settings)
    with pytest.raises(ConfigError, match=r"callbacks \['Checkpoint'\], here are \['EarlyStopping', 'Checkpoint'\]"):
        fit(tmp_path, EarlyStopping())


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, part in parts for deeper in _paths(part, (*path, key)))]


def test_any_part_of_a_state_may_be_nonsense(tmp_path: Path) -> None:
    """A file with a right checksum and a wrong state: refused by cnnlib's errors, or a training that can run."""
    with pytest.raises(Stop):
        fit(tmp_path, EarlyStopping("loss"), stop_at(7), every=7)
    path, state, _ = checkpoint.newest(tmp_path)
    architecture, refused = load_state(path, cnnlib.serialize.NUMBERS)[1]["architecture"], 0
    places = [place for place in _paths(state) if place]
    assert len(places) > 80
    for place in places[::4]:
        for nonsense in (None, -1, "x", np.zeros(3)):
            changed = checkpoint.read(path)
            owner: Any = changed
            for key in place[:-1]:
                owner = owner[key]
            owner[place[-1]] = nonsense
            other = tmp_path / "other"
            other.mkdir(exist_ok=True)
            for old in other.iterdir():
                old.unlink()
            checkpoint.write(other / path.name, changed, architecture)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    fit(other, EarlyStopping("loss"), LambdaCallback(), every=7)
            except CNNError:
                refused += 1
    assert refused > len(places) // 3


def test_an_epoch_may_have_taken_no_time(tmp_path: Path) -> None:
    def stop(*_: Any) -> None:
        raise Stop

    with pytest.raises(Stop):
        fit(tmp_path, LambdaCallback(on_epoch_end=stop), every=5)
    path, state, _ = checkpoint.newest(tmp_path)
    assert state["run"]["position"] == [1, 5, 5]  # all batches of the epoch, which is not recorded yet
    state["run"]["seconds"] = 0.0
    checkpoint.write(path, state, load_state(path, cnnlib.serialize.NUMBERS)[1]["architecture"])
    assert fit(tmp_path, LambdaCallback(), every=5) == fit(None)


def test_states_belong_to_a_running_fit() -> None:
    trainer = nets.trainer(nets.build("normalized"))
    for call in (trainer.state_dict, lambda: trainer.load_state_dict({}), lambda: trainer.position):
        with pytest.raises(TrainingError, match="outside of fit"):
            call()


@pytest.mark.parametrize("settings", [{"every": 0}, {"keep": 0}, {"keep": True}, {"every": 1.5}, {"mode": "best"}])
def test_bad_settings(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Checkpoint(tmp_path, **settings)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnlib.cli import main

    monkeypatch.chdir(tmp_path)
    common = ["train", "mlp", "--data", "sample", "--epochs", "2", "--quiet"]
    assert main([*common, "--resume"]) == 1
    assert "--resume needs --checkpoint" in capsys.readouterr().err
    kept = [*common, "--checkpoint", "run", "--every", "40", "--keep", "2"]
    assert main(kept) == 0
    assert len(checkpoint.paths("run")) == 2
    first = nets.digest(cnnlib.load("mlp.safetensors"))
    assert main(kept) == 1
    assert "--resume" in capsys.readouterr().err
    checkpoint.paths("run")[0].unlink()
    assert main([*kept, "--resume"]) == 0
    assert nets.digest(cnnlib.load("mlp.safetensors")) == first
    assert main([*kept, "--resume", "--lr", "0.3"]) == 1
    assert "is of another training" in capsys.readouterr().err


def test_a_checkpoint_is_a_model_file(tmp_path: Path) -> None:
    model = Sequential(Linear(3, 2, rng=0), input_shape=3)
    data = np.eye(3, dtype=np.float32), np.array([0, 1, 1])
    trainer = cnnlib.Trainer(model, CrossEntropyLoss(), SGD(0.1), callbacks=[Checkpoint(tmp_path)])
    trainer.fit(data, epochs=2, verbose=0)
    path = checkpoint.paths(tmp_path)[0]
    assert np.array_equal(cnnlib.load(path).predict(data[0]), model.predict(data[0]))
    metadata = load_state(path)[1]
    assert json.loads(metadata["architecture"])["type"] == "Sequential"
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(FileFormatError, match="damaged"):
        cnnlib.load(path)
