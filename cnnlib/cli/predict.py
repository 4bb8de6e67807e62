"""``cnnlib predict IMAGE…``: what a trained model sees in pictures and arrays, with the probabilities."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnlib.cli.data import CLASSES, image_size, load_model, number_of_classes, returns_logits
from cnnlib.cli.options import add_threads, use_threads
from cnnlib.cli.train import default_out
from cnnlib.errors import DataNotFoundError
from cnnlib.functional import softmax
from cnnlib.images import INVERT, fit, read_images

if TYPE_CHECKING:
    from cnnlib.cli.options import Commands

__all__ = ["add"]

_EXAMPLES = """\
examples:
  cnnlib predict seven.png
  cnnlib predict scans/*.png --model digits.safetensors
  cnnlib predict images.npy                one image H×W, or several: N×H×W, N×1×H×W

An image of the model's size (28×28) is taken as it is. One of another size is prepared as MNIST's digits were: cut to
its ink, scaled into the middle 20 of 28 pixels, centred; --whole resizes it as a whole instead. Dark ink on bright
paper is inverted. Notes say what was done. One digit an image. Pictures need Pillow: pip install 'cnnlib[image]'."""


def add(commands: Commands) -> None:
    """Add the parser of ``predict``."""
    parser = commands.add_parser(
        "predict",
        help="say what is in an image",
        description="Say what a trained model sees in images, with the probability of each class in percent.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG, BMP, GIF, PPM, .npy or .npz")
    parser.add_argument(
        "--model",
        default=default_out("lenet5"),
        metavar="FILE",
        help="the trained model (default: %(default)s, where `cnnlib train lenet5` saves it)",
    )
    parser.add_argument(
        "--invert",
        choices=INVERT,
        default="auto",
        help="make dark ink bright: auto (default) does so where the rim of the image is bright",
    )
    parser.add_argument("--whole", action="store_true", help="resize images as a whole, do not cut them to their ink")
    add_threads(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, predict, print a table."""
    use_threads(options)
    if not Path(options.model).exists():
        raise DataNotFoundError(f"no model {options.model}: train one with `cnnlib train lenet5`, or give --model FILE")
    model, notes = load_model(options.model)
    size, classes = image_size(model, options.model), number_of_classes(model, options.model)
    # Margins as the images have that the model knows: 4 of 28 pixels around digits, none around clothes.
    margin = 0 if notes.get("trained_on") == "fashion-mnist" else min(size) // 7
    box = None if options.whole else min(size) - 2 * margin
    images = [fit(image, size, options.invert, box) for path in options.images for image in read_images(path)]
    scores = model.predict(np.stack([image.pixels for image in images])[:, np.newaxis])
    percent = 100 * (softmax(scores) if returns_logits(model) else scores)
    names = CLASSES[notes.get("trained_on", "sample")]
    if len(names) != classes:
        names = tuple(map(str, range(classes)))
    first = max(5, *(len(image.name) for image in images))
    widths = [max(5, len(name)) for name in names]
    header = "  ".join(name.rjust(width) for name, width in zip(names, widths, strict=True))
    answer = max(6, *map(len, names))
    print(f"{'image':<{first}}  {'answer':<{answer}}  {header}   (percent)")
    for image, row in zip(images, percent, strict=True):
        figures = "  ".join(f"{value:{width}.1f}" for value, width in zip(row, widths, strict=True))
        print(f"{image.name:<{first}}  {names[row.argmax()]:<{answer}}  {figures}")
        for note in image.notes:
            print(f"  note: {note}")
    return 0
