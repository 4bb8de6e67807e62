"""Images in: picture files and saved arrays, made into what a model of grey images takes.

A picture (PNG, JPEG, BMP, GIF, PPM) becomes grey; a ``.npy`` or ``.npz`` file holds one image H×W or several, N×H×W or
N×1×H×W. Bright ink on a dark ground is what MNIST has, so an image whose rim is bright is inverted, and a note says so.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnlib.errors import CNNError, ConfigError, DataError, FileFormatError, MissingExtraError
from cnnlib.files import brief, opened

__all__ = ["INVERT", "Image", "fit", "read_images", "read_pixels", "resize"]

Array = NDArray[Any]

# Of one image, and of a file of arrays or a picture's file: all checked before memory is taken.
MAX_PIXELS = 1 << 24
MAX_SIDE = 1 << 14
MAX_BYTES = 1 << 26
MAX_MEMBERS = 10_000  # arrays in an .npz file
MAX_SCANS = 100  # a progressive JPEG has about ten, and each takes the time of the whole picture
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
    grey images, MissingExtraError for pictures without Pillow, DataNotFoundError or FileAccessError if it cannot be
    read.
    """
    with opened(path) as (file, size):
        return parse_images(file, size, Path(path))


def parse_images(file: BinaryIO, size: int, path: Path) -> list[Image]:
    """Return the images of an open file of `size` bytes, whose errors name it `path`; else as `read_images`."""
    if size > MAX_BYTES:
        raise FileFormatError(f"{path}: {size:,} bytes, at most {MAX_BYTES:,} are read")
    if path.suffix.lower() == ".npz":
        named = list(_arrays(file, path))
    elif path.suffix.lower() == ".npy":
        named = [(str(path), _array(file, size, str(path)))]
    else:
        return [Image(str(path), _picture(file, path))]
    return [image for name, array in named for image in _split(array, name)]


def fit(image: Image, size: tuple[int, int], invert: str = "auto", box: int | None = None) -> Image:
    """Return the image with bright ink on a dark ground, in the size (height, width); `notes` tell of every change.

    invert: "auto" inverts an image if the median of its rim is above a half.
    box: an image of another size is prepared as MNIST's digits were: cut to its ink, resized so that the longer side
    is `box` pixels, ground made 0 and the brightest ink 1, and put with its centre of mass in the middle. None resizes
    the whole image, padded with its ground where the proportions differ.

    Source: http://yann.lecun.com/exdb/mnist/ (a box of 20 in 28×28).

    >>> page = np.ones((40, 40), np.float32)
    >>> page[2:12, 5:8] = 0
    >>> digit = fit(Image("one.png", page), (28, 28), box=20)
    >>> digit.notes
    ['inverted: it was dark on bright', 'cut to its ink, 10×3 of 40×40, resized to 20×6 and centred in 28×28']
    >>> np.flatnonzero(digit.pixels.any(axis=1))[[0, -1]]
    array([ 4, 23])
    """
    if invert not in INVERT:
        raise ConfigError(f"invert = {invert!r}: expected {', '.join(INVERT)}")
    if box is not None and not 1 <= box <= min(size):
        raise ConfigError(f"box = {box}: expected 1 to {min(size)}, the shorter side of {size[0]}×{size[1]}")
    pixels, notes = image.pixels, list(image.notes)
    ground = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]))
    if invert == "always" or (invert == "auto" and ground > 0.5):
        pixels, ground = 1 - pixels, 1 - ground
        notes.append("inverted: it was dark on bright" if invert == "auto" else "inverted")
    if pixels.max() - ground < 0.05:
        notes.append("no ink: one flat grey")
        box = None
    if pixels.shape != size:
        pixels = _whole(pixels, size, ground, notes) if box is None else _ink(pixels, size, box, ground, notes)
    return Image(image.name, np.ascontiguousarray(pixels, np.float32), notes)


