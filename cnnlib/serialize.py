"""Files: models in safetensors, the weights as its tensors, the architecture as JSON in its metadata.

A file is data, never code: layers are rebuilt by their registered names from plain settings, and nothing that a
file says is believed before it is checked against the file's own size. Writes are atomic: who reads sees the old file
or the whole new one. Any program that reads safetensors can read the weights.

The metadata: ``format`` "cnnlib", ``format_version`` "1", ``cnnlib_version``, and ``architecture``::

    {"type": "Sequential" or "Model",
     "nodes": [{"name": "input", "shape": [1, 28, 28]},
               {"name": "0", "layer": "Conv2d", "config": {…}, "inputs": [0]},
               {"name": "twin", "same_layer_as": 1, "inputs": [0]}, …],
     "outputs": [10], "output_names": ["main"]}

where the names of the outputs are left out if they have none, and numbers are positions in the list of nodes,
each of which reads only nodes before it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnlib._version import __version__
from cnnlib.errors import CNNError, DataError, DataNotFoundError, FileFormatError
from cnnlib.files import PathLike, brief, opened, parse_json
from cnnlib.graph import Graph, Input, Node, check_name
from cnnlib.init import undrawn
from cnnlib.layers import Layer, registered
from cnnlib.tensor_file import MAX_HEADER, NUMBERS, read_tensors

if TYPE_CHECKING:
    from cnnlib.model import Model
    from cnnlib.state import IncompatibleKeys

__all__ = [
    "architecture",
    "check_sum",
    "checksum",
    "load",
    "load_state",
    "load_weights",
    "save",
    "save_state",
    "write_atomically",
]

Array = NDArray[Any]

FORMAT, CHECKPOINT_FORMAT, FORMAT_VERSION = "cnnlib", "cnnlib-checkpoint", "1"

_FLOATS = ("F32", "F64")


def save(model: Model, path: PathLike, notes: Mapping[str, str] | None = None) -> None:
    """Write a model's architecture, parameters and buffers to the safetensors file `path`.

    notes: more entries of the metadata, for people and tools, such as what the model was trained on.
    """
    save_state(model.state_dict(), path, {**(notes or {}), **describe(model)})


def describe(model: Model) -> dict[str, str]:
    """Return the metadata of a model's file, from which `rebuild` makes the model again."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "cnnlib_version": __version__,
        "architecture": architecture(model),
    }


def load(path: PathLike) -> Model:
    """Return the model that `save` wrote to `path`, or that of a checkpoint: the same structure, dtype and bits.

    A layer class of your own must be registered (`cnnlib.layers.register`) before. Raises FileFormatError, naming the
    file and what is wrong with it, for a file that is damaged or not a cnnlib model; FileNotFoundError without one.
    """
    state, metadata = load_state(path, NUMBERS)
    return rebuild(state, metadata, path)


def load_weights(model: Model, path: PathLike, strict: bool = True) -> IncompatibleKeys:
    """Do what `Model.load_weights` says: architectures in the file, if there are any, are not looked at."""
    state, metadata = load_state(path, NUMBERS)
    try:
        return model.load_state_dict(_weights(state, metadata, path), strict)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _weights(state: Mapping[str, Array], metadata: Mapping[str, str], path: PathLike) -> Mapping[str, Array]:
    """Return the arrays of the model in a file: of a checkpoint those that are not the optimizer's or others'."""
    if metadata.get("format") != CHECKPOINT_FORMAT:
        return state
    check_sum(path, state, metadata)
    return {name[len("model/") :]: array for name, array in state.items() if name.startswith("model/")}


def rebuild(state: Mapping[str, Array], metadata: Mapping[str, str], path: PathLike) -> Model:
    """Return the model that the arrays and the metadata of the file `path` describe; raises as `load` does."""
    state = _weights(state, metadata, path)
    if metadata.get("format") not in (FORMAT, CHECKPOINT_FORMAT) or "architecture" not in metadata:
        raise FileFormatError(
            f"{path}: a safetensors file without cnnlib's architecture; to take its weights into a model that you "
            f"have, use model.load_weights(path)"
        )
    if metadata.get("format_version") != FORMAT_VERSION:
        raise FileFormatError(
            f"{path}: format version {brief(metadata.get('format_version'))}, this cnnlib {__version__} reads version "
            f"{FORMAT_VERSION}; the file was written by cnnlib {brief(metadata.get('cnnlib_version'))}"
        )
    try:
        architecture = parse_json(metadata["architecture"])
        # A layer that would hold more numbers than the whole file is refused before it takes their memory.
        with undrawn(sum(array.size for array in state.values())):
            model = _rebuilt(architecture, state)
        model.load_state_dict(state)
    except (CNNError, ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError) as error:
        what = f"key {brief(error)} is missing" if isinstance(error, KeyError) else brief(error)
        raise FileFormatError(f"{path}: the architecture in the file cannot be used: {what}") from error
    return model


