"""What a training is fed: batches out of any data, a part held back, weights, and all chance from one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from cnnlib.datasets.loader import (
    ArrayDataset,
    Batches,
    Dataset,
    GroupedDataset,
    WeightedDataset,
    as_dataset,
    is_stream,
    split,
    unweighted,
)
from cnnlib.errors import ConfigError, DataError
from cnnlib.weights import ClassWeight, ClassWeights, digest

__all__ = ["Batch", "Data", "Feed", "batches_of", "feed"]

Batch = tuple[Any, Any] | tuple[Any, Any, Any]
Data = Batch | Dataset | Iterable[Batch]
Augment = Callable[..., Any]


@dataclass
class Feed:
    """Batches to train on, data to validate on, what classes count, the model's generator, and what of all this two
    runs have in common if one goes on from the other."""

    batches: Iterable[Batch]
    validation: Data | None
    class_weight: ClassWeight | None
    dropout: np.random.Generator
    settings: dict[str, Any]


def feed(
    train: Data,
    validation: Data | float | None,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    shuffle: bool,
    sample_weight: ArrayLike | None,
    class_weight: ClassWeights | None,
    augment: Augment | None,
) -> Feed:
    """Return what ``Trainer.fit`` makes of its arguments of these names, which it has checked where they are numbers.

    ``np.random.SeedSequence(seed)`` spawns a generator each for the order of the samples, for the model (dropout), for
    the validation split, and a seed for augmentation. Raises ConfigError and DataError for data that do not go
    together.
    """
    if epochs > 1 and (isinstance(train, Iterator) or isinstance(validation, Iterator)):
        raise DataError("fit: a generator runs only once; for several epochs pass an object that iterates anew")
    *spawned, changes = np.random.SeedSequence(seed).spawn(4)
    order, dropout, random = map(np.random.default_rng, spawned)
    held_back = validation if isinstance(validation, float) else None
    if sample_weight is not None:
        train = WeightedDataset(cast("Batch | Dataset", train), sample_weight)
    elif isinstance(train, (tuple, list)) and not is_stream(train):
        train = as_dataset(cast("Batch", train))
    source = train.data if isinstance(train, Batches) else train
    weights = source.sample_weight if isinstance(source, WeightedDataset) else None
    if isinstance(validation, float):
        if not isinstance(unweighted(train), (ArrayDataset, GroupedDataset)):
            raise ConfigError("fit: a validation fraction needs train as arrays (x, y); pass validation data")
        train, validation = _split(train, validation, random)
    chance_of_change = int(changes.generate_state(1, np.uint64)[0])
    batches = batches_of(train, batch_size, order if shuffle else None, augment, chance_of_change)
    labels = getattr(unweighted(batches.data), "y", None) if isinstance(batches, Batches) else None
    by_class = None if class_weight is None else ClassWeight(class_weight, labels)
    settings = {
        "batch_size": batch_size,
        "seed": seed,
        "shuffle": shuffle,
        "validation": held_back,
        "class_weight": None if by_class is None else by_class.by_class.tolist(),
        "sample_weight": None if weights is None else digest(weights),
    }
    return Feed(batches, validation, by_class, dropout, settings)


def batches_of(
    data: Data,
    batch_size: int,
    rng: np.random.Generator | None,
    augment: Augment | None = None,
    seed: int = 0,
) -> Iterable[Batch]:
    """Return what gives the batches of any data that ``fit`` takes; `rng` draws the order of those that have none."""
    if is_stream(data):
        if augment is not None:
            raise ConfigError(
                "fit: augment needs to know where in the data a sample is: pass arrays or a data set; batches that are "
                "made already are augmented where they are made, as by Batches(data, batch_size, augment=…)"
            )
        return cast("Iterable[Batch]", data)
    return Batches(cast("Batch | Dataset", data), batch_size, rng=rng, augment=augment, seed=seed)


def _split(data: Any, fraction: float, rng: np.random.Generator) -> tuple[Batch, Batch]:
    if isinstance(data, ArrayDataset):
        return split(data.x, data.y, fraction, rng)
    # Positions are split. As labels they are columns, so that nothing is stratified where targets differ in it.
    positions = np.arange(len(data))[:, None]
    y = unweighted(data).y
    (kept, _), (held, _) = split(positions, positions if isinstance(y, dict) else y, fraction, rng)
    return data[kept[:, 0]], data[held[:, 0]]
