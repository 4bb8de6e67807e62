"""How each class of layers is written in ONNX's operators, a family a file; `cnnlib.onnx.operators` reads them."""

from __future__ import annotations

from cnnlib.layers import Layer
from cnnlib.onnx.writers import arrange, elementwise, normalization, windows
from cnnlib.onnx.writing import LayerWriter

__all__ = ["WRITERS"]

#: Class of layers → the function that writes it.
WRITERS: dict[type[Layer], LayerWriter] = {
    **arrange.WRITERS,
    **elementwise.WRITERS,
    **normalization.WRITERS,
    **windows.WRITERS,
}
