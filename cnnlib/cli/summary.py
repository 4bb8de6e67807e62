"""``cnnlib summary MODEL``: the table of a model's layers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlib.cli.data import load_model, trained_title
from cnnlib.errors import DataNotFoundError
from cnnlib.models import MODELS

if TYPE_CHECKING:
    from cnnlib.cli.options import Commands

__all__ = ["add"]

_EXAMPLES = """\
examples:
  cnnlib summary lenet5
  cnnlib summary lenet5.safetensors"""


def add(commands: Commands) -> None:
    """Add the parser of ``summary``."""
    parser = commands.add_parser(
        "summary",
        help="print the layers of a model",
        description="Print a model's layers: output and weight sizes, parameters, multiply-adds, receptive field.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL", help=f"{', '.join(MODELS)}, or a saved model")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build or load, and print."""
    if options.model in MODELS:
        print(MODELS[options.model](rng=0).summary())
        return 0
    if not Path(options.model).exists():
        raise DataNotFoundError(f"no model {options.model!r}: neither a file nor one of {', '.join(MODELS)}")
    model, notes = load_model(options.model)
    print(model.summary())
    if "trained_on" in notes:
        print(f"trained on {trained_title(notes)}: {notes.get('training', '')}".rstrip(": "))
    return 0
