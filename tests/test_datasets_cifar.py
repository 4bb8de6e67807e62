"""CIFAR's archives, small ones made here: found, fetched, checked, and believed in nothing."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnnlib import datasets
from cnnlib.datasets import cifar, download
from cnnlib.datasets.cifar import CIFAR10, CIFAR100, Archive, load
from cnnlib.errors import DataNotFoundError, FileFormatError

RNG = np.random.default_rng(1)


def packed(path: Path, archive: Archive, files: dict[str, bytes]) -> Archive:
    """Write an archive and return it with its digest and small files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    return replace(archive, md5=md5, records=4, test_records=3)


def rows(count: int, archive: Archive) -> np.ndarray:
    table = RNG.integers(0, 256, (count, archive.labels + 3072), np.uint8)
    table[:, archive.labels - 1] %= archive.classes
    return table


@pytest.mark.parametrize("archive", [CIFAR10, CIFAR100], ids=lambda archive: archive.name)
def test_images_and_labels_in_order(tmp_path: Path, archive: Archive) -> None:
    tables = {name: rows(4, archive) for name in archive.train} | {name: rows(3, archive) for name in archive.test}
    files = {name: table.tobytes() for name, table in reversed(tables.items())} | {"../../evil": b"x"}
    small = packed(tmp_path / archive.name / archive.file, archive, files)
    before = sorted(tmp_path.rglob("*"))
    (x, y), (x_test, y_test) = load(small, tmp_path)
    train = np.concatenate([tables[name] for name in archive.train])
    assert (x.shape, x.dtype, y.dtype) == ((len(train), 3, 32, 32), np.uint8, np.int64)
    assert x.flags.c_contiguous
    np.testing.assert_array_equal(x.reshape(len(train), -1), train[:, archive.labels :])
    np.testing.assert_array_equal(y, train[:, archive.labels - 1])
    assert (len(x_test), len(y_test)) == (3, 3)
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked
    assert datasets.find(archive.name, root=tmp_path) == tmp_path / archive.name


def test_it_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {name: rows(4, CIFAR10).tobytes() for name in CIFAR10.train}
    tables |= {name: rows(3, CIFAR10).tobytes() for name in CIFAR10.test}
    small = packed(tmp_path / "mirror" / CIFAR10.file, CIFAR10, tables)
    small = replace(small, mirrors=((tmp_path / "mirror").as_uri(),))
    monkeypatch.setenv("CNNLIB_DATA", str(tmp_path / "data"))
    (x, _), _ = load(small, progress=False)
    assert len(x) == 20
    monkeypatch.setattr(download, "fetch", None)
    load(small, progress=False)
    assert [path.name for path in (tmp_path / "data" / "cifar10").iterdir()] == [CIFAR10.file]


def test_what_is_not_the_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cifar10" / CIFAR10.file
    good = {name: rows(4, CIFAR10).tobytes() for name in CIFAR10.train}
    good |= {name: rows(3, CIFAR10).tobytes() for name in CIFAR10.test}
    small = packed(path, CIFAR10, good)
    with pytest.raises(FileFormatError, match="MD5"):
        load(CIFAR10, tmp_path)
    with pytest.raises(FileFormatError, match="at most 10"):
        load(replace(small, max_bytes=10), tmp_path)
    first = CIFAR10.train[0]
    wrong = bytearray(good[first])
    wrong[0] = 10
    for content, message in ((good[first][:-1], "12,292: 4 records"), (bytes(wrong), "a label of 10")):
        with pytest.raises(FileFormatError, match=message):
            load(packed(path, CIFAR10, good | {first: content}), tmp_path)
    with pytest.raises(FileFormatError, match="there is no cifar-10-batches-bin/test_batch"):
        load(packed(path, CIFAR10, {name: good[name] for name in CIFAR10.train}), tmp_path)
    for content in (b"", b"no archive", path.read_bytes()[:5000]):
        path.write_bytes(content)
        with pytest.raises(FileFormatError):
            load(replace(small, md5=hashlib.md5(content).hexdigest()), tmp_path)


def test_what_is_nowhere_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataNotFoundError, match=r"(?s)CIFAR-10 is not in .*Put cifar-10-binary\.tar\.gz into"):
        datasets.cifar10(root=tmp_path, download=False)
    assert datasets.find("cifar10", root=tmp_path) is None
    assert [folder.name for folder in datasets.folders("cifar100", root=tmp_path)] == ["cifar100"]
    assert cifar.ARCHIVES.keys() == {"cifar10", "cifar100"}
