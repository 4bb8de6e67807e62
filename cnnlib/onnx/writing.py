"""An ONNX graph that is being written, layer by layer, and the simplest ways to write a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cnnlib.graph import Shape

__all__ = ["Array", "LayerWriter", "Writer", "chain", "plain", "with_constant"]

Array = NDArray[Any]


class Writer:
    """The nodes and constants of an ONNX graph that is being written, layer by layer."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        from onnx import helper

        self._helper = helper
        self.dtype = dtype
        self.kind = helper.np_dtype_to_tensor_dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.shape: Shape = ()
        self.layer = ""
        self._taken: set[str] = set()

    def begin(self, layer: str, shape: Shape) -> None:
        """Go on with the layer of that name; its first input is N × shape."""
        self.layer, self.shape = layer, shape

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, return the name of its output."""
        output = self.unique(self.layer)
        self.nodes.append(self._helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any, integers: bool = False) -> str:
        """Add numbers of the graph's dtype, or integers, under a name of the layer's; return the whole name."""
        from onnx import numpy_helper

        whole = f"{self.layer}.{name}"
        if whole not in self._taken:
            self._taken.add(whole)
            array = np.array(value, np.int64 if integers else self.dtype, order="C")
            self.constants.append(numpy_helper.from_array(array, whole))
        return whole

    def chain(self, operator: str, inputs: Sequence[str]) -> str:
        """Add a node of two inputs again and again, from the left, as cnnlib computes it."""
        result = inputs[0]
        for value in inputs[1:]:
            result = self.node(operator, result, value)
        return result

    def typed(self, name: str, shape: Shape) -> Any:
        """Return the description of an input or output."""
        return self._helper.make_tensor_value_info(name, self.kind, ["N", *shape])

    def unique(self, name: str) -> str:
        """Return the name, with a number if it is taken."""
        unique, count = name, 1
        while unique in self._taken:
            count += 1
            unique = f"{name}_{count}"
        self._taken.add(unique)
        return unique


#: Writes a layer: (writer, layer, names of the inputs) -> name of the output.
LayerWriter: TypeAlias = Callable[[Writer, Any, list[str]], str]


def chain(operator: str) -> LayerWriter:
    """An operator of two inputs, again and again."""
    return lambda to, layer, xs: to.chain(operator, xs)


def plain(operator: str, **attributes: Any) -> LayerWriter:
    """One node."""
    return lambda to, layer, xs: to.node(operator, *xs, **attributes)


def with_constant(operator: str, name: str) -> LayerWriter:
    """An operator on the input and a parameter, or a setting, of that name."""

    def write(to: Writer, layer: Any, xs: list[str]) -> str:
        value = getattr(layer, name)
        return to.node(operator, *xs, to.constant(name, getattr(value, "data", value)))

    return write
