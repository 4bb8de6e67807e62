"""``cnnlib predict IMAGE…``: what a trained model sees in pictures and arrays, with the probabilities."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.cli.data import FOLDER, image_shape, load_model, number_of_classes, returns_logits, trained_classes
from cnnlib.cli.folder import Shape
from cnnlib.cli.options import add_threads, use_threads
from cnnlib.cli.train import default_out
from cnnlib.datasets.folder import EXTENSIONS, picture_files
from cnnlib.errors import ConfigError, DataError, DataNotFoundError
from cnnlib.files import brief
from cnnlib.functional import softmax
from cnnlib.images import INVERT, fit, read_images, read_pixels

if TYPE_CHECKING:
    from cnnlib.cli.options import Commands

__all__ = ["add"]

_EXAMPLES = """\
examples:
  cnnlib predict seven.png
  cnnlib predict scans/*.png --model digits.safetensors
  cnnlib predict holidays a.jpg --model vgg_mini.safetensors
  cnnlib predict images.npy                one image H×W, or several: N×H×W, N×1×H×W

An image of the model's size (28×28) is taken as it is. One of another size is prepared as MNIST's digits were: cut to
its ink, scaled into the middle 20 of 28 pixels, centred; --whole resizes it as a whole instead. Dark ink on bright
paper is inverted. Notes say what was done. One digit an image. A model of colour images, or one that was trained on a
folder, sees pictures as that training did: resized as a whole. Pictures need Pillow: pip install 'cnnlib[image]'."""

_MOST_COLUMNS = 12  # classes that have a column each; of more, the likeliest are listed
_LIKELIEST = 5


def add(commands: Commands) -> None:
    """Add the parser of ``predict``."""
    parser = commands.add_parser(
        "predict",
        help="say what is in an image",
        description="Say what a trained model sees in images, with the probability of each class in percent.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="PNG, JPEG, BMP, GIF, PPM, .npy or .npz; or a folder of pictures"
    )
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
    shape, classes = image_shape(model, options.model), number_of_classes(model, options.model)
    read = _read_pictures if shape[0] == 3 or notes.get("trained_on") == FOLDER else _read_ink
    paths = [file for path in options.images for file in _files(path)]
    images = read(options, paths, shape, notes)
    scores = model.predict(np.stack([image.pixels for image in images]))
    percent = 100 * (softmax(scores) if returns_logits(model) else scores)
    names = tuple(map(brief, trained_classes(notes)))
    if len(names) != classes:
        names = tuple(map(str, range(classes)))
    _print_table(images, names, percent)
    return 0


def _files(path: str) -> list[str]:
    """The file itself, or the pictures in a folder."""
    if not Path(path).is_dir():
        return [path]
    if found := picture_files(path):
        return found
    raise DataNotFoundError(f"{path}: no pictures in this folder, expected files {' '.join(EXTENSIONS)}")


@dataclass
class _Seen:
    """What the model sees of an image, C×H×W; the image's name, and what was done to it."""

    name: str
    pixels: NDArray[Any]
    notes: list[str]


def _read_ink(options: argparse.Namespace, paths: list[str], shape: Shape, notes: dict[str, str]) -> list[_Seen]:
    """Images as those of MNIST and its family, bright on dark."""
    size = shape[1:]
    # Margins as the images have that the model knows: 4 of 28 pixels around digits, none around clothes.
    margin = 0 if notes.get("trained_on") == "fashion-mnist" else min(size) // 7
    box = None if options.whole else min(size) - 2 * margin
    images = [fit(image, size, options.invert, box) for path in paths for image in read_images(path)]
    return [_Seen(image.name, image.pixels[np.newaxis], image.notes) for image in images]


def _read_pictures(options: argparse.Namespace, paths: list[str], shape: Shape, notes: dict[str, str]) -> list[_Seen]:
    """Pictures as `ImageFolder` reads them."""
    if options.invert == "always":
        raise ConfigError(f"--invert always: {options.model} sees pictures as it was trained on them, not inverted")
    if arrays := [path for path in paths if Path(path).suffix.lower() in (".npy", ".npz")]:
        raise DataError(f"{arrays[0]}: {options.model} was trained on pictures, expected one: PNG, JPEG, BMP, GIF, PPM")
    mode = "L" if shape[0] == 1 else "RGB"
    return [_Seen(path, read_pixels(path, mode, shape[1:]), []) for path in paths]


def _print_table(images: list[_Seen], names: tuple[str, ...], percent: NDArray[Any]) -> None:
    first = max(5, *(len(image.name) for image in images))
    answer = max(6, *map(len, names))
    widths = [max(5, len(name)) for name in names]
    columns = len(names) <= _MOST_COLUMNS
    header = "  ".join(map(str.rjust, names, widths)) if columns else f"the {_LIKELIEST} likeliest"
    print(f"{'image':<{first}}  {'answer':<{answer}}  {header}   (percent)")
    for image, row in zip(images, percent, strict=True):
        if columns:
            figures = "  ".join(f"{value:{width}.1f}" for value, width in zip(row, widths, strict=True))
        else:
            figures = ", ".join(f"{names[i]} {row[i]:.1f}" for i in np.argsort(-row, kind="stable")[:_LIKELIEST])
        print(f"{image.name:<{first}}  {names[row.argmax()]:<{answer}}  {figures}")
        for note in image.notes:
            print(f"  note: {note}")
