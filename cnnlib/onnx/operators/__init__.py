"""How each operator of ONNX is read: a function (operation) -> what its outputs stand for, a family a file."""

from __future__ import annotations

from cnnlib.onnx.operators import arrange, dense, elementwise, normalization, windows
from cnnlib.onnx.reading import OperatorReader

__all__ = ["READERS"]

#: Operator → the function that reads it.
READERS: dict[str, OperatorReader] = {
    **arrange.READERS,
    **dense.READERS,
    **elementwise.READERS,
    **normalization.READERS,
    **windows.READERS,
}
