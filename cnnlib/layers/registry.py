"""The layers that a model file may name."""

from __future__ import annotations

from typing import TypeVar

from cnnlib.errors import ConfigError
from cnnlib.layers.base import Layer

__all__ = ["register", "registered"]

_classes: dict[str, type[Layer]] = {}
_Class = TypeVar("_Class", bound=type[Layer])


def register(cls: _Class) -> _Class:
    """Make a layer class loadable by its name; a class decorator.

    Defining the same class again, as a notebook does, replaces it. Raises ConfigError if another class has the name.
    """
    known = _classes.get(cls.__name__)
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError(
            f"a layer named {cls.__name__!r} is registered already, by {known.__module__}: choose another name"
        )
    _classes[cls.__name__] = cls
    return cls


def registered() -> dict[str, type[Layer]]:
    """Return the loadable layer classes by name.

    >>> registered()["ReLU"].__name__
    'ReLU'
    """
    return dict(_classes)
