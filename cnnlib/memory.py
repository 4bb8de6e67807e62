"""Memory planning: arrays that are not needed at the same time share memory."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.graph import Shape

__all__ = ["Block", "Memory"]

Array = NDArray[Any]


class Block:
    """A piece of memory that several arrays use, one after the other; `users` counts those that need it now."""

    def __init__(self) -> None:
        self.size = 0
        self.users = 0
        self.memory: Array | None = None

    def array(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Return the block as an array; only after planning, when its size is known."""
        if self.memory is None or self.memory.size < self.size:
            self.memory = np.empty(self.size, dtype)
        return self.memory[: prod(shape)].reshape(shape)


class Memory:
    """Lends blocks while a plan is made. Nothing is allocated yet, so a free block may still grow."""

    def __init__(self) -> None:
        self._free: list[Block] = []

    def take(self, size: int) -> Block:
        """Lend a block for `size` elements: the smallest free one that is large enough, else the largest, enlarged."""
        large = [block for block in self._free if block.size >= size]
        if large:
            block = min(large, key=lambda b: b.size)
        elif self._free:
            block = max(self._free, key=lambda b: b.size)
        else:
            block = Block()
            self._free.append(block)
        self._free.remove(block)
        block.size = max(block.size, size)
        block.users = 1
        return block

    def drop(self, block: Block | None) -> None:
        """Note that one user of the block is done; None stands for memory that is not the plan's."""
        if block is not None:
            block.users -= 1
            if not block.users:
                self._free.append(block)

    def sum_of(self, first: Block | None, second: Block | None, size: int) -> Block:
        """Return the block for the sum of what two blocks hold: one of them if nobody else needs it; drop the other."""
        exclusive = [block for block in (first, second) if block is not None and block.users == 1]
        total = exclusive[0] if exclusive else self.take(size)
        for block in (first, second):
            if block is not total:
                self.drop(block)
        return total
