"""Optimizers: the update rules, the same as PyTorch's.

``optimizer.step(model.parameters())`` applies one update in place; state (velocities, moments) is kept per
parameter name and allocated when a parameter is first updated.
"""

from cnnlib.optim.adagrad import Adagrad
from cnnlib.optim.adam import Adam, AdamW
from cnnlib.optim.base import Optimizer, Update, Updates
from cnnlib.optim.limits import MaxNorm, clip_grad_norm, clip_grad_value
from cnnlib.optim.lion import Lion
from cnnlib.optim.rmsprop import RMSprop
from cnnlib.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "MaxNorm",
    "Optimizer",
    "RMSprop",
    "Update",
    "Updates",
    "clip_grad_norm",
    "clip_grad_value",
]
