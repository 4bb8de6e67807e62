"""Puts every array that a kernel is given on pages of its own, beside a page without any access."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from helpers import Array, guarded

from cnnlib import _kernels

ELEMENTS = ("float", "double")
#: The functions of the binding that take arrays.
KERNELS = sorted(name for name, function in vars(_kernels).items() if hasattr(function, "__signatures__"))
#: For which elements they are there: images that are warped may be of bytes.
INSTANCES = {name: (*ELEMENTS, "uint8_t") if name == "warp" else ELEMENTS for name in KERNELS}


class Guards:
    """Stands between `_kernels` and whoever calls it, from now on and until the process ends.

    A call goes to copies of its arrays that touch the guard at their end ("after") or their start ("before"), whoever
    made the arrays; what it writes is copied back. An array that is given twice is so in the copies, too. `called`
    tells which instances were called.
    """

    def __init__(self, side: str) -> None:
        self.side = side
        self.called: set[tuple[str, str]] = set()
        for name in KERNELS:
            instances = {element: getattr(_kernels, name)[element] for element in INSTANCES[name]}
            setattr(_kernels, name, {key: self._guard(name, key, call) for key, call in instances.items()})

    def _guard(self, name: str, element: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded_call(*args: Any, **options: Any) -> Any:
            copies: dict[tuple[int, int], tuple[Array, Array]] = {}
            result = call(*(self._copy(arg, copies) for arg in args), **options)
            self.called.add((name, element))
            for original, copy in copies.values():
                if original.flags.writeable:
                    original[...] = copy
            return result

        return guarded_call

    def _copy(self, arg: Any, copies: dict[tuple[int, int], tuple[Array, Array]]) -> Any:
        """What to call with: arrays that the binding may refuse for their layout are given as they are."""
        if isinstance(arg, tuple):
            return tuple(self._copy(item, copies) for item in arg)
        if not isinstance(arg, np.ndarray) or not arg.flags.c_contiguous or arg.size == 0 or arg.dtype.hasobject:
            return arg
        place = arg.ctypes.data, arg.nbytes
        if place not in copies:
            copies[place] = arg, guarded(arg, self.side)
            copies[place][1].flags.writeable = arg.flags.writeable
        return copies[place][1].reshape(arg.shape)
