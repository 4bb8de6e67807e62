"""A model as an ONNX file, which ONNX Runtime and many other programs run.

Each layer is written in ONNX's own operators, by the function for its class in `WRITERS`; the batch size is left open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib import layers
from cnnlib._version import __version__
from cnnlib.errors import ConfigError, DataError, MissingExtraError
from cnnlib.files import PathLike
from cnnlib.functional.padding import read_places
from cnnlib.interpolation import taps
from cnnlib.serialize import write_atomically

if TYPE_CHECKING:
    from cnnlib.graph import Shape
    from cnnlib.layers import Layer
    from cnnlib.model import Model

__all__ = ["OPSET", "WRITERS", "export_onnx"]

Array = NDArray[Any]

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


class Writer:
    """The nodes and constants of an ONNX graph that is being written, layer by layer."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        from onnx import helper

        self._helper = helper
        self.dtype = dtype
        self.kind = helper.np_dtype_to_tensor_dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.shape: Shape = ()
        self.layer = ""
        self._taken: set[str] = set()

    def begin(self, layer: str, shape: Shape) -> None:
        """Go on with the layer of that name; its first input is N × shape."""
        self.layer, self.shape = layer, shape

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, return the name of its output."""
        output = self.unique(self.layer)
        self.nodes.append(self._helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any, integers: bool = False) -> str:
        """Add numbers of the graph's dtype, or integers, under a name of the layer's; return the whole name."""
        from onnx import numpy_helper

        whole = f"{self.layer}.{name}"
        if whole not in self._taken:
            self._taken.add(whole)
            array = np.array(value, np.int64 if integers else self.dtype, order="C")
            self.constants.append(numpy_helper.from_array(array, whole))
        return whole

    def chain(self, operator: str, inputs: Sequence[str]) -> str:
        """Add a node of two inputs again and again, from the left, as cnnlib computes it."""
        result = inputs[0]
        for value in inputs[1:]:
            result = self.node(operator, result, value)
        return result

    def typed(self, name: str, shape: Shape) -> Any:
        """Return the description of an input or output."""
        return self._helper.make_tensor_value_info(name, self.kind, ["N", *shape])

    def unique(self, name: str) -> str:
        """Return the name, with a number if it is taken."""
        unique, count = name, 1
        while unique in self._taken:
            count += 1
            unique = f"{name}_{count}"
        self._taken.add(unique)
        return unique


def _conv(to: Writer, layer: Any, xs: list[str], operator: str = "Conv", **attributes: Any) -> str:
    kernels, strides, paddings, dilations = layer.sizes()
    constants = [to.constant("weight", layer.weight.data)]
    if layer.bias is not None:
        constants.append(to.constant("bias", layer.bias.data))
    return to.node(
        operator,
        *xs,
        *constants,
        kernel_shape=kernels,
        strides=strides,
        pads=paddings * 2,
        dilations=dilations,
        group=layer.groups,
        **attributes,
    )


def _conv_transpose(to: Writer, layer: Any, xs: list[str]) -> str:
    return _conv(to, layer, xs, "ConvTranspose", output_padding=layer.extra())


def _linear(to: Writer, layer: Any, xs: list[str]) -> str:
    constants = [to.constant("weight", layer.weight.data)]
    if layer.bias is not None:
        constants.append(to.constant("bias", layer.bias.data))
    return to.node("Gemm", *xs, *constants, transB=1)


def _windows(to: Writer, layer: Any) -> dict[str, list[int]]:
    """The attributes that say where a pool's windows are: so much padding at the far sides as the last ones reach over.

    That makes the outputs that the layer makes, rounded down or up; ONNX's ceil_mode has changed between versions.
    """
    axes = layer.geometry[-layer.axes :]
    kernels, strides, befores, _, _ = map(list, zip(*axes, strict=True))
    afters = [
        max(0, (output - 1) * axis.stride + axis.reach - axis.before - size)
        for axis, size, output in zip(axes, to.shape[1:], layer.output_shape(to.shape)[1:], strict=True)
    ]
    return {"kernel_shape": kernels, "strides": strides, "pads": befores + afters}


def _dilations(layer: Any) -> list[int]:
    return [axis.dilation for axis in layer.geometry[-layer.axes :]]


def _max_pool(to: Writer, layer: Any, xs: list[str]) -> str:
    return to.node("MaxPool", *xs, **_windows(to, layer), dilations=_dilations(layer))


def _avg_pool(to: Writer, layer: Any, xs: list[str]) -> str:
    window, axes = _windows(to, layer), layer.geometry[-layer.axes :]
    beyond = any(after > axis.after for after, axis in zip(window["pads"][layer.axes :], axes, strict=True))
    if max(_dilations(layer)) == 1 and not (layer.count_include_pad and beyond):
        return to.node("AveragePool", *xs, **window, count_include_pad=int(layer.count_include_pad))
    counts = np.ones(())
    for axis, size, output in zip(axes, to.shape[1:], layer.output_shape(to.shape)[1:], strict=True):
        counts = np.multiply.outer(counts, np.maximum(1, axis.counts(size, output, layer.count_include_pad)))
    return to.node("Div", _window_sums(to, layer, xs[0]), to.constant("counts", counts))


def _lp_pool(to: Writer, layer: Any, xs: list[str]) -> str:
    if isinstance(layer.norm_type, int) and max(_dilations(layer)) == 1:
        return to.node("LpPool", *xs, **_windows(to, layer), p=layer.norm_type)
    powers = to.node("Pow", to.node("Abs", *xs), to.constant("norm_type", layer.norm_type))
    return to.node("Pow", _window_sums(to, layer, powers), to.constant("root", 1 / layer.norm_type))


def _window_sums(to: Writer, layer: Any, x: str) -> str:
    """What this version of ONNX has no pool for: the sum of every window, as a convolution with ones."""
    channels, window = to.shape[0], _windows(to, layer)
    ones = to.constant("ones", np.ones((channels, 1, *window["kernel_shape"])))
    return to.node("Conv", x, ones, **window, dilations=_dilations(layer), group=channels)


def _pad(to: Writer, layer: Any, xs: list[str]) -> str:
    pairs = [(0, 0)] * (1 + len(to.shape) - len(layer.pairs)) + list(layer.pairs)
    sizes = (1, *to.shape)
    known = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}.get(layer.mode)
    # What this version of ONNX does not know, or leaves open, is a list of places to read.
    plain = all(0 <= end < size for size, ends in zip(sizes, pairs, strict=True) for end in ends)
    if layer.mode == "constant" or (known and plain):
        pads = to.constant("pads", [*(before for before, _ in pairs), *(after for _, after in pairs)], integers=True)
        return to.node("Pad", *xs, pads, to.constant("value", layer.filling), mode=known)
    x = xs[0]
    for axis, (size, (before, after)) in enumerate(zip(sizes, pairs, strict=True)):
        if before or after:
            places = to.constant(f"places_{axis}", read_places(size, before, after, layer.mode), integers=True)
            x = to.node("Gather", x, places, axis=axis)
    return x


def _resize(to: Writer, layer: Any, xs: list[str]) -> str:
    axes = layer.resized(to.shape)
    plain = layer.size is None and layer.roi is None and not (layer.rule.antialias or layer.rule.exclude_outside)
    exact = all(np.float32(axis.scale) == axis.scale and axis.output == axis.scale * axis.size for axis in axes)
    if plain and exact and layer.rule.coordinates in ("half_pixel", "pytorch_half_pixel", "asymmetric"):
        scales = np.array([1.0] * (1 + len(to.shape) - len(axes)) + [axis.scale for axis in axes], np.float32)
        how = {"mode": layer.rule.mode, "coordinate_transformation_mode": layer.rule.coordinates}
        return to.node("Resize", *xs, "", to.constant("scales", scales), nearest_mode=layer.rule.nearest_mode, **how)
    # What this version of ONNX does not know, or would round in its own way: one axis after the other, as a matrix.
    x, last = xs[0], len(to.shape)
    for number, axis in enumerate(axes, 1 + last - len(axes)):
        rows, _, outside = taps(axis, layer.rule)
        matrix = np.zeros((axis.size, axis.output))
        np.add.at(matrix, (rows.places, np.arange(axis.output)), rows.weights)
        order = [i for i in range(last + 1) if i != number]
        back = [*range(number), last, *range(number, last)]
        product = to.node(
            "MatMul", to.node("Transpose", x, perm=[*order, number]), to.constant(f"matrix_{number}", matrix)
        )
        if outside.any():
            inside = np.where(outside, 0, 1), np.where(outside, layer.extrapolation_value, 0)
            product = to.node("Mul", product, to.constant(f"inside_{number}", inside[0]))
            product = to.node("Add", product, to.constant(f"outside_{number}", inside[1]))
        x = to.node("Transpose", product, perm=back)
    return x


def _depth_to_space(to: Writer, layer: Any, xs: list[str]) -> str:
    return to.node("DepthToSpace", *xs, blocksize=layer.block, mode=layer.order)


def _space_to_depth(to: Writer, layer: Any, xs: list[str]) -> str:
    if layer.order == "DCR":
        return to.node("SpaceToDepth", *xs, blocksize=layer.block)
    channels, height, width = to.shape
    split = [0, channels, height // layer.block, layer.block, width // layer.block, layer.block]
    blocks = to.node("Reshape", *xs, to.constant("blocks", split, integers=True))
    moved = to.node("Transpose", blocks, perm=[0, 1, 3, 5, 2, 4])
    return to.node("Reshape", moved, to.constant("shape", [0, *layer.output_shape(to.shape)], integers=True))


def _adaptive(operator: str) -> Callable[[Writer, Any, list[str]], str]:
    def write(to: Writer, layer: Any, xs: list[str]) -> str:
        """Bins of unequal sizes: each range of rows is reduced, then each of columns."""
        x = xs[0]
        for axis, (size, bins) in enumerate(zip(to.shape[1:], layer._size, strict=True), 2):
            parts = []
            for i in range(bins):
                ends = {"starts": i * size // bins, "ends": -(-(i + 1) * size // bins), "axes": axis}
                cut = [to.constant(f"{key}_{axis}_{i}", [value], integers=True) for key, value in ends.items()]
                parts.append(to.node(operator, to.node("Slice", x, *cut), axes=[axis], keepdims=1))
            x = to.node("Concat", *parts, axis=axis)
        return x

    return write


def _batch_norm(to: Writer, layer: Any, xs: list[str]) -> str:
    if layer.test_statistics != "running":
        raise ConfigError(
            f"layer {to.layer!r} takes the statistics of each batch, which ONNX does not know at inference: "
            "model.eval(bn_stats='running') before the export"
        )
    ones, zeros = np.ones(layer.num_features), np.zeros(layer.num_features)
    constants = {
        "weight": layer.weight.data if layer.affine else ones,
        "bias": layer.bias.data if layer.affine else zeros,
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
    }
    named = [to.constant(name, value) for name, value in constants.items()]
    return to.node("BatchNormalization", *xs, *named, epsilon=layer.eps)


def _prelu(to: Writer, layer: Any, xs: list[str]) -> str:
    slope = layer.weight.data
    if slope.size > 1:
        slope = slope.reshape(-1, *(1 for _ in to.shape[1:]))
    return to.node("PRelu", *xs, to.constant("weight", slope))


def _affine(to: Writer, layer: Any, xs: list[str]) -> str:
    scaled = to.node("Mul", *xs, to.constant("scale", layer.scale))
    return to.node("Add", scaled, to.constant("offset", layer.offset))


def _standardize(to: Writer, layer: Any, xs: list[str]) -> str:
    mean, std = (to.constant(name, array) for name, array in layer.buffers().items())
    return to.node("Div", to.node("Sub", *xs, mean), std)


def _softplus(to: Writer, layer: Any, xs: list[str]) -> str:
    scaled = xs[0] if layer.beta == 1 else to.node("Mul", *xs, to.constant("beta", layer.beta))
    y = to.node("Softplus", scaled)
    if layer.beta != 1:
        y = to.node("Div", y, to.constant("beta", layer.beta))
    above = to.node("Greater", scaled, to.constant("threshold", layer.threshold))
    return to.node("Where", above, *xs, y)


def _hardtanh(to: Writer, layer: Any, xs: list[str]) -> str:
    bounds = (("min", layer.min_val), ("max", layer.max_val))
    return to.node("Clip", *xs, *("" if value is None else to.constant(name, value) for name, value in bounds))


def _gelu(to: Writer, layer: Any, xs: list[str]) -> str:
    """The operator Gelu came later, with opset 20."""
    one, half = to.constant("one", 1.0), to.constant("half", 0.5)
    if layer.approximate == "tanh":
        cube = to.node("Mul", *xs, to.node("Mul", *xs, *xs))
        line = to.node("Add", *xs, to.node("Mul", cube, to.constant("cubic", 0.044715)))
        bent = to.node("Tanh", to.node("Mul", line, to.constant("slope", math.sqrt(2 / math.pi))))
    else:
        bent = to.node("Erf", to.node("Mul", *xs, to.constant("slope", math.sqrt(0.5))))
    return to.node("Mul", to.node("Mul", *xs, half), to.node("Add", bent, one))


def _gated(*operators: str) -> Callable[[Writer, Any, list[str]], str]:
    def write(to: Writer, layer: Any, xs: list[str]) -> str:
        gate = xs[0]
        for operator in operators:
            gate = to.node(operator, gate)
        return to.node("Mul", *xs, gate)

    return write


def _ones_and_zeros(to: Writer, layer: Any, shape: Shape) -> tuple[str, str]:
    """The names of a normalisation's weight and bias, or of ones and zeros in their place."""
    weight = to.constant("weight", np.ones(shape) if layer.weight is None else layer.weight.data)
    return weight, to.constant("bias", np.zeros(shape) if layer.bias is None else layer.bias.data)


