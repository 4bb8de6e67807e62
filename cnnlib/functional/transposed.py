"""Transposed convolution and its gradients, by the kernels of convolution.

With y = conv2d(x, w), ∂J/∂x is a linear map of ∂J/∂y. That map is the transposed convolution: convolution's input
gradient is its forward pass, convolution's forward pass its input gradient, and the weight's gradient is the same sum
with the two arrays in each other's place.
"""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, output, several, wanted
from cnnlib.functional.shared import instance
from cnnlib.reference import Array, Gradients, Needs, Outs
from cnnlib.shapes import IntPair, conv_transpose2d_output_shape, pair

__all__ = ["conv_transpose2d", "conv_transpose2d_backward"]


def conv_transpose2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntPair = 1,
    padding: IntPair = 0,
    output_padding: IntPair = 0,
    groups: int = 1,
    dilation: IntPair = 1,
    *,
    out: Array | None = None,
) -> Array:
    """Return the transposed convolution of images: each pixel of x lays down a filter, scaled by it.

    y[n,k,h,w] = b[k] + Σ_c,i,j,r,s w[c,k,r,s] x[n,c,i,j] with h = i·stride + r·dilation - padding, w likewise in j and
    s; c runs over the channels of k's group. Shapes: x (N, C, H, W), weight (C, K/groups, KH, KW), bias (K,) or None,
    result (N, K, H', W') with H' = (H - 1)·stride - 2·padding + dilation·(KH - 1) + 1 + output_padding.

    >>> import numpy as np
    >>> conv_transpose2d(np.array([[[[1.0, 2.0]]]]), np.ones((1, 1, 1, 3)), stride=2).tolist()
    [[[[1.0, 1.0, 3.0, 2.0, 2.0]]]]
    """
    x = as_array(x, "x", 4)
    weight = as_array(weight, "weight", 4, x)
    shape = conv_transpose2d_output_shape(x.shape, weight.shape, stride, padding, output_padding, groups, dilation)
    if bias is not None:
        bias = as_array(bias, "bias", 1, x)
        expect_shape(bias, "bias", (shape[1],), "one value for each channel of the output")
    result = output(out, "out", shape, x, weight, bias)
    options, layout = _options(stride, padding, dilation, groups), _layout(x)
    # The input of the convolution is not read where the weight's gradient is not asked for: its shape is the result's.
    instance(_kernels.conv2d_backward, x)(result, None, None, x, None, None, result, weight, options, layout)
    if bias is not None:
        result += bias[:, None, None]
    return result


def conv_transpose2d_backward(
    grad_output: Array,
    x: Array,
    weight: Array,
    stride: IntPair = 1,
    padding: IntPair = 0,
    output_padding: IntPair = 0,
    groups: int = 1,
    dilation: IntPair = 1,
    *,
    needs: Needs = (True, True, True),
    out: Outs = (None, None, None),
) -> Gradients:
    """Return the gradients of `conv_transpose2d` for (x, weight, bias), None where `needs` says so.

    Shapes: grad_output (N, K, H', W') as `conv_transpose2d` returns; the gradients are shaped as x, weight and (K,).

    >>> import numpy as np
    >>> x, weight = np.array([[[[1.0, 2.0]]]]), np.ones((1, 1, 1, 3))
    >>> dx, dw, db = conv_transpose2d_backward(np.ones((1, 1, 1, 5)), x, weight, stride=2)
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[[[3.0, 3.0]]]], [[[[3.0, 3.0, 3.0]]]], [5.0])
    """
    x = as_array(x, "x", 4)
    weight, grad_output = as_array(weight, "weight", 4, x), as_array(grad_output, "grad_output", 4, x)
    shape = conv_transpose2d_output_shape(x.shape, weight.shape, stride, padding, output_padding, groups, dilation)
    why = f"conv_transpose2d's output for x {x.shape} and weight {weight.shape}"
    expect_shape(grad_output, "grad_output", shape, why)
    needs, out = wanted(needs, 3), several(out, "out", 3)
    grad_x = output(out[0], "out[0]", x.shape, grad_output, x, weight) if needs[0] else None
    grad_weight = output(out[1], "out[1]", weight.shape, grad_output, x, weight, grad_x) if needs[1] else None
    grad_bias = output(out[2], "out[2]", shape[1:2], grad_output, x, weight, grad_x, grad_weight) if needs[2] else None
    options, layout = _options(stride, padding, dilation, groups), _layout(x)
    if grad_x is not None:
        instance(_kernels.conv2d_forward, x)(grad_x, None, grad_output, weight, None, None, options, layout)
    if grad_weight is not None:
        instance(_kernels.conv2d_backward, x)(
            None, grad_weight, None, x, None, None, grad_output, weight, options, layout
        )
    if grad_bias is not None:
        grad_output.sum(axis=(0, 2, 3), out=grad_bias)
    return grad_x, grad_weight, grad_bias


def _options(stride: IntPair, padding: IntPair, dilation: IntPair, groups: int) -> tuple[int, ...]:
    return *pair(stride, "stride", 1), *pair(padding, "padding"), *pair(dilation, "dilation", 1), groups


def _layout(x: Array) -> tuple[int, ...]:
    """What the kernels are told of the convolution's output, which is x: NCHW, and nothing fused."""
    return x.shape[0], *x.shape[2:], 0, 0, 0, 0
