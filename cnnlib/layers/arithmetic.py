"""The operators of two graph nodes: ``a - b``, ``a * b``, ``a / b`` (``a + b`` is Add)."""

from __future__ import annotations

from typing import Any

from cnnlib import functional
from cnnlib.graph import Shape
from cnnlib.layers.base import Array, Layer, Needs, Outs
from cnnlib.layers.merge import alike
from cnnlib.layers.registry import register

__all__ = ["Divide", "Multiply", "Subtract"]


@register
class Subtract(Layer):
    """Difference of two groups of neurons, element by element; ``a - b`` on nodes.

    Forward: y = a - b. Backward: ∂J/∂a = ∂J/∂y, ∂J/∂b = -∂J/∂y. Inputs and output: N × any shape, all alike.
    Saved for backward: nothing.

    >>> import numpy as np
    >>> subtract = Subtract()
    >>> subtract.forward(np.array([[5.0]]), np.array([[3.0]]), training=True).tolist()
    [[2.0]]
    >>> [dx.tolist() for dx in subtract.backward(np.array([[7.0]]))]
    [[[7.0]], [[-7.0]]]
    """

    by_channel = True
    arity = 2

    def output_shape(self, *shapes: Shape) -> Shape:
        return alike(self, shapes)

    def apply(self, a: Array, b: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        return functional.subtract(a, b, out=out), None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True, True), outs: Outs = (None, None)) -> Outs:
        return (
            functional.affine(dy, 1, out=outs[0]) if needs[0] else None,
            functional.affine(dy, -1, out=outs[1]) if needs[1] else None,
        )


@register
class Multiply(Layer):
    """Product of two or more groups of neurons, element by element (lecture: L05); ``a * b`` on nodes.

    Forward: y = x₁ x₂ …. Backward: ∂J/∂x_k = ∂J/∂y times the product of the others. Inputs and output: N × any shape,
    all alike. Saved for backward: the inputs.

    >>> import numpy as np
    >>> multiply = Multiply()
    >>> multiply.forward(np.array([[3.0]]), np.array([[2.0]]), training=True).tolist()
    [[6.0]]
    >>> [dx.tolist() for dx in multiply.backward(np.array([[10.0]]))]
    [[[20.0]], [[30.0]]]
    """

    by_channel = True
    arity = None

    def output_shape(self, *shapes: Shape) -> Shape:
        return alike(self, shapes)

    def apply(self, *xs: Array, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = functional.multiply(xs[0], xs[1], out=out)
        for x in xs[2:]:
            functional.multiply(y, x, out=y)
        return y, xs if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True,), outs: Outs = (None,)) -> Outs:
        gradients: list[Array | None] = []
        for k, (needed, out) in enumerate(zip(needs, outs, strict=True)):
            others = [x for i, x in enumerate(saved) if i != k]
            if not needed:
                gradients.append(None)
                continue
            dx = functional.multiply(dy, others[0], out=out)
            for x in others[1:]:
                functional.multiply(dx, x, out=dx)
            gradients.append(dx)
        return tuple(gradients)


@register
class Divide(Layer):
    """Quotient of two groups of neurons, element by element; ``a / b`` on nodes.

    Forward: y = a / b. Backward: ∂J/∂a = ∂J/∂y / b, ∂J/∂b = -∂J/∂y y / b. Inputs and output: N × any shape, all alike.
    Saved for backward: b and y.

    >>> import numpy as np
    >>> divide = Divide()
    >>> divide.forward(np.array([[6.0]]), np.array([[2.0]]), training=True).tolist()
    [[3.0]]
    >>> [dx.tolist() for dx in divide.backward(np.array([[4.0]]))]
    [[[2.0]], [[-6.0]]]
    """

    by_channel = True
    arity = 2

    def output_shape(self, *shapes: Shape) -> Shape:
        return alike(self, shapes)

    def apply(self, a: Array, b: Array, *, training: bool = False, out: Array | None = None) -> tuple[Array, Any]:
        y = functional.divide(a, b, out=out)
        return y, (b, y) if training else None

    def gradients(self, dy: Array, saved: Any, needs: Needs = (True, True), outs: Outs = (None, None)) -> Outs:
        return functional.divide_backward(dy, *saved, needs=(needs[0], needs[1]), out=(outs[0], outs[1]))