def _instance_norm(to: Writer, layer: Any, xs: list[str]) -> str:
    parameters = _ones_and_zeros(to, layer, (layer.num_features,))
    return to.node("InstanceNormalization", *xs, *parameters, epsilon=layer.eps)


def _layer_norm(to: Writer, layer: Any, xs: list[str]) -> str:
    parameters = _ones_and_zeros(to, layer, layer.normalized_shape)
    axis = -len(layer.normalized_shape)
    return to.node("LayerNormalization", *xs, *parameters, axis=axis, epsilon=layer.eps)


def _group_norm(to: Writer, layer: Any, xs: list[str]) -> str:
    """The operator came later, with opset 18: groups as channels of an instance normalisation."""
    groups = (layer.num_groups,)
    one, zero = to.constant("one", np.ones(groups)), to.constant("zero", np.zeros(groups))
    grouped = to.node("Reshape", *xs, to.constant("groups", [0, layer.num_groups, -1], integers=True))
    normal = to.node("InstanceNormalization", grouped, one, zero, epsilon=layer.eps)
    y = to.node("Reshape", normal, to.constant("shape", [0, *to.shape], integers=True))
    if layer.weight is None:
        return y
    each = layer.num_channels, *(1 for _ in to.shape[1:])
    weight, bias = (to.constant(name, getattr(layer, name).data.reshape(each)) for name in ("weight", "bias"))
    return to.node("Add", to.node("Mul", y, weight), bias)


