"""A model as an ONNX file, which ONNX Runtime and many other programs run.

Each layer is written in ONNX's own operators, by the function for its class in `WRITERS`; the batch size is left open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cnnlib._version import __version__
from cnnlib.errors import DataError, MissingExtraError
from cnnlib.files import PathLike
from cnnlib.onnx.writers import WRITERS
from cnnlib.onnx.writing import Writer
from cnnlib.serialize import write_atomically

if TYPE_CHECKING:
    from cnnlib.model import Model

__all__ = ["OPSET", "export_onnx"]

#: The version of ONNX's operators, of 2021, and the version of the format that came with it.
OPSET, IR_VERSION = 17, 8


def export_onnx(model: Model, path: PathLike) -> None:
    """Write a model, for inference, to the ONNX file `path`.

    Inputs and outputs have the names of the model's, N × their shape with N open, and the model's dtype: pixels are
    floats of 0…1 there, what cnnlib makes of uint8. Dropout is left out, batch normalisation takes its running
    estimates. Weights keep their names, as in ``state_dict``. The file is checked by onnx before it is written.

    Raises MissingExtraError without the package onnx, DataError for a layer that has no form in ONNX, ConfigError if
    batch normalisation is set to take the statistics of each batch.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("onnx", "onnx", "exporting to ONNX") from None
    graph = model.graph
    writer = Writer(np.dtype(graph.dtype or np.float32))
    values: list[str] = []
    for name, node, sources in zip(graph.names, graph.nodes, graph.sources, strict=True):
        if node.layer is None:
            values.append(writer.unique(name))
            continue
        write = next((WRITERS[kind] for kind in type(node.layer).__mro__ if kind in WRITERS), None)
        if write is None:
            raise DataError(f"layer {name!r}: {type(node.layer).__name__} has no form in ONNX that cnnlib knows")
        writer.begin(name, graph.nodes[sources[0]].shape)
        values.append(write(writer, node.layer, [values[source] for source in sources]))
    inputs = [writer.typed(values[i], graph.nodes[i].shape) for i in graph.inputs]
    names = model.output_names or [f"output_{k}" if k else "output" for k in range(len(graph.outputs))]
    outputs = []
    for i, name in zip(graph.outputs, names, strict=True):
        writer.begin(name, graph.nodes[i].shape)
        outputs.append(writer.typed(writer.node("Identity", values[i]), graph.nodes[i].shape))
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(writer.nodes, "cnnlib", inputs, outputs, writer.constants),
        producer_name="cnnlib",
        producer_version=__version__,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(proto, full_check=True)
    write_atomically(path, proto.SerializeToString())
