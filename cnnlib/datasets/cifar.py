"""CIFAR-10 and CIFAR-100: one archive each, found or fetched, checked, and read without being unpacked."""

from __future__ import annotations

import functools
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cnnlib.datasets.sources import Arrays, Split, folder_with, found_or_fetched
from cnnlib.errors import FileFormatError
from cnnlib.files import brief, opened

__all__ = ["cifar10", "cifar100"]

PIXELS = 3 * 32 * 32
CHUNK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A data set in a tar file of records: some bytes of labels, the last of which counts, and 3×32×32 of pixels."""

    name: str
    title: str
    file: str
    md5: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    records: int
    """In each file of `train`."""
    test_records: int
    labels: int
    """Bytes of a record before the pixels."""
    classes: int
    mirrors: tuple[str, ...] = ("https://www.cs.toronto.edu/~kriz",)
    folders: tuple[Path, ...] = ()
    max_bytes: int = 1 << 28


CIFAR10 = Archive(
    "cifar10",
    "CIFAR-10",
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
    ("cifar-10-batches-bin/test_batch.bin",),
    10_000,
    10_000,
    1,
    10,
)
CIFAR100 = Archive(
    "cifar100",
    "CIFAR-100",
    "cifar-100-binary.tar.gz",
    "03b5dce01913d631647c71ecec9e9cb8",
    ("cifar-100-binary/train.bin",),
    ("cifar-100-binary/test.bin",),
    50_000,
    10_000,
    2,
    100,
)
ARCHIVES = {archive.name: archive for archive in (CIFAR10, CIFAR100)}


def cifar10(*, root: str | os.PathLike[str] | None = None, download: bool = True, progress: bool = True) -> Split:
    """CIFAR-10: 50,000 colour images to train, 10,000 to test, as ``(x_train, y_train), (x_test, y_test)``.

    ``x`` is uint8 N×3×32×32, red, green, blue; ``y`` int64 N: airplane, automobile, bird, cat, deer, dog, frog, horse,
    ship, truck. The archive ``cifar-10-binary.tar.gz`` is looked for in the folder ``cifar10`` of ``root`` or, without
    ``root``, of ``CNNLIB_DATA`` and of the user's cache, and otherwise downloaded (170 MB) into the first of them. Its
    MD5 is checked on every load; it is never unpacked to disk.

    Raises :class:`DataNotFoundError` saying where to put which file, :class:`FileFormatError` for a damaged one.
    Source: A. Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html

    >>> from cnnlib import datasets
    >>> if datasets.find("cifar10"):
    ...     (x_train, y_train), (x_test, y_test) = datasets.cifar10()
    ...     assert x_train.shape == (50000, 3, 32, 32) and y_test.shape == (10000,)
    """
    return load(CIFAR10, root, download, progress)


def cifar100(*, root: str | os.PathLike[str] | None = None, download: bool = True, progress: bool = True) -> Split:
    """CIFAR-100: images as those of :func:`cifar10`, of 100 classes (the fine labels); the folder is ``cifar100``.

    >>> from cnnlib import datasets
    >>> if datasets.find("cifar100"):
    ...     (x_train, y_train), _ = datasets.cifar100()
    ...     assert y_train.max() == 99
    """
    return load(CIFAR100, root, download, progress)


def find_archive(archive: Archive, root: str | os.PathLike[str] | None = None) -> Path | None:
    """The first folder that has the archive, unopened; None if there is none."""
    return folder_with(archive, root, lambda folder: (folder / archive.file).is_file())


def load(
    archive: Archive, root: str | os.PathLike[str] | None = None, download: bool = True, progress: bool = True
) -> Split:
    """Find or fetch an archive, check it and read it; arguments and errors as of `cifar10`."""

    def fetched(folder: Path) -> None:
        # urllib costs more to import than the rest of this package.
        from cnnlib.datasets.download import fetch

        verify = functools.partial(_verify, archive=archive)
        fetch(archive.file, archive.mirrors, folder, max_bytes=archive.max_bytes, verify=verify, progress=progress)

    wanted = f"{archive.file} into {{}}."
    folder = found_or_fetched(
        archive, root, lambda folder: (folder / archive.file).is_file(), fetched if download else None, wanted
    )
    return read(archive, folder / archive.file)


def read(archive: Archive, path: Path) -> Split:
    """Check an archive's MD5 and read the records of its files; nothing of it is written anywhere."""
    import tarfile

    sizes = dict.fromkeys(archive.train, archive.records) | dict.fromkeys(archive.test, archive.test_records)
    parts: dict[str, Arrays] = {}
    with opened(path) as (file, size):
        _check(file, size, path, archive)
        try:
            with tarfile.open(fileobj=file, mode="r|gz") as members:
                for member in members:
                    if member.name in sizes:
                        stream = members.extractfile(member) if member.isreg() else None
                        parts[member.name] = _records(
                            stream, member.size, sizes[member.name], f"{path}[{member.name}]", archive
                        )
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise FileFormatError(f"{path}: not the archive of {archive.title}: {brief(error)}") from None
    if missing := [name for name in sizes if name not in parts]:
        raise FileFormatError(f"{path}: there is no {missing[0]} in it")
    return _joined([parts[name] for name in archive.train]), _joined([parts[name] for name in archive.test])


def _verify(path: Path, archive: Archive) -> None:
    with opened(path) as (file, size):
        _check(file, size, path, archive)


def _check(file: BinaryIO, size: int, path: Path, archive: Archive) -> None:
    import hashlib

    if size > archive.max_bytes:
        raise FileFormatError(f"{path}: {size:,} bytes, {archive.title} has at most {archive.max_bytes:,}")
    digest = hashlib.md5(usedforsecurity=False)
    while block := file.read(CHUNK):
        digest.update(block)
    file.seek(0)
    if digest.hexdigest() != archive.md5:
        raise FileFormatError(
            f"{path}: not the file of {archive.title}: its MD5 is {digest.hexdigest()}, expected {archive.md5}. "
            "Move it away; it is then downloaded again."
        )


def _records(stream: Any, size: int, count: int, name: str, archive: Archive) -> Arrays:
    record = archive.labels + PIXELS
    if stream is None or size != count * record:
        raise FileFormatError(f"{name}: {size:,} bytes, expected {count * record:,}: {count:,} records of {record:,}")
    data = np.frombuffer(stream.read(size), np.uint8)
    if len(data) != size:
        raise FileFormatError(f"{name}: the data end after {len(data):,} of {size:,} bytes")
    rows = data.reshape(count, record)
    y = rows[:, archive.labels - 1].astype(np.int64)
    if y.max() >= archive.classes:
        raise FileFormatError(f"{name}: a label of {y.max()}, expected 0 … {archive.classes - 1}")
    return rows[:, archive.labels :].reshape(-1, 3, 32, 32), y


def _joined(parts: list[Arrays]) -> Arrays:
    images: list[npt.NDArray[Any]] = [x for x, _ in parts]
    return np.ascontiguousarray(np.concatenate(images)), np.concatenate([y for _, y in parts])