def _whole(pixels: Array, size: tuple[int, int], ground: float, notes: list[str]) -> Array:
    """The whole image, first padded with `ground` to the proportions of `size`."""
    height, width = pixels.shape
    scale = max(height / size[0], width / size[1])
    full = max(height, round(size[0] * scale)), max(width, round(size[1] * scale))
    if full[0] * full[1] > MAX_PIXELS:
        raise DataError(
            f"{height}×{width} pixels padded to the proportions of {size[0]}×{size[1]} would be {full[0]}×{full[1]}, "
            f"at most {MAX_PIXELS:,} pixels are made: crop the image"
        )
    if full != (height, width):
        pixels = _placed(pixels, full, ((full[0] - height) // 2, (full[1] - width) // 2), ground)
        notes.append(f"padded from {height}×{width} to {full[0]}×{full[1]}")
    if full != size:
        pixels = resize(pixels, size)
        notes.append(f"resized from {full[0]}×{full[1]} to {size[0]}×{size[1]}")
    return pixels


def _ink(pixels: Array, size: tuple[int, int], box: int, ground: float, notes: list[str]) -> Array:
    """What stands out of `ground`, in a box around its centre of mass."""
    stretched = np.clip((pixels - ground) / (pixels.max() - ground), 0, 1)
    # A quarter of the ink's height leaves out the unevenness of paper, and keeps the soft edge of a stroke.
    rows, columns = (np.flatnonzero((stretched > 0.25).any(axis=axis)) for axis in (1, 0))
    ink = stretched[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(side * box / max(ink.shape))) for side in ink.shape)
    found, ink = ink.shape, resize(ink, (height, width))
    # MNIST's files have the centre of mass at pixel 14.0 ± 0.5 of 0 … 27: half the side, not half of 27.
    top, left = (
        int(np.clip(round(side / 2 - weights @ np.arange(len(weights)) / weights.sum()), 0, side - len(weights)))
        for side, weights in zip(size, (ink.sum(axis=1), ink.sum(axis=0)), strict=True)
    )
    notes.append(
        f"cut to its ink, {found[0]}×{found[1]} of {pixels.shape[0]}×{pixels.shape[1]}, resized to {height}×{width} "
        f"and centred in {size[0]}×{size[1]}"
    )
    return _placed(ink, size, (top, left), 0.0)


def _placed(pixels: Array, size: tuple[int, int], corner: tuple[int, int], ground: float) -> Array:
    """`pixels` with their upper left at `corner` of an image of `ground`."""
    placed = np.full(size, ground, np.float32)
    placed[corner[0] : corner[0] + pixels.shape[0], corner[1] : corner[1] + pixels.shape[1]] = pixels
    return placed


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


def read_pixels(path: str | os.PathLike[str], mode: str, size: tuple[int, int] | None = None) -> Array:
    """Return a picture as uint8 C×H×W: mode "L", one channel of grey, or "RGB", three; resized to `size` if given.

    Raises what `read_images` raises for pictures.
    """

    def pixels(picture: Any) -> Array:
        import PIL.Image

        if picture.mode.startswith("I"):  # 16 bits
            picture = PIL.Image.fromarray((np.asarray(picture, np.float32) / 257 + 0.5).astype(np.uint8))
        picture = picture.convert(mode)
        if size is not None:
            picture = picture.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR)
        array = np.asarray(picture)
        return np.ascontiguousarray(array[np.newaxis] if array.ndim == 2 else array.transpose(2, 0, 1))

    with opened(path) as (file, length):
        if length > MAX_BYTES:
            raise FileFormatError(f"{path}: {length:,} bytes, at most {MAX_BYTES:,} are read")
        return _decoded(file, Path(path), pixels)


def _picture(file: BinaryIO, path: Path) -> Array:
    def grey(picture: Any) -> Array:
        if picture.mode.startswith("I"):
            return np.asarray(picture, np.float32) / 65535
        return np.asarray(picture.convert("L"), np.float32) / 255

    return _decoded(file, path, grey)


def _decoded(file: BinaryIO, path: Path, pixels: Callable[[Any], Array]) -> Array:
    """What `pixels` makes of the picture in a file, upright and on white paper."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError:
        raise MissingExtraError("pillow", "image", f"{path}: reading a picture") from None
    data = file.read()
    try:
        with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            _check_size((picture.height, picture.width))
            # A start of scan; in the data between, a byte ff is followed by 00.
            if picture.format == "JPEG" and (scans := data.count(b"\xff\xda")) > MAX_SCANS:
                raise ValueError(f"{scans} scans, at most {MAX_SCANS} are read")
            upright = PIL.ImageOps.exif_transpose(picture)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                paper = PIL.Image.new("RGBA", upright.size, "white")
                upright = PIL.Image.alpha_composite(paper, upright)
            return pixels(upright)
    except PIL.UnidentifiedImageError:
        raise FileFormatError(f"{path}: not a picture ({', '.join(_FORMATS)}) nor an array (.npy, .npz)") from None
    except Exception as error:  # what Pillow raises for a damaged file depends on where the damage is
        raise FileFormatError(f"{path}: this picture cannot be read: {brief(error)}") from None


def _check_size(size: tuple[int, ...]) -> None:
    height, width = size
    if not 0 < height * width <= MAX_PIXELS or max(size) > MAX_SIDE:
        raise ValueError(f"{height}×{width} pixels, at most {MAX_PIXELS:,} and {MAX_SIDE:,} on a side are read")


def _arrays(file: BinaryIO, path: Path) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of an .npz file with their names, unpacked to MAX_BYTES at most all together."""
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if not 1 <= len(members) <= MAX_MEMBERS:
                raise FileFormatError(f"{path}: {len(members):,} arrays, 1 to {MAX_MEMBERS:,} are read")
            for member in members:
                name = f"{path}[{brief(member.filename.removesuffix('.npy'))}]"
                # The others unpack without a bound.
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise FileFormatError(f"{name}: packed by another method than NumPy's")
                with archive.open(member) as stream:
                    yield name, _array(stream, member.file_size, name, left)
                left -= member.file_size
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        if isinstance(error, CNNError):
            raise
        raise FileFormatError(f"{path}: not an .npz file, or a damaged one: {brief(error)}") from None


def _array(stream: IO[bytes], size: int, name: str, most: int = MAX_BYTES) -> Array:
    """Read a .npy stream of `size` bytes: plain numbers only, and no more memory than the file itself has."""
    if size > most:
        raise FileFormatError(f"{name}: {size:,} bytes, at most {most:,} are read")
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran_order, dtype = readers[version](stream)
    except Exception as error:  # NumPy reads the header by Python's own parser, which raises this and that
        raise FileFormatError(f"{name}: not a .npy array, or a damaged one: {brief(error)}") from None
    if dtype.kind not in "biuf":
        raise DataError(f"{name}: an array of {dtype}, expected numbers")
    data = stream.read(size)
    if min(shape, default=1) < 0 or len(data) != math.prod(shape) * dtype.itemsize:
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
    if len(images) == 0:
        raise DataError(f"{name}: shape {array.shape}: there is no image in it")
    try:
        _check_size(images.shape[1:])
    except ValueError as error:
        raise DataError(f"{name}: shape {array.shape}: {error}") from None
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
