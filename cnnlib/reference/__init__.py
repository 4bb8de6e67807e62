"""The definition: every array function of cnnlib in plain NumPy.

The kernels behind :mod:`cnnlib.functional` are tested and benchmarked against these functions, which have the same
signatures. They compute in the dtype they are given (float64 in, float64 out) and check shapes only as far as the
arithmetic needs; `functional` is strict. `out` receives the result where given, and the result is returned either way.
A family of functions is a file, as in `functional`.
"""

from __future__ import annotations

from cnnlib.reference.activation import (
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
from cnnlib.reference.arithmetic import add, affine, divide, divide_backward, multiply, reciprocal, subtract
from cnnlib.reference.convolution import conv2d, conv2d_backward
from cnnlib.reference.curves import (
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
from cnnlib.reference.dense import linear, linear_backward
from cnnlib.reference.gates import (
    gelu,
    gelu_backward,
    hardswish,
    hardswish_backward,
    mish,
    mish_backward,
    silu,
    silu_backward,
)
from cnnlib.reference.inputs import as_input
from cnnlib.reference.local_response import local_response_norm, local_response_norm_backward
from cnnlib.reference.losses import binary_cross_entropy, cross_entropy, l1_loss, mse_loss
from cnnlib.reference.lp_pooling import lp_pool2d, lp_pool2d_backward
from cnnlib.reference.normalization import batch_moments, batch_norm, batch_norm_backward
from cnnlib.reference.padding import pad, pad_backward
from cnnlib.reference.pooling import avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward
from cnnlib.reference.regularization import dropout
from cnnlib.reference.resampling import warp as warp
from cnnlib.reference.resizing import resize, resize_backward
from cnnlib.reference.sample_norms import group_norm, group_norm_backward, layer_norm, layer_norm_backward
from cnnlib.reference.shared import Array as Array
from cnnlib.reference.shared import Gradients as Gradients
from cnnlib.reference.shared import Needs as Needs
from cnnlib.reference.shared import Outs as Outs
from cnnlib.reference.shuffling import depth_to_space, space_to_depth
from cnnlib.reference.softmax import log_softmax, log_softmax_backward, softmax, softmax_backward
from cnnlib.reference.transposed import conv_transpose2d, conv_transpose2d_backward
from cnnlib.reference.updates import adagrad_step, adam_step, lion_step, rmsprop_step, sgd_step

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
