"""TensorBoard's event files: every point once, also of a training that was resumed."""

from __future__ import annotations

import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cnnlib import checkpoint
from cnnlib.callbacks import Checkpoint, LambdaCallback, TensorBoard
from cnnlib.errors import ConfigError, FileFormatError, MissingExtraError
from cnnlib.selftest import nets


def events(folder: Path) -> list[Any]:
    """Read all records: length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            assert len(data) >= 16 + length, "a record is cut"
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def points(folder: Path) -> list[tuple[str, int, float]]:
    values = [(event.step, value) for event in events(folder) for value in event.summary.value]
    return [(value.tag, step, value.simple_value) for step, value in values if not value.HasField("histo")]


def train(folder: Path, last: int = 0, epochs: int = 3, **settings: Any) -> Any:
    def interrupt(trainer: Any, batch: int, loss: float) -> None:
        if trainer.position.step == last:
            raise KeyboardInterrupt

    kept = Checkpoint(folder / "run", every=2, resume=True)
    callbacks = [TensorBoard(folder / "logs", **settings), LambdaCallback(on_batch_end=interrupt), kept]
    trainer = nets.trainer(nets.build("normalized"), *callbacks)
    return trainer.fit(nets.images(60), validation=0.2, epochs=epochs, batch_size=16, verbose=0)


@pytest.fixture(autouse=True)
def _needs_the_writer(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name:
        pytest.importorskip("tensorboardX")


def test_the_points_are_the_history(tmp_path: Path) -> None:
    history = train(tmp_path)
    names = {"val_loss": "loss/validation", "loss": "loss/train", "accuracy": "accuracy/train", "lr": "lr"}
    names |= {"val_accuracy": "accuracy/validation", "seconds": "seconds", "images_per_second": "images_per_second"}
    assert set(history) == set(names)
    expected = [(names[name], epoch + 1, history[name][epoch]) for epoch in range(3) for name in history]
    found = points(tmp_path / "logs")
    assert [point[:2] for point in found] == [point[:2] for point in expected]
    assert [point[2] for point in found] == pytest.approx([point[2] for point in expected], rel=1e-6)


def test_histograms_of_the_weights(tmp_path: Path) -> None:
    train(tmp_path, epochs=4, histograms=2)
    found = [(e.step, v.tag, v.histo.num) for e in events(tmp_path / "logs") for v in e.summary.value]
    sizes = {name: p.data.size for name, p in nets.build("normalized").parameters().items()}
    assert [row for row in found if row[2]] == [(epoch, *item) for epoch in (2, 4) for item in sizes.items()]


@pytest.mark.parametrize("stop", [1, 4, 6, 8, 9])
def test_a_resumed_training_goes_on_where_it_was(tmp_path: Path, stop: int) -> None:
    """Three batches an epoch. What was written after the checkpoint is cut off; what others wrote stays."""
    (tmp_path / "logs").mkdir()
    other = tmp_path / "logs" / "events.out.tfevents.1.host.0123abcd.0"
    other.write_bytes(b"")
    train(tmp_path, stop)
    # As if the process had been killed after points that no checkpoint knows of: the newest checkpoint is lost.
    newest = checkpoint.paths(tmp_path / "run")
    if len(newest) > 1:
        newest[0].unlink()
    train(tmp_path)
    found = points(tmp_path / "logs")
    assert len(set(found)) == len(found) == 3 * 7
    assert [step for tag, step, _ in found if tag == "loss/train"] == [1, 2, 3]
    assert other.exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_again_and_again(tmp_path: Path) -> None:
    """Wherever SIGKILL comes, within a record or a checkpoint, too: every point is there once at the end."""
    code = f"from tests.test_tensorboard import *\ntrain(Path({str(tmp_path)!r}), epochs=200)\nprint('done')"
    command, root = [sys.executable, "-c", code], Path(__file__).resolve().parent.parent
    chance, kills = random.Random(5), 0
    for _ in range(6):
        child = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL)
        before, end = checkpoint.paths(tmp_path / "run"), time.monotonic() + 60
        while child.poll() is None and checkpoint.paths(tmp_path / "run") == before and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.3))
        child.kill()
        kills += child.wait() == -signal.SIGKILL
    assert kills > 2
    last = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert last.stdout.endswith("done\n"), last.stderr
    found = [(tag, step) for tag, step, _ in points(tmp_path / "logs")]
    assert sorted(found) == sorted({(tag, step) for tag, _ in found for step in range(1, 201)})


def test_nothing_is_written_by_a_fast_dev_run(tmp_path: Path) -> None:
    nets.trainer(nets.build("normalized"), TensorBoard(tmp_path / "logs")).fit(
        nets.images(9), fast_dev_run=1, verbose=0
    )
    assert not (tmp_path / "logs").exists()


def test_it_refuses(tmp_path: Path) -> None:
    for bad in ({"histograms": -1}, {"histograms": 1.5}):
        with pytest.raises(ConfigError, match="histograms"):
            TensorBoard(tmp_path, **bad)  # type: ignore[arg-type]
    board = TensorBoard(tmp_path)
    for state in (
        {"run": "../../..", "files": {}},
        {"run": "0" * 8, "files": {"a": "x"}},
        {"run": "*" * 8, "files": {}},
    ):
        with pytest.raises(ValueError, match=r"no training|invalid literal"):
            board.load_state_dict(state)
    train(tmp_path / "a", 4)
    path, state, _ = checkpoint.newest(tmp_path / "a" / "run")
    state["callbacks"][0][1]["run"] = "?"
    checkpoint.write(path, state, "")
    with pytest.raises(FileFormatError, match="does not hold"):
        train(tmp_path / "a")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"cnnlib\[tensorboard\]"):
        nets.trainer(nets.build("normalized"), TensorBoard(tmp_path)).fit(nets.images(9), verbose=0)
