"""A model out of an ONNX file: a graph of layers like any other, that predicts, trains and is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnlib.errors import CNNError, ConfigError, FileFormatError, MissingExtraError, UnsupportedError
from cnnlib.files import PathLike, opened
from cnnlib.graph import Node, ordered
from cnnlib.layers.checks import int_tuple
from cnnlib.model import Model
from cnnlib.onnx.reading import NeedsValue, Reader, label

__all__ = ["check_operators", "load", "parse", "supported_operators"]

#: The versions of ONNX's operators that are read.
OLDEST, NEWEST = 6, 28


def load(path: PathLike, shapes: Mapping[str, Sequence[int]] | None = None) -> Model:
    """Return the model in an ONNX file.

    shapes: those of inputs, with N, where the file leaves other axes than the batch open: ``{"data": (1, 3, 32, 32)}``.
    The batch, axis 0, is open whatever the file says.

    Inputs and outputs have the file's names and order; of several outputs `forward` returns a dict. Layers are named by
    the file's nodes. Arrays are float32, or float64 if the file's inputs are. float16 becomes float32. Weights are
    parameters and can be trained on, ``model.save`` writes them as of any model. Batch normalisation that follows a
    convolution is folded into it by the plan, as in every model.

    Raises MissingExtraError without the package onnx; UnsupportedError, before any work, with a list of all operators
    that cnnlib does not have, and for what it does not have of others; FileFormatError for a damaged file.

    >>> from cnnlib.models import lenet5
    >>> import tempfile, os, numpy as np
    >>> model, path = lenet5(rng=0), os.path.join(tempfile.mkdtemp(), "lenet5.onnx")
    >>> model.export_onnx(path)
    >>> again = load(path)
    >>> x = np.ones((2, 1, 28, 28), np.float32)
    >>> bool(np.array_equal(again.predict(x), model.predict(x)))
    True
    """
    from cnnlib.onnx.operators import READERS

    proto = parse(path)
    check_operators(proto, str(path))
    reader = Reader(proto, READERS, shapes=_checked(shapes, proto))
    try:
        reader.read()
        outputs: dict[str, Node] = {}
        for name in (output.name for output in proto.graph.output):
            value = reader.value(name)
            if not isinstance(value, Node):
                raise UnsupportedError(f"the output {name!r} does not depend on an input")
            outputs[name] = value
    except NeedsValue as error:
        raise UnsupportedError(f"{path}: {error}") from error
    except CNNError as error:
        raise type(error)(f"{path}: {error}") from error
    needed = set(ordered(outputs.values()))
    inputs = [node for node in reader.inputs.values() if node in needed]
    order = {info.name: i for i, info in enumerate(proto.graph.input)}
    inputs.sort(key=lambda node: order[node.name or ""])
    return Model(inputs, next(iter(outputs.values())) if len(outputs) == 1 else outputs)


def parse(path: PathLike) -> Any:
    """Return the ModelProto of a file, checked by onnx as far as it can."""
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("onnx", "onnx", "reading an ONNX file") from None
    from google.protobuf.message import DecodeError

    with opened(path):  # for what it says of files that are not there
        pass
    try:
        proto = onnx.load(str(path))
        onnx.checker.check_model(proto)
    except (DecodeError, onnx.checker.ValidationError, ValueError, TypeError, OSError) as error:
        raise FileFormatError(f"{path}: damaged or not an ONNX file: {' '.join(str(error).split())[:300]}") from error
    return proto


def supported_operators() -> tuple[str, ...]:
    """Return the names of ONNX's operators that `load` reads, sorted.

    >>> supported_operators()[:3]
    ('Abs', 'Add', 'ArgMax')
    """
    from cnnlib.onnx.operators import READERS
    from cnnlib.onnx.reading import FOLDED

    return tuple(sorted({*READERS, *FOLDED}))


def check_operators(proto: Any, what: str) -> None:
    """Raise UnsupportedError, listing them all, if a model has operators or versions that cannot be read."""
    known = set(supported_operators())
    missing: dict[str, list[str]] = {}
    for node in proto.graph.node:
        name = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        if name not in known:
            missing.setdefault(name, []).append(label(node))
    versions = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    if missing:
        listed = ", ".join(f"{name} ({len(nodes)}×, first {nodes[0]})" for name, nodes in sorted(missing.items()))
        raise UnsupportedError(f"{what}: cnnlib does not have the operators {listed}")
    if not versions or not OLDEST <= versions[0] <= NEWEST:
        raise UnsupportedError(
            f"{what}: operators of version {versions[0] if versions else 'unknown'}, {OLDEST}…{NEWEST} are read: "
            "convert it with onnx.version_converter"
        )


def _checked(shapes: Mapping[str, Sequence[int]] | None, proto: Any) -> dict[str, tuple[int, ...]]:
    names = {info.name for info in proto.graph.input}
    if shapes is not None and (not isinstance(shapes, Mapping) or set(shapes) - names):
        raise ConfigError(f"shapes = {shapes!r}: expected a dict of shapes for the inputs {', '.join(sorted(names))}")
    return {name: int_tuple(shape, f"shapes[{name!r}]", least=1) for name, shape in (shapes or {}).items()}
