"""The command's arguments: what is to be measured, in which settings, against whom."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cnnlib import config
from cnnlib.bench import rivals
from cnnlib.bench.architectures import NETS
from cnnlib.bench.named import LAYERS, PASSES
from cnnlib.bench.nets import NetTask
from cnnlib.bench.summary import OWN_NET, Setting
from cnnlib.bench.timing import Pace
from cnnlib.bench.work import KernelTask, Task
from cnnlib.errors import ConfigError

__all__ = ["Options", "parse"]

QUICK_LAYERS = ("lenet1", "lenet2", "pool1", "fc1", "relu1", "loss", "sgd", "lenet5")
QUICK_BATCHES = (1, 64)
QUICK_PACE = Pace(rounds=3, block=0.03, limit=0.3, fewest=1)

NAMES = (*LAYERS, *NETS)
WHICH = tuple(dict.fromkeys([which for passes in PASSES.values() for which in passes] + ["train", "predict"]))


@dataclass(frozen=True)
class Options:
    """What was asked for. passes, batches and threads are () where nothing was."""

    names: tuple[str, ...]
    passes: tuple[str, ...]
    batches: tuple[int, ...]
    isas: tuple[str, ...]
    threads: tuple[int, ...]
    against: tuple[str, ...]
    pace: Pace
    quick: bool
    markdown: bool
    json: str | None

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks one by one, so that the arrays of only one are in memory."""
        for name, which, batch in self._selected():
            yield NetTask(NETS[name], which, batch) if name in NETS else KernelTask.of(LAYERS[name], which)

    def settings(self, name: str) -> list[Setting]:
        """Return the instruction sets and threads for a layer or a net: one thread as well for LeNet-5 by default."""
        threads = self.threads or (config.get_num_threads(),)
        if not self.threads and name == OWN_NET and not self.quick:
            threads = tuple(dict.fromkeys((*threads, 1)))
        return [(isa, n) for isa in self.isas for n in threads]

    def own_settings(self) -> list[Setting]:
        """Return the settings in which cnnlib runs against itself: the best first, then what differs in one thing."""
        if (OWN_NET, "train") not in [(name, which) for name, which, _ in self._selected()]:
            return []
        isa, threads = self.isas[0], max(self.threads or (config.get_num_threads(),))
        others = self.isas[1:] or [name for name in config.supported_isas() if name not in (isa, "baseline")]
        return list(dict.fromkeys([(isa, threads), (isa, 1), *((other, threads) for other in others)]))

    def check(self) -> Options:
        """Return the options, or raise ConfigError if they select nothing."""
        if not next(self._selected(), None):
            raise ConfigError("nothing to measure: none of the layers has a pass and a batch of those asked for")
        return self

    def _selected(self) -> Iterator[tuple[str, str, int]]:
        for name in self.names:
            passes = NETS[name].passes if name in NETS else [(which, 0) for which in LAYERS[name].passes]
            for which, batch in passes:
                if (not self.passes or which in self.passes) and (not batch or batch in (self.batches or (batch,))):
                    yield name, which, batch


def parse(argv: Sequence[str] | None) -> Options:
    """Return the options of a command line; raises ConfigError for arguments that cannot be used."""
    arguments = _parser().parse_args(argv)
    quick, wanted = arguments.quick, _words(arguments.against)
    names = _known(arguments.layers, NAMES, "--layers") or (QUICK_LAYERS if quick else NAMES)
    pace = QUICK_PACE if quick else Pace()
    if arguments.rounds is not None:
        if arguments.rounds < 1:
            raise ConfigError(f"--rounds {arguments.rounds}: expected at least 1")
        pace = Pace(arguments.rounds, pace.block, pace.limit, min(arguments.rounds, pace.fewest))
    return Options(
        names=tuple(names),
        passes=_known(arguments.passes, WHICH, "--passes"),
        batches=_numbers(arguments.batches, "--batches") or (QUICK_BATCHES if quick and not arguments.layers else ()),
        isas=_words(arguments.isa) or (config.get_isa(),),
        threads=_numbers(arguments.threads, "--threads"),
        against=tuple(rivals.chosen(None if not wanted else () if wanted == ("none",) else wanted)),
        pace=pace,
        quick=quick,
        markdown=arguments.markdown,
        json=arguments.json,
    ).check()


def _known(texts: Sequence[str], known: Sequence[str], option: str) -> tuple[str, ...]:
    names = _words(texts)
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"{option} {', '.join(unknown)}: unknown; there are {', '.join(known)}")
    return names


def _numbers(texts: Sequence[str], option: str) -> tuple[int, ...]:
    words = _words(texts)
    if wrong := [word for word in words if not word.isdecimal()]:
        raise ConfigError(f"{option} {', '.join(wrong)}: expected numbers such as 1,2")
    return tuple(map(int, words))


def _words(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the words of arguments in which commas separate as well as blanks do."""
    return tuple(word for text in texts for word in text.split(",") if word)


def _parser() -> argparse.ArgumentParser:
    nets = "; ".join(f"{name} ({', '.join(f'{which} {batch}' for which, batch in NETS[name].passes)})" for name in NETS)
    parser = argparse.ArgumentParser(
        prog="cnnlib bench",
        description="Time cnnlib's kernels and whole nets, verified, against NumPy's definition and what is installed.",
        epilog=f"layers: {', '.join(LAYERS)}. nets, with their passes and batches: {nets}. passes: {', '.join(WHICH)}.",
    )
    many: dict[str, Any] = {"nargs": "+", "default": []}
    threads = "such as 1,2 (default: as configured; LeNet-5 on 1 as well)"
    against = f"none, or some of {','.join(rivals.RIVALS)} (default: all installed)"
    parser.add_argument("--layers", metavar="NAME", help="only these layers and nets (default: all)", **many)
    parser.add_argument("--passes", metavar="PASS", help="only these passes, such as forward,backward", **many)
    parser.add_argument("--batches", metavar="N", help="only these batches of the nets, such as 1,64", **many)
    parser.add_argument("--threads", metavar="N", help=threads, **many)
    parser.add_argument("--isa", metavar="NAME", help="instruction sets (default: the one in use)", **many)
    parser.add_argument("--against", metavar="RIVAL", help=against, **many)
    parser.add_argument("--rounds", metavar="N", type=int, help=f"how often contestants take turns ({Pace().rounds})")
    parser.add_argument("--quick", action="store_true", help="few layers, few samples: seconds instead of minutes")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write all measurements to FILE")
    return parser
