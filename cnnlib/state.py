"""State: the arrays of a model by name, and how others are copied into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnlib.arrays import flag, plain
from cnnlib.errors import DataError

if TYPE_CHECKING:
    from cnnlib.model import Model

__all__ = ["IncompatibleKeys", "arrays", "load"]

Array = NDArray[Any]


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` left out: names of the model that the state lacks, and names that the model lacks."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def arrays(model: Model) -> dict[str, Array]:
    """Return all parameters, then the buffers that belong to them, by dotted name; not copies."""
    state = {name: parameter.data for name, parameter in model.parameters().items()}
    for name, layer in model.layers.items():
        state.update({f"{name}.{key}": buffer for key, buffer in layer.buffers().items()})
    return state


def load(model: Model, state: Mapping[str, ArrayLike], strict: bool) -> IncompatibleKeys:
    """Do what `Model.load_state_dict` says."""
    if not isinstance(state, Mapping):
        raise DataError(f"the state is a {type(state).__name__}: expected arrays by name, as state_dict() gives them")
    own, strict = arrays(model), flag(strict, "strict")
    given = {name: plain(value, str(name)) for name, value in state.items() if name in own}
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own and not _is_batch_count(name, own)]
    problems = []
    if strict:
        problems += [f"missing: {name} {own[name].shape}" for name in missing]
        problems += [f"not in the model: {name} {np.shape(state[name])}" for name in unexpected]
    for name, array in given.items():
        if array.shape != own[name].shape:
            turned = "; use its transpose" if array.T.shape == own[name].shape else ""
            problems.append(f"{name}: shape {array.shape}, the model's is {own[name].shape}{turned}")
        elif array.dtype.kind != "f":
            problems.append(f"{name}: dtype {array.dtype}, the model's is {own[name].dtype}")
    if problems:
        raise DataError("the state does not fit the model:\n  " + "\n  ".join(problems + _hint(missing, unexpected)))
    for name, array in given.items():
        own[name][...] = array
    return IncompatibleKeys(missing, unexpected)


def _is_batch_count(name: Any, own: Mapping[str, Array]) -> bool:
    """Whether it is what PyTorch's batch normalisation keeps beside its estimates, which nothing here depends on."""
    layer, _, key = str(name).rpartition(".")
    return key == "num_batches_tracked" and f"{layer}.running_mean" in own


def _hint(missing: list[str], unexpected: list[Any]) -> list[str]:
    """Return a line on a prefix that all names have in the state but not in the model, as modules around others do."""
    found = {str(name) for name in unexpected}
    prefixes = {name[: -len(missing[0])] for name in found if name.endswith(missing[0])} if missing else set()
    return [
        f"the names begin with {prefix!r}: load {{k.removeprefix({prefix!r}): v for k, v in state.items()}}"
        for prefix in sorted(prefixes)
        if prefix and all(prefix + name in found for name in missing)
    ][:1]
