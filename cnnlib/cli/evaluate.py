"""``cnnlib evaluate MODEL``: accuracy on test images, class by class, and what is taken for what."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.cli.data import (
    FOLDER,
    SETS,
    Data,
    add_data,
    available,
    image_shape,
    load_data,
    load_model,
    number_of_classes,
    returns_logits,
    trained_classes,
    trained_title,
)
from cnnlib.cli.options import add_distributed, add_threads, number, processes, use_threads
from cnnlib.distributed import predict
from cnnlib.errors import ConfigError, DataNotFoundError, ShapeError
from cnnlib.graph import shape_text
from cnnlib.losses import CrossEntropyLoss

if TYPE_CHECKING:
    from cnnlib.cli.options import Commands
    from cnnlib.model import Model

__all__ = ["add"]

_CONFUSIONS = 5  # pairs of classes that are listed

_EXAMPLES = """\
examples:
  cnnlib evaluate lenet5.safetensors
  cnnlib evaluate lenet5.safetensors --data mnist
  cnnlib evaluate resnet_mini.safetensors --data pets        the pictures that `cnnlib train` held back, or pets/test"""


def add(commands: Commands) -> None:
    """Add the parser of ``evaluate``."""
    parser = commands.add_parser(
        "evaluate",
        help="test a saved model, class by class",
        description="Test a saved model on test images: accuracy of each class, most frequent confusions.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL", help="a file that `cnnlib train` or model.save wrote")
    add_data(parser, "the set that the model was trained on, if its file says so; else as `cnnlib train` chooses")
    parser.add_argument(
        "--batch-size", type=number(int, 1), default=256, metavar="N", help="images at a time (default: 256)"
    )
    add_threads(parser)
    add_distributed(parser, "the images")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Test and report."""
    with processes(options):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    use_threads(options)
    model, notes = load_model(options.model)
    data = _loaded(_chosen(options, notes.get("trained_on")), model, options.model)
    names = data.classes
    x, y = data.test[:]
    start = time.perf_counter()
    scores = predict(model, x, options.batch_size) if options.distributed else model.predict(x, options.batch_size)
    seconds = time.perf_counter() - start
    loss = CrossEntropyLoss(from_logits=returns_logits(model)).forward(scores, y)
    predicted = scores.argmax(axis=1)
    wrong = int((predicted != y).sum())
    print(f"model     {options.model}, trained on {trained_title(notes)}")
    if "training" in notes:
        print(f"          {notes['training']}")
    print(f"data      {data.title}: {len(y):,} test images, {data.where}")
    for line in _warnings(notes, data):
        print(f"note      {line}")
    print(f"accuracy  {1 - wrong / len(y):.2%}, {wrong} wrong; loss {loss:.4f}")
    print(f"speed     {len(y) / seconds:,.0f} images/s\n")
    _report(names, y, predicted)
    return 0


def _chosen(options: argparse.Namespace, trained_on: str | None) -> str:
    """Return the data to test on: what was asked for, else what the model was trained on."""
    if options.data != "auto" or trained_on is None:
        return str(options.data)
    if trained_on == FOLDER:
        raise ConfigError(f"{options.model} was trained on a folder of pictures: say which, --data FOLDER")
    if available(trained_on):
        return trained_on
    if SETS[trained_on].shape != SETS["sample"].shape:
        raise DataNotFoundError(
            f"{options.model} was trained on {SETS[trained_on].title}, which is not on this machine: "
            f"--data {trained_on} downloads it"
        )
    return "auto"


def _loaded(chosen: str, model: Model, path: str) -> Data:
    """Return data that the model fits; those that have a name are not fetched if it does not."""
    if chosen in ("auto", *SETS):
        known = SETS["sample" if chosen == "auto" else chosen]
        _check_classes(model, path, known.classes, known.title)
        if image_shape(model, path) != known.shape:
            raise ShapeError(
                f"{path}: the model takes images of {shape_text(image_shape(model, path))}, those of {known.title} "
                f"have {shape_text(known.shape)}"
            )
        return load_data(chosen)
    data = load_data(chosen, image_shape(model, path), test_only=True)
    _check_classes(model, path, data.classes, chosen)
    return data


def _check_classes(model: Model, path: str, classes: tuple[str, ...], title: str) -> None:
    told_apart = number_of_classes(model, path)
    if told_apart != len(classes):
        raise ShapeError(f"{path}: the model tells {told_apart} classes apart, {title} has {len(classes)}")


def _warnings(notes: dict[str, str], data: Data) -> list[str]:
    """What keeps this from being a test."""
    trained_on, known = notes.get("trained_on"), trained_classes(notes)
    if data.name == "sample" and trained_on == "mnist":
        return [
            "this is no test: the bundled digits are from MNIST's training set, on which this model was trained;",
            "it has seen them. --data mnist has test images that it has not seen",
        ]
    if data.name == "sample" and trained_on is None:
        return ["the bundled digits are from MNIST's training set: a model trained on the full MNIST has seen them"]
    if known and known != data.classes:
        chance = f"{100 / len(data.classes):.0f} %"
        return [f"{trained_title(notes)} and {data.title} have different classes: expect no more than chance, {chance}"]
    return []


def _report(names: tuple[str, ...], y: NDArray[Any], predicted: NDArray[Any]) -> None:
    # counts[i, j]: images of class i taken for class j.
    counts = np.bincount(y * len(names) + predicted, minlength=len(names) ** 2).reshape(len(names), -1)
    width = max(5, *map(len, names))
    print(f"{'class':<{width}}  images  right  accuracy")
    for name, row, right in zip(names, counts, counts.diagonal(), strict=True):
        share = f"{right / row.sum():8.1%}" if row.sum() else "       –"
        print(f"{name:<{width}}  {row.sum():6,}  {right:5,}  {share}")
    np.fill_diagonal(counts, 0)
    order = [int(i) for i in np.argsort(-counts, axis=None, kind="stable")[:_CONFUSIONS]]
    pairs = [(*divmod(i, len(names)), int(counts.flat[i])) for i in order if counts.flat[i]]
    if pairs:
        print("\nmost frequent confusions")
    for true, taken, times in pairs:
        print(f"  {names[true]} taken for {names[taken]}: {times} {'times' if times > 1 else 'time'}")
