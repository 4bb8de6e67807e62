"""What pools have in common, of images and of series."""

from __future__ import annotations

from typing import Any, ClassVar

from cnnlib import shapes
from cnnlib.arrays import flag
from cnnlib.errors import ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs, Window
from cnnlib.layers.checks import as_given, check_rank
from cnnlib.shapes import pair, pool2d_windows, single

__all__ = ["PoolNd"]


class PoolNd(Layer):
    """Base of the pools: windows, and series N × C × L as images N × C × 1 × L.

    A subclass computes on images. `axes` are those that windows slide along.
    """

    axes: ClassVar[int] = 2

    def __init__(
        self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, name: str | None
    ) -> None:
        super().__init__(name=name)
        self.kernel_size, self.stride = as_given(kernel_size), as_given(stride)
        self.padding, self.dilation = as_given(padding), as_given(dilation)
        self.ceil_mode = flag(ceil_mode, "ceil_mode")
        if self.axes == 1:
            kernel_size = 1, single(kernel_size, "kernel_size", 1)
            stride = None if stride is None else (1, single(stride, "stride", 1))
            sides = isinstance(padding, (tuple, list)) and len(padding) == 2
            left, right = pair(padding, "padding") if sides else (single(padding, "padding"),) * 2
            padding = (0, left, 0, right) if sides else (0, left)
            dilation = 1, single(dilation, "dilation", 1)
        #: The windows in height and in width.
        self.geometry = pool2d_windows(kernel_size, stride, padding, dilation)
        kernels, strides, _, _, dilations = zip(*self.geometry, strict=True)
        self._windows = kernels, strides, padding, dilations

    # What a subclass defines, for images

    def _pool(self, x: Array, training: bool, out: Array | None) -> tuple[Array, Any]:
        """Return y and what `_gradient` needs."""
        raise NotImplementedError

    def _gradient(self, dy: Array, saved: Any, out: Array | None) -> Array:
        raise NotImplementedError

    # What all have

    def output_shape(self, x: Shape) -> Shape:
        if self.axes == 2:
            check_rank(self, x, ("C", "H", "W"), "an image has channels, height and width")
        else:
            check_rank(self, x, ("C", "L"), "a series has channels and a length")
        image = x if self.axes == 2 else (x[0], 1, x[1])
        try:
            shape = shapes.pool2d_output_shape(image, *self._windows, self.ceil_mode)
        except ShapeError as error:
            raise ShapeError(f"{self!r}: input of N × {shape_text(x)}: {error}") from None
        return shape[0], *shape[-self.axes :]

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        if self.axes == 2:
            return self._pool(x, training, out)
        y, saved = self._pool(x[:, :, None], training, None if out is None else out[:, :, None])
        return y[:, :, 0] if out is None else out, saved

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        if self.axes == 2:
            return (self._gradient(dy, saved, outs[0]),)
        dx = self._gradient(dy[:, :, None], saved, None if outs[0] is None else outs[0][:, :, None])
        return (dx[:, :, 0] if outs[0] is None else outs[0],)

    def describe(self) -> str:
        kernel, stride, before, after, dilation = (
            "×".join(map(str, sizes[:1] if len(set(sizes)) == 1 else sizes))
            for sizes in zip(*self.geometry[-self.axes :], strict=True)
        )
        extras = "" if before == after == "0" else f", P={before}" if before == after else f", P={before} and {after}"
        extras += (f", D={dilation}" if dilation != "1" else "") + (", rounded up" if self.ceil_mode else "")
        return f"{type(self).__name__.removesuffix('2d')} (K={kernel}, S={stride}{extras})"

    def windows(self) -> tuple[Window, Window] | tuple[()]:
        if self.axes == 1:
            return ()
        height, width = ((axis.kernel, axis.stride, axis.before, axis.dilation) for axis in self.geometry)
        return height, width
