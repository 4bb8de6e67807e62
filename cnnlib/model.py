"""Models: a graph of layers that runs forward and backward on arrays.

`Model(inputs, outputs)` takes any directed acyclic graph of nodes, `Sequential(*layers)` a chain of layers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnlib.arrays import flag, plain
from cnnlib.errors import DataError, DTypeError, GraphError, ShapeError, TrainingError
from cnnlib.graph import Graph, Input, Node, Shape, check_name, shape_text
from cnnlib.init import RNG, as_generator
from cnnlib.layers.base import Layer, Parameter
from cnnlib.layers.checks import count
from cnnlib.plan import Plan, PlanCache
from cnnlib.state import IncompatibleKeys, arrays, load

if TYPE_CHECKING:
    from cnnlib.optim import Updates
    from cnnlib.plan_table import PlanTable
    from cnnlib.profiling import Profile

__all__ = ["Model", "Sequential"]

Array = NDArray[Any]


class Model:
    """What `outputs` are of `inputs`: a directed acyclic graph of layers.

    inputs, outputs: a node or a sequence of nodes, from ``Input(shape)`` and ``layer(node)``. A model of several inputs
    takes, and one of several outputs returns, a tuple of arrays in the same order. Outputs may have names, ``{"main":
    a, "aux": b}``: the model then returns a dict, and `backward` takes one.

    A model called on a node stands in another graph, with the same layers: ``top(bottom(x))``.

    Arrays are converted to the model's dtype by `cnnlib.functional.as_input`: uint8 is taken for pixels and scaled to
    0…1, other numbers keep their value. What a model returns is the caller's own.

    Several threads may predict with one model at the same time; training is for one thread.

    >>> from cnnlib.layers import Add, Linear, ReLU
    >>> x = Input(4)
    >>> hidden = ReLU()(Linear(4, 4, rng=0)(x))
    >>> model = Model(x, Linear(4, 2, rng=1, name="top")(hidden + x))
    >>> model.forward(np.ones((3, 4))).shape
    (3, 2)
    >>> list(model.parameters())
    ['linear.weight', 'linear.bias', 'top.weight', 'top.bias']
    """

    def __init__(self, inputs: Node | Sequence[Node], outputs: Node | Sequence[Node] | Mapping[str, Node]) -> None:
        self._start()
        names = None
        if isinstance(outputs, Mapping):
            names, outputs = tuple(outputs), list(outputs.values())
        self._set_graph(Graph(_sequence(inputs), _sequence(outputs)), names)

    def _start(self) -> None:
        self._graph: Graph | None = None
        self._output_names: tuple[str, ...] | None = None
        self._plans = PlanCache()
        self._trained: Plan | None = None
        self._training = False
        self._parts: dict[tuple[int, ...], Model] = {}

    def _set_graph(self, graph: Graph, output_names: tuple[str, ...] | None = None) -> None:
        for name in output_names or ():
            check_name(name)
        self._graph, self._output_names = graph, output_names
        self._plans, self._trained, self._parts = PlanCache(), None, {}

    @property
    def graph(self) -> Graph:
        """The nodes in the order in which they are computed, with their names and shapes."""
        if self._graph is None:
            raise GraphError(
                "the input's shape is not known yet: give Sequential(..., input_shape=...), call build(shape) "
                "or run forward once"
            )
        return self._graph

    @property
    def layers(self) -> dict[str, Layer]:
        """The layers by name, in the order in which they are computed."""
        return self.graph.layers

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """The names of the outputs, in their order; None if they have none."""
        return self._output_names

    def node(self, name: str | int) -> Node:
        """Return the node of that name, of that named output, or of the layer at that position of ``layers``.

        A new layer can be put on it: the start of another model that shares the layers below.

        Raises GraphError, listing the names, if there is none.
        """
        return self.graph.nodes[self._position(name)]

    def __getitem__(self, name: str | int) -> Layer:
        """Return the layer of that node, or the one at that position of ``layers``.

        >>> from cnnlib.layers import Linear, ReLU
        >>> model = Sequential(Linear(4, 3), ReLU(), input_shape=4)
        >>> model["0"], model[-1]
        (Linear(4, 3), ReLU())
        """
        layer = self.node(name).layer
        if layer is None:
            raise GraphError(f"{name!r} is an input, not a layer")
        return layer

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers.values())

    # Running

    def forward(self, x: Any, training: bool | None = None, *, copy: bool = True) -> Any:
        """Return the outputs for a batch: arrays N × output shape, in a dict if they have names.

        x: an array N × input shape; for several inputs a sequence of arrays. training: keep what `backward` needs and
        let layers such as Dropout do what they do in training; None: as set by ``train()`` and ``eval()``, at first no.
        copy=False returns the buffer that the next forward overwrites, for callers who are done with it by then.

        Raises ShapeError, DTypeError or DataError (an empty batch), naming the input, what it needs and a fix.
        """
        xs = self._arrays(x)
        key = (len(xs[0]), self._dtype(xs), self._training if training is None else flag(training, "training"))
        if key[2]:
            if self._trained is not None:
                self._plans.give_back(self._trained)
            self._trained = None
            plan = self._plans.take(self.graph, key)
            outputs = plan.forward(xs)
            self._trained = plan
            return self._packed([y.copy() if flag(copy, "copy") else y for y in outputs])
        with self._plans.borrowed(self.graph, key) as plan:
            # Copied whatever `copy` says: another thread may have the buffer next.
            return self._packed([y.copy() for y in plan.forward(xs)])

    def backward(
        self,
        dy: Any,
        *,
        input_grad: bool = True,
        updates: Updates | None = None,
        finished: Callable[[Sequence[Parameter]], None] | None = None,
    ) -> Any:
        """Return the gradients of the last training forward's inputs from those of its outputs; add the parameters'.

        dy: an array as the output was (a sequence for several outputs, a dict for named ones). input_grad=False: the
        inputs' gradients are not computed, and None is returned. Parameter gradients add up until ``zero_grad()``. The
        arrays that forward was given must not have been changed meanwhile.

        updates: what ``optimizer.during_backward(parameters)`` gave, if ``optimizer.step(parameters)`` follows. Large
        weights of Linear layers are then stepped in one pass over memory with their gradient, which is not kept: their
        ``grad`` stays None. Every value is the same to the bit.

        finished: called in the middle of the pass, each time that gradients are whole, with their parameters.

        Raises TrainingError without a ``forward(x, training=True)`` before, ShapeError or DTypeError if a gradient does
        not fit, GraphError if the names of `dy` are not those of the outputs.
        """
        plan = self._trained
        if plan is None:
            raise TrainingError("backward before forward: call forward(x, training=True) first")
        batch, dtype, _ = plan.key
        outputs = self.graph.outputs
        if self._output_names is not None:
            given: Any = list(self.by_output(dy, "backward").values())
        else:
            given = [dy] if len(outputs) == 1 else dy
        if not isinstance(given, (list, tuple)) or len(given) != len(outputs):
            raise ShapeError(f"backward: the model has {len(outputs)} outputs: give a list of their gradients in order")
        gradients = []
        for node, gradient in zip(outputs, given, strict=True):
            array = plain(gradient, "backward: the gradient")
            shape = (batch, *self.graph.nodes[node].shape)
            if array.shape != shape or array.dtype.kind != "f":
                error = ShapeError if array.shape != shape else DTypeError
                raise error(
                    f"backward: the gradient of output {self.graph.names[node]!r} must be floats of shape {shape}, "
                    f"as forward returned it; got {array.dtype} {array.shape}"
                )
            gradients.append(np.ascontiguousarray(array, dtype))
        dxs = plan.backward(gradients, input_grad, updates, finished)
        return _one_or_all([dx.copy() for dx in dxs if dx is not None]) if input_grad else None

    def predict(self, x: Any, batch_size: int = 256) -> Any:
        """Return the outputs for any number of samples, `batch_size` at a time, for inference whatever the mode.

        >>> from cnnlib.layers import Flatten
        >>> Sequential(Flatten()).predict(np.full((1000, 1, 2, 2), 255, np.uint8))[999].tolist()
        [1.0, 1.0, 1.0, 1.0]
        """
        batch_size = count(batch_size, "batch_size")
        xs = self._arrays(x)
        n = len(xs[0])
        dtype = self._dtype(xs)
        results = [np.empty((n, *self.graph.nodes[node].shape), dtype) for node in self.graph.outputs]
        for start in range(0, n, batch_size):
            part = slice(start, start + batch_size)
            batch = [array[part] for array in xs]
            with self._plans.borrowed(self.graph, (len(batch[0]), dtype, False)) as plan:
                for result, y in zip(results, plan.forward(batch), strict=True):
                    result[part] = y
        return self._packed(results)

    def features(self, x: Any, at: str | int | Sequence[str | int], batch_size: int = 256) -> Any:
        """Return the values of a node for any number of samples, computed as `predict` does but no further than there.

        at: the node's name, as in ``graph.names``, the name of an output, or a layer's position in ``layers``. For a
        sequence of them a dict is returned, from one pass.

        >>> from cnnlib.layers import Linear, ReLU
        >>> model = Sequential(Linear(4, 3, rng=0), ReLU(), Linear(3, 2, rng=1), input_shape=4)
        >>> x = np.ones((5, 4), np.float32)
        >>> hidden = model.features(x, at="1")
        >>> hidden.shape, np.array_equal(model[2](hidden), model.predict(x))
        ((5, 3), True)

        Raises GraphError, listing the names, if there is no such node; else as `forward`.
        """
        xs = self._arrays(x)
        if not isinstance(at, (str, int, list, tuple)) or isinstance(at, bool):
            raise GraphError(f"at = {at!r}: expected the name of a node, the position of a layer, or a list of them")
        names = [at] if isinstance(at, (str, int)) else list(at)
        nodes = tuple(self._position(name) for name in names)
        part = self._parts.get(nodes)
        if part is None:
            part = self._parts[nodes] = self._part(nodes)
            # The oldest go, so that the buffers of many nodes do not pile up.
            for oldest in list(self._parts)[:-8]:
                self._parts.pop(oldest, None)
        needed = [self.graph.nodes[i] for i in self.graph.inputs]
        given = [array for node, array in zip(needed, xs, strict=True) if node in part.graph.nodes]
        values = part.predict(given[0] if len(given) == 1 else given, batch_size)
        if isinstance(at, (str, int)):
            return values
        return dict(zip(names, [values] if len(names) == 1 else values, strict=True))

    def _part(self, nodes: tuple[int, ...]) -> Model:
        """Return a model of the same layers that ends at `nodes`."""
        graph = self.graph
        needed = set(nodes)
        for node in reversed(range(len(graph.nodes))):
            if node in needed:
                needed.update(graph.sources[node])
        part = Model.__new__(Model)
        part._start()
        inputs = [graph.nodes[node] for node in graph.inputs if node in needed]
        names = dict(zip(graph.nodes, graph.names, strict=True))
        part._set_graph(Graph(inputs, [graph.nodes[node] for node in nodes], names))
        # A part without parameters computes in the dtype of the whole.
        part.graph.dtype = graph.dtype
        return part

    def _position(self, name: str | int) -> int:
        graph = self.graph
        if isinstance(name, str):
            if name in graph.names:
                return graph.names.index(name)
            if self._output_names is not None and name in self._output_names:
                return graph.outputs[self._output_names.index(name)]
        elif isinstance(name, int) and -len(graph.layers) <= name < len(graph.layers):
            return graph.names.index(list(graph.layers)[name])
        outputs = f", outputs {', '.join(self._output_names)}" if self._output_names else ""
        raise GraphError(f"the model has no {name!r}; there are {', '.join(graph.names)}{outputs}")

    def __call__(self, x: Any, training: bool | None = None) -> Any:
        """The same as `forward`; on a node, or a sequence of nodes for several inputs, add the layers to its graph."""
        nodes = [x] if isinstance(x, Node) else x
        if not isinstance(nodes, (list, tuple)) or not nodes or not all(isinstance(node, Node) for node in nodes):
            return self.forward(x, training)
        return self._placed(list(nodes))

    def _placed(self, inputs: list[Node]) -> Any:
        graph = self.graph
        if len(inputs) != len(graph.inputs):
            raise GraphError(f"{self!r}: called on {len(inputs)} nodes, it has {len(graph.inputs)} inputs")
        values: list[Node] = []
        for name, node, sources in zip(graph.names, graph.nodes, graph.sources, strict=True):
            if node.layer is not None:
                values.append(node.layer(*(values[source] for source in sources)))
                continue
            given = inputs[len(values)]
            if given.shape != node.shape:
                raise ShapeError(
                    f"input {name!r} of the model needs N × {shape_text(node.shape)}, the node gives "
                    f"N × {shape_text(given.shape)}"
                )
            values.append(given)
        return self._packed([values[node] for node in graph.outputs])

    def train(self) -> Model:
        """Make ``forward`` train where it is not told otherwise; returns the model."""
        self._training = True
        return self

    def eval(self, bn_stats: Literal["running", "batch"] | None = None) -> Model:
        """Make ``forward`` infer where it is not told otherwise, as it does at first; returns the model.

        bn_stats: what batch normalisation takes for inference from now on, also in ``predict``: its "running"
        estimates, as it does at first, or the statistics of the "batch" at hand (lecture: L28); None: as before. The
        third choice, those of the whole training set, is `cnnlib.recalibrate.recalibrate_batchnorm`.
        """
        if bn_stats is not None:
            from cnnlib.recalibrate import use_statistics

            use_statistics(self, bn_stats)
        self._training = False
        return self

    # Parameters

    def parameters(self) -> dict[str, Parameter]:
        """Return name → Parameter; names are dotted: ``0.weight``, ``conv2d_1.bias``."""
        return {
            f"{name}.{key}": parameter
            for name, layer in self.layers.items()
            for key, parameter in layer.parameters().items()
        }

    def zero_grad(self) -> None:
        """Forget the parameters' gradients; to be called before each training step's backward."""
        for parameter in self.parameters().values():
            parameter.zero_grad()

    def initialize(self, rng: RNG) -> None:
        """Draw all parameters anew, layer by layer, each by its own ``init``, from one generator or seed."""
        generator = as_generator(rng)
        for layer in self.layers.values():
            layer.initialize(generator)

    def reseed(self, rng: RNG) -> None:
        """Restart the random numbers that layers such as Dropout draw, from one generator or seed."""
        generator = as_generator(rng)
        for layer in self.layers.values():
            layer.reseed(int(generator.integers(2**63)))

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and of the buffers that belong to them, by dotted name."""
        return {name: array.copy() for name, array in arrays(self).items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> IncompatibleKeys:
        """Copy the arrays of `state` into the model; floats of another width are converted.

        A state of the same architecture in PyTorch fits: names and layouts are the same, ``num_batches_tracked`` is
        passed by. Return the names of the model that were missing, and those that the model does not have.

        Raises DataError, listing all differences and changing nothing, if shapes or dtypes do not fit or, with
        `strict`, if names are missing or left over.
        """
        return load(self, state, strict)

    def load_weights(self, path: str | os.PathLike[str], strict: bool = True) -> IncompatibleKeys:
        """Copy the weights of a safetensors file, PyTorch's or cnnlib's, into the model, as `load_state_dict` does.

        Raises DataError as it does, and FileFormatError for what is no such file.
        """
        from cnnlib.serialize import load_weights

        return load_weights(self, path, strict)

    # Telling and keeping

    def summary(self) -> str:
        """Return a table of the layers: output and weight sizes, parameters, multiply-adds, receptive field."""
        from cnnlib.summary import summary

        return summary(self.graph)

    def plan(self, batch_size: int = 64, *, training: bool = False, rounds: int = 10) -> PlanTable:
        """Return, to be printed, what runs for a batch: layers fused into steps, algorithms, layouts, bytes, times.

        The plan is made and run on random numbers, `rounds` times; in training that moves batch normalisation's
        estimates, and the parameters' gradients are forgotten.
        "predicted" is each step's share of the time by its multiply-adds and bytes alone, "measured" what it took here.

        >>> from cnnlib.models import lenet5
        >>> [row.runs for row in lenet5().plan(batch_size=1, rounds=1).rows][:2]
        ['Conv2d 1→20 + ReLU + MaxPool2d 2', 'Conv2d 20→50 + ReLU + MaxPool2d 2']
        """
        from cnnlib.plan_table import plan_table

        key = count(batch_size, "batch_size"), self.graph.dtype or np.dtype(np.float32), training
        table = plan_table(Plan(self.graph, *key), count(rounds, "rounds"))
        if training:
            self.zero_grad()
        return table

    def profile(self, x: Any, *, training: bool = True, rounds: int = 10) -> Profile:
        """Return, to be printed, what each step takes on the batch `x`, forward and backward: medians of some rounds.

        Steps are what runs, layers fused (:class:`cnnlib.profiling.Profile`). The model stays as it is; its gradients
        are forgotten.

        >>> from cnnlib.models import lenet5
        >>> x = np.zeros((2, 1, 28, 28), np.uint8)
        >>> [row.layers for row in lenet5().profile(x, training=False, rounds=1).rows]
        ['0', '3', '6', '7', '9']
        """
        from cnnlib.profiling import profile

        return profile(self, x, training, rounds)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, its structure and its weights, to a safetensors file; `cnnlib.load` reads it."""
        from cnnlib.serialize import save

        save(self, path)

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the model, for inference, to an ONNX file (:func:`cnnlib.onnx.export_onnx`; the extra `onnx`)."""
        from cnnlib.onnx.export import export_onnx

        export_onnx(self, path)

    def _repr_svg_(self) -> str | None:
        """The graph as a picture, for notebooks; none while the input's shape is not known."""
        from cnnlib.drawing import draw

        return None if self._graph is None else draw(self).svg()

    def __repr__(self) -> str:
        graph = self.graph
        ends = [", ".join(shape_text(graph.nodes[n].shape) for n in end) for end in (graph.inputs, graph.outputs)]
        return f"{type(self).__name__}({ends[0]} → {ends[1]}, {len(graph.layers)} layers)"

    # Checking what comes in

    def _dtype(self, xs: list[Array]) -> np.dtype[Any]:
        """Return the dtype to compute in: that of the parameters; without any float64 for float64, else float32."""
        if self.graph.dtype is not None:
            return self.graph.dtype
        return np.dtype(np.float64 if any(x.dtype == np.float64 for x in xs) else np.float32)

    def _arrays(self, x: Any) -> list[Array]:
        inputs = self.graph.inputs
        given = [x] if len(inputs) == 1 else x
        if not isinstance(given, (list, tuple)) or len(given) != len(inputs):
            raise ShapeError(f"the model has {len(inputs)} inputs: give a list of {len(inputs)} arrays in their order")
        xs = [plain(array, "the input") for array in given]
        for node, array in zip(inputs, xs, strict=True):
            name, shape = self.graph.names[node], self.graph.nodes[node].shape
            if array.dtype.kind not in "biuf":
                raise DTypeError(f"input {name!r} has dtype {array.dtype}: expected pixels (uint8) or other numbers")
            if array.ndim == 0 or array.shape[1:] != shape:
                needed = f"N × {shape_text(shape)}" if shape else "N"
                raise ShapeError(f"input {name!r} needs {needed}, got shape {array.shape}{_hint(array.shape, shape)}")
            if len(array) != len(xs[0]):
                raise ShapeError(f"inputs differ in the number of samples: {[len(other) for other in xs]}")
            if len(array) == 0:
                raise DataError(f"input {name!r} of shape {array.shape}: the batch is empty")
        return xs

    def by_output(self, given: Any, what: str) -> dict[str, Any]:
        """Return a mapping with one entry for each named output, in the outputs' order.

        Raises GraphError, naming what is missing and what is too much, if the names are not those of the outputs.
        """
        names = self._output_names or ()
        if not isinstance(given, Mapping):
            raise GraphError(f"{what}: the model's outputs have names: give a dict with {', '.join(map(repr, names))}")
        missing = [repr(name) for name in names if name not in given]
        unknown = [repr(name) for name in given if name not in names]
        if missing or unknown:
            parts = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(unknown)}"] * bool(
                unknown
            )
            raise GraphError(f"{what}: {'; '.join(parts)}; the model's outputs are {', '.join(map(repr, names))}")
        return {name: given[name] for name in names}

    def _packed(self, values: Sequence[Any]) -> Any:
        if self._output_names is not None:
            return dict(zip(self._output_names, values, strict=True))
        return _one_or_all(values)


