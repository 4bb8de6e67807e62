"""cnnlib: convolutional nets on the CPU.

A model is a graph of layers, declared once; it trains and predicts in C kernels, on plain NumPy arrays.

>>> import cnnlib
>>> model = cnnlib.models.lenet5(rng=0)
>>> (x_train, y_train), (x_test, y_test) = cnnlib.datasets.mnist_sample()
>>> model.predict(x_test[:2]).shape
(2, 10)
"""

import os as _os
from importlib import import_module as _import_module
from typing import Any as _Any

from cnnlib._openmp import waiting_asleep as _waiting_asleep

with _waiting_asleep():
    from cnnlib import _kernels as _kernels

from cnnlib import callbacks, config, datasets, errors, functional, losses, metrics, models, optim, schedules
from cnnlib._version import __version__
from cnnlib.callbacks import Callback, EarlyStopping
from cnnlib.config import get_num_threads, set_algorithm, set_num_threads, show_config
from cnnlib.graph import Input, Node
from cnnlib.layers import (
    AdaptiveAvgPool2d,
    Add,
    Affine,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Divide,
    Dropout,
    Dropout2d,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Multiply,
    Parameter,
    PReLU,
    Reciprocal,
    ReLU,
    Sigmoid,
    Softmax,
    Standardize,
    Subtract,
    Tanh,
)
from cnnlib.losses import BCELoss, CrossEntropyLoss, L1Loss, MSELoss
from cnnlib.model import Model, Sequential
from cnnlib.optim import SGD, Adam, AdamW, MaxNorm, clip_grad_norm
from cnnlib.schedules import CosineLR, StepLR
from cnnlib.serialize import load
from cnnlib.trainer import Trainer

config.configure(_os.environ)


def __getattr__(name: str) -> _Any:
    # Pictures are for some of the time: `cnnlib.plots` and `cnnlib.drawing` are imported when they are first named.
    if name in ("plots", "drawing"):
        return _import_module(f"cnnlib.{name}")
    raise AttributeError(f"module 'cnnlib' has no attribute {name!r}")


__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "AdaptiveAvgPool2d",
    "Add",
    "Affine",
    "AvgPool2d",
    "BCELoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Callback",
    "Concat",
    "Conv2d",
    "CosineLR",
    "CrossEntropyLoss",
    "Divide",
    "Dropout",
    "Dropout2d",
    "EarlyStopping",
    "Flatten",
    "GlobalAvgPool2d",
    "Input",
    "L1Loss",
    "Layer",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "MaxNorm",
    "MaxPool2d",
    "Model",
    "Multiply",
    "Node",
    "PReLU",
    "Parameter",
    "ReLU",
    "Reciprocal",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Standardize",
    "StepLR",
    "Subtract",
    "Tanh",
    "Trainer",
    "__version__",
    "callbacks",
    "clip_grad_norm",
    "config",
    "datasets",
    "errors",
    "functional",
    "get_num_threads",
    "load",
    "losses",
    "metrics",
    "models",
    "optim",
    "schedules",
    "set_algorithm",
    "set_num_threads",
    "show_config",
]
