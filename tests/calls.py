"""A good call of every array function, for the tests of what happens to bad ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnlib import functional
from cnnlib.selftest.kernels import CURVES

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(3)


def some(*shape: int, dtype: type = np.float32) -> Array:
    return RNG.normal(size=shape).astype(dtype)


# A good call of every function: its float arrays by name, then its settings.
GOOD: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, Any]]] = {
    "conv2d": ({"x": (2, 4, 6, 5), "weight": (6, 2, 3, 3), "bias": (6,)}, {"padding": 1, "groups": 2}),
    "conv2d_backward": ({"grad_output": (2, 6, 4, 3), "x": (2, 4, 6, 5), "weight": (6, 4, 3, 3)}, {}),
    "conv_transpose2d": ({"x": (2, 4, 3, 5), "weight": (4, 3, 3, 3), "bias": (6,)}, {"stride": 2, "groups": 2}),
    "conv_transpose2d_backward": ({"grad_output": (2, 6, 5, 7), "x": (2, 4, 3, 5), "weight": (4, 6, 3, 3)}, {}),
    "max_pool2d": ({"x": (2, 3, 6, 5)}, {"kernel_size": 2}),
    "max_pool2d_backward": ({"grad_output": (2, 3, 3, 2), "x": (2, 3, 6, 5)}, {"kernel_size": 2}),
    "avg_pool2d": ({"x": (2, 3, 6, 5)}, {"kernel_size": 2}),
    "avg_pool2d_backward": ({"grad_output": (2, 3, 3, 2)}, {"x": (2, 3, 6, 5), "kernel_size": 2}),
    "lp_pool2d": ({"x": (2, 3, 6, 5)}, {"norm_type": 3, "kernel_size": 2}),
    "lp_pool2d_backward": (
        {"grad_output": (2, 3, 3, 2), "x": (2, 3, 6, 5), "y": (2, 3, 3, 2)},
        {"norm_type": 3, "kernel_size": 2},
    ),
    "pad": ({"x": (2, 3, 4)}, {"padding": ((1, 0), (2, 1)), "mode": "reflect"}),
    "pad_backward": ({"grad_output": (2, 4, 7)}, {"x": (2, 3, 4), "padding": ((1, 0), (2, 1)), "mode": "reflect"}),
    "resize": ({"x": (2, 3, 4, 5)}, {"size": (7, 3), "mode": "linear"}),
    "resize_backward": ({"grad_output": (2, 3, 7, 3)}, {"x": (2, 3, 4, 5), "size": (7, 3), "mode": "linear"}),
    "depth_to_space": ({"x": (2, 8, 2, 3)}, {"block_size": 2}),
    "space_to_depth": ({"x": (2, 3, 4, 6)}, {"block_size": 2, "mode": "CRD"}),
    "linear": ({"x": (4, 5), "weight": (3, 5), "bias": (3,)}, {}),
    "linear_backward": ({"grad_output": (4, 3), "x": (4, 5), "weight": (3, 5)}, {}),
    **{name: ({"a": (4, 5), "b": (4, 5)}, {}) for name in ("add", "subtract", "multiply", "divide")},
    "divide_backward": ({"grad_output": (4, 5), "b": (4, 5), "y": (4, 5)}, {}),
    "affine": ({"x": (4, 5)}, {"scale": 3, "offset": 1}),
    "reciprocal": ({"x": (4, 5)}, {"numerator": 3}),
    "relu": ({"x": (4, 5)}, {}),
    "relu_backward": ({"grad_output": (4, 5), "x": (4, 5)}, {}),
    "sigmoid": ({"x": (4, 5)}, {}),
    "sigmoid_backward": ({"grad_output": (4, 5), "y": (4, 5)}, {}),
    "tanh": ({"x": (4, 5)}, {}),
    "tanh_backward": ({"grad_output": (4, 5), "y": (4, 5)}, {}),
    "leaky_relu": ({"x": (4, 5)}, {}),
    "leaky_relu_backward": ({"grad_output": (4, 5), "x": (4, 5)}, {}),
    **{name: ({"x": (4, 5)}, {}) for name in CURVES},
    **{f"{name}_backward": ({"grad_output": (4, 5), "x": (4, 5)}, {}) for name in CURVES},
    "prelu": ({"x": (4, 3, 2, 2), "weight": (3,)}, {}),
    "prelu_backward": ({"grad_output": (4, 3, 2, 2), "x": (4, 3, 2, 2), "weight": (3,)}, {}),
    "batch_moments": ({"x": (4, 3, 2, 2)}, {}),
    "batch_norm": ({"x": (4, 3, 2, 2), "mean": (3,), "var": (3,), "weight": (3,), "bias": (3,)}, {}),
    "batch_norm_backward": (
        {"grad_output": (4, 3, 2, 2), "x": (4, 3, 2, 2), "mean": (3,), "var": (3,), "weight": (3,)},
        {},
    ),
    "group_norm": ({"x": (4, 6, 2, 2), "weight": (6,), "bias": (6,)}, {"num_groups": 3}),
    "group_norm_backward": (
        {"grad_output": (4, 6, 2, 2), "x": (4, 6, 2, 2), "weight": (6,)},
        {"num_groups": 3},
    ),
    "layer_norm": ({"x": (4, 3, 5), "weight": (3, 5), "bias": (3, 5)}, {"normalized_shape": (3, 5)}),
    "layer_norm_backward": (
        {"grad_output": (4, 3, 5), "x": (4, 3, 5), "weight": (3, 5)},
        {"normalized_shape": (3, 5)},
    ),
    "local_response_norm": ({"x": (4, 5, 2)}, {"size": 3}),
    "local_response_norm_backward": ({"grad_output": (4, 5, 2), "x": (4, 5, 2)}, {"size": 3}),
    **{name: ({"x": (4, 5)}, {}) for name in ("softmax", "log_softmax")},
    **{f"{name}_backward": ({"grad_output": (4, 5), "y": (4, 5)}, {}) for name in ("softmax", "log_softmax")},
    "cross_entropy": ({"x": (4, 5), "target": (4, 5)}, {}),
    **{name: ({"x": (4, 5), "target": (4, 5)}, {}) for name in ("mse_loss", "l1_loss", "binary_cross_entropy")},
    "dropout": ({"x": (4, 5)}, {"p": 0.5, "seed": 3}),
    "sgd_step": ({"param": (3, 4), "grad": (3, 4), "velocity": (3, 4)}, {"lr": 0.1, "momentum": 0.9}),
    "adam_step": ({"param": (3, 4), "grad": (3, 4), "m": (3, 4), "v": (3, 4)}, {"step": 1, "lr": 0.1}),
    "rmsprop_step": (
        {"param": (3, 4), "grad": (3, 4), "v": (3, 4), "m": (3, 4), "velocity": (3, 4)},
        {"lr": 0.1, "momentum": 0.9, "eps": 0.1},
    ),
    "adagrad_step": ({"param": (3, 4), "grad": (3, 4), "total": (3, 4)}, {"step": 1, "lr": 0.1}),
    "lion_step": ({"param": (3, 4), "grad": (3, 4), "m": (3, 4)}, {"lr": 0.1}),
}
IN_PLACE = {"param", "velocity", "m", "v", "total"}  # arguments that are written


def good(name: str, dtype: type = np.float32) -> dict[str, Any]:
    arrays, settings = GOOD[name]
    return {**{key: abs(some(*shape, dtype=dtype)) for key, shape in arrays.items()}, **settings}


def call(name: str, arguments: dict[str, Any]) -> list[Array]:
    """Return all that a function computes, what it wrote in place included."""
    result = getattr(functional, name)(**arguments)
    results = result if isinstance(result, tuple) else (result,)
    written = [value for key, value in arguments.items() if key in IN_PLACE]
    return [np.asarray(value) for value in (*results, *written) if value is not None]
