"""A training that is killed at random moments, and resumed, ends with the bits of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnnlib import checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

# Net, batches a step, kills: 200 in all; LeNet-5's checkpoints of 10 MB take longer than its batches.
KILLS = [("normalized", 1, 75), ("residual", 1, 75), ("lenet5", 1, 10), ("residual", 3, 40)]


@pytest.mark.parametrize(("net", "accumulate", "kills"), KILLS)
def test_killed_at_random_moments(tmp_path: Path, net: str, accumulate: int, kills: int) -> None:
    code = f"""
from pathlib import Path
from cnnlib.selftest.killed import kill_and_resume
tally = kill_and_resume(Path({str(tmp_path)!r}), {kills}, {net!r}, seed=20, accumulate={accumulate})
print(tally)
assert tally.kills == {kills} and tally.ends > 0 and tally.resumed > tally.kills // 2
assert tally.within_saves or tally.kills < 50
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def _start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cnnlib", "train", "mlp", "--data", "sample", "--epochs", "50"]
    out = ["--out", str(folder / "out.safetensors"), "--checkpoint", str(folder / "run")]
    return subprocess.Popen([*command, *out, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _wait_for(folder: Path, count: int) -> None:
    end = time.monotonic() + 60
    while len(checkpoint.paths(folder)) < count:
        assert time.monotonic() < end, "no checkpoint came"
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_signals_finish_the_batch_save_and_say_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    process = _start(tmp_path)
    _wait_for(tmp_path / "run", 3)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "Traceback" not in output
    newest, state, _ = checkpoint.newest(tmp_path / "run")
    assert f"saved: {newest}" in output
    assert "--resume" in output.splitlines()[-1]
    assert not (tmp_path / "out.safetensors").exists()
    assert state["run"]["position"][0] > 2


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys, time
from cnnlib.callbacks import Checkpoint, LambdaCallback
from cnnlib.selftest import nets
def twice(trainer, batch, loss):
    os.kill(os.getpid(), signal.SIGINT)
    assert trainer.position.batch == 1
    print("one is held", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("the second was held, too", flush=True)
trainer = nets.trainer(nets.build("normalized"), LambdaCallback(on_batch_end=twice), Checkpoint({str(tmp_path)!r}))
history = trainer.fit(nets.images(64), batch_size=16)
print(history.stop_reason, len(os.listdir({str(tmp_path)!r})))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "one is held" in result.stdout
    assert "the second" not in result.stdout
    assert result.stdout.splitlines()[-1] == "interrupted from the keyboard 1"


def test_signals_are_given_back(tmp_path: Path) -> None:
    code = """
import signal
from cnnlib.selftest import nets
def mine(number, frame): print("mine", number)
signal.signal(signal.SIGTERM, mine)
signal.signal(signal.SIGINT, signal.SIG_IGN)
nets.trainer(nets.build("normalized")).fit(nets.images(64), verbose=0)
assert signal.getsignal(signal.SIGTERM) is mine and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
from cnnlib.callbacks import LambdaCallback
trainer = nets.trainer(nets.build("normalized"),
    LambdaCallback(on_batch_end=lambda *_: signal.raise_signal(signal.SIGTERM)))
print(trainer.fit(nets.images(64), verbose=0).stop_reason, trainer.interrupted_by)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.split("\n")[:2] == [f"mine {int(signal.SIGTERM)}", "interrupted by SIGTERM SIGTERM"]
