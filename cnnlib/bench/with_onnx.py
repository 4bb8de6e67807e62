"""ONNX Runtime doing the forward work of a task: a graph built here, its weights constants."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from cnnlib.bench.named import NamedLayer
from cnnlib.bench.nets import NetTask, State
from cnnlib.bench.work import Contestant, KernelTask, Task
from cnnlib.reference import Array

__all__ = ["contestants"]

# What every ONNX Runtime of the last years reads, whatever the version of the package that writes it.
OPSET, IR_VERSION = 17, 8


OPERATORS = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div"}
MISSING = ("prelu", "batch_norm", "affine", "reciprocal")  # measured on the way forward without ONNX Runtime


def contestants(task: Task, threads: int) -> dict[str, Contestant]:
    """Return ONNX Runtime on the task's graph; nothing for passes other than forward."""
    if isinstance(task, NetTask) and task.which == "predict":
        return {"": _session(_net(), task.state, task.data[0], (task.batch, 10), threads)}
    if isinstance(task, KernelTask) and task.which == "forward" and task.named.kind not in MISSING:
        weights = {name: task.arrays[name] for name in ("w", "b") if name in task.arrays}
        return {"": _session([_node(task.named)], weights, task.arrays["x"], task.named.output_shape, threads)}
    return {}


def _node(layer: NamedLayer) -> Any:
    make_node = import_module("onnx.helper").make_node
    window = {"strides": [layer.stride] * 2, "pads": [layer.padding] * 4}
    match layer.kind:
        case "conv2d":
            return make_node("Conv", ["x", "w", "b"], ["y"], **window)
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


def _net() -> list[Any]:
    make_node = import_module("onnx.helper").make_node
    pool, gemm = {"kernel_shape": [2, 2], "strides": [2, 2]}, {"transB": 1}
    block: list[tuple[str, dict[str, Any]]] = [("Conv", {"pads": [2] * 4}), ("Relu", {}), ("MaxPool", pool)]
    chain = [*block, *block, ("Flatten", {}), ("Gemm", gemm), ("Relu", {}), ("Gemm", gemm)]
    nodes = []
    for i, (operator, attributes) in enumerate(chain):
        weights = [f"{i}.weight", f"{i}.bias"] if operator in ("Conv", "Gemm") else []
        output = "y" if i == len(chain) - 1 else f"v{i}"
        nodes.append(make_node(operator, [f"v{i - 1}" if i else "x", *weights], [output], **attributes))
    return nodes


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
