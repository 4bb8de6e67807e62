"""``cnnlib export MODEL``: a saved model as an ONNX file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlib.cli.data import load_model

if TYPE_CHECKING:
    from cnnlib.cli.options import Commands

__all__ = ["add"]

_EXAMPLES = """\
examples:
  cnnlib export lenet5.safetensors
  cnnlib export runs/lenet5/best.safetensors --out lenet5.onnx"""


def add(commands: Commands) -> None:
    """Add the parser of ``export``."""
    parser = commands.add_parser(
        "export",
        help="write a saved model as an ONNX file",
        description="Write a saved model as an ONNX file, for ONNX Runtime and many other programs. Its input takes "
        "any number of images, as floats of 0 to 1.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a file that `cnnlib train` or model.save wrote, or a checkpoint"
    )
    parser.add_argument("--out", metavar="FILE", help="where to write it (default: MODEL with the ending .onnx)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Load, write, and say what it is."""
    model, _ = load_model(options.model)
    out = Path(options.out or Path(options.model).with_suffix(".onnx"))
    model.export_onnx(out)
    graph = model.graph
    for what, ends in (("input", graph.inputs), ("output", graph.outputs)):
        for i in ends:
            shape = " × ".join(map(str, ("N", *graph.nodes[i].shape)))
            print(f"{what:<8}  {shape} {graph.dtype or 'float32'}")
    print(f"{'saved':<8}  {out}, {out.stat().st_size / 1e6:.1f} MB")
    return 0
