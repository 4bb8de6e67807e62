"""Array functions: check, make contiguous, allocate the output, call the kernel.

The functions of :mod:`cnnlib.reference`, which defines them, in C: same signatures, same results up to rounding, and
the same bits for any number of threads. All arrays of a call are float32 or all are float64; what is not C-contiguous
is copied first. `out` receives the result where given: C-contiguous, writable, of the result's shape and dtype, and not
overlapping an input unless a function says so. Wrong dtypes raise DTypeError, wrong shapes ShapeError, impossible
settings ConfigError. A family of functions is a file, forward and backward side by side.
"""

from __future__ import annotations

from cnnlib.functional.activation import (
    leaky_relu,
    leaky_relu_backward,
    prelu,
    prelu_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    tanh,
    tanh_backward,
)
from cnnlib.functional.arithmetic import add, affine, divide, divide_backward, multiply, reciprocal, subtract
from cnnlib.functional.convolution import conv2d, conv2d_backward
from cnnlib.functional.curves import (
    elu,
    elu_backward,
    hardsigmoid,
    hardsigmoid_backward,
    hardtanh,
    hardtanh_backward,
    selu,
    selu_backward,
    softplus,
    softplus_backward,
    softsign,
    softsign_backward,
)
from cnnlib.functional.dense import linear, linear_backward
from cnnlib.functional.gates import (
    gelu,
    gelu_backward,
    hardswish,
    hardswish_backward,
    mish,
    mish_backward,
    silu,
    silu_backward,
)
from cnnlib.functional.group_norm import group_norm, group_norm_backward
from cnnlib.functional.layer_norm import layer_norm, layer_norm_backward
from cnnlib.functional.local_response import local_response_norm, local_response_norm_backward
from cnnlib.functional.losses import binary_cross_entropy, cross_entropy, l1_loss, mse_loss
from cnnlib.functional.lp_pooling import lp_pool2d, lp_pool2d_backward
from cnnlib.functional.normalization import batch_moments, batch_norm, batch_norm_backward
from cnnlib.functional.padding import pad, pad_backward
from cnnlib.functional.pooling import avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward
from cnnlib.functional.regularization import dropout
from cnnlib.functional.resampling import warp as warp
from cnnlib.functional.resizing import resize, resize_backward
from cnnlib.functional.shuffling import depth_to_space, space_to_depth
from cnnlib.functional.softmax import log_softmax, log_softmax_backward, softmax, softmax_backward
from cnnlib.functional.transposed import conv_transpose2d, conv_transpose2d_backward
from cnnlib.functional.updates import adagrad_step, adam_step, lion_step, rmsprop_step, sgd_step
from cnnlib.functional.winners import MOST_POSITIONS as MOST_POSITIONS
from cnnlib.functional.winners import max_pool2d_winners as max_pool2d_winners
from cnnlib.functional.winners import max_pool2d_winners_backward as max_pool2d_winners_backward
from cnnlib.reference import as_input

__all__ = [
    "adagrad_step",
    "adam_step",
    "add",
    "affine",
    "as_input",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_moments",
    "batch_norm",
    "batch_norm_backward",
    "binary_cross_entropy",
    "conv2d",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "cross_entropy",
    "depth_to_space",
    "divide",
    "divide_backward",
    "dropout",
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "group_norm",
    "group_norm_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "hardtanh",
    "hardtanh_backward",
    "l1_loss",
    "layer_norm",
    "layer_norm_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward",
    "lion_step",
    "local_response_norm",
    "local_response_norm_backward",
    "log_softmax",
    "log_softmax_backward",
    "lp_pool2d",
    "lp_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "mish",
    "mish_backward",
    "mse_loss",
    "multiply",
    "pad",
    "pad_backward",
    "prelu",
    "prelu_backward",
    "reciprocal",
    "relu",
    "relu_backward",
    "resize",
    "resize_backward",
    "rmsprop_step",
    "selu",
    "selu_backward",
    "sgd_step",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
    "softsign",
    "softsign_backward",
    "space_to_depth",
    "subtract",
    "tanh",
    "tanh_backward",
]
