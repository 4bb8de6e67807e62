"""Where a number went wrong: which layer, tensor and samples, and what the likely cause is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnlib.errors import NonFiniteError
from cnnlib.functional.finite import all_finite

if TYPE_CHECKING:
    from cnnlib.layers.parameter import Parameter
    from cnnlib.model import Model
    from cnnlib.run import Run

__all__ = ["Step", "bad_gradient", "first_bad", "first_bad_loss"]

Array = NDArray[Any]


class Step(NamedTuple):
    """A step of training that is to be explained; run is None outside of ``fit``."""

    model: Model
    x: Any
    y: Any
    lr: float
    run: Run | None


def first_bad(parameters: Mapping[str, Parameter]) -> Parameter | None:
    """Return the parameter whose gradient is not finite; of several the first of the layer nearest the outputs."""
    bad = [name for name, p in parameters.items() if p.grad is not None and not all_finite(p.grad)]
    layers = [name.rpartition(".")[0] for name in bad]
    return parameters[bad[layers.index(layers[-1])]] if bad else None


def first_bad_loss(values: dict[str, float], step: Step, prediction: Any) -> NonFiniteError | None:
    """Return the exception for losses that are not all finite, None if they are."""
    # From the last: of several losses the one that is to blame, not their sum.
    for name, value in reversed(values.items()):
        if not math.isfinite(value):
            return _error(step, prediction, f"the {name} is {value}; {_cause(step)}", name)
    return None


def bad_gradient(parameter: object, loss: float, step: Step) -> NonFiniteError:
    """Return the exception for a parameter's gradient that is not finite."""
    name, found = next(item for item in step.model.parameters().items() if item[1] is parameter)
    share = ""
    if found.grad is not None:
        share = f" in {np.count_nonzero(~np.isfinite(found.grad)):,} of its {found.grad.size:,} values"
    text = (
        f"the gradient of {name!r} ({step.model.layers[name.rpartition('.')[0]]!r}) is NaN or infinite{share}, though "
        f"the loss {loss:.6g} is finite; {_cause(step)}, or pass clip_norm to the Trainer"
    )
    return _error(step, None, text, name)


def _error(step: Step, prediction: Any, text: str, name: str) -> NonFiniteError:
    if step.run is None:
        return NonFiniteError(text, name=name)
    epoch, batch = step.run.position.epoch, step.run.position.batch + 1
    samples = _samples(step.run, [*_arrays(step.x), *_arrays(step.y), *_arrays(prediction)])
    shown = f" (samples {', '.join(map(str, samples[:5]))}{', …' * (len(samples) > 5)})" if samples else ""
    text = f"epoch {epoch}, batch {batch}{shown}: {text}"
    return NonFiniteError(text, name=name, epoch=epoch, batch=batch, samples=samples)


def _samples(run: Run, arrays: list[Array]) -> tuple[int, ...]:
    """Return where in the data the samples are that have numbers which are not finite, or else all of the batch."""
    indices = getattr(run.batches, "indices", None)
    if indices is None:
        return ()
    bad = np.zeros(len(indices), bool)
    for array in arrays:
        if array.dtype.kind == "f" and len(array) == len(bad):
            bad |= ~np.isfinite(array).reshape(len(bad), -1).all(axis=1)
    return tuple(int(index) for index in (indices[bad] if bad.any() else indices))


def _cause(step: Step) -> str:
    for what, given in (("inputs", step.x), ("targets", step.y)):
        if not all(np.isfinite(array).all() for array in _arrays(given)):
            return f"the {what} of this batch contain NaN or infinity: clean the data"
    advice = f"lower the learning rate (now {step.lr:g}), or warm it up"
    for name, parameter in step.model.parameters().items():
        if not np.isfinite(parameter.data).all():
            return f"parameter {name!r} became NaN or infinite in an earlier step: {advice}"
    graph = step.model.graph
    names = [name for name, node in zip(graph.names, graph.nodes, strict=True) if node.layer is not None]
    with np.errstate(all="ignore"):
        values = step.model.features(step.x, at=names)
    fine = "inputs, targets and weights are finite"
    for name in names:
        if not np.isfinite(values[name]).all():
            return f"{fine}, the output of {name!r} ({step.model[name]!r}) is the first that is not: {advice}"
    return f"{fine}, the numbers in between overflow: {advice}, or scale the inputs"


def _arrays(given: Any) -> list[Array]:
    if given is None:
        return []
    if isinstance(given, Mapping):
        given = list(given.values())
    return [np.asarray(part) for part in (given if isinstance(given, (list, tuple)) else [given])]
