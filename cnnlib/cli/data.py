"""Data by name for the commands, and what a saved model's file says about its training."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlib import datasets, serialize
from cnnlib.cli.folder import HELD_BACK, Shape, load_folder
from cnnlib.errors import ShapeError
from cnnlib.files import brief
from cnnlib.graph import shape_text
from cnnlib.layers import Softmax

if TYPE_CHECKING:
    from cnnlib.model import Model

__all__ = [
    "FOLDER",
    "SETS",
    "Data",
    "add_data",
    "available",
    "image_shape",
    "load_data",
    "load_model",
    "number_of_classes",
    "returns_logits",
    "trained_classes",
    "trained_title",
]

FOLDER = "folder"  # the name of all data that have none in SETS


@dataclass(frozen=True)
class Known:
    """A data set that has a name: its title, the shape of an image, and what the labels stand for."""

    title: str
    shape: Shape
    classes: tuple[str, ...]


_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100 = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
SETS = {
    "sample": Known("the bundled MNIST sample", (1, 28, 28), _DIGITS),
    "mnist": Known("MNIST", (1, 28, 28), _DIGITS),
    "fashion-mnist": Known("Fashion-MNIST", (1, 28, 28), _CLOTHES),
    "cifar10": Known("CIFAR-10", (3, 32, 32), _CIFAR10),
    "cifar100": Known("CIFAR-100", (3, 32, 32), _CIFAR100),
}


@dataclass(frozen=True)
class Data:
    """A data set, and what a user should know of it; ``train[:]`` and ``test[:]`` are its arrays."""

    name: str
    title: str
    classes: tuple[str, ...]
    train: datasets.Dataset
    test: datasets.Dataset
    where: str


def add_data(parser: argparse.ArgumentParser, auto: str) -> None:
    """Add the option ``--data``; `auto` says what that choice does."""
    parser.add_argument(
        "--data",
        type=_data,
        default="auto",
        help=f"auto (default): {auto}. sample: the 5,000 MNIST digits that come with cnnlib. mnist, fashion-mnist, "
        "cifar10, cifar100: the full sets, downloaded if they are not on this machine. A folder: pictures, in one "
        "folder for each class, or in such folders below train and test (or val); without a test folder "
        f"{100 * HELD_BACK:.0f} %% of each class are held back to test",
    )


def _data(text: str) -> str:
    if text == "auto" or text in SETS or Path(text).is_dir():
        return text
    close = get_close_matches(text.lower(), SETS, 1)
    raise argparse.ArgumentTypeError(
        f"{text!r}: neither a folder nor one of auto, {', '.join(SETS)}{f'; did you mean {close[0]}?' if close else ''}"
    )


def available(name: str) -> bool:
    """Say whether a data set is on this machine."""
    return name == "sample" or datasets.find(name) is not None


def load_data(name: str, shape: Shape = (3, 32, 32), *, test_only: bool = False) -> Data:
    """Load a data set; "auto" is the full MNIST where it is on disk already, else the bundled sample.

    A name that is not in SETS is a folder of pictures, which are resized to `shape`; see `load_folder`, also for
    `test_only`.
    """
    chosen = ("mnist" if available("mnist") else "sample") if name == "auto" else name
    if chosen not in SETS:
        classes, trained, tested, where = load_folder(chosen, shape, test_only=test_only)
        return Data(FOLDER, f"the pictures in {chosen}", classes, trained, tested, where)
    loaders: dict[str, Callable[..., datasets.Split]] = {
        "sample": datasets.mnist_sample,
        "mnist": datasets.mnist,
        "fashion-mnist": datasets.fashion_mnist,
        "cifar10": datasets.cifar10,
        "cifar100": datasets.cifar100,
    }
    train, test = loaders[chosen]()
    where = "part of cnnlib" if chosen == "sample" else f"from {datasets.find(chosen)}"
    if name == "auto":
        where += (
            "; --data sample takes the 5,000 bundled digits"
            if chosen == "mnist"
            else "; the full MNIST is not on this machine, --data mnist downloads it (12 MB)"
        )
    known, parts = SETS[chosen], (datasets.ArrayDataset(*train), datasets.ArrayDataset(*test))
    return Data(chosen, known.title, known.classes, *parts, where)


def load_model(path: str) -> tuple[Model, dict[str, str]]:
    """Load a model and the notes of its file: ``trained_on``, a name of SETS or FOLDER, ``training``, in words, and
    ``classes``, in JSON, for a folder.

    Files that were not written by ``cnnlib train`` have no notes.
    """
    model = serialize.load(path)
    metadata = serialize.load_state(path)[1]
    notes: dict[str, str] = {key: metadata[key] for key in ("trained_on", "training", "classes") if key in metadata}
    if "training" in notes:
        notes["training"] = brief(notes["training"])
    if notes.get("trained_on", FOLDER) not in (*SETS, FOLDER):
        del notes["trained_on"]
    return model, notes


def trained_title(notes: dict[str, str]) -> str:
    """Return what a model was trained on, in words."""
    name = notes.get("trained_on")
    if name == FOLDER:
        return "a folder of pictures"
    return "unknown data" if name is None else SETS[name].title


def trained_classes(notes: dict[str, str]) -> tuple[str, ...]:
    """Return the names of the classes that a model was trained on; none if its file does not say."""
    name = notes.get("trained_on")
    if name in SETS:
        return SETS[name].classes
    try:
        classes = json.loads(notes.get("classes", "[]"))
    except (ValueError, RecursionError):  # whoever wrote the file
        return ()
    return tuple(classes) if isinstance(classes, list) and all(isinstance(each, str) for each in classes) else ()


def image_shape(model: Model, path: str) -> Shape:
    """Return the shape of the one image that the model takes, 1 or 3 channels; raise ShapeError for anything else."""
    shapes = [model.graph.nodes[node].shape for node in model.graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][0] not in (1, 3):
        taken = " and ".join(map(shape_text, shapes))
        raise ShapeError(
            f"{path}: the model takes {taken}, expected one grey image, 1 × height × width, or one of colours, "
            "3 × height × width"
        )
    channels, height, width = shapes[0]
    return channels, height, width


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
