"""cnnlib: convolutional nets on the CPU.

A model is a graph of layers, declared once; it trains and predicts in C kernels, on plain NumPy arrays.

>>> import cnnlib
>>> model = cnnlib.models.lenet5(rng=0)
>>> (x_train, y_train), (x_test, y_test) = cnnlib.datasets.mnist_sample()
>>> model.predict(x_test[:2]).shape
(2, 10)
"""

import os as _os
from importlib import import_module as _import_module

try:
    from cnnlib import _kernels as _kernels
except ImportError as _error:
    raise ImportError(
        f"the compiled part of cnnlib is not in {_os.path.dirname(__file__)}, or is for another Python: if that is a "
        "clone of the sources, run `pip install -e .` there, or leave it, so that Python finds what is installed"
    ) from _error

from cnnlib import config
from cnnlib._version import __version__
from cnnlib.config import get_num_threads, set_algorithm, set_num_threads, show_config

config.configure(_os.environ)

# Module → its names that are ours too. They are imported when they are first used, so that `import cnnlib` costs a few
# milliseconds and a command pays for what it needs. __init__.pyi says the same to type checkers.
_HOMES = {
    "callbacks": (
        "CSVLog",
        "Callback",
        "Checkpoint",
        "EarlyStopping",
        "LRSchedule",
        "ReduceLROnPlateau",
        "TensorBoard",
    ),
    "graph": ("Input", "Node"),
    "layers": (
        "AdaptiveAvgPool2d",
        "AdaptiveMaxPool2d",
        "Add",
        "Affine",
        "AvgPool1d",
        "AvgPool2d",
        "BatchNorm1d",
        "BatchNorm2d",
        "CircularPad2d",
        "Concat",
        "ConstantPad2d",
        "Conv1d",
        "Conv2d",
        "ConvTranspose1d",
        "ConvTranspose2d",
        "DepthToSpace",
        "Divide",
        "Dropout",
        "Dropout2d",
        "ELU",
        "Flatten",
        "GELU",
        "GlobalAvgPool2d",
        "GlobalMaxPool2d",
        "GroupNorm",
        "Hardsigmoid",
        "Hardswish",
        "Hardtanh",
        "InstanceNorm1d",
        "InstanceNorm2d",
        "Layer",
        "LayerNorm",
        "LeakyReLU",
        "Linear",
        "LocalResponseNorm",
        "LogSoftmax",
        "LPPool1d",
        "LPPool2d",
        "MaxPool1d",
        "MaxPool2d",
        "Mish",
        "Multiply",
        "Pad",
        "Parameter",
        "PixelShuffle",
        "PixelUnshuffle",
        "PReLU",
        "Reciprocal",
        "ReflectionPad2d",
        "ReLU",
        "ReLU6",
        "ReplicationPad2d",
        "Resize",
        "SELU",
        "Sigmoid",
        "SiLU",
        "Softmax",
        "Softplus",
        "Softsign",
        "SpaceToDepth",
        "Standardize",
        "Subtract",
        "Tanh",
        "Upsample",
        "ZeroPad2d",
    ),
    "losses": ("BCELoss", "CrossEntropyLoss", "L1Loss", "MSELoss"),
    "model": ("Model", "Sequential"),
    "optim": ("SGD", "Adagrad", "Adam", "AdamW", "Lion", "MaxNorm", "RMSprop", "clip_grad_norm", "clip_grad_value"),
    "recalibrate": ("recalibrate_batchnorm",),
    "lr_finder": ("LRFinder",),
    "schedules": ("CosineLR", "OneCycleLR", "StepLR"),
    "serialize": ("load",),
    "trainer": ("Trainer",),
}
_MODULES = (
    "augment",
    "callbacks",
    "datasets",
    "distributed",
    "drawing",
    "errors",
    "functional",
    "losses",
    "metrics",
    "models",
    "onnx",
    "optim",
    "plots",
    "schedules",
    "shapes",
    "sklearn",
)
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names} | {name: name for name in _MODULES}

__all__ = [
    "__version__",
    "config",
    "get_num_threads",
    "set_algorithm",
    "set_num_threads",
    "show_config",
    *_HOME_OF,
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        from difflib import get_close_matches

        lowered = {known.lower(): known for known in __all__}
        close = [lowered[one] for one in get_close_matches(name.lower(), lowered, 1)]
        raise AttributeError(
            f"module 'cnnlib' has no attribute {name!r}{': did you mean ' + close[0] if close else ''}"
        )
    module = _import_module(f"cnnlib.{_HOME_OF[name]}")
    value = globals()[name] = module if name in _MODULES else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