class Sequential(Model):
    """A chain of layers. Names are the positions, as PyTorch's: ``0.weight``, ``3.bias``; a named layer keeps its name.

    input_shape: without N. If it is not given, the first forward's array decides, or ``build(shape)``.

    >>> from cnnlib.layers import Linear, ReLU
    >>> model = Sequential(Linear(4, 3, rng=0), ReLU(), Linear(3, 2, rng=1), input_shape=4)
    >>> y = model.forward(np.ones((5, 4), np.float32), training=True)
    >>> y.shape, model.backward(np.ones_like(y)).shape
    ((5, 2), (5, 4))
    >>> list(model.parameters())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *layers: Layer, input_shape: int | Sequence[int] | None = None) -> None:
        self._start()
        if not layers:
            raise GraphError("Sequential needs at least one layer")
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise GraphError(f"Sequential: layer {i} is {type(layer).__name__}, expected a layer such as ReLU()")
        self._chain = layers
        if input_shape is not None:
            self.build(input_shape)

    def build(self, input_shape: int | Sequence[int]) -> Sequential:
        """Fix the input's shape, without N, and check that the layers fit; returns the model.

        Raises ShapeError naming the layer, its position, what it got and what it needs.
        """
        first = node = Input(input_shape, "input")
        names = {}
        for i, layer in enumerate(self._chain):
            try:
                node = layer(node)
            except (ShapeError, GraphError) as error:
                raise type(error)(f"layer {i}: {error}") from None
            names[node] = layer.name or str(i)
        self._set_graph(Graph([first], [node], names))
        return self

    @property
    def layers(self) -> dict[str, Layer]:
        """The layers by name, in their order."""
        if self._graph is not None:
            return self._graph.layers
        first = {layer: i for i, layer in reversed(list(enumerate(self._chain)))}
        return {layer.name or str(i): layer for i, layer in enumerate(self._chain) if first[layer] == i}

    def __repr__(self) -> str:
        lines = [f"  ({name}): {layer!r}" for name, layer in self.layers.items()]
        return "\n".join(["Sequential(", *lines, ")"])

    def _placed(self, inputs: list[Node]) -> Any:
        if self._graph is None:
            self.build(inputs[0].shape)
        return super()._placed(inputs)

    def _arrays(self, x: Any) -> list[Array]:
        if self._graph is None:
            shape = plain(x, "the input").shape
            if len(shape) < 1 or 0 in shape:
                raise DataError(f"input of shape {shape}: the batch is empty, or has no batch dimension")
            self.build(shape[1:])
        return super()._arrays(x)


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _sequence(nodes: Node | Sequence[Node]) -> list[Node]:
    return list(nodes) if isinstance(nodes, Sequence) else [nodes]


def _hint(got: Shape, needed: Shape) -> str:
    """Return what probably went wrong with an input's shape."""
    if got == needed:
        return ": add the batch dimension with x[None]"
    if len(needed) == 3:
        if needed[0] == 1 and got[1:] == needed[1:]:
            return ": add the channel dimension with x[:, None]"
        if got[1:] == (*needed[1:], needed[0]):
            return ": put the channels first with x.transpose(0, 3, 1, 2)"
    if np.prod(got[1:], dtype=np.int64) == np.prod(needed, dtype=np.int64) and len(got) > 0:
        return f": the number of elements fits, try x.reshape(-1, {', '.join(map(str, needed))})"
    return ""