def save_state(state: Mapping[str, Array], path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays, such as a ``state_dict()``, to the safetensors file `path`."""
    from safetensors.numpy import save as to_bytes

    contiguous = {name: np.asarray(array, order="C") for name, array in state.items()}
    data = to_bytes(contiguous, dict(metadata) if metadata else None)
    header = int.from_bytes(data[:8], "little")
    if header > MAX_HEADER:
        raise DataError(f"{path}: names, shapes and metadata take {header:,} bytes, at most {MAX_HEADER:,} are read")
    write_atomically(path, data)


def load_state(path: PathLike, dtypes: Collection[str] = _FLOATS) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the named arrays of the safetensors file `path`, and its metadata.

    dtypes: what is taken, in the format's names; float32 and float64 if nothing is said.

    Raises FileFormatError if the file is truncated, lies about its sizes or is something else.
    """
    with opened(path) as (file, size):
        return parse_state(file, size, path, dtypes)


def parse_state(
    file: BinaryIO, size: int, path: PathLike, dtypes: Collection[str] = _FLOATS
) -> tuple[dict[str, Array], dict[str, str]]:
    """Return what an open safetensors file of `size` bytes holds; errors name it `path`; else as `load_state`."""
    try:
        return read_tensors(file, size, dtypes)
    except ValueError as error:
        raise FileFormatError(f"{path}: damaged or not a safetensors file: {brief(error)}") from None


def checksum(state: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of the arrays and of all metadata but the checksum itself."""
    import hashlib  # on use: it brings a library for encryption

    rest = {key: value for key, value in metadata.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        digest.update(f"\n{json.dumps(name)} {array.dtype.str} {state[name].shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check_sum(path: PathLike, state: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Raise FileFormatError if the contents of a file are not those that its checksum was made of."""
    if metadata.get("sha256") != checksum(state, metadata):
        raise FileFormatError(f"{path}: damaged: the contents do not have the checksum that was written with them")


def write_atomically(path: PathLike, data: bytes) -> None:
    """Write `data` to `path` so that a crash leaves the old file or the whole new one, never a part."""
    target = Path(path)
    if not target.parent.is_dir():
        raise DataNotFoundError(f"{target} cannot be written: there is no folder {target.parent}; make it first")
    # Mode "x" takes no file that is there. The tempfile module would make one that only its owner may read.
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def architecture(model: Model) -> str:
    """Return a model's structure as the JSON text described above."""
    return json.dumps(_architecture(model), ensure_ascii=False)


def _architecture(model: Model) -> dict[str, Any]:
    graph = model.graph
    known = registered()
    first: dict[Layer, int] = {}
    nodes: list[dict[str, Any]] = []
    for i, (name, node, sources) in enumerate(zip(graph.names, graph.nodes, graph.sources, strict=True)):
        layer = node.layer
        entry: dict[str, Any] = {"name": name}
        if layer is None:
            entry["shape"] = node.shape
        elif layer in first:
            entry |= {"same_layer_as": first[layer], "inputs": sources}
        else:
            if known.get(type(layer).__name__) is not type(layer):
                raise DataError(f"layer {name!r}: {type(layer).__name__} is not registered: decorate it with @register")
            first[layer] = i
            entry |= {"layer": type(layer).__name__, "config": layer.config(), "inputs": sources}
        nodes.append(entry)
    architecture = {"type": type(model).__name__, "nodes": nodes, "outputs": graph.outputs}
    return architecture if model.output_names is None else architecture | {"output_names": model.output_names}


def _rebuilt(architecture: Mapping[str, Any], state: Mapping[str, Array]) -> Model:
    from cnnlib.model import Model, Sequential

    entries = architecture["nodes"]
    known = registered()
    nodes: list[Node] = []
    names: dict[Node, str] = {}
    taken: set[str] = set()
    for entry in entries:
        name = entry["name"]
        if check_name(name) is None:
            raise ValueError("a node has no name")
        # Each layer's parameters must be in the file under its own name, so all take no more memory than the file.
        if name in taken:
            raise ValueError(f"two nodes are named {name!r}")
        taken.add(name)
        if "shape" in entry:
            node = Input(entry["shape"], name)
        else:
            sources = [nodes[_position(i, len(nodes))] for i in entry["inputs"]]
            if "same_layer_as" in entry:
                layer = nodes[_position(entry["same_layer_as"], len(nodes))].layer
                if layer is None:
                    raise ValueError(f"node {name!r} shares the layer of an input")
            elif entry["layer"] not in known:
                raise ValueError(f"unknown layer {entry['layer']!r}: register its class before loading")
            else:
                layer = _layer(known[entry["layer"]], entry["config"], name, state)
            if not sources:
                raise ValueError(f"node {name!r} reads nothing")
            node = layer(*sources)
        nodes.append(node)
        names[node] = name
    inputs = [node for node in nodes if node.layer is None]
    outputs = [nodes[_position(i, len(nodes))] for i in architecture["outputs"]]
    graph = Graph(inputs, outputs, names)
    if architecture["type"] == "Sequential":
        layers = [node.layer for node in nodes if node.layer is not None]
        chain = Sequential(*layers, input_shape=inputs[0].shape)
        if any(getattr(chain.graph, part) != getattr(graph, part) for part in ("names", "sources", "outputs")):
            raise ValueError("the nodes of a Sequential are not a chain of layers, named by their positions")
        return chain
    if architecture["type"] != "Model":
        raise ValueError(f"unknown type of model {architecture['type']!r}")
    output_names = architecture.get("output_names")
    if output_names is not None:
        unique = dict.fromkeys(output_names) if isinstance(output_names, list) else ()
        if not len(unique) == len(output_names) == len(outputs):
            raise ValueError(f"the names of {len(outputs)} outputs are {output_names!r}")
    model = Model(inputs, outputs)
    model._set_graph(graph, None if output_names is None else tuple(output_names))
    return model


def _layer(cls: type[Layer], config: Mapping[str, Any], name: str, state: Mapping[str, Array]) -> Layer:
    """Return a layer with its parameters at zero, after checking that the file has those parameters."""
    layer = cls(**config)
    own = {key: parameter.data for key, parameter in layer.parameters().items()} | layer.buffers()
    for key, array in own.items():
        found = state.get(f"{name}.{key}")
        if found is None or found.shape != array.shape or found.dtype != array.dtype:
            got = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise ValueError(f"{name}.{key} should be {array.dtype} {array.shape}, the file holds {got}")
    return layer


def _position(value: Any, end: int) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise ValueError(f"node {value!r} is referred to before it is there")
    return value
