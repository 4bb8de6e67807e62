"""Settings that are nonsense, for layers, optimizers, models: an error of cnnlib, or sense."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cnnlib
from cnnlib import Sequential, Trainer, augment, callbacks, layers, losses, metrics, optim
from cnnlib.datasets.loader import ArrayDataset, Batches, WeightedDataset, as_dataset
from cnnlib.errors import CNNError
from cnnlib.graph import Input
from cnnlib.init import undrawn
from cnnlib.model import Model
from cnnlib.weights import ClassWeight
from tests.rows import ROWS
from tests.test_hostile_arrays import BAD, outcome
from tests.test_hostile_objects import made, net, some

CONSTRUCTORS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    **{
        name: (layer, {k: v for k, v in made(row).config().items()})
        for row in ROWS
        for name, layer in [(type(made(row)).__name__, type(made(row)))]
    },
    "SGD": (optim.SGD, {"lr": 0.1}),
    "Adam": (optim.Adam, {"lr": 0.1}),
    "AdamW": (optim.AdamW, {"lr": 0.1}),
    "RMSprop": (optim.RMSprop, {"lr": 0.1}),
    "Adagrad": (optim.Adagrad, {"lr": 0.1}),
    "Lion": (optim.Lion, {"lr": 0.1}),
    "MaxNorm": (optim.MaxNorm, {"c": 1.0}),
    "TopKAccuracy": (metrics.TopKAccuracy, {"k": 2}),
    "BinaryAccuracy": (metrics.BinaryAccuracy, {}),
    "CrossEntropyLoss": (losses.CrossEntropyLoss, {}),
    "BCELoss": (losses.BCELoss, {}),
    "Input": (Input, {"shape": (1, 4, 4)}),
    "Model": (Model, {"inputs": Input(3), "outputs": Input(3)}),
    "Sequential.build": (lambda input_shape: Sequential(layers.ReLU()).build(input_shape), {"input_shape": (3,)}),
    "Sequential": (lambda layer: Sequential(layer), {"layer": layers.ReLU()}),
    "Trainer": (Trainer, {"model": net(), "loss": losses.MSELoss(), "optimizer": optim.SGD(0.1)}),
    "ArrayDataset": (ArrayDataset, {"x": some(4, 3), "y": np.arange(4)}),
    "WeightedDataset": (
        WeightedDataset,
        {"data": ArrayDataset(some(4, 3), np.arange(4)), "sample_weight": np.ones(4)},
    ),
    "ClassWeight": (ClassWeight, {"class_weight": {1: 2.0}, "target": np.arange(4)}),
    "as_dataset": (as_dataset, {"data": (some(4, 3), np.arange(4))}),
    "Batches": (Batches, {"data": (some(4, 3), np.arange(4)), "batch_size": 2}),
    "predict": (net().predict, {"x": some(2, 1, 4, 4)}),
    "forward": (net().forward, {"x": some(2, 1, 4, 4)}),
    "features": (net().features, {"x": some(2, 1, 4, 4), "at": 0}),
    "load_state_dict": (net().load_state_dict, {"state": net().state_dict()}),
    "load_weights": (net().load_weights, {"path": "no such file"}),
    "load": (cnnlib.load, {"path": "no such file"}),
    "lenet5": (cnnlib.models.lenet5, {}),
    "mlp": (cnnlib.models.mlp, {"sizes": [5, 3]}),
    "EarlyStopping": (callbacks.EarlyStopping, {}),
    "ReduceLROnPlateau": (callbacks.ReduceLROnPlateau, {}),
    "Checkpoint": (callbacks.Checkpoint, {"folder": "somewhere"}),
    "CSVLog": (callbacks.CSVLog, {"path": "somewhere"}),
    "LRSchedule": (callbacks.LRSchedule, {"schedule": abs}),
    "TensorBoard": (callbacks.TensorBoard, {"log_dir": "somewhere"}),
    "StepLR": (cnnlib.StepLR, {"lr": 0.1, "step_size": 2}),
    "CosineLR": (cnnlib.CosineLR, {"lr": 0.1, "epochs": 5}),
    "OneCycleLR": (cnnlib.OneCycleLR, {"max_lr": 0.1, "epochs": 5}),
    "RandomHorizontalFlip": (augment.RandomHorizontalFlip, {}),
    "RandomVerticalFlip": (augment.RandomVerticalFlip, {}),
    "RandomCrop": (augment.RandomCrop, {"size": 3}),
    "RandomAffine": (augment.RandomAffine, {"degrees": 3}),
    "RandomRotation": (augment.RandomRotation, {"degrees": 3}),
    "ElasticTransform": (augment.ElasticTransform, {}),
    "GaussianNoise": (augment.GaussianNoise, {}),
    "MixUp": (augment.MixUp, {"num_classes": 3}),
    "Compose": (augment.Compose, {"transforms": []}),
    "set_num_threads": (cnnlib.set_num_threads, {"n": 1}),
}
SKIPPED = {("lenet5", "rng")}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_nonsense_is_refused_or_taken_for_what_it_is(name: str) -> None:
    """Any setting gives a result that can say what it is, or an error of cnnlib. `undrawn` keeps the layers small."""
    make, good = CONSTRUCTORS[name]
    threads = cnnlib.get_num_threads()
    wrong = []
    for setting in inspect.signature(make).parameters:
        for bad in BAD:
            if (name, setting) in SKIPPED or (setting == "batch_size" and isinstance(bad, int) and bad > 1000):
                continue
            try:
                with undrawn(1 << 20):
                    got = outcome(lambda bad=bad, setting=setting: (repr(make(**{**good, setting: bad})), None)[1])
                assert isinstance(got, CNNError) or got == [None]
            except Exception as error:
                wrong.append(f"{setting} = {str(bad)[:40]!r}: {type(error).__name__}: {str(error)[:120]!r}")
    cnnlib.set_num_threads(threads)
    assert not wrong, "\n".join(wrong)
