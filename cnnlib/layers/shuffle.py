"""Channels as blocks of pixels, and back: layers that make images larger or smaller without losing a number."""

from __future__ import annotations

from typing import Any, ClassVar

from cnnlib import functional, shapes
from cnnlib.errors import ShapeError
from cnnlib.graph import Shape, shape_text
from cnnlib.layers.base import Array, Layer, Needs, Outs, Window
from cnnlib.layers.checks import check_rank, count
from cnnlib.layers.registry import register
from cnnlib.shapes import block_order

__all__ = ["DepthToSpace", "PixelShuffle", "PixelUnshuffle", "SpaceToDepth"]


class _Shuffle(Layer):
    """What they share: blocks of b × b pixels; whether they are made, or undone; in which order channels lie."""

    makes_blocks: ClassVar[bool]

    def __init__(self, block: Any, name_of_block: str, mode: str, name: str | None) -> None:
        super().__init__(name=name)
        #: The side of a block, and the order of the channels.
        self.block, self.order = count(block, name_of_block), block_order(mode)

    def output_shape(self, x: Shape) -> Shape:
        check_rank(self, x, ("C", "H", "W"), "an image has channels, height and width")
        try:
            shape = shapes.depth_to_space_shape if self.makes_blocks else shapes.space_to_depth_shape
            return shape(x, self.block)
        except ShapeError as error:
            raise ShapeError(f"{self!r}: input of N × {shape_text(x)}: {error}") from None

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        move = functional.depth_to_space if self.makes_blocks else functional.space_to_depth
        return move(x, self.block, self.order, out=out), None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        if not needs[0]:
            return (None,)
        back = functional.space_to_depth if self.makes_blocks else functional.depth_to_space
        return (back(dy, self.block, self.order, out=outs[0]),)

    def windows(self) -> tuple[Window, Window] | tuple[()]:
        return () if self.makes_blocks else ((self.block, self.block, 0, 1),) * 2


@register
class DepthToSpace(_Shuffle):
    """Blocks of pixels from channels, as ONNX's DepthToSpace, b = block_size.

    Forward::

        y[c, i b + p, j b + q] = x[k, i, j]     k = (p b + q) C' + c in mode "DCR", (c b + p) b + q in mode "CRD"

    Backward: ∂J/∂x has the elements of ∂J/∂y where they came from.

    Input: N × b² C' × H × W. Output: N × C' × b H × b W. Saved for backward: nothing.

    >>> import numpy as np
    >>> layer = DepthToSpace(2)
    >>> layer.forward(np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1), training=True).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    >>> layer.backward(np.array([[[[5, 6], [7, 8]]]], np.float32)).ravel().tolist()
    [5.0, 6.0, 7.0, 8.0]
    """

    makes_blocks = True

    def __init__(self, block_size: int, mode: str = "DCR", *, name: str | None = None) -> None:
        super().__init__(block_size, "block_size", mode, name)
        self.block_size, self.mode = self.block, self.order


@register
class SpaceToDepth(_Shuffle):
    """Channels from blocks of pixels, as ONNX's SpaceToDepth (mode "DCR"): `DepthToSpace` undone, b = block_size.

    Forward: y[k, i, j] = x[c, i b + p, j b + q], k as there. Backward: ∂J/∂x has the elements of ∂J/∂y where they came
    from.

    Input: N × C × b H' × b W'. Output: N × b² C × H' × W'. Saved for backward: nothing.

    >>> import numpy as np
    >>> layer = SpaceToDepth(2)
    >>> layer.forward(np.array([[[[0, 1], [2, 3]]]], np.float32), training=True).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    >>> layer.backward(np.ones((1, 4, 1, 1), np.float32)).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    makes_blocks = False

    def __init__(self, block_size: int, mode: str = "DCR", *, name: str | None = None) -> None:
        super().__init__(block_size, "block_size", mode, name)
        self.block_size, self.mode = self.block, self.order


@register
class PixelShuffle(_Shuffle):
    """Blocks of pixels from channels, as PyTorch's PixelShuffle, b = upscale_factor.

    Forward: y[c, i b + p, j b + q] = x[(c b + p) b + q, i, j]. Backward: ∂J/∂x has the elements of ∂J/∂y where they
    came from.

    Input: N × b² C' × H × W. Output: N × C' × b H × b W. Saved for backward: nothing.

    >>> import numpy as np
    >>> layer = PixelShuffle(2)
    >>> layer.forward(np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1), training=True).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    >>> layer.backward(np.array([[[[5, 6], [7, 8]]]], np.float32)).ravel().tolist()
    [5.0, 6.0, 7.0, 8.0]
    """

    makes_blocks = True

    def __init__(self, upscale_factor: int, *, name: str | None = None) -> None:
        super().__init__(upscale_factor, "upscale_factor", "CRD", name)
        self.upscale_factor = self.block


@register
class PixelUnshuffle(_Shuffle):
    """Channels from blocks of pixels, as PyTorch's PixelUnshuffle: `PixelShuffle` undone, b = downscale_factor.

    Forward: y[(c b + p) b + q, i, j] = x[c, i b + p, j b + q]. Backward: ∂J/∂x has the elements of ∂J/∂y where they
    came from.

    Input: N × C × b H' × b W'. Output: N × b² C × H' × W'. Saved for backward: nothing.

    >>> import numpy as np
    >>> layer = PixelUnshuffle(2)
    >>> layer.forward(np.array([[[[0, 1], [2, 3]]]], np.float32), training=True).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    >>> layer.backward(np.ones((1, 4, 1, 1), np.float32)).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    makes_blocks = False

    def __init__(self, downscale_factor: int, *, name: str | None = None) -> None:
        super().__init__(downscale_factor, "downscale_factor", "CRD", name)
        self.downscale_factor = self.block
