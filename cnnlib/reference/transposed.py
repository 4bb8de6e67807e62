"""Transposed convolution and its gradients, by convolutions.

Zeros between the pixels, stride - 1 of them, make it a plain convolution with the filters turned round.
"""

from __future__ import annotations

import numpy as np

from cnnlib.reference.convolution import conv2d, conv2d_backward
from cnnlib.reference.shared import Array, Gradients, Needs, Outs, deliver, deliver_all
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
    """Let each pixel lay down a filter, scaled by it.

    y[n,k,h,w] = bias[k] + Σ_{c,i,j,p,q} weight[c,k,p,q]·x[n,c,i,j], where h = i·stride + p·dilation - padding, w
    likewise in j and q, and c runs over the channels of k's group.

    Shapes: x (N, C, H, W), weight (C, K / groups, KH, KW), bias (K,) or None, result (N, K, H', W') with
    H' = (H - 1)·stride - 2·padding + dilation·(KH - 1) + 1 + output_padding.

    >>> conv_transpose2d(np.array([[[[1.0, 2.0]]]]), np.ones((1, 1, 1, 3)), stride=2).tolist()
    [[[[1.0, 1.0, 3.0, 2.0, 2.0]]]]
    """
    shape = conv_transpose2d_output_shape(x.shape, weight.shape, stride, padding, output_padding, groups, dilation)
    (down, across), (top, left) = pair(stride, "stride", 1), pair(padding, "padding")
    extra, dilations = pair(output_padding, "output_padding"), pair(dilation, "dilation", 1)
    n, channels, height, width = x.shape
    sparse = np.zeros((n, channels, (height - 1) * down + 1 + extra[0], (width - 1) * across + 1 + extra[1]), x.dtype)
    sparse[:, :, : (height - 1) * down + 1 : down, : (width - 1) * across + 1 : across] = x
    by_group = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    turned = by_group.reshape(shape[1], -1, *weight.shape[2:])[:, :, ::-1, ::-1]
    rim = dilations[0] * (weight.shape[2] - 1), dilations[1] * (weight.shape[3] - 1)
    whole = conv2d(sparse, turned, bias, 1, rim, dilation, groups)
    return deliver(whole[:, :, top : top + shape[2], left : left + shape[3]], out)


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
    """Return the gradients of a transposed convolution: (grad_x, grad_weight, grad_bias), None where `needs` says so.

    With g = grad_output, h = i·stride + p·dilation - padding and w likewise:
    grad_x[n,c,i,j] = Σ_{k,p,q} weight[c,k,p,q]·g[n,k,h,w],  grad_weight[c,k,p,q] = Σ_{n,i,j} x[n,c,i,j]·g[n,k,h,w],
    grad_bias[k] = Σ_{n,h,w} g[n,k,h,w].

    >>> x, weight = np.array([[[[1.0, 2.0]]]]), np.ones((1, 1, 1, 3))
    >>> dx, dw, db = conv_transpose2d_backward(np.ones((1, 1, 1, 5)), x, weight, stride=2)
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[[[3.0, 3.0]]]], [[[[3.0, 3.0, 3.0]]]], [5.0])
    """
    settings = stride, padding, dilation, groups
    read = conv2d(grad_output, weight, None, *settings)
    height, width = x.shape[2:]
    grad_x = read[:, :, :height, :width] if needs[0] else None
    grad_weight = grad_bias = None
    if needs[1]:
        # Where output_padding leaves room for one window more, it belongs to no pixel.
        wide = np.zeros_like(read)
        wide[:, :, :height, :width] = x
        grad_weight = conv2d_backward(wide, grad_output, weight, *settings, needs=(False, True, False))[1]
    if needs[2]:
        grad_bias = grad_output.sum(axis=(0, 2, 3))
    return deliver_all((grad_x, grad_weight, grad_bias), out)
