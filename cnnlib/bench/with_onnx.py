"""ONNX Runtime doing the forward work of a task: a graph built here, its weights constants."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from cnnlib.bench.named import NamedLayer
from cnnlib.bench.nets import NetTask, State
from cnnlib.bench.work import Contestant, KernelTask, Task
from cnnlib.errors import ConfigError
from cnnlib.graph import Graph
from cnnlib.layers import Add, AvgPool2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from cnnlib.layers.normalization import BatchNorm
from cnnlib.reference import Array

__all__ = ["contestants"]

# What every ONNX Runtime of the last years reads, whatever the version of the package that writes it.
OPSET, IR_VERSION = 17, 8


OPERATORS = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div"}
MISSING = ("prelu", "batch_norm", "affine", "reciprocal")  # measured on the way forward without ONNX Runtime


def contestants(task: Task, threads: int) -> dict[str, Contestant]:
    """Return ONNX Runtime on the task's graph; nothing for passes other than forward."""
    if isinstance(task, NetTask) and task.which == "predict":
        output_shape = (task.batch, *task.model.graph.nodes[-1].shape)
        return {"": _session(_net(task.model.graph), task.state, task.data[0], output_shape, threads)}
    if isinstance(task, KernelTask) and task.which == "forward" and task.named.kind not in MISSING:
        weights = {name: task.arrays[name] for name in ("w", "b") if name in task.arrays}
        return {"": _session([_node(task.named)], weights, task.arrays["x"], task.named.output_shape, threads)}
    return {}


def _node(layer: NamedLayer) -> Any:
    make_node = import_module("onnx.helper").make_node
    window = {"strides": [layer.stride] * 2, "pads": [layer.padding] * 4}
    match layer.kind:
        case "conv2d":
            return make_node("Conv", ["x", "w", "b"], ["y"], group=layer.groups, **window)
        case "max_pool2d":
            return make_node("MaxPool", ["x"], ["y"], kernel_shape=layer.w, **window)
        case "avg_pool2d":
            return make_node("AveragePool", ["x"], ["y"], kernel_shape=layer.w, count_include_pad=1, **window)
        case "linear":
            return make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
        case "relu":
            return make_node("Relu", ["x"], ["y"])
        case "sigmoid":
            return make_node("Sigmoid", ["x"], ["y"])
        case "tanh":
            return make_node("Tanh", ["x"], ["y"])
        case "leaky_relu":
            return make_node("LeakyRelu", ["x"], ["y"], alpha=0.01)
        case kind if kind in OPERATORS:
            return make_node(OPERATORS[kind], ["x", "w"], ["y"])
    return make_node("Softmax", ["x"], ["y"], axis=-1)


def _net(graph: Graph) -> list[Any]:
    """Return the nodes for those of `graph`, of one input and one output; weights go by cnnlib's names."""
    make_node = import_module("onnx.helper").make_node
    nodes, last = [], len(graph.nodes) - 1
    for i, (node, sources) in enumerate(zip(graph.nodes, graph.sources, strict=True)):
        if node.layer is not None:
            operator, keys, attributes = _operator(node.layer)
            inputs = [f"v{source}" if source else "x" for source in sources]
            weights = [f"{graph.names[i]}.{key}" for key in keys]
            nodes.append(make_node(operator, inputs + weights, ["y" if i == last else f"v{i}"], **attributes))
    return nodes


def _operator(layer: Layer) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Return ONNX's operator, its tensors and its attributes."""
    match layer:
        case Conv2d() | MaxPool2d() | AvgPool2d():
            kernels, strides, paddings, dilations = zip(*(layer.windows() or ()), strict=True)
            window: dict[str, Any] = {"kernel_shape": kernels, "strides": strides, "pads": paddings * 2}
            if isinstance(layer, Conv2d):
                bias = () if layer.bias is None else ("bias",)
                return "Conv", ("weight", *bias), {**window, "dilations": dilations, "group": layer.groups}
            if isinstance(layer, MaxPool2d):
                return "MaxPool", (), window
            return "AveragePool", (), {**window, "count_include_pad": int(layer.count_include_pad)}
        case Linear():
            return "Gemm", ("weight", "bias"), {"transB": 1}
        case BatchNorm():
            return "BatchNormalization", ("weight", "bias", "running_mean", "running_var"), {"epsilon": layer.eps}
        case ReLU() | Flatten() | Add():
            return {"ReLU": "Relu"}.get(type(layer).__name__, type(layer).__name__), (), {}
    raise ConfigError(f"the benchmark has no ONNX operator for {layer!r}")


def _session(nodes: Sequence[Any], weights: State, x: Array, output_shape: Sequence[int], threads: int) -> Contestant:
    onnx, runtime = import_module("onnx"), import_module("onnxruntime")
    helper, from_array = onnx.helper, onnx.numpy_helper.from_array
    source, result = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))
        for name, shape in (("x", x.shape), ("y", output_shape))
    )
    constants = [from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "bench", [source], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Contestant(lambda: session.run(None, {"x": x}))
