"""``cnnlib bench``, ``cnnlib info`` and ``cnnlib selftest``: what runs here, how fast, and whether it is right."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from cnnlib import config, datasets, selftest

if TYPE_CHECKING:
    from cnnlib.cli.options import Commands

__all__ = ["add", "bench"]


def add(commands: Commands) -> None:
    """Add the parsers of ``bench``, ``info`` and ``selftest``."""
    # Only for the list of commands: `bench` has options of its own.
    commands.add_parser("bench", help="measure the speed of kernels and nets", add_help=False)
    info = commands.add_parser(
        "info",
        help="say what runs here, and where data are",
        description="Print version, processor, instruction sets, threads and why, and where data are looked for.",
        epilog="example:\n  cnnlib info",
    )
    info.set_defaults(run=_info)
    check = commands.add_parser(
        "selftest",
        help="check the kernels on this machine",
        description="Check every kernel against its definition in NumPy: on each instruction set of this processor, "
        "in float32 and float64, at sizes around the tiles, on 1, 2 and 4 threads.",
        epilog="examples:\n  cnnlib selftest\n  cnnlib selftest --full",
    )
    check.add_argument(
        "--full",
        action="store_true",
        help="check the promises, too (minutes): bits and threads, killed trainings, forks, memory, damaged files",
    )
    check.set_defaults(run=_selftest)


def bench(arguments: Sequence[str]) -> int:
    """Run the benchmark, which parses its own arguments."""
    from cnnlib.bench import main

    return main(list(arguments))


def _selftest(options: argparse.Namespace) -> int:
    passed = selftest.run()
    if options.full:
        passed = selftest.run_promises() and passed
    return 0 if passed else 1


def _info(options: argparse.Namespace) -> int:
    print(config.show_config())
    print("\npackages")
    for package in ("safetensors", "tqdm", "pillow"):
        try:
            print(f"  {package:<12} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            print(f"  {package:<12} not installed; pictures need it: pip install 'cnnlib[image]'")
    print(f"\ndata        (CNNLIB_DATA {os.environ.get('CNNLIB_DATA') or 'is not set'})")
    print("  sample        5,000 MNIST digits, part of cnnlib")
    for name, model in (
        ("mnist", "lenet5"),
        ("fashion-mnist", "lenet5"),
        ("cifar10", "vgg_mini"),
        ("cifar100", "vgg_mini"),
    ):
        found = datasets.find(name)
        print(f"  {name:<13} {f'found in {found}' if found else 'not found; looked for in'}")
        if found is None:
            for folder in datasets.folders(name):
                print(f"                  {folder}")
            print(f"                `cnnlib train {model} --data {name}` downloads it into the first of these")
    return 0
