"""``cnnlib evaluate MODEL``: accuracy on test images, class by class, and what is taken for what."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.cli.data import (
    CLASSES,
    TITLES,
    Data,
    add_data,
    available,
    load_data,
    load_model,
    number_of_classes,
    returns_logits,
)
from cnnlib.cli.options import add_threads, number, use_threads
from cnnlib.errors import ShapeError
from cnnlib.losses import CrossEntropyLoss

if TYPE_CHECKING:
    from cnnlib.cli.options import Commands

__all__ = ["add"]

_CONFUSIONS = 5  # pairs of classes that are listed

_EXAMPLES = """\
examples:
  cnnlib evaluate lenet5.safetensors
  cnnlib evaluate lenet5.safetensors --data mnist"""


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
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Test and report."""
    use_threads(options)
    model, notes = load_model(options.model)
    classes = number_of_classes(model, options.model)
    trained_on = notes.get("trained_on")
    own = options.data == "auto" and trained_on is not None and available(trained_on)
    data = load_data(str(trained_on) if own else options.data)
    names, (x, y) = CLASSES[data.name], data.test
    if classes != len(names):
        raise ShapeError(f"{options.model}: the model tells {classes} classes apart, {data.title} has {len(names)}")
    start = time.perf_counter()
    scores = model.predict(x, options.batch_size)
    seconds = time.perf_counter() - start
    loss = CrossEntropyLoss(from_logits=returns_logits(model)).forward(scores, y)
    predicted = scores.argmax(axis=1)
    wrong = int((predicted != y).sum())
    print(f"model     {options.model}, trained on {TITLES[trained_on] if trained_on else 'unknown data'}")
    if "training" in notes:
        print(f"          {notes['training']}")
    print(f"data      {data.title}: {len(y):,} test images, {data.where}")
    for line in _warnings(trained_on, data):
        print(f"note      {line}")
    print(f"accuracy  {1 - wrong / len(y):.2%}, {wrong} wrong; loss {loss:.4f}")
    print(f"speed     {len(y) / seconds:,.0f} images/s\n")
    _report(names, y, predicted)
    return 0


def _warnings(trained_on: str | None, data: Data) -> list[str]:
    """What keeps this from being a test."""
    if data.name == "sample" and trained_on == "mnist":
        return [
            "this is no test: the bundled digits are from MNIST's training set, on which this model was trained;",
            "it has seen them. --data mnist has test images that it has not seen",
        ]
    if data.name == "sample" and trained_on is None:
        return ["the bundled digits are from MNIST's training set: a model trained on the full MNIST has seen them"]
    if trained_on is not None and CLASSES[trained_on] != CLASSES[data.name]:
        return [f"{TITLES[trained_on]} and {data.title} have different classes: expect no more than chance, 10 %"]
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
