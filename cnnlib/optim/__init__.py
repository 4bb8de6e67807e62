"""Optimizers: the update rules, the same as PyTorch's.

``optimizer.step(model.parameters())`` applies one update in place; state (velocities, moments) is kept per
parameter name and allocated when a parameter is first updated.
"""

from cnnlib.optim.adam import Adam, AdamW
from cnnlib.optim.base import Optimizer, Update, Updates
from cnnlib.optim.limits import MaxNorm, clip_grad_norm
from cnnlib.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "MaxNorm", "Optimizer", "Update", "Updates", "clip_grad_norm"]
