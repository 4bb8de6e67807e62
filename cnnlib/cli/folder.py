"""A folder of pictures as the commands take it: what is trained on, and what is held back to test."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.datasets import Arrays, ImageFolder, split
from cnnlib.errors import DataError

__all__ = ["HELD_BACK", "Pictures", "load_folder"]

HELD_BACK = 0.2
MAX_BYTES = 1 << 32  # of all pictures decoded, which are kept in memory

Shape = tuple[int, int, int]


class Pictures:
    """Some pictures of a folder as a data set, decoded when they are asked for: ``pictures[:]`` decodes them all."""

    def __init__(self, folder: ImageFolder, chosen: NDArray[np.int64]) -> None:
        self.folder, self.chosen = folder, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: Any, /) -> Arrays:
        return self.folder[self.chosen[index]]


def load_folder(root: str, shape: Shape, *, test_only: bool = False) -> tuple[tuple[str, ...], Pictures, Pictures, str]:
    """Return the classes, the pictures to train on, those to test on, and where they are, in words.

    root: a folder for each class; or folders ``train`` and ``test``, or else ``val``, that are made like this. Without
    a test folder HELD_BACK of each class is. Which pictures these are follows from the files' names alone, so
    `evaluate` tests on what `train` held back. Without ``train`` there are no pictures to train on.
    shape: of each picture, resized; 1 channel is grey, 3 are colours.
    test_only: what is beside the test does not matter, and is not looked at.

    Raises what `ImageFolder` raises, and DataError for folders of other classes, for a single class, for a class of
    which nothing can be held back, and for more than memory should hold.
    """
    train, *tests = (Path(root, name) for name in ("train", "test", "val"))
    test = next((folder for folder in tests if _has_folders(folder)), None)
    if test is None:
        folder = _opened(train if _has_folders(train) else Path(root), shape)
        counts = np.bincount(folder.y)
        if counts.min() < 2:
            alone = folder.classes[int(counts.argmin())]
            raise DataError(
                f"{folder.root / alone}: one picture, expected at least two: {HELD_BACK:.0%} of each class are held "
                "back to test, unless there is a folder test"
            )
        # The places of the pictures are split as if they were the pictures, N×1.
        places = np.arange(len(folder))[:, np.newaxis]
        (kept, _), (held_back, _) = split(places, folder.y, HELD_BACK, np.random.default_rng(0))
        parts = Pictures(folder, kept[:, 0]), Pictures(folder, held_back[:, 0])
        where = f"from {folder.root}; {HELD_BACK:.0%} of each class are held back to test, the same for any --seed"
        if test_only:
            where = f"from {folder.root}; the {HELD_BACK:.0%} of each class that `cnnlib train` holds back"
    else:
        folder = _opened(test, shape)
        tested = Pictures(folder, np.arange(len(folder)))
        trained = Pictures(folder, np.arange(0))
        where = f"from {test}"
        if _has_folders(train) and not test_only:
            other = _opened(train, shape)
            trained = Pictures(other, np.arange(len(other)))
            where = f"from {train} and {test}"
            if odd := sorted({*other.classes} ^ {*folder.classes}):
                raise DataError(f"{root}: {odd[0]} is a class in one of {train} and {test}, expected in both")
        parts = trained, tested
    in_memory = sum(map(len, parts[1:] if test_only else parts)) * prod(shape)
    if in_memory > MAX_BYTES:
        raise DataError(
            f"{root}: {in_memory / 1e9:.1f} GB of pixels, at most {MAX_BYTES / 1e9:.1f} are kept in memory: "
            f"{'test on fewer pictures' if test_only else 'lower --size'}, or use Python, where an ImageFolder is read "
            "batch by batch"
        )
    channels, height, width = shape
    return tuple(folder.classes), *parts, f"{where}; {'grey' if channels == 1 else 'colours'}, {height}×{width}"


def _opened(root: Path, shape: Shape) -> ImageFolder:
    folder = ImageFolder(root, shape[1:], "L" if shape[0] == 1 else "RGB")
    if len(folder.classes) < 2:
        raise DataError(f"{root}: {folder.classes[0]} is the only class, expected a folder for each of several")
    return folder


def _has_folders(path: Path) -> bool:
    return path.is_dir() and any(entry.is_dir() and not entry.name.startswith(".") for entry in path.iterdir())
