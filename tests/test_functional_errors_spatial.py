"""Impossible settings and shapes of transposed convolutions, pools, padding and resizing."""

from __future__ import annotations

import numpy as np
import pytest

from cnnlib.errors import ConfigError, ShapeError
from tests.calls import call, good, some
from tests.test_functional_errors import assert_refused

SPECIFIC = [
    ("max_pool2d", {"kernel_size": 7}, ShapeError, ["height 6", "7"]),
    ("max_pool2d", {"kernel_size": 0}, ConfigError, ["kernel_size"]),
    ("max_pool2d", {"padding": 2}, ConfigError, ["padding", "half"]),
    ("max_pool2d", {"padding": "same"}, ConfigError, ["padding", "same"]),
    (
        "max_pool2d_backward",
        {"grad_output": some(2, 3, 3, 3)},
        ShapeError,
        ["grad_output", "(2, 3, 3, 3)", "(2, 3, 3, 2)"],
    ),
    ("avg_pool2d", {"stride": 0}, ConfigError, ["stride"]),
    ("avg_pool2d", {"padding": (0, 2)}, ConfigError, ["padding", "half"]),
    ("avg_pool2d_backward", {"x": (2, 3, 6)}, ShapeError, ["(2, 3, 6)"]),
    ("avg_pool2d_backward", {"x": (2, 3, 6, 9)}, ShapeError, ["grad_output", "(2, 3, 3, 2)", "(2, 3, 3, 4)"]),
    ("conv_transpose2d", {"x": some(2, 3, 3, 5)}, ShapeError, ["(2, 3, 3, 5)", "(4, 3, 3, 3)", "weight.shape[0]"]),
    ("conv_transpose2d", {"groups": 3}, ShapeError, ["groups=3", "(4, 3, 3, 3)"]),
    ("conv_transpose2d", {"bias": some(3)}, ShapeError, ["bias", "(3,)", "(6,)"]),
    ("conv_transpose2d", {"output_padding": 2}, ConfigError, ["output_padding = 2", "stride"]),
    ("conv_transpose2d", {"padding": 4}, ShapeError, ["height 3", "padding 4"]),
    ("conv_transpose2d", {"padding": "same"}, ConfigError, ["padding", "same"]),
    ("conv_transpose2d", {"stride": 2**29}, ShapeError, ["large"]),
    ("conv_transpose2d_backward", {"grad_output": some(2, 6, 5, 6)}, ShapeError, ["(2, 6, 5, 6)", "(2, 6, 5, 7)"]),
    ("max_pool2d", {"padding": (0, 0, 2, 0)}, ConfigError, ["padding", "smaller", "kernel_size = 2"]),
    ("max_pool2d", {"padding": (0, 1, 1)}, ConfigError, ["padding", "(0, 1, 1)"]),
    ("max_pool2d", {"padding": (0, 0, -1, 0)}, ConfigError, ["padding = -1"]),
    ("max_pool2d", {"ceil_mode": 1}, ConfigError, ["ceil_mode = 1"]),
    ("max_pool2d", {"dilation": 0}, ConfigError, ["dilation = 0"]),
    ("max_pool2d", {"dilation": 6}, ShapeError, ["height 6", "dilation 6", "7"]),
    ("max_pool2d", {"kernel_size": 9, "stride": 1, "ceil_mode": True}, ShapeError, ["height 6", "9"]),
    ("lp_pool2d", {"norm_type": 0.5}, ConfigError, ["norm_type = 0.5"]),
    ("lp_pool2d", {"norm_type": np.inf}, ConfigError, ["norm_type = inf"]),
    ("lp_pool2d_backward", {"y": some(2, 3, 3, 3)}, ShapeError, ["y", "(2, 3, 3, 3)", "(2, 3, 3, 2)"]),
    ("pad", {"padding": 1}, ConfigError, ["padding = 1", "pair"]),
    ("pad", {"padding": (1, 2)}, ConfigError, ["padding = (1, 2)", "pair"]),
    ("pad", {"padding": ()}, ConfigError, ["padding = ()"]),
    ("pad", {"padding": ((1, 0.5),)}, ConfigError, ["padding = 0.5"]),
    ("pad", {"padding": ((0, 0),) * 4}, ShapeError, ["(2, 3, 4)", "3 axes", "4"]),
    ("pad", {"padding": ((-2, -2),)}, ShapeError, ["(2, 3, 4)", "leaves nothing"]),
    ("pad", {"padding": ((2**29, 2**29),) * 2}, ShapeError, ["large"]),
    ("pad", {"mode": "wrap"}, ConfigError, ["mode = 'wrap'", "circular"]),
    ("pad", {"value": "0"}, ConfigError, ["value = '0'"]),
    ("pad_backward", {"x": (2, 3, 3)}, ShapeError, ["grad_output", "(2, 4, 7)", "(2, 4, 6)"]),
    ("resize", {"size": None}, ConfigError, ["size and scale_factor are None"]),
    ("resize", {"size": 0}, ConfigError, ["size = 0"]),
    ("resize", {"size": (7, 3, 2, 2, 2)}, ShapeError, ["(2, 3, 4, 5)", "5"]),
    ("resize", {"size": 2**40}, ConfigError, ["size"]),
    ("resize", {"size": 2**30}, ShapeError, ["large"]),
    ("resize", {"size": ()}, ConfigError, ["size = ()"]),
    ("resize", {"scale_factor": (2, 2, 2)}, ConfigError, ["size = (7, 3)", "(2, 2, 2)", "as many"]),
    ("resize", {"size": None, "scale_factor": 0}, ConfigError, ["scale_factor = 0"]),
    ("resize", {"size": None, "scale_factor": 0.1}, ShapeError, ["(2, 3, 4, 5)", "4 would become 0"]),
    ("resize", {"mode": "cubic"}, ConfigError, ["mode = 'cubic'", "linear"]),
    ("resize", {"coordinate_transformation_mode": "whole"}, ConfigError, ["'whole'", "half_pixel"]),
    ("resize", {"nearest_mode": "round"}, ConfigError, ["'round'", "floor"]),
    ("resize", {"mode": "nearest", "antialias": True}, ConfigError, ["antialias"]),
    ("resize", {"roi": (0, 1)}, ConfigError, ["roi", "pair"]),
    ("resize", {"roi": ((0, 1),)}, ConfigError, ["roi = ((0, 1),)", "as many"]),
    ("resize", {"extrapolation_value": None}, ConfigError, ["extrapolation_value"]),
    ("resize_backward", {"x": (2, 3, 4)}, ShapeError, ["grad_output", "(2, 3, 7, 3)", "(2, 7, 3)"]),
    ("depth_to_space", {"block_size": 3}, ShapeError, ["(2, 8, 2, 3)", "8 channels", "3 × 3"]),
    ("depth_to_space", {"block_size": 0}, ConfigError, ["block_size = 0"]),
    ("depth_to_space", {"mode": "RCD"}, ConfigError, ["mode = 'RCD'", "CRD"]),
    ("space_to_depth", {"block_size": 4}, ShapeError, ["(2, 3, 4, 6)", "4 × 6", "4 × 4"]),
]


@pytest.mark.parametrize(
    ("name", "changes", "error", "words"), SPECIFIC, ids=lambda value: value if isinstance(value, str) else ""
)
def test_refused(name, changes, error, words) -> None:
    assert_refused(error, words, lambda: call(name, {**good(name), **changes}))
