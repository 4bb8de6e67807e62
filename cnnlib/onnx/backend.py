"""cnnlib as a backend of ONNX, with the interface of `onnx.backend.base`: run a ModelProto on arrays.

>>> import cnnlib.onnx.backend as backend
>>> backend.supports_device("CPU"), backend.supports_device("CUDA")
(True, False)

Unlike `cnnlib.onnx.load` it sees the inputs' values when it builds the graph: what a layer has as a parameter, such as
the weight of a convolution, may be an input of the graph, and arrays need not have a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from cnnlib.errors import CNNError, DataError
from cnnlib.graph import Node, ordered
from cnnlib.model import Model
from cnnlib.onnx.loading import check_operators
from cnnlib.onnx.operators import READERS
from cnnlib.onnx.reading import Array, MixesSamples, NeedsValue, Reader

__all__ = ["CnnlibBackend", "CnnlibRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class CnnlibRep(BackendRep):  # type: ignore[misc,unused-ignore]  # onnx may be missing
    """A model that is ready to run."""

    def __init__(self, proto: Any) -> None:
        self._proto = proto
        stored = {tensor.name for tensor in proto.graph.initializer}
        self._inputs = [info.name for info in proto.graph.input if info.name not in stored]
        self._outputs = [info.name for info in proto.graph.output]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return the outputs for the inputs: arrays in the graph's order, a dict of them by name, or a single one."""
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        arrays = dict(inputs) if isinstance(inputs, dict) else dict(zip(self._inputs, inputs, strict=False))
        if set(arrays) != set(self._inputs):
            raise DataError(f"the model has the inputs {', '.join(self._inputs)}; got {len(inputs)} array(s)")
        reader = _read(self._proto, {name: np.asarray(array) for name, array in arrays.items()})
        values = [reader.value(name) for name in self._outputs]
        computed = _computed(reader, [value for value in values if isinstance(value, Node)], arrays)
        results = [computed[value] if isinstance(value, Node) else value for value in values]
        kinds = [info.type.tensor_type.elem_type for info in self._proto.graph.output]
        dtypes = [onnx.helper.tensor_dtype_to_np_dtype(kind) for kind in kinds]
        outputs = [np.asarray(result).astype(dtype, copy=False) for result, dtype in zip(results, dtypes, strict=True)]
        return tuple(namedtupledict("Outputs", self._outputs)(*outputs))


class CnnlibBackend(Backend):  # type: ignore[misc,unused-ignore]
    """The class that ONNX's tests of backends run."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **kwargs: Any) -> bool:
        """Return whether cnnlib has all operators of a model."""
        try:
            check_operators(model, "the model")
        except CNNError:
            return False
        return bool(cls.supports_device(device))

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> CnnlibRep:
        """Return a model ready to run; raise UnsupportedError, listing them, for operators that cnnlib lacks."""
        super().prepare(model, device, **kwargs)
        check_operators(model, "the model")
        return CnnlibRep(model)

    @classmethod
    def run_node(
        cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Sequence[Any] | None = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Return the outputs of a single node."""
        helper = onnx.helper
        arrays = [np.asarray(array) for array in inputs]
        given = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip([name for name in node.input if name], arrays, strict=True)
        ]
        kinds = outputs_info or [(arrays[0].dtype if arrays else np.dtype(np.float32), None)] * len(node.output)
        results = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape or ())
            for name, (kind, shape) in zip(node.output, kinds, strict=True)
        ]
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        proto = helper.make_model(
            helper.make_graph([node], "node", given, results), opset_imports=[helper.make_opsetid("", version)]
        )
        return cls.prepare(proto, device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return whether the device is the CPU."""
        return bool(Device(device).type == DeviceType.CPU)


def _read(proto: Any, arrays: dict[str, Array]) -> Reader:
    """Read the graph: with a batch along axis 0 if it goes, and with those inputs known that have to be."""
    shapes = {name: array.shape for name, array in arrays.items()}
    for batched in (True, False):
        known: dict[str, Array] = {}
        while True:
            reader = Reader(proto, READERS, batched, known, shapes)
            try:
                reader.read()
                for info in proto.graph.output:
                    reader.value(info.name)
                return reader
            except MixesSamples:
                if not batched:
                    raise
                break
            except NeedsValue as error:
                if error.names <= set(known):
                    raise
                known |= {name: arrays[name] for name in error.names}
    raise AssertionError("the second way raises")


def _computed(reader: Reader, outputs: list[Node], arrays: dict[str, Array]) -> dict[Node, Array]:
    """Return the values of nodes."""
    if not outputs:
        return {}
    unique = list(dict.fromkeys(outputs))
    needed = set(ordered(unique))
    inputs = {name: node for name, node in reader.inputs.items() if node in needed}
    if not needed - set(inputs.values()):
        return {node: arrays[name] for name, node in inputs.items()}
    xs = [arrays[name].astype(reader.dtype) for name in inputs]
    if not reader.batched:
        xs = [x[None] for x in xs]
    ys = Model(list(inputs.values()), unique).predict(xs if len(xs) > 1 else xs[0], batch_size=len(xs[0]))
    arrays_out = [ys] if len(unique) == 1 else ys
    return {node: y if reader.batched else y[0] for node, y in zip(unique, arrays_out, strict=True)}


prepare = CnnlibBackend.prepare
run_model = CnnlibBackend.run_model
run_node = CnnlibBackend.run_node
supports_device = CnnlibBackend.supports_device
is_compatible = CnnlibBackend.is_compatible
