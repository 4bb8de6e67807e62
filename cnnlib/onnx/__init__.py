"""ONNX: models out. The package `onnx` is needed (the extra of that name), and imported on use."""

from cnnlib.onnx.export import export_onnx

__all__ = ["export_onnx"]
