"""Convolution and its gradients.

Both walk over the taps of the kernel (see `windows`): a convolution is one matrix product per tap, and its gradients
are its mirror images. Nothing is unfolded, so memory stays a small multiple of the arrays'; libraries that unfold into
one large product are faster.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cnnlib.reference.shared import Array, Gradients, Needs, Outs, deliver, deliver_all
from cnnlib.reference.windows import pad, taps, unpad, windows_of
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
    """Convolve (cross-correlate) a batch of images with a set of filters.

    y[n,k,i,j] = bias[k] + Σ_{c,p,q} x[n,c,h,w]·weight[k,c,p,q], where h = i·stride + p·dilation - padding, w likewise
    in j and q, x is 0 outside the image and c runs over the channels of k's group.

    Shapes: x (N, C, H, W), weight (K, C / groups, KH, KW), bias (K,) or None, result (N, K, H', W').
    Raises ShapeError if channels or groups do not fit or the kernel is larger than the padded image.

    >>> conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.array([0.5])).tolist()
    [[[[4.5, 4.5], [4.5, 4.5]]]]
    """
    shape = conv2d_output_shape(x.shape, weight.shape, stride, padding, dilation, groups)
    kernels, strides, paddings, dilations = _conv_geometry(weight.shape, stride, padding, dilation)
    windows = windows_of(pad(x, paddings), kernels, strides, dilations)
    result = np.zeros(shape, x.dtype)
    y = _matrices(result, groups)
    for w, pixels in zip(_filters(weight, groups), taps(windows), strict=True):
        y += w @ _matrices(pixels, groups)
    if bias is not None:
        result += bias[:, None, None]
    return deliver(result, out)


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
    """Return the gradients of a convolution: (grad_x, grad_weight, grad_bias), None where `needs` says so.

    With g = grad_output and every output (n,k,i,j) that used x[n,c,h,w] through weight[k,c,p,q]:
    grad_x[n,c,h,w] = Σ_{k,i,j} g[n,k,i,j]·weight[k,c,p,q],  grad_weight[k,c,p,q] = Σ_{n,i,j} g[n,k,i,j]·x[n,c,h,w],
    grad_bias[k] = Σ_{n,i,j} g[n,k,i,j].

    Shapes: grad_output (N, K, H', W') as `conv2d` returns; the gradients are shaped as x, weight and (K,).

    >>> x, weight = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    >>> dx, dw, db = conv2d_backward(np.ones((1, 1, 2, 2)), x, weight)
    >>> dx[0, 0].tolist(), dw[0, 0].tolist(), db.tolist()
    ([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]], [[4.0, 4.0], [4.0, 4.0]], [4.0])
    """
    kernels, strides, paddings, dilations = _conv_geometry(weight.shape, stride, padding, dilation)
    padded = pad(x, paddings)
    windows = windows_of(padded, kernels, strides, dilations)
    dy = _matrices(grad_output, groups)
    grad_x = grad_weight = grad_bias = None
    if needs[0]:
        grad_padded = np.zeros_like(padded)
        grad_windows = windows_of(grad_padded, kernels, strides, dilations, writeable=True)
        for w, pixels in zip(_filters(weight, groups), taps(grad_windows), strict=True):
            pixels += (w.swapaxes(1, 2) @ dy).reshape(pixels.shape)
        grad_x = unpad(grad_padded, paddings)
    if needs[1]:
        grad_weight = np.empty_like(weight)
        for dw, pixels in zip(_filters(grad_weight, groups), taps(windows), strict=True):
            dw[...] = (dy @ _matrices(pixels, groups).swapaxes(2, 3)).sum(axis=0)
    if needs[2]:
        grad_bias = grad_output.sum(axis=(0, 2, 3))
    return deliver_all((grad_x, grad_weight, grad_bias), out)


def _conv_geometry(
    weight_shape: tuple[int, ...], stride: IntPair, padding: Padding, dilation: IntPair
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
    kernels = (weight_shape[2], weight_shape[3])
    paddings = resolve_padding(padding, kernels, dilation, stride)
    return kernels, pair(stride, "stride", 1), paddings, pair(dilation, "dilation", 1)


def _filters(weight: Array, groups: int) -> Iterator[Array]:
    """Yield the kernel's taps in row-major order, each a view (groups, K / groups, C / groups) of the weight."""
    by_group = weight.reshape(groups, -1, *weight.shape[1:])
    for row in range(weight.shape[2]):
        for column in range(weight.shape[3]):
            yield by_group[..., row, column]


def _matrices(images: Array, groups: int) -> Array:
    """Return images (N, C, H, W) as matrices (N, groups, C / groups, H·W)."""
    n, channels, height, width = images.shape
    return images.reshape(n, groups, channels // groups, height * width)
