"""The command line: ``cnnlib train | evaluate | predict | summary | export | bench | info | selftest``.

Each command is a module here with ``add(commands)``, which adds its parser, and a function that runs it and returns
the exit code: 0 done, 1 failed (with one message on stderr), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from cnnlib._version import __version__
from cnnlib.cli import evaluate, export, machine, predict, summary, train
from cnnlib.cli.options import Parser
from cnnlib.errors import CNNError

__all__ = ["main", "parser"]

_EXAMPLES = """\
examples:
  cnnlib train lenet5                      train LeNet-5 on digits and save it
  cnnlib evaluate lenet5.safetensors       how good it is, class by class
  cnnlib predict seven.png                 what is in a picture
  cnnlib summary lenet5                    what the model is made of
  cnnlib COMMAND --help                    the options of a command"""


def parser() -> Parser:
    """Return the parser of the whole command line."""
    root = Parser(prog="cnnlib", description="Convolutional nets on the CPU.", epilog=_EXAMPLES)
    root.add_argument("--version", action="version", version=f"cnnlib {__version__}")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for module in (train, evaluate, predict, summary, export, machine):
        module.add(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; wrong usage raises SystemExit(2), as argparse does.

    >>> main(["summary", "mlp"])  # doctest: +ELLIPSIS
    Layer ...
    0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _say_warning
    try:
        if arguments[:1] == ["bench"]:  # has a parser of its own
            return machine.bench(arguments[1:])
        options = parser().parse_args(arguments)
        options.arguments = arguments
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has gone, as after `| head`; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (CNNError, OSError) as error:
        print(f"cnnlib: error: {_one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncnnlib: interrupted; nothing was saved", file=sys.stderr)
        return 130


def _say_warning(message: Warning | str, *where: object, **more: object) -> None:
    print(f"cnnlib: warning: {message}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    """Return the message without the error number that Python puts before a file's name."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
