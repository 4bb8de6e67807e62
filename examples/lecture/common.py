"""What the scripts of the lecture share: their options, and the digits that they work on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cnnlib import datasets


def options(doc: str | None, epochs: int | None = None, full_epochs: int | None = None) -> argparse.Namespace:
    """Read ``--full``, ``--seed`` and ``--save`` and, for a script that trains for `epochs`, ``--epochs``.

    full_epochs: the budget with --full; default, the same. `save` is a path; default, the script's name with .png.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    picture = Path(sys.argv[0]).stem + ".png"
    parser.add_argument("--full", action="store_true", help="the real experiment, on all of MNIST if on digits")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: %(default)s)")
    parser.add_argument("--save", type=Path, default=picture, help="where the picture goes (default: %(default)s)")
    if epochs is not None:
        text = f"passes over the training data (default: {epochs}, with --full {full_epochs or epochs})"
        parser.add_argument("--epochs", type=int, help=text)
    args = parser.parse_args()
    if epochs is not None and args.epochs is None:
        args.epochs = full_epochs or epochs if args.full else epochs
    return args


def digits(full: bool, pad: int = 0) -> datasets.Split:
    """Return ``(x_train, y_train), (x_test, y_test)``: 4,000 and 1,000 bundled digits, or with `full` all of MNIST."""
    return datasets.mnist(pad=pad) if full else datasets.mnist_sample(pad=pad)
