"""cnnlib: convolutional nets on the CPU."""

from cnnlib._version import __version__

__all__ = ["__version__"]
