"""A model as PyTorch's users would write it: modules, and straight-line code that calls them, made by torch.fx.

ReLU and addition work in place where nobody else reads their input, as in torchvision's nets.
"""

from __future__ import annotations

import operator
from importlib import import_module
from typing import Any

from cnnlib.bench.nets import State
from cnnlib.errors import ConfigError
from cnnlib.graph import Graph
from cnnlib.layers import Add, AvgPool2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from cnnlib.layers.normalization import BatchNorm

__all__ = ["module", "parameters"]


def module(graph: Graph, state: State) -> Any:
    """Return `graph`, of one input and one output, as a module with the arrays of `state`; node i is `layer<i>`."""
    torch, fx = import_module("torch"), import_module("torch.fx")
    code, modules = fx.Graph(), {}
    readers = [sum(sources.count(i) for sources in graph.sources) for i in range(len(graph.nodes))]
    values = [code.placeholder("x")]
    for i, (node, sources) in enumerate(zip(graph.nodes, graph.sources, strict=True)):
        if node.layer is None:
            continue
        arguments = tuple(values[source] for source in sources)
        # The results of convolutions, linear layers and batch normalisations are not needed for their gradients.
        below = graph.nodes[sources[0]].layer
        free = readers[sources[0]] == 1 and isinstance(below, Conv2d | Linear | BatchNorm | Add)
        if isinstance(node.layer, Add):
            values.append(code.call_function(operator.iadd if free else operator.add, arguments))
        else:
            made = modules[f"layer{i}"] = _module(node.layer, free)
            prefix = f"{graph.names[i]}."
            own = {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
            made.load_state_dict({key: torch.from_numpy(array.copy()) for key, array in own.items()}, strict=False)
            values.append(code.call_module(f"layer{i}", arguments))
    code.output(values[-1])
    return fx.GraphModule(modules, code)


def parameters(net: Any, graph: Graph) -> dict[str, Any]:
    """Return the parameters of what `module` made by the names that they have in cnnlib."""
    found = {}
    for name, parameter in net.named_parameters():
        layer, _, key = name.partition(".")
        found[f"{graph.names[int(layer.removeprefix('layer'))]}.{key}"] = parameter
    return found


def _module(layer: Layer, in_place: bool) -> Any:
    nn = import_module("torch.nn")
    match layer:
        case Conv2d():
            window = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
            return nn.Conv2d(layer.in_channels, layer.out_channels, *window, bias=layer.bias is not None)
        case Linear():
            return nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        case BatchNorm():
            return nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
        case MaxPool2d():
            return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
        case AvgPool2d():
            return nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, False, layer.count_include_pad)
        case ReLU():
            return nn.ReLU(in_place)
        case Flatten():
            return nn.Flatten()
    raise ConfigError(f"the benchmark has no PyTorch module for {layer!r}")
