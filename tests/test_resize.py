"""Resizing by every rule: ONNX's definition and node tests, PyTorch's numbers, gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, check_gradient, normal, onnx_node_cases, poisoned

from cnnlib import functional, reference
from cnnlib.errors import ConfigError, ShapeError
from cnnlib.interpolation import COORDINATES, NEAREST_MODES
from cnnlib.layers import Resize, Upsample

# The last axes' sizes, size, scale_factor
SIZES: list[tuple[tuple[int, ...], Any, Any]] = [
    ((4,), (9,), None),
    ((5, 3), (3, 7), None),
    ((5, 3), None, (2, 3)),
    ((7, 6), None, (0.6, 0.5)),
    ((3, 4), None, (1.7, 2.3)),
    ((9, 4), (1, 1), None),
    ((1, 5), (3, 5), None),
    ((4, 6), (5, 4), (1.3, 0.7)),
]


def settings() -> list[dict[str, Any]]:
    nearest = [{"mode": "nearest", "nearest_mode": rounding} for rounding in NEAREST_MODES]
    linear = [{"mode": "linear"}, {"mode": "linear", "antialias": True}, {"mode": "linear", "exclude_outside": True}]
    return [
        {**how, "coordinate_transformation_mode": coordinates}
        for how, coordinates in itertools.product([*nearest, *linear], COORDINATES)
    ]


def onnxs(x: Any, size: Any, scale: Any, how: dict[str, Any], roi: Any) -> Any:
    """What ONNX's reference computes for the last axes, axis by axis, with a size and a scale of its own."""
    from onnx.reference.ops import op_resize

    coefficients = {
        "nearest": lambda ratio, scale: op_resize._nearest_coeffs(ratio, how.get("nearest_mode", "round_prefer_floor")),
        "linear": op_resize._linear_coeffs_antialias if how.get("antialias") else op_resize._linear_coeffs,
    }[how["mode"]]
    kept = x.ndim - len(size)
    y = np.empty((*x.shape[:kept], *size))
    for place in np.ndindex(y.shape):
        y[place] = op_resize._interpolate_nd_with_x(
            x[place[:kept]],
            len(size),
            scale,
            size,
            np.array(place[kept:], np.float64),
            lambda ratio, scale: np.array(coefficients(ratio, scale), np.float64),
            roi=None if roi is None else np.array([*(start for start, _ in roi), *(end for _, end in roi)]),
            exclude_outside=how.get("exclude_outside", False),
            coordinate_transformation_mode=how["coordinate_transformation_mode"],
            extrapolation_value=7.5,
        )
    return y


@pytest.mark.parametrize("case", SIZES, ids=str)
@pytest.mark.parametrize("how", settings(), ids=lambda how: "-".join(map(str, how.values())))
def test_onnxs_definition(case: Any, how: dict[str, Any], rng: np.random.Generator) -> None:
    pytest.importorskip("onnx")
    old, size, scale = case
    cropped = how["coordinate_transformation_mode"] == "tf_crop_and_resize"
    roi = [(0.2, 0.9), (1.1, -0.1)][: len(old)] if cropped else None
    x = normal(rng, 2, *old)
    y = reference.resize(x, size, scale, **how, roi=roi, extrapolation_value=7.5)
    scales = scale or [new / before for new, before in zip(size, old, strict=True)]
    wanted = onnxs(x, y.shape[1:], scales, how, roi)
    np.testing.assert_allclose(y, wanted, rtol=1e-9, atol=1e-12)
    out = poisoned(y.shape, np.float64)
    assert functional.resize(x, size, scale, **how, roi=roi, extrapolation_value=7.5, out=out) is out
    np.testing.assert_allclose(out, y, rtol=1e-12, atol=1e-14)
    check_gradient(
        lambda: functional.resize(x, size, scale, **how, roi=roi, extrapolation_value=7.5),
        lambda g: functional.resize_backward(g, x.shape, size, scale, **how, roi=roi),
        x,
    )


def test_float32_and_the_definition(rng: np.random.Generator, dtype: type) -> None:
    x = normal(rng, 2, 3, 17, 5, dtype=dtype)
    for how in ({"size": (6, 33)}, {"scale_factor": 0.4}, {"size": (40, 2), "antialias": True}):
        y = functional.resize(x, mode="linear", **how)
        assert_close(y, reference.resize(x.astype(np.float64), mode="linear", **how), 9)
        grad = normal(rng, *y.shape, dtype=dtype)
        out = poisoned(x.shape, dtype)
        functional.resize_backward(grad, x, mode="linear", **how, out=out)
        assert_close(out, reference.resize_backward(grad.astype(np.float64), x, mode="linear", **how), 99)


