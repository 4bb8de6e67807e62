"""A model run by the definition: its graph, node by node, in the functions of `cnnlib.reference`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import DTypeLike

from cnnlib import reference as f
from cnnlib.errors import ConfigError
from cnnlib.graph import Graph
from cnnlib.layers import Add, AvgPool2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from cnnlib.layers.normalization import BatchNorm
from cnnlib.reference import Array

__all__ = ["Definition"]

Tensors = Mapping[str, Array]


class Definition:
    """What `graph`, of one input and one output, computes with the arrays of `state` in `dtype`."""

    def __init__(self, graph: Graph, state: Tensors, dtype: DTypeLike) -> None:
        self.graph = graph
        self.tensors = {name: array.astype(dtype) for name, array in state.items()}

    def forward(self, x: Array, training: bool = False) -> list[Array]:
        """Return the value of every node, the output's last."""
        values = [x]
        for layer, sources, tensors in self._steps():
            values.append(_value(layer, [values[source] for source in sources], tensors, training))
        return values

    def backward(self, dy: Array, values: list[Array]) -> dict[str, Array]:
        """Return the parameters' gradients by name from that of the output, after a training forward."""
        gradients: list[Any] = [None] * len(values)
        gradients[-1] = dy
        found: dict[str, Array] = {}
        for i, (layer, sources, tensors) in reversed(list(enumerate(self._steps(), 1))):
            wanted = any(source not in self.graph.inputs for source in sources)
            dxs, own = _gradients(layer, gradients[i], [values[source] for source in sources], tensors, wanted)
            for source, dx in zip(sources, dxs, strict=True):
                gradients[source] = dx if gradients[source] is None else gradients[source] + dx
            found |= {f"{self.graph.names[i]}.{key}": gradient for key, gradient in own.items()}
        return found

    def _steps(self) -> list[tuple[Layer, tuple[int, ...], dict[str, Array]]]:
        by_node: dict[str, dict[str, Array]] = {name: {} for name in self.graph.names}
        for name, array in self.tensors.items():
            node, _, key = name.rpartition(".")
            by_node[node][key] = array
        nodes = zip(self.graph.nodes, self.graph.sources, by_node.values(), strict=True)
        return [(node.layer, sources, tensors) for node, sources, tensors in nodes if node.layer is not None]


def _value(layer: Layer, xs: list[Array], p: Tensors, training: bool) -> Array:
    x = xs[0]
    match layer:
        case Conv2d():
            return f.conv2d(x, p["weight"], p.get("bias"), *_settings(layer))
        case Linear():
            return f.linear(x, p["weight"], p.get("bias"))
        case BatchNorm():
            moments = f.batch_moments(x) if training else (p["running_mean"], p["running_var"])
            return f.batch_norm(x, *moments, p["weight"], p["bias"], layer.eps)
        case MaxPool2d():
            return f.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding)
        case AvgPool2d():
            return f.avg_pool2d(x, layer.kernel_size, layer.stride, layer.padding, layer.count_include_pad)
        case ReLU():
            return f.relu(x)
        case Flatten():
            return x.reshape(len(x), -1)
        case Add():
            return sum(xs[1:], x)
    raise ConfigError(f"the benchmark has no definition of {layer!r}")


def _gradients(
    layer: Layer, dy: Array, xs: list[Array], p: Tensors, wanted: bool
) -> tuple[tuple[Any, ...], dict[str, Array]]:
    """Return the gradients of the inputs, and those of the parameters by name."""
    x = xs[0]
    match layer:
        case Conv2d() | Linear():
            needs = (wanted, True, "bias" in p)
            if isinstance(layer, Conv2d):
                gradients = f.conv2d_backward(dy, x, p["weight"], *_settings(layer), needs=needs)
            else:
                gradients = f.linear_backward(dy, x, p["weight"], needs=needs)
        case BatchNorm():
            gradients = f.batch_norm_backward(dy, x, *f.batch_moments(x), p["weight"], layer.eps)
        case MaxPool2d():
            return (f.max_pool2d_backward(dy, x, layer.kernel_size, layer.stride, layer.padding),), {}
        case AvgPool2d():
            window = (layer.kernel_size, layer.stride, layer.padding, layer.count_include_pad)
            return (f.avg_pool2d_backward(dy, x.shape, *window),), {}
        case ReLU():
            return (f.relu_backward(dy, x),), {}
        case Flatten():
            return (dy.reshape(x.shape),), {}
        case Add():
            return (dy,) * len(xs), {}
        case _:
            raise ConfigError(f"the benchmark has no definition of {layer!r}")
    own = zip(("weight", "bias"), gradients[1:], strict=True)
    return gradients[:1], {name: gradient for name, gradient in own if gradient is not None}


def _settings(layer: Conv2d) -> tuple[Any, ...]:
    return layer.stride, layer.padding, layer.dilation, layer.groups
