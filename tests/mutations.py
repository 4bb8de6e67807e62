"""Mutations that know the structure of a file: random bytes seldom get past a checksum, a length or a bracket."""

from __future__ import annotations

import json
import random
from typing import Any

_VALUES: list[Any] = [None, True, 0, -1, 1, 2, 3, 1.5, -0.0, 1e308, 10**12, 2**31, 2**63, "", "x", "float64", "same"]
_VALUES += [[], {}, [1, 2], [[1, 2]], [3, 3], {"a": 1}, [0], [1], [0, 0], [10**9] * 3, "Linear", "Add", "Concat"]
_TEXTS = [
    "1e999",
    "NaN",
    "-Infinity",
    "9" * 30,
    '"\\ud800"',
    "[" * 2000 + "]" * 2000,
    '{"a":1,"a":2}',
    "1" * 5000,
    '"é"',
]


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every value in a tree of dicts and lists."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [place for key in keys for place in ((tree, key), *_places(tree[key]))]


def mutated_json(text: str, rng: random.Random) -> str:
    """Return a JSON text with one or a few of its values changed, moved, left out, doubled, or made impossible."""
    tree = json.loads(text)
    hole = None
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = _places(tree)
        if not places:
            break
        container, key = rng.choice(places)
        match rng.randrange(7):
            case 0:
                del container[key]
            case 1 if isinstance(container, list):
                container.insert(rng.randrange(len(container) + 1), container[key])
            case 2 if isinstance(container, dict):
                container[rng.choice(["name", "config", "shape", "rng", "bias", "dtype", "x"])] = container.pop(key)
            case 3:
                other, source = rng.choice(places)
                if source in other if isinstance(other, dict) else source < len(other):
                    container[key] = json.loads(json.dumps(other[source]))
            case 4 if isinstance(container[key], int):
                container[key] = container[key] + rng.choice((-1, 1)) * 2 ** rng.randrange(40)
            case 5:
                hole, container[key] = rng.choice(_TEXTS), "\0hole"
            case _:
                container[key] = rng.choice(_VALUES)
    changed = json.dumps(tree)
    return changed if hole is None else changed.replace(json.dumps("\0hole"), hole)


def mutated_file(data: bytes, rng: random.Random) -> bytes:
    """Return a safetensors file with its header changed, or the architecture in it, and lengths that are right."""
    length = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + length].decode()
    header = json.loads(text)
    inner = [key for key in ("architecture", "state") if key in header.get("__metadata__", {})]
    if inner and rng.random() < 0.7:
        header["__metadata__"][inner[0]] = mutated_json(header["__metadata__"][inner[0]], rng)
        text = json.dumps(header)
    else:
        text = mutated_json(text, rng)
    changed = text.encode()
    return len(changed).to_bytes(8, "little") + changed + data[8 + length :]
