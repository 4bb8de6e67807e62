"""Agreement: what all processes of a run must have in common before they begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnlib.distributed.processes import World
from cnnlib.errors import ConfigError
from cnnlib.files import brief

__all__ = ["check"]


def check(world: World, facts: Mapping[str, Any]) -> None:
    """Raise ConfigError on all ranks, listing what differs and on which, unless all processes have these facts."""
    everybody = world.gather({name: repr(value) for name, value in facts.items()}, "the comparison of the settings")
    differences = [
        f"{name}: {_by_value([own.get(name, 'nothing') for own in everybody])}"
        for name in dict.fromkeys(name for own in everybody for name in own)
        if len({own.get(name) for own in everybody}) > 1
    ]
    if differences:
        listed = "\n  ".join(differences)
        error = ConfigError(
            f"the processes of this run do not train the same:\n  {listed}\nStart the same program, with the same "
            "arguments and the same cnnlib, on all of them; CNNLIB_ISA sets one instruction set for unlike processors"
        )
        error.together = True  # type: ignore[attr-defined]
        raise error


def _by_value(values: list[str]) -> str:
    """Say which ranks have which value.

    >>> _by_value(["0", "1", "0"])
    '0 on rank 0, 2; 1 on rank 1'
    """
    ranks: dict[str, list[str]] = {}
    for rank, value in enumerate(values):
        ranks.setdefault(value, []).append(str(rank))
    return "; ".join(f"{brief(value)} on rank {', '.join(own)}" for value, own in ranks.items())
