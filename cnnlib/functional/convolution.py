"""Convolution and its gradients."""

from __future__ import annotations

from cnnlib import _kernels
from cnnlib.arrays import as_array, expect_shape, output, several, wanted
from cnnlib.functional.shared import instance
from cnnlib.reference import Array, Gradients, Needs, Outs
from cnnlib.shapes import IntPair, Padding, conv2d_output_shape, pair, resolve_padding

__all__ = ["conv2d", "conv2d_backward"]


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    *,
    out: Array | None = None,
) -> Array:
    """Return the convolution (cross-correlation) of images with a bank of filters.

    y[n,k,p,q] = b[k] + Σ_c,r,s w[k,c,r,s] x[n, c, p·stride + r·dilation - padding, …]; c runs over k's group.
    Shapes: x (N, C, H, W), weight (K, C/groups, KH, KW), bias (K,) or None, result (N, K, H', W') with
    H' = ⌊(H + 2·padding - dilation·(KH - 1) - 1)/stride⌋ + 1. `padding` is an int, a pair or "same".

    >>> import numpy as np
    >>> conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.array([0.5]))[0, 0].tolist()
    [[4.5, 4.5], [4.5, 4.5]]
    """
    x = as_array(x, "x", 4)
    weight = as_array(weight, "weight", 4, x)
    shape = conv2d_output_shape(x.shape, weight.shape, stride, padding, dilation, groups)
    if bias is not None:
        bias = as_array(bias, "bias", 1, x)
        expect_shape(bias, "bias", (weight.shape[0],), "one value for each filter of weight")
    result = output(out, "out", shape, x, weight, bias)
    options, layout = _conv_options(weight, stride, padding, dilation, groups), (shape[0], *shape[2:], 0, 0, 0, 0)
    instance(_kernels.conv2d_forward, x)(result, None, x, weight, bias, None, options, layout)
    return result


def conv2d_backward(
    grad_output: Array,
    x: Array,
    weight: Array,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    *,
    needs: Needs = (True, True, True),
    out: Outs = (None, None, None),
) -> Gradients:
    """Return the gradients of `conv2d` for (x, weight, bias), None where `needs` says so.

    Shapes: grad_output (N, K, H', W') as `conv2d` returns; the gradients are shaped as x, weight and (K,).

    >>> import numpy as np
    >>> dx, dw, db = conv2d_backward(np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)))
    >>> dx[0, 0].tolist(), dw[0, 0].tolist(), db.tolist()
    ([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]], [[4.0, 4.0], [4.0, 4.0]], [4.0])
    """
    x = as_array(x, "x", 4)
    weight, grad_output = as_array(weight, "weight", 4, x), as_array(grad_output, "grad_output", 4, x)
    shape = conv2d_output_shape(x.shape, weight.shape, stride, padding, dilation, groups)
    expect_shape(grad_output, "grad_output", shape, f"conv2d's output for x {x.shape} and weight {weight.shape}")
    needs, out = wanted(needs, 3), several(out, "out", 3)
    grad_x = output(out[0], "out[0]", x.shape, grad_output, x, weight) if needs[0] else None
    grad_weight = output(out[1], "out[1]", weight.shape, grad_output, x, weight, grad_x) if needs[1] else None
    grad_bias = (
        output(out[2], "out[2]", weight.shape[:1], grad_output, x, weight, grad_x, grad_weight) if needs[2] else None
    )
    options, layout = _conv_options(weight, stride, padding, dilation, groups), (shape[0], *shape[2:], 0, 0, 0, 0)
    instance(_kernels.conv2d_backward, x)(
        grad_x, grad_weight, grad_bias, grad_output, None, None, x, weight, options, layout
    )
    return grad_x, grad_weight, grad_bias


def _conv_options(weight: Array, stride: IntPair, padding: Padding, dilation: IntPair, groups: int) -> tuple[int, ...]:
    paddings = resolve_padding(padding, (weight.shape[2], weight.shape[3]), dilation, stride)
    return *pair(stride, "stride", 1), *paddings, *pair(dilation, "dilation", 1), groups
