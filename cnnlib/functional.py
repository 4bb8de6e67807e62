"""Temporary shim: until the kernels are bound, functional is the reference."""

from cnnlib.reference import *  # noqa: F403
