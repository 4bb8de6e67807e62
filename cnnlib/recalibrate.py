"""Batch normalisation at test time: the lecture's three choices of statistics (L28).

A model normalises by its running estimates. `use_statistics(model, "batch")` takes those of each batch instead;
`recalibrate_batchnorm(model, x)` replaces the running estimates by the statistics of all of x.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from cnnlib.errors import ConfigError
from cnnlib.functional import batch_moments
from cnnlib.graph import Node
from cnnlib.layers.normalization import BatchNorm
from cnnlib.model import Model

__all__ = ["recalibrate_batchnorm", "use_statistics"]


def use_statistics(model: Model, statistics: Literal["running", "batch"] = "running") -> None:
    """Choose what batch normalisation takes at test time: "running" estimates or those of the "batch" itself.

    Raises ConfigError for another word.
    """
    if statistics not in ("running", "batch"):
        raise ConfigError(f"statistics = {statistics!r}: expected 'running' or 'batch'")
    for layer in model.layers.values():
        if isinstance(layer, BatchNorm):
            layer.test_statistics = statistics


def recalibrate_batchnorm(model: Model, x: Any, batch_size: int = 256) -> None:
    """Replace the running estimates of batch normalisation by the statistics of the whole of x, layer by layer.

    Each layer sees x through the layers before it, whose estimates are new by then, as at test time. Of M values a
    channel, the mean and the unbiased variance M/(M-1) σ² are kept, gathered batch by batch in float64. A layer that
    stands at several places takes what comes in at all of them.

    x: N × input shape, as `Model.predict` takes it; the whole training set, or a large part, without augmentation.

    >>> from cnnlib import BatchNorm1d, Sequential
    >>> model = Sequential(BatchNorm1d(1, eps=0.0), input_shape=1)
    >>> recalibrate_batchnorm(model, np.array([[1.0], [2.0], [3.0]], np.float32))
    >>> model.predict(np.array([[1.0], [2.0], [4.0]], np.float32)).ravel().tolist()
    [-1.0, 0.0, 2.0]
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size = {batch_size}: expected at least 1")
    graph = model.graph
    inputs = [graph.nodes[i] for i in graph.inputs]
    arrays = [x] if len(inputs) == 1 else list(x)
    for layer in model.layers.values():
        if not isinstance(layer, BatchNorm):
            continue
        sources = [node.inputs[0] for node in graph.nodes if node.layer is layer]
        needed = _inputs_of(sources)
        below = Model([node for node in inputs if node in needed], sources)
        given = [array for node, array in zip(inputs, arrays, strict=True) if node in needed]
        count, mean, spread = 0, np.zeros(layer.num_features), np.zeros(layer.num_features)
        for start in range(0, len(given[0]), batch_size):
            batch = [array[start : start + batch_size] for array in given]
            outputs = below.forward(batch[0] if len(batch) == 1 else batch, training=False)
            for values in outputs if isinstance(outputs, tuple) else (outputs,):
                new = values.size // layer.num_features
                apart, var = (moment.astype(np.float64) for moment in batch_moments(values))
                apart -= mean
                # Chan's rule: the spread about the common mean is that about both means and that of the means.
                spread += new * var + apart * apart * (count * new / (count + new))
                mean += apart * (new / (count + new))
                count += new
        layer.running_mean[...] = mean
        layer.running_var[...] = spread / max(count - 1, 1)


def _inputs_of(nodes: list[Node]) -> set[Node]:
    """Return the inputs of the graph that `nodes` depend on."""
    found: set[Node] = set()
    seen: set[Node] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        stack.extend(node.inputs)
        if node.layer is None:
            found.add(node)
    return found
