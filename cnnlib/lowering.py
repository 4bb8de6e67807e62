"""From a graph of layers to what a plan runs: layers fused where that pays, and in which layout each value lies.

- A convolution takes what follows it along where nobody else reads the values in between: at inference batch
  normalisation with its running estimates; ReLU and 2×2 max-pooling, in either order. In training only if the batch
  fills more than half of the lanes: fewer images are cut into patches, in each direction another way, and what was
  fused would have to be undone for whole ones. A linear layer and batch normalisation take a ReLU.
- Where a batch fills more than half of the lanes, a convolution writes lane layout if any reader can take it: another
  convolution, a pool, a Flatten that a linear layer reads, or, for whole lanes of images, a layer that treats each
  channel alike. Whoever cannot take it reads a converted copy, which is made once. Inputs and outputs of the graph are
  N × C × H × W.

A subclass of a layer may do something else: it is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnnlib.functional.pooling import undilated
from cnnlib.graph import Graph, Node, Shape
from cnnlib.layers import AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from cnnlib.operations import Convolution, Dense, Normalization, Operation, Pooling, Relaid, lane_shape, lanes

__all__ = ["Lowered", "Task", "lower"]

POOLS = (MaxPool2d, AvgPool2d)
NORMS = (BatchNorm1d, BatchNorm2d)


@dataclass
class Task:
    """One thing to run: reads values by number, writes one."""

    run: Layer | Operation
    sources: tuple[int, ...]
    value: int

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the graph that it stands for."""
        return self.run.layers if isinstance(self.run, Operation) else (self.run,)


@dataclass
class Lowered:
    """The tasks in their order, and the shape of every value with its batch.

    A graph's nodes keep their numbers; what is fused away has no value. `outputs` are the values that the graph gives,
    `laid` those in lane layout.
    """

    tasks: list[Task] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    laid: set[int] = field(default_factory=set)


def lower(graph: Graph, batch: int, dtype: np.dtype[Any], training: bool) -> Lowered:
    """Return what runs for batches of N = `batch` samples."""
    return _Lowering(graph, batch, dtype, training).run()


