"""Fuzz a parser of files, guided by coverage: python tools/fuzz.py PARSER [--runs N] [--seed S] [--corpus FOLDER]

Needs atheris (pip install atheris; Linux) and Pillow. PARSER is one of those in `tests/hostile.py`, which says what
each must do with any bytes: refuse them by an error of cnnlib that names the file, or make of them what another way of
reading makes. A finding ends the run and lies in crash-…; so do an input that takes more than a
minute (timeout-…) and one that takes more than 2 GB (oom-…). The last line libFuzzer writes, "DONE", has the number of
executions and of edges covered ("cov").
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
with atheris.instrument_imports(include=["cnnlib", "gzip", "zipfile", "PIL", "numpy.lib._format_impl"]):
    from tests.hostile import PARSERS, accepts
from tests.mutations import mutated_file, mutated_json

LONGEST = 1 << 14


def main() -> None:
    """Fuzz until all runs are done or there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parser", choices=PARSERS)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="where what covers new edges is kept; default: a temporary folder")
    options = parser.parse_args()
    check, seeds = PARSERS[options.parser]
    accepted = [0, 0]

    def one(data: bytes) -> None:
        accepted[accepts(check, data)] += 1
        if sum(accepted) % 100_000 == 0:
            print(f"{sum(accepted):,} read, {accepted[1]:,} accepted", file=sys.stderr, flush=True)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        try:
            if options.parser == "architecture" and seed % 2:
                return mutated_json(data.decode(), rng).encode()[:longest]
            if options.parser in ("model", "tensors", "state_dict", "checkpoint") and seed % 2:
                return mutated_file(data, rng)[:longest]
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):  # not that structure any more
            pass
        return atheris.Mutate(data, longest)

    with tempfile.TemporaryDirectory() as temporary:
        corpus = options.corpus or Path(temporary)
        corpus.mkdir(parents=True, exist_ok=True)
        for i, seed in enumerate(seeds):
            (corpus / f"seed-{i}").write_bytes(seed)
        limits = [f"-max_len={LONGEST}", "-timeout=60", "-rss_limit_mb=2048", "-len_control=0"]
        atheris.Setup(
            [sys.argv[0], f"-runs={options.runs}", f"-seed={options.seed}", *limits, str(corpus)],
            one,
            custom_mutator=mutate,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
