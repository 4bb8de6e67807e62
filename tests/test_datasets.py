"""The bundled digits, the full sets where this machine has them, and where they are looked for."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnnlib import datasets
from cnnlib.datasets import mnist_family, sources
from cnnlib.datasets.idx import idx_digest, write_idx
from cnnlib.datasets.mnist_family import FASHION_MNIST, MNIST, SAMPLE
from cnnlib.datasets.sources import FILES, Source, load
from cnnlib.errors import CNNError, ConfigError, DataNotFoundError, FileFormatError


def data_root(name: str) -> Path | None:
    """The folder to pass as ``root`` for real data: of CNNLIB_DATA, or ``shared/data`` beside the checkout."""
    candidates = [os.environ.get("CNNLIB_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    return next((Path(root) for root in candidates if root and datasets.find(name, root=root)), None)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data on this machine, and its cache under tmp_path / "home"."""
    monkeypatch.delenv("CNNLIB_DATA", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for source in (MNIST, FASHION_MNIST):
        monkeypatch.setitem(mnist_family.SOURCES, source.name, replace(source, folders=()))
    return tmp_path


@pytest.fixture
def tiny(tmp_path):
    """A source of 3 + 2 images of 4×4, and the folder "tiny" that holds its files."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "tiny"
    folder.mkdir()
    digests = []
    for file, shape in zip(FILES, ((3, 4, 4), (3,), (2, 4, 4), (2,)), strict=True):
        array = rng.integers(0, 10, shape, np.uint8)
        write_idx(folder / f"{file}.gz", array)
        digests.append(idx_digest(array))
    return Source("tiny", "Tiny", tuple(digests), advice="Nothing else helps.")


def test_sample_is_what_it_says():
    (x_train, y_train), (x_test, y_test) = datasets.mnist_sample()
    assert x_train.shape == (4000, 1, 28, 28)
    assert x_test.shape == (1000, 1, 28, 28)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert y_train.dtype == y_test.dtype == np.int64
    assert np.bincount(y_train).tolist() == [400] * 10
    assert np.bincount(y_test).tolist() == [100] * 10
    for y in (y_train, y_test):
        np.testing.assert_array_equal(np.sort(y.reshape(-1, 10), axis=1), np.tile(np.arange(10), (len(y) // 10, 1)))
        assert len(np.unique(y.reshape(-1, 10), axis=0)) > len(y) // 20, "the classes come in one fixed cycle"
    images = {image.tobytes() for x in (x_train, x_test) for image in x}
    assert len(images) == 5000, "an image appears twice, perhaps in both parts"
    assert all(array.flags.c_contiguous and array.flags.writeable for array in (x_train, y_train, x_test, y_test))


def test_sample_files_have_the_recorded_digests_and_size():
    folder = SAMPLE.folders[0]
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for file, sha256 in zip(FILES, SAMPLE.sha256, strict=True):
        content = gzip.decompress((folder / f"{file}.gz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == sha256
        assert sha256 in readme
    assert sum((folder / f"{file}.gz").stat().st_size for file in FILES) < 1_000_000


def test_sample_is_fresh_each_time():
    (first, _), _ = datasets.mnist_sample()
    expected = first.copy()
    first[:] = 0
    (second, _), _ = datasets.mnist_sample()
    np.testing.assert_array_equal(second, expected)


def test_pad_puts_zeros_around():
    (plain, labels), _ = datasets.mnist_sample()
    (padded, same_labels), _ = datasets.mnist_sample(pad=2)
    assert padded.shape == (4000, 1, 32, 32)
    assert padded.dtype == np.uint8
    assert padded.flags.c_contiguous
    np.testing.assert_array_equal(padded[:, :, 2:-2, 2:-2], plain)
    assert padded.sum(dtype=np.int64) == plain.sum(dtype=np.int64)
    np.testing.assert_array_equal(labels, same_labels)
    with pytest.raises(ConfigError, match="-1"):
        datasets.mnist_sample(pad=-1)


def test_full_mnist():
    root = data_root("mnist")
    if root is None:
        pytest.skip("the full MNIST is not on this machine: set CNNLIB_DATA")
    (x_train, y_train), (x_test, y_test) = datasets.mnist(root=root, download=False)
    assert x_train.shape == (60000, 1, 28, 28)
    assert x_test.shape == (10000, 1, 28, 28)
    assert y_train[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert y_test[:4].tolist() == [7, 2, 1, 0]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

    # README.md of the sample: its digits are the first 500 of each class in the training set.
    first = np.sort(np.concatenate([np.flatnonzero(y_train == digit)[:500] for digit in range(10)]))
    full = {(x_train[i].tobytes(), y_train[i]) for i in first}
    sample = datasets.mnist_sample()
    assert {(image.tobytes(), label) for x, y in sample for image, label in zip(x, y, strict=True)} == full


def test_full_fashion_mnist():
    if datasets.find("fashion-mnist") is None:
        pytest.skip("Fashion-MNIST is not on this machine: apt install dataset-fashion-mnist")
    (x_train, y_train), (x_test, y_test) = datasets.fashion_mnist(download=False)
    assert x_train.shape == (60000, 1, 28, 28)
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert x_test.shape == (10000, 1, 28, 28)
    assert np.bincount(y_test).tolist() == [1000] * 10


@pytest.mark.parametrize("function", [datasets.mnist, datasets.fashion_mnist])
def test_not_found_says_where_to_put_what(nowhere, monkeypatch, function):
    monkeypatch.setattr(mnist_family, "FASHION_MNIST", replace(FASHION_MNIST, folders=()))
    monkeypatch.setenv("CNNLIB_DATA", str(nowhere / "data"))
    with pytest.raises(DataNotFoundError) as error:
        function(download=False)
    message = str(error.value)
    name = function.__name__.replace("_", "-")
    for part in (*FILES, str(nowhere / "data" / name), str(nowhere / "home" / "cnnlib" / name), "mnist_sample()"):
        assert part in message
    assert isinstance(error.value, FileNotFoundError)
    assert isinstance(error.value, CNNError)
    assert not (nowhere / "data").exists(), "looking made a folder"


def test_order_of_places(nowhere, tiny, monkeypatch):
    """CNNLIB_DATA, then the cache, then the system's folder; only a folder with all four files counts."""
    places = {
        "data": nowhere / "data" / "tiny",
        "cache": nowhere / "home" / "cnnlib" / "tiny",
        "system": nowhere / "sys",
    }
    source = replace(tiny, folders=(places["system"],))
    monkeypatch.setitem(mnist_family.SOURCES, "tiny", source)
    monkeypatch.setenv("CNNLIB_DATA", str(nowhere / "data"))
    assert datasets.find("tiny") is None
    for place in ("system", "cache", "data"):
        shutil.copytree(nowhere / "tiny", places[place])
        assert datasets.find("tiny") == places[place]
    load(source, download=False)
    (places["data"] / f"{FILES[3]}.gz").unlink()
    assert datasets.find("tiny") == places["cache"]
    monkeypatch.delenv("CNNLIB_DATA")
    shutil.rmtree(places["cache"])
    assert datasets.find("tiny") == places["system"]
    assert datasets.find("tiny", root=nowhere / "data") is None
    with pytest.raises(ConfigError, match="cifar"):
        datasets.find("cifar")


def test_files_may_be_unpacked(tiny, tmp_path):
    zipped = load(tiny, root=tmp_path, download=False)
    for file in FILES[:2]:
        path = tmp_path / "tiny" / f"{file}.gz"
        (tmp_path / "tiny" / file).write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    unpacked = load(tiny, root=tmp_path, download=False)
    for a, b in zip(zipped[0] + zipped[1], unpacked[0] + unpacked[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_wrong_content_is_refused(tiny, tmp_path):
    path = tmp_path / "tiny" / f"{FILES[0]}.gz"
    write_idx(path, np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(FileFormatError) as error:
        load(tiny, root=tmp_path)
    assert str(path) in str(error.value)
    assert tiny.sha256[0][:16] in str(error.value)
    assert "Move it" in str(error.value)


@pytest.mark.parametrize(
    ("platform", "variable", "folder"),
    [
        ("linux", "XDG_CACHE_HOME", "here/cnnlib"),
        ("linux", None, "home/.cache/cnnlib"),
        ("darwin", None, "home/Library/Caches/cnnlib"),
        ("win32", "LOCALAPPDATA", "here/cnnlib/Cache"),
    ],
)
def test_cache_of_the_platform(monkeypatch, tmp_path, platform, variable, folder):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "here"))
    assert sources._cache() == tmp_path / folder