class _Lowering:
    def __init__(self, graph: Graph, batch: int, dtype: np.dtype[Any], training: bool) -> None:
        self.graph, self.batch, self.dtype, self.training = graph, batch, dtype, training
        self.readers: list[list[int]] = [[] for _ in graph.nodes]
        for node, sources in enumerate(graph.sources):
            for source in sources:
                self.readers[source].append(node)
        self.in_lanes = 2 * batch > lanes(dtype)
        self.whole_lanes = self.in_lanes and batch % lanes(dtype) == 0
        self.result = Lowered(shapes=[(batch, *node.shape) for node in graph.nodes])
        self.laid = self.result.laid
        self.copies: dict[int, int] = {}  # value → the same in the other layout

    def run(self) -> Lowered:
        done: set[int] = set()
        for node, description in enumerate(self.graph.nodes):
            layer = description.layer
            if layer is None or node in done:
                continue
            if type(layer) is Conv2d:
                done.update(self._convolution(node, layer))
            elif type(layer) is Linear:
                done.update(self._dense(node, layer))
            else:
                done.update(self._layer(node, layer))
        self.result.outputs = [self._plain(node) for node in self.graph.outputs]
        return self.result

    def _convolution(self, node: int, conv: Conv2d) -> list[int]:
        """Add a convolution with what follows it; return the nodes that it stands for."""
        chain = [node]
        norm = relu = pool = None
        while (following := self._only_reader(chain[-1])) is not None:
            layer = self.graph.nodes[following].layer
            if type(layer) is BatchNorm2d and self._folds(layer) and not (norm or relu or pool):
                norm = layer
            elif self.training and not self.in_lanes:
                break
            elif type(layer) is ReLU and not relu:
                relu = layer
            elif type(layer) is MaxPool2d and not pool and self._pools(layer, chain[-1]):
                pool = layer
            else:
                break
            chain.append(following)
        source, value = self.graph.sources[node][0], chain[-1]
        to_lanes = self.in_lanes and any(self._takes_lanes(reader) for reader in self.readers[value])
        layout = self.batch, self.graph.nodes[node].shape[1:], source in self.laid, to_lanes
        run = Convolution(conv, norm, relu is not None, pool is not None, layout, self.training)
        self.result.tasks.append(Task(run, (source,), value))
        if to_lanes:
            self._lay(value)
        return chain

    def _dense(self, node: int, linear: Linear) -> list[int]:
        """Add a linear layer with the ReLU after it, if there is one; return the nodes that it stands for."""
        chain = self._rectified(node)
        # A weight that another step reads, too, must not change in between.
        alone = sum(other.layer is linear for other in self.graph.nodes) == 1
        source = self.graph.sources[node][0]
        run = Dense(linear, len(chain) > 1, self.batch, source in self.laid, alone)
        self.result.tasks.append(Task(run, (source,), chain[-1]))
        return chain

    def _rectified(self, node: int) -> list[int]:
        """The node, with the ReLU after it if nobody else reads it."""
        following = self._only_reader(node)
        rectified = following is not None and type(self.graph.nodes[following].layer) is ReLU
        return [node, following] if following is not None and rectified else [node]

    def _only_reader(self, node: int) -> int | None:
        readers = self.readers[node]
        return readers[0] if len(readers) == 1 and node not in self.graph.outputs else None

    def _folds(self, norm: BatchNorm2d) -> bool:
        return not self.training and norm.test_statistics == "running"

    def _pools(self, pool: MaxPool2d, before: int) -> bool:
        """Whether it is the pool that a convolution does."""
        channels, height, width = self.graph.nodes[before].shape
        common = all((window.kernel, window.stride, window.before) == (2, 2, 0) for window in pool.geometry)
        # Dilated windows, and those that reach beyond the image at its far side, are others.
        return (
            common
            and self._is_pool(pool)
            and pool.output_shape((channels, height, width))[1:] == (height // 2, width // 2)
        )

    @staticmethod
    def _is_pool(layer: Layer | None) -> bool:
        """Whether a kernel pools as the layer does."""
        return isinstance(layer, POOLS) and type(layer) in POOLS and undilated(layer.geometry)

    def _takes_lanes(self, node: int) -> bool:
        layer, shape = self.graph.nodes[node].layer, self.graph.nodes[node].shape
        if type(layer) is Flatten:
            return any(type(self.graph.nodes[reader].layer) is Linear for reader in self.readers[node])
        if type(layer) is Conv2d or self._is_pool(layer):
            return True
        return layer is not None and self.whole_lanes and layer.by_channel and len(shape) == 3

    def _layer(self, node: int, layer: Layer) -> list[int]:
        """Add a layer, as an operation if there is one; return the nodes that it stands for."""
        run: Layer | Operation = layer
        chain = [node]
        if isinstance(layer, NORMS) and type(layer) in NORMS and len(chain := self._rectified(node)) > 1:
            run = Normalization(layer)
        sources, value = self.graph.sources[node], chain[-1]
        if self._takes_lanes(node) and any(source in self.laid for source in sources):
            sources = tuple(self._in_lanes(source) for source in sources)
            self._lay(value)
        else:
            sources = tuple(self._plain(source) for source in sources)
        if isinstance(layer, POOLS) and self._is_pool(layer):
            x = self.graph.nodes[self.graph.sources[node][0]].shape
            run = Pooling(layer, self.batch, x, self.dtype, value in self.laid, self.training)
        self.result.tasks.append(Task(run, sources, value))
        return chain

    def _lay(self, value: int) -> None:
        self.laid.add(value)
        self.result.shapes[value] = lane_shape(self.batch, self.graph.nodes[value].shape, self.dtype)

    def _plain(self, value: int) -> int:
        return self._copied(value, to_lanes=False) if value in self.laid else value

    def _in_lanes(self, value: int) -> int:
        return value if value in self.laid else self._copied(value, to_lanes=True)

    def _copied(self, value: int, to_lanes: bool) -> int:
        if value not in self.copies:
            node: Node = self.graph.nodes[value]
            self.copies[value] = copy = len(self.result.shapes)
            shape = lane_shape(self.batch, node.shape, self.dtype) if to_lanes else (self.batch, *node.shape)
            self.result.shapes.append(shape)
            if to_lanes:
                self.laid.add(copy)
            self.result.tasks.append(Task(Relaid(to_lanes), (value,), copy))
        return self.copies[value]
