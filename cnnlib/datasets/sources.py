"""A data set of four IDX files: finding it on this machine, fetching it, checking it, reading it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cnnlib.datasets.idx import idx_digest, read_idx
from cnnlib.errors import ConfigError, DataNotFoundError, FileFormatError

__all__ = ["Arrays", "Source", "Split", "find_folder", "folder_with", "found_or_fetched", "load", "read", "search_path"]

Arrays = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Inputs and their targets: ``(x, y)``."""
Split = tuple[Arrays, Arrays]
"""What is trained on and what is held back: ``(x_train, y_train), (x_test, y_test)``."""

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
# The largest of the files has 47 MB unpacked; this stops a server that sends without end.
MAX_BYTES = 1 << 26


@dataclass(frozen=True)
class Source:
    """A data set of four IDX files: what they must hold and where they may be."""

    name: str
    """The folder's name under ``CNNLIB_DATA`` and in the cache."""
    title: str
    sha256: tuple[str, str, str, str]
    """Of the unpacked files, in the order of ``FILES``; mirrors differ in how they zipped the same content."""
    mirrors: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    """Where else the files may be, after ``CNNLIB_DATA`` and the cache."""
    advice: str = ""


class Placed(Protocol):
    """What has a folder of its own where data are kept."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def folders(self) -> tuple[Path, ...]: ...


def find_folder(source: Source, root: str | os.PathLike[str] | None = None) -> Path | None:
    """The first folder with all four files, unopened; None if there is none."""
    return folder_with(source, root, _complete)


def load(
    source: Source,
    pad: int = 0,
    root: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: bool = True,
) -> Split:
    """Find or fetch the source's files, then :func:`read` them; arguments and errors as of ``datasets.mnist``."""
    fetch = functools.partial(_download, source, progress=progress) if download else None
    wanted = f"these four files, with or without .gz, into {{}}: {', '.join(FILES)}. {source.advice}"
    return read(source, found_or_fetched(source, root, _complete, fetch, wanted), pad)


def folder_with(source: Placed, root: str | os.PathLike[str] | None, complete: Callable[[Path], bool]) -> Path | None:
    """The first folder where `source` may be that is `complete`; None if there is none."""
    return next((folder for folder in search_path(source, root) if complete(folder)), None)


def found_or_fetched(
    source: Placed,
    root: str | os.PathLike[str] | None,
    complete: Callable[[Path], bool],
    fetch: Callable[[Path], None] | None,
    wanted: str,
) -> Path:
    """Return the folder that is `complete`, after ``fetch(folder)`` into the first where `source` may be if none is.

    fetch: None not to. wanted: what to put into ``{}`` by hand. Raises DataNotFoundError, which says that, if fetching
    fails.
    """
    folder = folder_with(source, root, complete)
    if folder is not None:
        return folder
    folders = search_path(source, root)
    folder = folders[0]
    try:
        if fetch is None:
            raise DataNotFoundError("download=False")
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written to")
        fetch(folder)
    except OSError as error:
        raise DataNotFoundError(
            f"{source.title} is not in {' or '.join(map(str, folders))}, and was not downloaded: {error}\n"
            f"Put {wanted.format(folder)}"
        ) from None
    return folder


def search_path(source: Placed, root: str | os.PathLike[str] | None) -> list[Path]:
    """Where to look, in order; the first is also where a download goes."""
    if root is not None:
        return [Path(root).expanduser() / source.name]
    data = os.environ.get("CNNLIB_DATA")
    chosen = [Path(data).expanduser()] if data else []
    return [*(folder / source.name for folder in [*chosen, _cache()]), *source.folders]


def _cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cnnlib"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "cnnlib" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnnlib"


def _complete(folder: Path) -> bool:
    return all(_locate(folder, file) for file in FILES)


def _locate(folder: Path, file: str) -> Path | None:
    return next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None)


def _download(source: Source, folder: Path, progress: bool) -> None:
    # urllib costs more to import than the rest of this package.
    from cnnlib.datasets.download import fetch

    mirrors = list(source.mirrors)
    for file, sha256 in zip(FILES, source.sha256, strict=True):
        if not _locate(folder, file):
            good = fetch(
                f"{file}.gz",
                mirrors,
                folder,
                max_bytes=MAX_BYTES,
                verify=functools.partial(_check, sha256=sha256, source=source),
                progress=progress,
            )
            # The mirror that answered is asked first for the next file.
            mirrors.sort(key=lambda mirror: mirror != good)


def _check(path: Path, sha256: str, source: Source) -> npt.NDArray[Any]:
    array = read_idx(path, max_bytes=MAX_BYTES)
    found = idx_digest(array)
    if found != sha256:
        raise FileFormatError(
            f"{path}: not the file of {source.title}: unpacked, its SHA-256 is {found[:16]}…, expected {sha256[:16]}…. "
            "Move it away; it is then downloaded again."
        )
    return array


def read(source: Source, folder: Path, pad: int = 0) -> Split:
    """Read the four files in ``folder`` and check their SHA-256: images uint8 N×1×H×W, zero-padded, labels int64 N."""
    if pad < 0:
        raise ConfigError(f"pad must be 0 or more pixels a side, got {pad}")
    arrays = []
    for file, sha256 in zip(FILES, source.sha256, strict=True):
        path = _locate(folder, file)
        if path is None:
            raise DataNotFoundError(f"{folder / file}: missing from {source.title}")
        array = _check(path, sha256, source)
        arrays.append(_pad(array, pad) if array.ndim == 3 else array.astype(np.int64))
    return (arrays[0], arrays[1]), (arrays[2], arrays[3])


def _pad(images: npt.NDArray[Any], pad: int) -> npt.NDArray[Any]:
    """N×H×W to N×1×(H+2·pad)×(W+2·pad)."""
    if pad == 0:
        return images[:, np.newaxis]
    n, height, width = images.shape
    padded = np.zeros((n, 1, height + 2 * pad, width + 2 * pad), images.dtype)
    padded[:, 0, pad:-pad, pad:-pad] = images
    return padded
