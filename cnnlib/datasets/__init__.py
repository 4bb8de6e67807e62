"""Data: MNIST and its family, the bundled digits, CIFAR, IDX files, folders of pictures, batches.

>>> from cnnlib import datasets
>>> (x_train, y_train), (x_test, y_test) = datasets.mnist_sample()
>>> len(datasets.Batches((x_train, y_train), 64))
63
"""

from __future__ import annotations

from cnnlib.datasets.cifar import cifar10, cifar100
from cnnlib.datasets.folder import ImageFolder
from cnnlib.datasets.idx import read_idx, write_idx
from cnnlib.datasets.loader import ArrayDataset, Batches, Dataset, GroupedDataset, WeightedDataset, as_dataset, split
from cnnlib.datasets.mnist_family import fashion_mnist, find, folders, mnist, mnist_sample
from cnnlib.datasets.sources import Arrays, Split

__all__ = [
    "ArrayDataset",
    "Arrays",
    "Batches",
    "Dataset",
    "GroupedDataset",
    "ImageFolder",
    "Split",
    "WeightedDataset",
    "as_dataset",
    "cifar10",
    "cifar100",
    "fashion_mnist",
    "find",
    "folders",
    "mnist",
    "mnist_sample",
    "read_idx",
    "split",
    "write_idx",
]
