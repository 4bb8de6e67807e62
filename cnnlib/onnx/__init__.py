"""ONNX: models out and in. The package `onnx` is needed (the extra of that name), and imported on use.

`cnnlib.onnx.backend` is cnnlib with the interface of ONNX's backends.
"""

from cnnlib.onnx.export import export_onnx
from cnnlib.onnx.loading import load, supported_operators

__all__ = ["export_onnx", "load", "supported_operators"]
