"""The net of an estimator, by name or by a function of the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cnnlib import models
from cnnlib.arrays import whole
from cnnlib.errors import ConfigError
from cnnlib.model import Model

__all__ = ["Builder", "build", "input_shape_of"]

Builder = Callable[..., Model]

_FOR_IMAGES: dict[str, Builder] = {
    "classic": models.classic,
    "inception_mini": models.inception_mini,
    "lenet5": models.lenet5,
    "resnet_mini": models.resnet_mini,
    "vgg_mini": models.vgg_mini,
}
_FULLY_CONNECTED: dict[str, Builder] = {"mlp": models.mlp, "modern_mlp": models.modern_mlp}


def input_shape_of(model: object, given: Any, features: int) -> tuple[int, ...]:
    """Return the shape of one sample, from the setting `input_shape`, which may be None, and the number of features.

    Raises ConfigError where they do not fit.
    """
    if given is None:
        given = (1, 28, 28) if isinstance(model, str) and model == "lenet5" else (features,)
    if not isinstance(given, (tuple, list)) or len(given) not in (1, 3):
        raise ConfigError(f"input_shape = {given!r}: expected (channels, height, width)")
    shape = tuple(whole(size, "input_shape", 1) for size in given)
    if prod(shape) != features:
        raise ConfigError(f"input_shape = {shape} has {prod(shape)} elements, X has {features} features")
    if isinstance(model, str) and model in _FOR_IMAGES and len(shape) == 1:
        raise ConfigError(
            f"model = {model!r} is for images: give X of shape N×C×H×W, or input_shape=(channels, height, width)"
        )
    return shape


def build(
    model: str | Builder | None,
    input_shape: tuple[int, ...],
    hidden: Sequence[int],
    n_outputs: int,
    rng: np.random.Generator,
    dtype: DTypeLike,
) -> Model:
    """Return the net for samples of a shape; its outputs are logits, or values.

    model: a name; None for "classic" on images and "mlp" on vectors; or a function ``(input_shape, n_outputs)`` that
    returns a model, called with the keyword `rng`, too, if it has such a parameter. dtype: of nets by name.

    Raises ConfigError for anything else, and for a function whose model has another output.
    """
    if model is None:
        model = "classic" if len(input_shape) == 3 else "mlp"
    if isinstance(model, str):
        if model in _FULLY_CONNECTED:
            sizes = [prod(input_shape), *hidden, n_outputs]
            return _FULLY_CONNECTED[model](sizes, input_shape=input_shape, rng=rng, dtype=dtype)
        if model == "lenet5":
            if input_shape != (1, 28, 28):
                raise ConfigError(f"model = 'lenet5' is for images of 1×28×28, these have the shape {input_shape}")
            return models.lenet5(n_outputs, rng=rng, dtype=dtype)
        if model == "classic":
            # Each pool halves the image, and must leave something of it.
            channels = (32, 64)[: max(min(input_shape[1:]).bit_length() - 1, 0)]
            return models.classic(input_shape, channels, hidden, n_outputs, rng=rng, dtype=dtype)  # type: ignore[arg-type]
        if model in _FOR_IMAGES:
            return _FOR_IMAGES[model](input_shape, num_classes=n_outputs, rng=rng, dtype=dtype)
        known = ", ".join(sorted([*_FOR_IMAGES, *_FULLY_CONNECTED]))
        raise ConfigError(f"model = {model!r} is unknown; there are: {known}; or give a function that makes a model")
    if not callable(model) or isinstance(model, (Model, type)):
        raise ConfigError(
            f"model is a {type(model).__name__}: expected a name, or a function (input_shape, n_outputs) -> Model"
        )
    takes_rng = "rng" in inspect.signature(model).parameters
    made = model(input_shape, n_outputs, **({"rng": rng} if takes_rng else {}))
    if not isinstance(made, Model):
        raise ConfigError(f"the function model returned a {type(made).__name__}: expected a cnnlib Model")
    outputs = [made.graph.nodes[position].shape for position in made.graph.outputs]
    if outputs != [(n_outputs,)] or made.output_names is not None:
        raise ConfigError(f"the function model made a net with outputs {outputs}: expected one of shape ({n_outputs},)")
    return made
