"""Data by name for the commands, and what a saved model's file says about its training."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnlib import datasets, serialize
from cnnlib.errors import ShapeError
from cnnlib.graph import shape_text
from cnnlib.layers import Softmax

if TYPE_CHECKING:
    from cnnlib.model import Model

__all__ = [
    "CLASSES",
    "TITLES",
    "Data",
    "add_data",
    "available",
    "image_size",
    "load_data",
    "load_model",
    "number_of_classes",
    "returns_logits",
]

TITLES = {"sample": "the bundled MNIST sample", "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
CLASSES = {"sample": _DIGITS, "mnist": _DIGITS, "fashion-mnist": _CLOTHES}


@dataclass(frozen=True)
class Data:
    """A data set, and what a user should know of it."""

    name: str
    train: datasets.Arrays
    test: datasets.Arrays
    where: str

    @property
    def title(self) -> str:
        """The name to print."""
        return TITLES[self.name]


def add_data(parser: argparse.ArgumentParser, auto: str) -> None:
    """Add the option ``--data``; `auto` says what that choice does."""
    parser.add_argument(
        "--data",
        choices=["auto", *TITLES],
        default="auto",
        help=f"auto (default): {auto}. sample: the 5,000 MNIST digits that come with cnnlib. "
        "mnist, fashion-mnist: the full sets, downloaded if they are not on this machine",
    )


def available(name: str) -> bool:
    """Say whether a data set is on this machine."""
    return name == "sample" or datasets.find(name) is not None


def load_data(name: str) -> Data:
    """Load a data set; "auto" is the full MNIST where it is on disk already, else the bundled sample."""
    chosen = ("mnist" if available("mnist") else "sample") if name == "auto" else name
    if chosen == "sample":
        split, where = datasets.mnist_sample(), "part of cnnlib"
    else:
        split = {"mnist": datasets.mnist, "fashion-mnist": datasets.fashion_mnist}[chosen]()
        where = f"from {datasets.find(chosen)}"
    if name == "auto":
        where += (
            "; --data sample takes the 5,000 bundled digits"
            if chosen == "mnist"
            else "; the full MNIST is not on this machine, --data mnist downloads it (12 MB)"
        )
    return Data(chosen, *split, where)


def load_model(path: str) -> tuple[Model, dict[str, str]]:
    """Load a model and the notes of its file: ``trained_on``, a name of TITLES, and ``training``, in words.

    Files that were not written by ``cnnlib train`` have no notes.
    """
    model = serialize.load(path)
    metadata = serialize.load_state(path)[1]
    notes: dict[str, str] = {key: metadata[key] for key in ("trained_on", "training") if key in metadata}
    if notes.get("trained_on", "sample") not in TITLES:
        del notes["trained_on"]
    return model, notes


def image_size(model: Model, path: str) -> tuple[int, int]:
    """Return (height, width) of the one grey image that the model takes; raise ShapeError if it takes anything else."""
    shapes = [model.graph.nodes[node].shape for node in model.graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][0] != 1:
        taken = " and ".join(map(shape_text, shapes))
        raise ShapeError(f"{path}: the model takes {taken}, expected one grey image, 1 × height × width")
    return shapes[0][1], shapes[0][2]


def number_of_classes(model: Model, path: str) -> int:
    """Return the length of the one vector of scores that the model returns; raise ShapeError for anything else."""
    shapes = [model.graph.nodes[node].shape for node in model.graph.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 1 or shapes[0][0] < 2:
        returned = " and ".join(map(shape_text, shapes))
        raise ShapeError(f"{path}: the model returns {returned}, expected one score for each of several classes")
    return shapes[0][0]


def returns_logits(model: Model) -> bool:
    """Say whether the model's output still needs the softmax to be probabilities."""
    return not isinstance(model.graph.nodes[model.graph.outputs[0]].layer, Softmax)