PAIRS = [
    ({"scale_factor": 2}, (3, 4, 5)),
    ({"scale_factor": (2, 3)}, (3, 4, 5)),
    ({"size": (7, 3)}, (3, 4, 5)),
    ({"size": 9}, (3, 4)),
    ({"scale_factor": 0.5}, (3, 7, 8)),
    ({"size": (7, 3), "mode": "nearest-exact"}, (3, 4, 5)),
    ({"scale_factor": 2, "mode": "bilinear"}, (3, 4, 5)),
    ({"scale_factor": (1.7, 0.6), "mode": "bilinear"}, (3, 4, 5)),
    ({"scale_factor": (1.7, 2.6), "mode": "bilinear", "align_corners": True}, (3, 4, 5)),
    ({"size": (1, 9), "mode": "bilinear", "align_corners": True}, (3, 4, 5)),
    ({"size": (1, 9), "mode": "bilinear", "align_corners": False}, (3, 4, 5)),
    ({"scale_factor": 1.5, "mode": "linear"}, (3, 9)),
    ({"size": 4, "mode": "linear", "align_corners": True}, (3, 9)),
]


@pytest.mark.parametrize(("given", "shape"), PAIRS)
def test_pytorchs_numbers(given: dict[str, Any], shape: tuple[int, ...], rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    layer = Upsample(**given)
    x = normal(rng, 2, *shape)
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    wanted = torch.nn.Upsample(**given)(leaf)
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert y.shape[1:] == layer.output_shape(shape)
    dy = normal(rng, *y.shape)
    wanted.backward(torch.from_numpy(dy))
    np.testing.assert_allclose(layer.backward(dy), leaf.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_pytorchs_antialias(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = normal(rng, 2, 3, 16, 13)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(x), (5, 6), mode="bilinear", antialias=True)
    layer = Resize((5, 6), mode="linear", antialias=True, exclude_outside=True)
    np.testing.assert_allclose(layer.forward(x), wanted.numpy(), rtol=1e-10, atol=1e-12)


def test_onnxs_node_tests() -> None:
    """What Resize can express of a node's inputs and attributes; policies of aspect ratio make sizes and scales."""
    onnx = pytest.importorskip("onnx")
    done = set()
    for case in onnx_node_cases("Resize"):
        node = case.model.graph.node[0]
        if "cubic" in case.name:
            continue
        given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        for inputs, outputs in case.data_sets:
            by_name = dict(zip([name for name in node.input if name], inputs, strict=True))
            x = by_name["X"]
            axes = [axis % x.ndim for axis in given.get("axes", range(x.ndim))]
            sizes, scales, roi = list(x.shape), [1.0] * x.ndim, [(0.0, 1.0)] * x.ndim
            for i, axis in enumerate(axes):
                if "scales" in by_name:
                    scales[axis] = float(by_name["scales"][i])
                    sizes[axis] = int(x.shape[axis] * scales[axis])
                else:
                    sizes[axis] = int(by_name["sizes"][i])
                    scales[axis] = sizes[axis] / x.shape[axis]
                if "roi" in by_name:
                    roi[axis] = (float(by_name["roi"][i]), float(by_name["roi"][len(axes) + i]))
            policy = given.get("keep_aspect_ratio_policy", b"stretch").decode()
            if policy != "stretch":
                scale = (min if policy == "not_larger" else max)(scales[axis] for axis in axes)
                for axis in axes:
                    scales[axis], sizes[axis] = scale, int(scale * x.shape[axis] + 0.5)
            text = {name: value.decode() for name, value in given.items() if isinstance(value, bytes)}
            layer = Resize(
                tuple(sizes[1:]),
                tuple(scales[1:]),
                text.get("mode", "nearest"),
                text.get("coordinate_transformation_mode", "half_pixel"),
                text.get("nearest_mode", "round_prefer_floor"),
                bool(given.get("antialias", 0)),
                bool(given.get("exclude_outside", 0)),
                tuple(roi[1:]) if "roi" in by_name else None,
                given.get("extrapolation_value", 0.0),
            )
            np.testing.assert_allclose(layer.forward(x), outputs[0], rtol=1e-5, atol=1e-6, err_msg=case.name)
            done.add(case.name)
    assert len(done) >= 28
    assert {"test_resize_tf_crop_and_resize", "test_resize_downsample_scales_linear_antialias"} <= done


def test_settings_that_do_not_fit_are_refused() -> None:
    for make, word in (
        (lambda: Resize(), "size and scale_factor"),
        (lambda: Resize((2, 2), roi=((0, 1),)), "as many"),
        (lambda: Upsample(2, 2), "one of them"),
        (lambda: Upsample(2, mode="bicubic"), "bilinear"),
        (lambda: Upsample(2, align_corners=True), "align_corners"),
        (lambda: Upsample(scale_factor=-1), "scale_factor = -1"),
    ):
        with pytest.raises(ConfigError, match=word):
            make()
    for layer, shape in ((Upsample(2, mode="bilinear"), (3, 4)), (Upsample(2), (3,)), (Resize((2, 2, 2)), (3, 4))):
        with pytest.raises(ShapeError, match=type(layer).__name__):
            layer.output_shape(shape)


def test_what_it_says_of_itself() -> None:
    assert Upsample(scale_factor=2, mode="bilinear").describe() == "Upsample (× 2, linear)"
    assert Resize((3, 4)).describe() == "Resize (to (3, 4), nearest)"
    assert repr(Upsample(scale_factor=2)) == "Upsample(scale_factor=2)"
