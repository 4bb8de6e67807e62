"""Training that is killed again and again, and ends as if it had not been."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from cnnlib import checkpoint
from cnnlib.callbacks import Checkpoint, EarlyStopping
from cnnlib.config import using
from cnnlib.selftest import nets

__all__ = ["Tally", "kill_and_resume", "train"]


@dataclass
class Tally:
    """What happened: kills, those that left an unfinished file behind, trainings that came to their end, and the
    checkpoints from which training went on."""

    kills: int = 0
    within_saves: int = 0
    ends: int = 0
    resumed: int = 0


def train(
    folder: str | os.PathLike[str] | None,
    net: str,
    threads: int,
    every: int | None,
    epochs: int = 3,
    accumulate: int = 1,
) -> str:
    """Train a net, with checkpoints in a folder if there is one, and return the hash of its weights and history."""
    kept = [] if folder is None else [Checkpoint(folder, every, resume=True)]
    model = nets.build(net)
    trainer = nets.trainer(model, EarlyStopping("loss", patience=3), *kept, adam=net == "residual", epochs=epochs)
    trainer.accumulate = accumulate
    with using(threads=threads):
        history = trainer.fit(nets.images(200), validation=0.2, epochs=epochs, batch_size=16, seed=5, verbose=0)
    return nets.digest(model, history)


def kill_and_resume(folder: Path, kills: int, net: str, every: int = 1, seed: int = 0, accumulate: int = 1) -> Tally:
    """Kill a training (SIGKILL) at so many random moments, resume it each time, and compare each end.

    Each time it goes on with another number of threads, from 1 to 4.

    Raises AssertionError if a training that came to its end does not have the bits of one that was never killed, or
    fails on its way. Needs os.fork.
    """
    chance, tally, expected = random.Random(seed), Tally(), train(None, net, 2, every, accumulate=accumulate)
    run, result = folder / "run", folder / "result"
    start = time.perf_counter()
    if _Training(run, result, net, 1, every, accumulate).wait() != 0:
        raise AssertionError(f"{net}: training failed without being killed")
    whole = time.perf_counter() - start
    shutil.rmtree(run)
    while tally.kills < kills:
        child = _Training(run, result, net, chance.randint(1, 4), every, accumulate)
        status = child.killed_after(chance.uniform(0, whole / 2))
        if status == 0:
            tally.ends += 1
            found = result.read_text()
            assert found == expected, f"{net}: {found} after {tally.kills} kills, {expected} uninterrupted"
            shutil.rmtree(run)
            continue
        assert status == -signal.SIGKILL, f"{net}: training ended with {status} after {tally.kills} kills"
        tally.kills += 1
        tally.resumed += bool(checkpoint.paths(run))
        tally.within_saves += run.exists() and any(name.endswith(".tmp") for name in os.listdir(run))
    if run.exists():
        assert _Training(run, result, net, 2, every, accumulate).wait() == 0, f"{net}: the last resume failed"
        assert result.read_text() == expected, f"{net}: other bits after {tally.kills} kills"
        tally.ends += 1
    return tally


class _Training:
    """A child process that trains and leaves the hash in a file."""

    def __init__(self, run: Path, result: Path, net: str, threads: int, every: int, accumulate: int) -> None:
        result.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                result.write_text(train(run, net, threads, every, accumulate=accumulate))
                code = 0
            finally:
                os._exit(code)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def killed_after(self, seconds: float) -> int:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()
