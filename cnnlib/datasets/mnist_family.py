"""MNIST, Fashion-MNIST and the 5,000 MNIST digits that come with the package."""

from __future__ import annotations

import os
from pathlib import Path

from cnnlib.datasets.cifar import ARCHIVES, find_archive
from cnnlib.datasets.sources import Source, Split, find_folder, load, read, search_path
from cnnlib.errors import ConfigError

__all__ = ["fashion_mnist", "find", "folders", "mnist", "mnist_sample"]

MNIST = Source(
    "mnist",
    "MNIST",
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        "https://raw.githubusercontent.com/fgnt/mnist/master",
    ),
    advice="5,000 of its digits come with cnnlib and need no file: cnnlib.datasets.mnist_sample().",
)
FASHION_MNIST = Source(
    "fashion-mnist",
    "Fashion-MNIST",
    (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
    folders=(Path("/usr/share/datasets/fashion-mnist"),),
    advice="On Debian and Ubuntu, 'apt install dataset-fashion-mnist' puts it in place. "
    "Without any file there are 5,000 MNIST digits: cnnlib.datasets.mnist_sample().",
)
SAMPLE = Source(
    "sample",
    "the bundled MNIST sample",
    (
        "e06ce4ec8613d05a494284270959f004e80d9f1d71cea3ffcbf5a4c3393bf725",
        "5d8635cffb9b962568b64e62bbfebb84b7745a0bb739756ef3196703cf47b64b",
        "95e106684f25f82dcddf7dde45bc333e9340f6d40f56d4c1dede20c446a8ec8a",
        "14d22fad74316698aaaa77a2254d6d95e0f2e0bcc9fa5d50736c50966a9e2222",
    ),
    folders=(Path(__file__).parent / "sample",),
)
SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST)}


def mnist(
    *, pad: int = 0, root: str | os.PathLike[str] | None = None, download: bool = True, progress: bool = True
) -> Split:
    """The MNIST digits: 60,000 to train, 10,000 to test, as ``(x_train, y_train), (x_test, y_test)``.

    ``x`` is uint8 N×1×28×28, 0 background to 255 ink (a model takes it as it is and scales to 0…1); ``pad`` zero pixels
    are added on each side, so ``pad=2`` gives 32×32. ``y`` is int64 N, 0 to 9: the type NumPy itself indexes with.

    The four files, gzipped or not, are looked for in the folder ``mnist`` of ``root`` or, without ``root``, of
    ``CNNLIB_DATA`` and of the user's cache. Otherwise they are downloaded (12 MB) into the first of these folders.
    Their SHA-256 is checked on every load, which takes a tenth of the load's time.

    Raises :class:`DataNotFoundError` saying where to put which files, :class:`FileFormatError` for a damaged file.
    Source: Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/

    >>> from cnnlib import datasets
    >>> if datasets.find("mnist"):
    ...     (x_train, y_train), (x_test, y_test) = datasets.mnist()
    ...     assert x_train.shape == (60000, 1, 28, 28) and y_test.shape == (10000,)
    """
    return load(MNIST, pad, root, download, progress)


def fashion_mnist(
    *, pad: int = 0, root: str | os.PathLike[str] | None = None, download: bool = True, progress: bool = True
) -> Split:
    """Fashion-MNIST: 60,000 and 10,000 images of clothing in ten classes, in the same form as :func:`mnist`.

    The folder is called ``fashion-mnist``; after ``CNNLIB_DATA`` and the cache comes the one of Debian's package
    ``dataset-fashion-mnist``. The classes: T-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker,
    bag, ankle boot.

    Source: H. Xiao, K. Rasul, R. Vollgraf, https://github.com/zalandoresearch/fashion-mnist

    >>> from cnnlib import datasets
    >>> if datasets.find("fashion-mnist"):
    ...     (x_train, y_train), (x_test, y_test) = datasets.fashion_mnist(pad=2)
    ...     assert x_train.shape == (60000, 1, 32, 32)
    """
    return load(FASHION_MNIST, pad, root, download, progress)


def mnist_sample(*, pad: int = 0) -> Split:
    """The 5,000 MNIST digits that come with cnnlib: 4,000 to train, 1,000 to test, in the same form as :func:`mnist`.

    Each class has 400 and 100 digits; each block of ten holds one of every class, so any batch is well mixed. They are
    the first 500 of each class in MNIST's *training* set, so a model trained on the full set has seen the test digits
    of this one: test it on the full test set.

    >>> from cnnlib import datasets
    >>> (x_train, y_train), (x_test, y_test) = datasets.mnist_sample()
    >>> x_train.shape, y_train.shape, x_test.shape
    ((4000, 1, 28, 28), (4000,), (1000, 1, 28, 28))
    """
    return read(SAMPLE, SAMPLE.folders[0], pad)


def find(name: str, *, root: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder that holds a data set on this machine, or None; never downloads.

    name: ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"`` or ``"cifar100"``. It looks where :func:`mnist` and the others
    look, for all files, and does not open them.

    >>> from cnnlib import datasets
    >>> datasets.find("mnist", root="/nowhere") is None
    True
    """
    if name in ARCHIVES:
        return find_archive(ARCHIVES[name], root)
    return find_folder(_source(name), root)


def folders(name: str, *, root: str | os.PathLike[str] | None = None) -> list[Path]:
    """The folders where :func:`mnist` and the others look, in their order; downloads go into the first.

    >>> [folder.name for folder in folders("mnist", root="data")]
    ['mnist']
    """
    return search_path(ARCHIVES[name] if name in ARCHIVES else _source(name), root)


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise ConfigError(f"unknown data set {name!r}: it can be {' or '.join(map(repr, (*SOURCES, *ARCHIVES)))}")
    return SOURCES[name]
