"""What tests/test_distributed.py starts on several processes: small trainings, of which each process tells the outcome.

    mpiexec -n 3 python tests/distributed_worker.py '{"case": "everything", "out": "/tmp"}'

Each process writes what it came to into a file of the folder "out", which its rank names.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import cnnlib
from cnnlib import augment
from cnnlib.callbacks import Callback, Checkpoint
from cnnlib.distributed import Distributed, predict, processes, world
from cnnlib.layers import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU
from cnnlib.trainer import Trainer

N = 150


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (N, 1, 12, 12), np.uint8), rng.integers(0, 4, N)


def convolutional(seed: int | None = 1) -> cnnlib.Sequential:
    rng = np.random.default_rng(seed)
    return cnnlib.Sequential(
        Conv2d(1, 8, 3, rng=rng), BatchNorm2d(8), ReLU(), MaxPool2d(2), Dropout(0.3),
        Flatten(), Linear(200, 40, rng=rng), ReLU(), Dropout(0.5), Linear(40, 4, rng=rng), input_shape=(1, 12, 12),
    )  # fmt: skip


def plain(hidden: int = 32) -> cnnlib.Sequential:
    return cnnlib.Sequential(
        Flatten(), Linear(144, hidden, rng=2), ReLU(), Linear(hidden, 4, rng=3), input_shape=(1, 12, 12)
    )


class Counted:
    """A data set that counts which samples were read of it."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y, self.read = x, y, np.zeros(len(x), int)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        self.read[index] += 1
        return self.x[index], self.y[index]


class Fault(Callback):
    """Lets something happen to one process before the batch of that number."""

    def __init__(self, what: str, rank: int, step: int) -> None:
        self.what, self.rank, self.step = what, rank, step

    def on_batch_begin(self, trainer: Trainer, batch: int) -> None:
        if world().rank != self.rank or trainer.position.step != self.step:
            return
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.what == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.what == "raise":
            raise ValueError("the disk is on fire")
        elif self.what == "exit":
            sys.exit(3)
        elif self.what == "stop":
            trainer.stop("one has had enough")


class Slow(Callback):
    """Takes its time with each batch, so that a signal finds it in the middle."""

    def __init__(self, slow: bool) -> None:
        self.slow = slow

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        if not self.slow:
            return
        if world().main:
            print("batch", trainer.position.step, flush=True)
        time.sleep(0.05)


def digest(model: cnnlib.Sequential, history: Any) -> str:
    found = hashlib.sha256()
    for _, array in sorted(model.state_dict().items()):
        found.update(np.ascontiguousarray(array).tobytes())
    measured = {k: v for k, v in sorted(history.items()) if k not in ("seconds", "images_per_second")}
    found.update(repr(measured).encode())
    return found.hexdigest()


def train(case: str, order: dict[str, Any]) -> dict[str, Any]:
    x, y = data()
    train: Any = (x, y)
    rank = world().rank
    chunk, batch_size, accumulate, more = 16, 64, 1, {}
    model = plain()
    optimizer: Any = cnnlib.SGD(0.05, momentum=0.9)
    settings: dict[str, Any] = {}
    callbacks: list[Callback] = []
    if case == "everything":
        model, optimizer = convolutional(), cnnlib.Adam(2e-3)
        settings = {"class_weight": {0: 2.0}, "augment": augment.RandomCrop(12, padding=2)}
    elif case == "ragged":
        batch_size = 37
    elif case == "few":
        chunk = 64
    elif case == "accumulated":
        accumulate, batch_size, settings = 3, 20, {"sample_weight": np.linspace(0, 2, N)}
        more = {"clip_norm": 0.5}
    elif case == "frozen":
        model = convolutional()
        model[0].freeze()
    elif case == "stream":
        train = [(x[i : i + 50], y[i : i + 50]) for i in range(0, N, 50)]
    elif case == "counted":
        train = Counted(x, y)
    elif case == "drawn":  # weights that each process draws for itself: those of rank 0 count
        model = convolutional(None if rank else 1)
    if "folder" in order:
        callbacks.append(Checkpoint(Path(order["folder"]), every=2, keep=50, resume=True))
    # Always there: who goes on with a training must have its callbacks.
    callbacks += [Fault(order.get("fault", "nothing"), 1, order.get("step", 5)), Slow(order.get("slow", False))]
    if "differ" in order and rank == 1:
        if order["differ"] == "model":
            model = plain(48)
        elif order["differ"] == "isa":
            cnnlib.config.set_isa("baseline")
    if "nan" in order:
        train = x.astype(np.float32), y
        train[0][order["nan"]] = np.nan
    trainer = Trainer(
        model, cnnlib.CrossEntropyLoss(), optimizer, callbacks=callbacks, accumulate=accumulate, **more,
        distributed=Distributed(chunk, order.get("exact", True), order.get("timeout", 20.0)),
    )  # fmt: skip
    seed = 6 if order.get("differ") == "seed" and rank == 1 else 5
    history = trainer.fit(
        train, validation=(x[:70], y[:70]), epochs=3, batch_size=batch_size, seed=seed, verbose=order.get("verbose", 0),
        **settings,
    )  # fmt: skip
    result: dict[str, Any] = {"digest": digest(model, history), "loss": history["loss"], "stop": history.stop_reason}
    result["evaluate"] = trainer.evaluate((x, y), batch_size=100)
    result["predict"] = hashlib.sha256(predict(model, x, 40).tobytes()).hexdigest()
    result["alone"] = hashlib.sha256(model.predict(x, 40).tobytes()).hexdigest()
    if case == "counted":
        result["read"] = train.read.tolist()
    return result


def main() -> None:
    order = json.loads(sys.argv[1])
    if order.get("memory") is False:
        processes.World.shares = lambda self, size: False  # type: ignore[method-assign]
    cases = order.get("cases") or [order["case"]]
    results = {case: train(case, order) for case in cases}
    results["threads"] = cnnlib.get_num_threads()  # type: ignore[assignment]
    Path(order["out"], f"{world().rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
