"""Callbacks: what can hang on the training loop without being part of it.

A callback is a :class:`Callback` that overrides the hooks it needs. Hooks get the trainer, so they see
``trainer.model``, ``trainer.optimizer``, ``trainer.history`` and ``trainer.position``, and end training with
``trainer.stop(reason)``.
"""

from cnnlib.callbacks.base import Callback, LambdaCallback
from cnnlib.callbacks.checkpoint import Checkpoint
from cnnlib.callbacks.csv_log import CSVLog
from cnnlib.callbacks.early_stopping import EarlyStopping
from cnnlib.callbacks.lr_schedule import LRSchedule
from cnnlib.callbacks.plateau import ReduceLROnPlateau
from cnnlib.callbacks.progress import Progress
from cnnlib.callbacks.tensorboard import TensorBoard

__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "LRSchedule",
    "LambdaCallback",
    "Progress",
    "ReduceLROnPlateau",
    "TensorBoard",
]
