"""A user's script with types, which mypy checks from outside: what cnnlib gives and takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cnnlib


def net(classes: int) -> cnnlib.Model:
    x = cnnlib.Input((1, 28, 28))
    y = cnnlib.Conv2d(1, 8, kernel_size=5, padding=2)(x)
    y = cnnlib.MaxPool2d(2)(cnnlib.ReLU()(y))
    z = cnnlib.Linear(8 * 14 * 14, classes)(cnnlib.Flatten()(y))
    return cnnlib.Model(x, z)


def train(folder: Path) -> cnnlib.Model:
    (x_train, y_train), (x_test, y_test) = cnnlib.datasets.mnist_sample()
    model = net(classes=10)
    trainer = cnnlib.Trainer(
        model,
        cnnlib.CrossEntropyLoss(),
        cnnlib.SGD(cnnlib.CosineLR(0.1, epochs=2), momentum=0.9),
        metrics=[cnnlib.metrics.Accuracy()],
        callbacks=[cnnlib.EarlyStopping(patience=3), cnnlib.CSVLog(folder / "log.csv")],
    )
    history = trainer.fit((x_train, y_train), validation=(x_test, y_test), epochs=2, batch_size=64, seed=0)
    losses: list[float] = history["loss"]
    assert losses
    model.save(folder / "net.safetensors")
    return cnnlib.load(folder / "net.safetensors")


def by_hand(x: NDArray[np.float32]) -> NDArray[Any]:
    weight = np.ones((1, 1, 3, 3), np.float32)
    y: NDArray[Any] = cnnlib.functional.conv2d(x, weight, padding=1)
    layer: cnnlib.Layer = cnnlib.ReLU() if x.size else cnnlib.Linear("two", 3)  # type: ignore[arg-type]
    return layer.forward(y)


class Printed(cnnlib.Callback):
    def on_epoch_end(self, trainer: cnnlib.Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        print(epoch, logs["loss"], trainer.model.summary())


def is_wrong(model: cnnlib.Model) -> str:
    try:
        model.predict(np.zeros((1, 3, 28, 28), np.float32))
    except cnnlib.errors.ShapeError as error:
        return str(error)
    return ""
