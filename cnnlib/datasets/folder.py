"""A folder of pictures as a data set: one folder for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnlib.datasets.sources import Arrays
from cnnlib.errors import ConfigError, DataError, DataNotFoundError, ShapeError
from cnnlib.files import PathLike, file_path
from cnnlib.shapes import IntPair, pair

__all__ = ["ImageFolder"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm")
CHANNELS = {"RGB": 3, "L": 1}


def picture_files(root: PathLike, endings: tuple[str, ...] = EXTENSIONS) -> list[str]:
    """Return the files below a folder, at any depth, whose name ends in one of `endings`, sorted."""
    return sorted(
        os.path.join(folder, file)
        for folder, _, files in os.walk(root)
        for file in files
        if file.lower().endswith(endings) and not file.startswith(".")
    )


class ImageFolder:
    """Pictures in folders, one for each class, as a data set: ``root/cat/1.png``, ``root/dog/a/2.jpg``.

    Classes are the folders' names, sorted, and labels their places; pictures are those files, at any depth, whose name
    ends in one of `extensions`, in the order of their names. They are decoded when they are asked for:
    ``data[indices]`` is (x, y), uint8 N×C×H×W and int64 N. Needs Pillow (``pip install 'cnnlib[image]'``).

    size: height and width that each picture is resized to, or one number for both; None: all must be of one size.
    mode: "RGB", three channels, or "L", one of grey.

    Raises DataNotFoundError if there is no such folder or it has no folders, DataError for a class without pictures;
    when pictures are read, FileFormatError for a damaged one, by name, ShapeError where sizes differ.

    >>> import tempfile, pathlib
    >>> root = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("b", "a"):
    ...     (root / name).mkdir()
    ...     _ = (root / name / "1.pgm").write_bytes(b"P5 2 1 255 " + name.encode() * 2)
    >>> data = ImageFolder(root, mode="L")
    >>> data.classes, len(data), data[[0, 1]][0].ravel().tolist()
    (['a', 'b'], 2, [97, 97, 98, 98])
    """

    def __init__(
        self,
        root: PathLike,
        size: IntPair | None = None,
        mode: str = "RGB",
        *,
        extensions: Sequence[str] = EXTENSIONS,
    ) -> None:
        self.root = file_path(root, "root")
        self.size = None if size is None else pair(size, "size", 1)
        if mode not in CHANNELS:
            raise ConfigError(f"mode = {mode!r}: expected 'RGB' or 'L'")
        self.mode = mode
        if not self.root.is_dir():
            raise DataNotFoundError(f"{root}: there is no such folder; it should have a folder for each class")
        folders = (entry.name for entry in os.scandir(self.root) if entry.is_dir())
        self.classes = sorted(name for name in folders if not name.startswith("."))
        if not self.classes:
            raise DataNotFoundError(f"{root}: there is no folder in it, expected one for each class")
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        endings = tuple(ending.lower() for ending in extensions)
        self.paths: list[str] = []
        labels: list[int] = []
        for name, label in self.class_to_idx.items():
            found = picture_files(self.root / name, endings)
            if not found:
                raise DataError(f"{self.root / name}: no pictures for this class, expected files {' '.join(endings)}")
            self.paths += found
            labels += [label] * len(found)
        #: The labels of all pictures, int64.
        self.y = np.array(labels, np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any, /) -> Arrays:
        from cnnlib.images import read_pixels  # and with it zipfile, which costs more than the rest of the package

        chosen = np.arange(len(self))[index]
        if chosen.ndim != 1 or len(chosen) == 0:
            raise DataError(f"ImageFolder[{index!r}]: expected a slice or an array of indices")
        pictures = [read_pixels(self.paths[i], self.mode, self.size) for i in chosen]
        for i, picture in zip(chosen, pictures, strict=True):
            if picture.shape != pictures[0].shape:
                (_, height, width), (_, other, wide) = picture.shape, pictures[0].shape
                raise ShapeError(
                    f"{self.paths[i]}: {height}×{width} pixels, {self.paths[chosen[0]]} has {other}×{wide}: pass "
                    "ImageFolder(root, size=…), to which all are resized"
                )
        return np.stack(pictures), self.y[chosen]

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.root)!r}, {len(self)} pictures of {len(self.classes)} classes)"
