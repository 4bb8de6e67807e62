"""What layers share that are a fixed function of their input, alike at each place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from cnnlib.graph import Shape
from cnnlib.layers.base import Array, Layer, Needs, Outs

__all__ = ["Elementwise"]


class Elementwise(Layer):
    """Base of layers y = f(x) without parameters, alike at each place of an image, that backward needs x for.

    A subclass names f and its gradient, a pair of `cnnlib.functional`, and gives the settings that both take.
    """

    by_channel = True
    function: ClassVar[Callable[..., Array]]
    function_backward: ClassVar[Callable[..., Array]]

    def settings(self) -> tuple[Any, ...]:
        """Return what f takes after x."""
        return ()

    def output_shape(self, x: Shape) -> Shape:
        return x

    def apply(self, x: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return self.function(x, *self.settings(), out=out), x if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        return (self.function_backward(dy, saved, *self.settings(), out=outs[0]) if needs[0] else None,)
