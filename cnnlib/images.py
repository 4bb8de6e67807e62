"""Images in: picture files and saved arrays, made into what a model of grey images takes.

A picture (PNG, JPEG, BMP, GIF, PPM) becomes grey; a ``.npy`` or ``.npz`` file holds one image H×W or several, N×H×W or
N×1×H×W. Bright ink on a dark ground is what MNIST has, so an image whose rim is bright is inverted, and a note says so.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cnnlib.errors import ConfigError, DataError, FileFormatError, MissingExtraError

__all__ = ["INVERT", "Image", "fit", "read_images", "resize"]

Array = NDArray[Any]

MAX_PIXELS = 1 << 24  # of one picture, 4096 × 4096, and MAX_BYTES of one array: checked before memory is taken
MAX_BYTES = 1 << 26
INVERT = ("auto", "always", "never")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM")


@dataclass
class Image:
    """One grey image: float32 H×W, 0 dark to 1 bright; its name, and what was done to it."""

    name: str
    pixels: Array
    notes: list[str] = field(default_factory=list)


def read_images(path: str | os.PathLike[str]) -> list[Image]:
    """Return the images of a picture or an array file, as they are.

    Raises FileFormatError for a file that is damaged, too large or something else, DataError for arrays that are no
    grey images, MissingExtraError for pictures without Pillow, OSError if it cannot be read.
    """
    path = Path(path)
    with open(path, "rb") as file:
        if path.suffix.lower() == ".npz":
            named = list(_arrays(file, path))
        elif path.suffix.lower() == ".npy":
            named = [(str(path), _array(file, path.stat().st_size, str(path)))]
        else:
            return [Image(str(path), _picture(file, path))]
    return [image for name, array in named for image in _split(array, name)]


def fit(image: Image, size: tuple[int, int], invert: str = "auto") -> Image:
    """Return the image with bright ink on a dark ground, in the size (height, width); `notes` tell of every change.

    invert: "auto" inverts an image if the median of its rim is above a half. An image that is not of the proportions
    of `size` is padded with its ground.

    >>> white_with_black_ink = Image("seven.png", np.ones((40, 40), np.float32))
    >>> fit(white_with_black_ink, (28, 28)).notes
    ['inverted: it was dark on bright', 'resized from 40×40 to 28×28', 'one flat grey: there is nothing to see']
    """
    if invert not in INVERT:
        raise ConfigError(f"invert = {invert!r}: expected {', '.join(INVERT)}")
    pixels, notes = image.pixels, list(image.notes)
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if invert == "always" or (invert == "auto" and np.median(rim) > 0.5):
        pixels = 1 - pixels
        notes.append("inverted: it was dark on bright" if invert == "auto" else "inverted")
    height, width = pixels.shape
    if (height, width) != size:
        scale = max(height / size[0], width / size[1])
        full = max(height, round(size[0] * scale)), max(width, round(size[1] * scale))
        if full != (height, width):
            top, left = (full[0] - height) // 2, (full[1] - width) // 2
            ground = np.full(full, np.median(rim if pixels is image.pixels else 1 - rim), np.float32)
            ground[top : top + height, left : left + width] = pixels
            pixels = ground
            notes.append(f"padded from {height}×{width} to {full[0]}×{full[1]}")
        if full != size:
            pixels = resize(pixels, size)
            notes.append(f"resized from {full[0]}×{full[1]} to {size[0]}×{size[1]}")
    if np.ptp(pixels) < 0.05:
        notes.append("one flat grey: there is nothing to see")
    return Image(image.name, np.ascontiguousarray(pixels, np.float32), notes)


def resize(pixels: Array, size: tuple[int, int]) -> Array:
    """Return an H×W image in another size: linear interpolation, averaging over what one new pixel covers.

    >>> resize(np.array([[0.0, 0.0, 1.0, 1.0]]), (1, 2)).round(2).tolist()
    [[0.14, 0.86]]
    """
    rows, columns = (_interpolation(old, new) for old, new in zip(pixels.shape, size, strict=True))
    return np.asarray(rows @ pixels @ columns.T)


def _interpolation(old: int, new: int) -> Array:
    """The matrix new×old of a triangle filter, wide enough to cover all old pixels where the image shrinks."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(old) - centres[:, None]) / max(scale, 1))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _picture(file: IO[bytes], path: Path) -> Array:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError:
        raise MissingExtraError("pillow", "image", f"{path}: reading a picture") from None
    # What Pillow raises for a damaged file depends on where the damage is.
    try:
        with PIL.Image.open(file, formats=_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width}×{picture.height} pixels, at most {MAX_PIXELS:,} are read")
            upright = PIL.ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I"):
                return np.asarray(upright, np.float32) / 65535
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                paper = PIL.Image.new("RGBA", upright.size, "white")
                upright = PIL.Image.alpha_composite(paper, upright)
            return np.asarray(upright.convert("L"), np.float32) / 255
    except PIL.UnidentifiedImageError:
        raise FileFormatError(f"{path}: not a picture ({', '.join(_FORMATS)}) nor an array (.npy, .npz)") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, PIL.Image.DecompressionBombError) as error:
        raise FileFormatError(f"{path}: this picture cannot be read: {error}") from None


def _arrays(file: IO[bytes], path: Path) -> Iterator[tuple[str, Array]]:
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = f"{path}[{member.filename.removesuffix('.npy')}]"
                with archive.open(member) as stream:
                    yield name, _array(stream, member.file_size, name)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise FileFormatError(f"{path}: not an .npz file, or a damaged one: {error}") from None


def _array(stream: IO[bytes], size: int, name: str) -> Array:
    """Read a .npy stream of `size` bytes: plain numbers only, and no more memory than the file itself has."""
    if size > MAX_BYTES:
        raise FileFormatError(f"{name}: {size:,} bytes, at most {MAX_BYTES:,} are read")
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran_order, dtype = readers[version](stream)
    except (ValueError, KeyError, EOFError) as error:
        raise FileFormatError(f"{name}: not a .npy array, or a damaged one: {error}") from None
    if dtype.kind not in "biuf":
        raise DataError(f"{name}: an array of {dtype}, expected numbers")
    data = stream.read(size)
    if len(data) != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise FileFormatError(f"{name}: the header promises {dtype} {shape}, the file holds {len(data):,} bytes of it")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def _split(array: Array, name: str) -> list[Image]:
    if array.ndim == 4 and array.shape[1] == 1:
        images = array[:, 0]
    elif array.ndim == 2:
        images = array[np.newaxis]
    elif array.ndim == 3 and array.shape[-1] not in (3, 4):
        images = array
    else:
        raise DataError(f"{name}: shape {array.shape}, expected grey images H×W, N×H×W or N×1×H×W")
    if images.size == 0 or images[0].size > MAX_PIXELS:
        raise DataError(f"{name}: shape {array.shape}, an image has 1 to {MAX_PIXELS:,} pixels")
    images = _grey(images, name)
    if array.ndim == 2:
        return [Image(name, images[0])]
    return [Image(f"{name}[{i}]", pixels) for i, pixels in enumerate(images)]


def _grey(images: Array, name: str) -> Array:
    if images.dtype.kind == "b":
        return images.astype(np.float32)
    low, high = images.min(), images.max()
    top = 1.0 if images.dtype.kind == "f" else 255.0
    if not 0 <= low <= high <= top:
        expected = "0 to 1; divide by the largest value" if top == 1 else "0 to 255"
        raise DataError(f"{name}: values from {low} to {high}, expected {images.dtype} pixels from {expected}")
    return images.astype(np.float32) / np.float32(top)