def _local_response(to: Writer, layer: Any, xs: list[str]) -> str:
    """ONNX's window of an even size lies one channel further on than ours: then an average of squares is written."""
    if layer.size % 2 and len(to.shape) == 3:
        return to.node("LRN", *xs, size=layer.size, alpha=layer.alpha, beta=layer.beta, bias=layer.k)
    squares = to.node("Mul", *xs, *xs)
    rows = to.node("Reshape", squares, to.constant("rows", [0, 1, to.shape[0], -1], integers=True))
    pads = [layer.size // 2, 0, (layer.size - 1) // 2, 0]
    means = to.node("AveragePool", rows, kernel_shape=[layer.size, 1], pads=pads, count_include_pad=1)
    shaped = to.node("Reshape", means, to.constant("shape", [0, *to.shape], integers=True))
    scaled = to.node("Mul", shaped, to.constant("alpha", layer.alpha))
    d = to.node("Add", scaled, to.constant("k", layer.k))
    return to.node("Div", *xs, to.node("Pow", d, to.constant("beta", layer.beta)))


def _argmax(to: Writer, layer: Any, xs: list[str]) -> str:
    settings = {"axis": layer.axis, "keepdims": int(layer.keepdims), "select_last_index": int(layer.last)}
    return to.node("Cast", to.node("ArgMax", *xs, **settings), to=to.kind)


def _reduce(operator: str) -> Callable[[Writer, Any, list[str]], str]:
    return lambda to, layer, xs: to.node(operator, *xs, axes=list(layer.axis), keepdims=int(layer.keepdims))


def _cast(to: Writer, layer: Any, xs: list[str]) -> str:
    from onnx import helper

    return to.node("Cast", to.node("Cast", *xs, to=helper.np_dtype_to_tensor_dtype(np.dtype(layer.to))), to=to.kind)


def _expand(to: Writer, layer: Any, xs: list[str]) -> str:
    aligned = [0, *(1 for _ in layer.shape[len(to.shape) :]), *to.shape]
    x = to.node("Reshape", *xs, to.constant("aligned", aligned, integers=True))
    return to.node("Expand", x, to.constant("shape", [1, *layer.shape], integers=True))


def _reshape(to: Writer, layer: Any, xs: list[str]) -> str:
    return to.node("Reshape", *xs, to.constant("shape", [0, *layer.output_shape(to.shape)], integers=True))


def _slice(to: Writer, layer: Any, xs: list[str]) -> str:
    cuts = [one.indices(size) for one, size in zip(layer.slices, to.shape, strict=False)]
    # Of a backward range that takes the first element, too, the end lies before it: -1 would be the last.
    ends = [stop if stop >= 0 else -size - 1 for (_, stop, _), size in zip(cuts, to.shape, strict=False)]
    given = {
        "starts": [start for start, _, _ in cuts],
        "ends": ends,
        "axes": list(range(1, len(cuts) + 1)),
        "steps": [step for _, _, step in cuts],
    }
    return to.node("Slice", *xs, *(to.constant(name, value, integers=True) for name, value in given.items()))


def _take(to: Writer, layer: Any, xs: list[str]) -> str:
    return to.node("Gather", *xs, to.constant("indices", layer.indices, integers=True), axis=layer.axis)


def _with_constant(operator: str, name: str) -> Callable[[Writer, Any, list[str]], str]:
    """Of a parameter or a setting of that name."""

    def write(to: Writer, layer: Any, xs: list[str]) -> str:
        value = getattr(layer, name)
        return to.node(operator, *xs, to.constant(name, getattr(value, "data", value)))

    return write


def _chain(operator: str) -> Callable[[Writer, Any, list[str]], str]:
    return lambda to, layer, xs: to.chain(operator, xs)


def _plain(operator: str, **attributes: Any) -> Callable[[Writer, Any, list[str]], str]:
    return lambda to, layer, xs: to.node(operator, *xs, **attributes)


#: How each class of layers is written: (writer, layer, names of the inputs) -> name of the output.
WRITERS: dict[type[Layer], Callable[[Writer, Any, list[str]], str]] = {
    layers.AdaptiveAvgPool2d: _adaptive("ReduceMean"),
    layers.AdaptiveMaxPool2d: _adaptive("ReduceMax"),
    layers.Add: _chain("Add"),
    layers.Affine: _affine,
    layers.ArgMax: _argmax,
    layers.AvgPool1d: _avg_pool,
    layers.AvgPool2d: _avg_pool,
    layers.BatchNorm1d: _batch_norm,
    layers.BatchNorm2d: _batch_norm,
    layers.Bias: _with_constant("Add", "bias"),
    layers.Cast: _cast,
    layers.Concat: lambda to, layer, xs: to.node("Concat", *xs, axis=layer.axis),
    layers.Conv1d: _conv,
    layers.Conv2d: _conv,
    layers.ConvTranspose1d: _conv_transpose,
    layers.ConvTranspose2d: _conv_transpose,
    layers.DepthToSpace: _depth_to_space,
    layers.Divide: _chain("Div"),
    layers.Dropout: lambda to, layer, xs: xs[0],
    layers.ELU: lambda to, layer, xs: to.node("Elu", *xs, alpha=layer.alpha),
    layers.Expand: _expand,
    layers.Flatten: _plain("Flatten", axis=1),
    layers.GELU: _gelu,
    layers.GlobalAvgPool2d: lambda to, layer, xs: to.node("Flatten", to.node("GlobalAveragePool", *xs), axis=1),
    layers.GlobalMaxPool2d: lambda to, layer, xs: to.node("Flatten", to.node("GlobalMaxPool", *xs), axis=1),
    layers.GroupNorm: _group_norm,
    layers.Hardsigmoid: lambda to, layer, xs: to.node("HardSigmoid", *xs, alpha=layer.alpha, beta=layer.beta),
    layers.Hardswish: _plain("HardSwish"),
    layers.Hardtanh: _hardtanh,
    layers.InstanceNorm1d: _instance_norm,
    layers.InstanceNorm2d: _instance_norm,
    layers.LPPool1d: _lp_pool,
    layers.LPPool2d: _lp_pool,
    layers.LayerNorm: _layer_norm,
    layers.LeakyReLU: lambda to, layer, xs: to.node("LeakyRelu", *xs, alpha=layer.negative_slope),
    layers.Linear: _linear,
    layers.LocalResponseNorm: _local_response,
    layers.LogSoftmax: lambda to, layer, xs: to.node("LogSoftmax", *xs, axis=layer.dim),
    layers.MatMul: _plain("MatMul"),
    layers.Max: _reduce("ReduceMax"),
    layers.MaxPool1d: _max_pool,
    layers.MaxPool2d: _max_pool,
    layers.Mean: _reduce("ReduceMean"),
    layers.Mish: _gated("Softplus", "Tanh"),
    layers.Multiply: _chain("Mul"),
    layers.PReLU: _prelu,
    layers.Pad: _pad,
    layers.Permute: lambda to, layer, xs: to.node("Transpose", *xs, perm=[0, *layer.dims]),
    layers.PixelShuffle: _depth_to_space,
    layers.PixelUnshuffle: _space_to_depth,
    layers.Power: _with_constant("Pow", "exponent"),
    layers.ReLU: _plain("Relu"),
    layers.Reciprocal: lambda to, layer, xs: to.node("Div", to.constant("numerator", layer.numerator), *xs),
    layers.Reshape: _reshape,
    layers.Resize: _resize,
    layers.SELU: lambda to, layer, xs: to.node("Selu", *xs, alpha=layer.alpha, gamma=layer.gamma),
    layers.Scale: _with_constant("Mul", "weight"),
    layers.SiLU: _gated("Sigmoid"),
    layers.Sigmoid: _plain("Sigmoid"),
    layers.Slice: _slice,
    layers.Softmax: lambda to, layer, xs: to.node("Softmax", *xs, axis=layer.dim),
    layers.Softplus: _softplus,
    layers.Softsign: _plain("Softsign"),
    layers.SpaceToDepth: _space_to_depth,
    layers.Standardize: _standardize,
    layers.Subtract: _chain("Sub"),
    layers.Take: _take,
    layers.Tanh: _plain("Tanh"),
}
