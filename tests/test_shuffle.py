"""Channels as blocks of pixels: the definition, PyTorch, ONNX's node tests, and each the other's inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import normal, onnx_node_cases, poisoned

from cnnlib import functional, reference
from cnnlib.layers import Conv2d, DepthToSpace, PixelShuffle, PixelUnshuffle, SpaceToDepth
from cnnlib.model import Sequential


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_the_definition(block: int, mode: str, rng: np.random.Generator, dtype: type) -> None:
    x = normal(rng, 2, 5 * block**2, 4, 3, dtype=dtype)
    y = functional.depth_to_space(x, block, mode, out=poisoned((2, 5, 4 * block, 3 * block), dtype))
    np.testing.assert_array_equal(y, reference.depth_to_space(x, block, mode))
    for n, c, h, w in np.ndindex(*y.shape):
        p, q = h % block, w % block
        k = (p * block + q) * 5 + c if mode == "DCR" else (c * block + p) * block + q
        assert y[n, c, h, w] == x[n, k, h // block, w // block]
    for module in (functional, reference):
        np.testing.assert_array_equal(module.space_to_depth(y, block, mode, out=poisoned(x.shape, dtype)), x)


def test_pytorchs_numbers(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    for layer, shape in ((PixelShuffle(3), (18, 2, 5)), (PixelUnshuffle(3), (2, 6, 15))):
        x = normal(rng, 2, *shape)
        given = torch.from_numpy(x.copy()).requires_grad_()
        wanted = getattr(torch.nn, type(layer).__name__)(3)(given)
        y = layer.forward(x, training=True)
        np.testing.assert_array_equal(y, wanted.detach().numpy())
        dy = normal(rng, *y.shape)
        wanted.backward(torch.from_numpy(dy))
        np.testing.assert_array_equal(layer.backward(dy), given.grad.numpy())


def test_onnxs_node_tests() -> None:
    pytest.importorskip("onnx")
    done = set()
    for case in onnx_node_cases("DepthToSpace", "SpaceToDepth"):
        node = case.model.graph.node[0]
        given = {a.name: a.s.decode() if a.s else a.i for a in node.attribute}
        layer: Any = {"DepthToSpace": DepthToSpace, "SpaceToDepth": SpaceToDepth}[node.op_type]
        for inputs, outputs in case.data_sets:
            y = layer(given["blocksize"], given.get("mode", "DCR")).forward(inputs[0])
            np.testing.assert_array_equal(y, outputs[0])
        done.add(case.name)
    assert {"test_depthtospace_example", "test_depthtospace_crd_mode_example", "test_spacetodepth_example"} <= done


def test_what_a_summary_says() -> None:
    model = Sequential(PixelUnshuffle(2), Conv2d(4, 8, 3), PixelShuffle(2), input_shape=(1, 8, 8))
    rows = [line for line in model.summary().splitlines() if "huffle" in line or "Conv" in line]
    assert [cell in row for row, cell in zip(rows, ("2 × 2", "6 × 6", "–"), strict=True)] == [True] * 3
