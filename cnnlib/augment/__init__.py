"""Augmentation: training images that are changed at random, a batch at a time; names as in torchvision's transforms.v2.

>>> import cnnlib
>>> from cnnlib import augment
>>> (x, y), _ = cnnlib.datasets.mnist_sample()
>>> moved = augment.Compose([augment.RandomAffine(10, translate=(0.1, 0.1)), augment.GaussianNoise(sigma=0.05)])
>>> moved(x[:64], rng=0).shape
(64, 1, 28, 28)

``trainer.fit((x, y), augment=moved)`` changes every sample anew in every epoch. What happens to a sample follows from
the seed, the epoch and the sample's position in the data alone (:class:`BatchRandom`), so it depends neither on the
batch size nor on the number of threads, and a resumed training goes on to the same bits.
"""

from __future__ import annotations

from cnnlib.augment.base import Compose, Transform
from cnnlib.augment.geometry import (
    ElasticTransform,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomVerticalFlip,
)
from cnnlib.augment.rng import BatchRandom
from cnnlib.augment.values import GaussianNoise, MixUp

__all__ = [
    "BatchRandom",
    "Compose",
    "ElasticTransform",
    "GaussianNoise",
    "MixUp",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomVerticalFlip",
    "Transform",
]
