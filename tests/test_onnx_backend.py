"""ONNX's own tests of backends: every node test of an operator that cnnlib reads, and the light nets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402
from onnx.backend.test.runner import Runner  # noqa: E402

from cnnlib.errors import UnsupportedError  # noqa: E402
from cnnlib.onnx import load, supported_operators  # noqa: E402
from cnnlib.onnx.backend import CnnlibBackend, prepare, run_node, supports_device  # noqa: E402

FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}
#: What a node test may have besides floats: shapes and places, masks.
OTHERS = {TensorProto.INT64, TensorProto.BOOL}

#: Tests of operators that cnnlib reads, of what it does not have of them.
LEFT_OUT = {
    "three dimensions": r"pool_3d|convtranspose_3d|Conv3d|Pool3d",
    "dropout that drops, with NumPy's old random numbers": r"training_dropout(_default)?(_mask)?$",
    "cubic interpolation": r"cubic",
    "an exponent for each element": r"_pow(_example|_bcast_array|_types\w*)?$",
    "a maximum of booleans": r"reduce_max.*bool",
}


def claimed() -> dict[str, Any]:
    """Return the tests of all kinds whose operators and types cnnlib has."""
    tests = {}
    for kind in ("node", "simple", "pytorch-converted", "pytorch-operator"):
        for test in load_model_tests(kind=kind):
            model = test.model or onnx.load(str(Path(test.model_dir) / "model.onnx"))
            infos = [*model.graph.input, *model.graph.output]
            kinds = {info.type.tensor_type.elem_type for info in infos if info.type.HasField("tensor_type")}
            tensors = all(info.type.HasField("tensor_type") for info in infos)
            operators = {node.op_type for node in model.graph.node}
            if tensors and operators <= set(supported_operators()) and kinds <= FLOATS | OTHERS:
                tests[test.name] = test
    return tests


TESTS = claimed()
RUN = {name: test for name, test in TESTS.items() if not any(re.search(left, name) for left in LEFT_OUT.values())}


def test_most_tests_are_run() -> None:
    assert len(RUN) > 490
    assert all(any(re.search(pattern, name) for name in TESTS) for pattern in LEFT_OUT.values())
    ran = {node.op_type for test in RUN.values() if test.model for node in test.model.graph.node}
    # Upsample and GlobalLpPool have no tests any more.
    assert set(supported_operators()) - ran <= {"Upsample", "GlobalLpPool"}


CASES = {
    name: getattr(case, name)
    for case in Runner(CnnlibBackend).test_cases.values()
    for name in dir(case)
    if name.startswith("test_")
}


@pytest.mark.parametrize("name", RUN)
@pytest.mark.filterwarnings("ignore")
def test_standard(name: str) -> None:
    CASES[f"{name}_cpu"](None)


def with_random_weights(proto: Any, rng: np.random.Generator) -> Any:
    """The light nets have all weights equal, as ConstantOfShape: give each numbers of its own."""
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    nodes = []
    for node in proto.graph.node:
        if node.op_type != "ConstantOfShape":
            nodes.append(node)
            continue
        shape = tuple(stored[node.input[0]])
        weights = rng.normal(size=shape) * (2 / max(np.prod(shape[1:]), 1)) ** 0.5 if len(shape) > 1 else None
        if weights is None:
            weights = rng.uniform(0.5, 1.5, shape)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weights.astype(np.float32), node.output[0]))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.ir_version = 8
    return proto


def light(name: str) -> Path:
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"


NETS = [
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
]


@pytest.mark.parametrize("name", NETS)
def test_light_nets_are_what_onnx_runtime_makes_of_them(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    proto = with_random_weights(onnx.load(str(light(name))), rng)
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    stored = {tensor.name for tensor in proto.graph.initializer}
    (given,) = [info.name for info in proto.graph.input if info.name not in stored]
    del proto
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = rng.normal(size=(1, 3, 224, 224)).astype(np.float32)
    (expected,) = session.run(None, {given: x})
    del session
    model = load(path)
    y = model.predict(x)
    assert y.shape == expected.shape
    assert y.size == 1000
    assert np.abs(y - expected).max() <= 2e-5 * np.abs(expected).max()
    # The file says one image; a model takes any number.
    two = model.predict(np.concatenate([x, x]))
    assert np.abs(two - y).max() <= 2e-5 * np.abs(y).max()


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_light_nets_as_they_are(name: str) -> None:
    proto = onnx.load(str(light(name)))
    (expected,) = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {_data(proto): np.ones((1, 3, 224, 224), np.float32)}
    )
    (y,) = prepare(proto).run([np.ones((1, 3, 224, 224), np.float32)])
    assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()


def _data(proto: Any) -> str:
    stored = {tensor.name for tensor in proto.graph.initializer}
    return next(info.name for info in proto.graph.input if info.name not in stored)


def test_the_interface_of_backends() -> None:
    assert supports_device("CPU")
    assert not supports_device("CUDA")
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    (y,) = run_node(node, [np.array([[-1.0, 2.0]], np.float32)])
    assert y.tolist() == [[0.0, 2.0]]
    strange = onnx.helper.make_model(
        onnx.helper.make_graph([onnx.helper.make_node("Erf", ["x"], ["y"])], "g", [_info("x")], [_info("y")])
    )
    assert not CnnlibBackend.is_compatible(strange)
    with pytest.raises(UnsupportedError, match=r"Erf \(1×, first 'y' \(Erf\)\)"):
        prepare(strange)


def _info(name: str) -> Any:
    return onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3])
