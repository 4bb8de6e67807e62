"""What people do who come from elsewhere: each mistake is named when it is made, with what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnlib
from cnnlib import augment
from cnnlib.callbacks import EarlyStopping
from cnnlib.errors import ConfigError, DataNotFoundError, DTypeError, FileFormatError
from cnnlib.layers import Flatten, Linear
from cnnlib.losses import CrossEntropyLoss
from cnnlib.model import Sequential
from cnnlib.optim import SGD
from cnnlib.trainer import Trainer


def net() -> Sequential:
    return Sequential(Flatten(), Linear(4, 3, rng=0), input_shape=(1, 2, 2))


X, Y = np.zeros((6, 1, 2, 2), np.float32), np.arange(6) % 3


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: Trainer(net(), CrossEntropyLoss, SGD(0.1)), r"loss is the class CrossEntropyLoss: write CrossEnt"),  # type: ignore[arg-type]
        (lambda: Trainer(net(), CrossEntropyLoss(), SGD), r"optimizer is the class SGD: write SGD\("),  # type: ignore[arg-type]
        (lambda: Trainer(net(), CrossEntropyLoss(), "sgd"), r"no step\(\): give an object such as SGD"),  # type: ignore[arg-type]
        (lambda: Trainer(net(), CrossEntropyLoss(), SGD(0.1), callbacks=[EarlyStopping]), "callback is the class"),  # type: ignore[list-item]
        (lambda: SGD(net().parameters()), r"parameters are not given here.*step\(model.parameters\(\)\)"),  # type: ignore[arg-type]
        (lambda: SGD(0.1).step(list(net().parameters().values())), r"a dict, model.parameters\(\), got a list"),  # type: ignore[arg-type]
    ],
)
def test_what_is_made_wrongly(run: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run()


def test_what_fit_is_told_wrongly() -> None:
    trainer = Trainer(net(), CrossEntropyLoss(), SGD(0.1))
    with pytest.raises(ConfigError, match="augment is the class RandomRotation"):
        trainer.fit((X, Y), augment=augment.RandomRotation, verbose=0)
    with pytest.raises(DTypeError, match=r"as in fit\(\(x, y\)\)"):
        trainer.fit(X, verbose=0)
    with pytest.raises(DTypeError, match=r"np.unique\(target, return_inverse=True\)"):
        trainer.fit((X, np.array(["cat", "dog"] * 3)), verbose=0)
    with pytest.raises(DTypeError, match=r"target.astype\(np.int64\)"):
        trainer.fit((X, Y.astype(np.float32)), verbose=0)


def test_names_of_elsewhere() -> None:
    with pytest.raises(AttributeError, match="did you mean Conv2d"):
        _ = cnnlib.Conv2D
    with pytest.raises(AttributeError, match=r"no attribute 'fit_generator'$"):
        _ = cnnlib.fit_generator


@pytest.mark.parametrize(
    ("start", "message"),
    [(b"PK\x03\x04", "PyTorch and Keras write"), (b"\x89HDF\r\n", "HDF5"), (b"\x08\x08\x12\x06", "cnnlib.onnx.load")],
)
def test_files_of_elsewhere(start: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(start + bytes(100))
    with pytest.raises(FileFormatError, match=message):
        cnnlib.load(tmp_path / "m")


def test_sources_that_are_not_built(tmp_path: Path) -> None:
    """A clone of the sources hides the installed package from a Python that is started in it."""
    package = Path(cnnlib.__file__).parent
    (tmp_path / "cnnlib").mkdir()
    for name in ("__init__.py", "_version.py", "config.py", "errors.py", "threads.py"):
        shutil.copy(package / name, tmp_path / "cnnlib")
    # -S: without the finder of an editable install, which would find the rest of the package where it was built.
    found = subprocess.run([sys.executable, "-S", "-c", "import cnnlib"], cwd=tmp_path, capture_output=True, text=True)
    assert "clone of the sources, run `pip install -e .` there" in found.stderr.splitlines()[-1]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"no folder .*runs; make it first"):
        net().save(tmp_path / "runs" / "m.safetensors")
