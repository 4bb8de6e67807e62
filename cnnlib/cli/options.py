"""What the commands' parsers share: the help's form, options of several commands, and checks of their values."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

from cnnlib.config import set_num_threads
from cnnlib.distributed import world
from cnnlib.errors import CNNError
from cnnlib.threads import MAX_THREADS

if TYPE_CHECKING:
    from cnnlib.distributed.processes import World

    Commands = argparse._SubParsersAction["Parser"]

__all__ = ["Parser", "add_distributed", "add_threads", "number", "processes", "use_threads"]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that keeps the lines of its epilog and takes no abbreviated options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)


def number(kind: type, low: float, high: float = float("inf"), *, below: bool = False) -> Callable[[str], Any]:
    """Return a converter for argparse: an int or float from `low` to `high`, or below `high`.

    >>> number(int, 1)("64")
    64
    """
    last = f"below {high:g}" if below else f"to {high:g}"
    wanted = f"{'an integer' if kind is int else 'a number'} from {low:g} {last if high < float('inf') else 'up'}"

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: expected {wanted}") from None
        if not (low <= value < high if below else low <= value <= high) or value == float("inf"):
            raise argparse.ArgumentTypeError(f"{text}: expected {wanted}")
        return value

    return convert


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--threads``."""
    parser.add_argument(
        "--threads",
        type=number(int, 1, MAX_THREADS),
        metavar="N",
        help="threads to compute on (default: all cores this process may use); results do not depend on it",
    )


def add_distributed(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option ``--distributed``; `what` says what is shared."""
    parser.add_argument(
        "--distributed", action="store_true", help=f"share {what} among the processes of `mpiexec -n 4 cnnlib …`"
    )


@contextmanager
def processes(options: argparse.Namespace) -> Iterator[World | None]:
    """With ``--distributed``, let all processes run the block, rank 0 alone speak, and a failure of one end all."""
    if not options.distributed:
        yield None
        return
    found = world()
    with found.guarded():
        if found.main:
            yield found
            return
        with open(os.devnull, "w") as silence, redirect_stdout(silence):
            try:
                yield found
            except CNNError as error:
                if getattr(error, "together", False):
                    raise SystemExit(1) from None  # rank 0 says it
                raise


def use_threads(options: argparse.Namespace) -> None:
    """Set the number of threads where ``--threads`` is given."""
    if options.threads is not None:
        set_num_threads(options.threads)
