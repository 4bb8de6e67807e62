"""What the units of a feature map see."""

from __future__ import annotations

from typing import NamedTuple

from cnnlib.errors import ShapeError
from cnnlib.shapes.sizes import reach

__all__ = ["ReceptiveField"]


class ReceptiveField(NamedTuple):
    """Which input pixels the units of a feature map see, along one axis.

    Unit i sees the `size` pixels from `start` + i `stride` on; pixels below 0 lie in the padding. The field without
    arguments is the input's own: each pixel sees itself.

    >>> conv, pool = ReceptiveField.of(5, padding=2), ReceptiveField.of(2, stride=2)
    >>> ReceptiveField().then(conv).then(pool).then(conv)
    ReceptiveField(size=14, stride=2, start=-6)
    """

    size: int = 1
    stride: int = 1
    start: int = 0

    @classmethod
    def of(cls, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> ReceptiveField:
        """Return the field of one convolution or pool in its own input."""
        return cls(reach(kernel, dilation), stride, -padding)

    @property
    def centre(self) -> float:
        """The coordinate, in pixels, of the middle of unit 0's field."""
        return self.start + (self.size - 1) / 2

    def then(self, layer: ReceptiveField) -> ReceptiveField:
        """Return the field of `layer`'s units where `layer` takes the feature map that `self` describes."""
        return ReceptiveField(
            self.size + (layer.size - 1) * self.stride,
            self.stride * layer.stride,
            self.start + layer.start * self.stride,
        )

    def union(self, other: ReceptiveField) -> ReceptiveField:
        """Return the smallest field that holds both: that of a sum or a concatenation of two branches.

        Raises ShapeError if the strides differ, as then no single stride describes the result.
        """
        if self.stride != other.stride:
            raise ShapeError(f"receptive fields with strides {self.stride} and {other.stride} have no common one")
        start = min(self.start, other.start)
        return ReceptiveField(max(self.start + self.size, other.start + other.size) - start, self.stride, start)

    def pixels(self, unit: int) -> range:
        """Return the input coordinates that `unit` sees, those in the padding included."""
        first = self.start + unit * self.stride
        return range(first, first + self.size)
