"""Batches of a data set, in order or shuffled, and a split into two parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cnnlib import chance
from cnnlib.arrays import flag, made, plain, whole
from cnnlib.augment.rng import BatchRandom
from cnnlib.datasets.sources import Arrays, Split
from cnnlib.errors import CNNError, ConfigError, DataError, DTypeError, ShapeError
from cnnlib.weights import checked_weights

__all__ = ["ArrayDataset", "Batches", "Dataset", "GroupedDataset", "WeightedDataset", "as_dataset", "split"]


Array = npt.NDArray[Any]


class Dataset(Protocol):
    """What can be trained on: a length, and ``(x, y)``, or ``(x, y, sample_weight)``, of any int64 array of indices."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> tuple[Any, ...]: ...


class ArrayDataset:
    """Two arrays of one length as a data set: inputs ``x`` (N×C×H×W or N×features) and targets ``y`` (N or N×…).

    Nothing is copied or converted: a slice gives views, an index array a gather in the arrays' own types.
    Raises :class:`DTypeError`, :class:`ShapeError` and :class:`DataError` for what cannot be trained on.

    >>> data = ArrayDataset(np.zeros((5, 1, 28, 28), np.uint8), np.arange(5))
    >>> x, y = data[1:3]
    >>> len(data), x.shape, y
    (5, (2, 1, 28, 28), array([1, 2]))
    """

    def __init__(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
        for name, array in (("x", x), ("y", y)):
            if not isinstance(array, np.ndarray):
                raise DTypeError(f"{name} must be a NumPy array, got {type(array).__name__}: pass np.asarray({name})")
        if x.ndim not in (2, 4):
            fix = " Add the channel axis: x[:, np.newaxis]." if x.ndim == 3 else ""
            raise ShapeError(f"x must be N×C×H×W images or N×features vectors, got shape {x.shape}.{fix}")
        if y.ndim == 0 or len(x) != len(y):
            raise ShapeError(f"x and y must have one length, got shapes {x.shape} and {y.shape}")
        if len(x) == 0:
            raise DataError(f"the data are empty: x has shape {x.shape}")
        self.x, self.y = plain(x, "x"), plain(y, "y")

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any, /) -> Arrays:
        return self.x[index], self.y[index]


class GroupedDataset:
    """Inputs and targets for a model with several of them: ``x`` an array or a sequence of arrays, one for each input,
    ``y`` an array or a dict of arrays, one for each output's name; all of one length.

    As ArrayDataset it hands out views and gathers, in lists and dicts as the arrays came, and raises what that raises.

    >>> data = GroupedDataset([np.zeros((5, 3)), np.ones((5, 2))], {"main": np.arange(5)})
    >>> x, y = data[1:3]
    >>> len(data), [array.shape for array in x], y
    (5, [(2, 3), (2, 2)], {'main': array([1, 2])})
    """

    def __init__(self, x: Array | Sequence[Array], y: Array | Mapping[str, Array]) -> None:
        self.x = x if isinstance(x, np.ndarray) else list(x)
        self.y = dict(y) if isinstance(y, Mapping) else y
        inputs = self.x if isinstance(self.x, list) else [self.x]
        targets = {f"the targets {k!r}": v for k, v in y.items()} if isinstance(y, Mapping) else {"the targets": y}
        if not inputs or not targets:
            empty = "targets are an empty dict" if inputs else "inputs are an empty list"
            raise DataError(f"the {empty}: give an array for each of the model's")
        for (i, array), (name, target) in product(enumerate(inputs), targets.items()):
            try:
                ArrayDataset(array, target)
            except CNNError as error:
                raise type(error)(f"with x input {i} and y {name}: {error}") from None

    def __len__(self) -> int:
        return len(self.x[0]) if isinstance(self.x, list) else len(self.x)

    def __getitem__(self, index: Any, /) -> tuple[Any, Any]:
        x = [array[index] for array in self.x] if isinstance(self.x, list) else self.x[index]
        return x, {name: y[index] for name, y in self.y.items()} if isinstance(self.y, dict) else self.y[index]


class WeightedDataset:
    """Data, as `as_dataset` takes them, with a weight for each sample: gives ``(x, y, sample_weight)``.

    sample_weight: how much each sample counts, shape (N,); finite, none negative, not all 0. Raises
    :class:`DTypeError`, :class:`ShapeError` or :class:`DataError`, saying what is wrong, and :class:`ConfigError` for
    data that have weights already.

    >>> data = WeightedDataset((np.zeros((5, 3)), np.arange(5)), [1, 2, 1, 0.5, 0])
    >>> x, y, weight = data[1:3]
    >>> x.shape, y, weight
    ((2, 3), array([1, 2]), array([2., 1.]))
    """

    def __init__(self, data: tuple[Any, ...] | Dataset, sample_weight: npt.ArrayLike) -> None:
        self.data = as_dataset(data)
        if isinstance(self.data, WeightedDataset):
            raise ConfigError("sample_weight is given twice: the data have weights already")
        self.sample_weight = checked_weights(sample_weight, "sample_weight", len(self.data))
        if not self.sample_weight.any():
            raise DataError("sample_weight: all weights are zero")

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any, /) -> tuple[Any, Any, Any]:
        x, y = self.data[index]
        return x, y, self.sample_weight[index]


def as_dataset(data: tuple[Any, ...] | Dataset) -> Dataset:
    """``(x, y)`` as an :class:`ArrayDataset`, as a :class:`GroupedDataset` if x is a sequence of arrays or y a dict.

    ``(x, y, sample_weight)`` becomes a :class:`WeightedDataset` of one of them, unless the weight is None. A data set
    stays as it is. Raises what they raise, and DataError if it is empty.

    >>> len(as_dataset((np.zeros((3, 2)), np.zeros(3))))
    3
    """
    if isinstance(data, (tuple, list)):
        if len(data) not in (2, 3):
            raise DataError(f"data must be a pair (x, y), or (x, y, sample_weight), got {len(data)} items")
        if len(data) == 3:
            return as_dataset(data[:2]) if data[2] is None else WeightedDataset(data[:2], data[2])
        x, y = data
        several = isinstance(x, (list, tuple)) and all(isinstance(array, np.ndarray) for array in x)
        return GroupedDataset(x, y) if several or isinstance(y, Mapping) else ArrayDataset(x, y)
    sequence = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if not sequence or isinstance(data, (np.ndarray, str, bytes)):
        raise DTypeError(
            f"data must be a pair (x, y), as in fit((x, y)), or a data set with len() and [indices], got "
            f"{type(data).__name__}"
        )
    if len(data) == 0:
        raise DataError(f"the data set is empty: {data!r}")
    return data


def is_stream(data: Any) -> bool:
    """Say whether data are batches already: an iterable, or a list of tuples, as a pair (x, y) of arrays is not."""
    if isinstance(data, list):
        return bool(data) and all(isinstance(batch, tuple) for batch in data)
    return isinstance(data, Iterable) and not hasattr(data, "__getitem__")


class Batches:
    """Iterate over ``(x, y)`` batches, each time anew; with ``rng`` each iteration draws a new order from it.

    ``data`` is ``(x, y)`` or ``(x, y, sample_weight)``, as `as_dataset` takes it, or a :class:`Dataset`. The last batch
    may be smaller, unless ``drop_last``. Arrays are neither converted nor copied as a whole: batches are views in the
    arrays' order, gathers when shuffled.

    augment: a transform of :mod:`cnnlib.augment`, or any function ``(x, y, rng) -> (x, y)``, for each batch; `rng` is a
    :class:`cnnlib.augment.BatchRandom`, whose numbers follow from ``seed``, how many iterations there were before, and
    where in the data each sample is.

    >>> x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> [labels.tolist() for _, labels in Batches((x, y), 2)]
    [[0, 1], [2, 3], [4]]
    >>> shuffled = Batches((x, y), 2, rng=np.random.default_rng(0), drop_last=True)
    >>> len(shuffled), sum(len(labels) for _, labels in shuffled)
    (2, 4)
    """

    def __init__(
        self,
        data: tuple[Any, ...] | Dataset,
        batch_size: int,
        *,
        rng: np.random.Generator | None = None,
        drop_last: bool = False,
        augment: Callable[..., Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.data = as_dataset(data)
        batch_size = whole(batch_size, "batch_size", 1)
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise ConfigError(f"rng must be a np.random.Generator, got {rng!r}: pass np.random.default_rng(seed)")
        drop_last = flag(drop_last, "drop_last")
        if drop_last and batch_size > len(self.data):
            raise ConfigError(
                f"no batch of {batch_size} in {len(self.data)} samples: lower batch_size, or drop_last=False"
            )
        if augment is not None and not callable(made(augment, "augment")):
            raise ConfigError(f"augment = {augment!r}: expected a function (x, y, rng) -> (x, y)")
        self.batch_size, self.rng, self.drop_last = batch_size, rng, drop_last
        self.augment, self.seed = augment, whole(seed, "seed", 0, 2**64 - 1)
        self._epoch = 0
        # Where the running iteration is, or else the next one begins; the generator as it was before that one's order.
        self._batch = self._first = 0
        #: Where in the data the samples of the batch at hand are.
        self.indices: Array | None = None
        #: Which rows of a batch of n samples are read and given out; all if None. No rows: a batch of None.
        self.share: Callable[[int], slice] | None = None
        self._begin = chance.state(self)

    def __len__(self) -> int:
        full, rest = divmod(len(self.data), self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        n = len(self.data)
        first, self._first = self._first, 0
        self._begin = chance.state(self)
        order = None if self.rng is None else self.rng.permutation(n)
        try:
            for k in range(first, len(self)):
                self._batch = k + 1
                part = slice(k * self.batch_size, min((k + 1) * self.batch_size, n))
                if self.share is not None:
                    rows = self.share(part.stop - part.start)
                    part = slice(part.start + rows.start, part.start + rows.stop)
                self.indices = np.arange(part.start, part.stop) if order is None else order[part]
                if not len(self.indices):
                    yield None, None
                    continue
                views = order is None and isinstance(unweighted(self.data), (ArrayDataset, GroupedDataset))
                batch = self.data[part if views else self.indices]
                yield batch if self.augment is None else self._augmented(batch, self.indices, self.augment)
        finally:  # an iteration that was left is over, too
            self._batch, self._begin = 0, chance.state(self)
            self._epoch += 1

    def _augmented(self, batch: tuple[Any, ...], positions: Array, augment: Callable[..., Any]) -> tuple[Any, ...]:
        def samples(at: Array) -> tuple[Any, Any]:
            x, y, *_ = self.data[at]
            return x, y

        x, y, *weight = batch
        changed = augment(x, y, BatchRandom(positions, self.seed, self._epoch, samples, len(self.data)))
        if not isinstance(changed, tuple) or len(changed) != 2:
            raise DataError(f"augment returned {type(changed).__name__}, expected (x, y)")
        return *changed, *weight

    def state_dict(self) -> dict[str, Any]:
        """Return where the last iteration is, with the random generators of the data set (its attributes); or what the
        data set's own ``state_dict`` returns, if it has one.
        """
        data = unweighted(self.data)
        own = data.state_dict() if hasattr(data, "state_dict") else chance.state(data)
        return {"epoch": self._epoch, "batch": self._batch, "begin": self._begin, "data": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on there: the same order, without the batches that were done.

        Raises DataError if the state is not of such batches.
        """
        batch = state["batch"]
        if not isinstance(batch, int) or not 0 <= batch <= len(self):
            raise DataError(f"the data have {len(self)} batches, the state is at batch {batch!r}")
        chance.load_state(self, state["begin"])
        data = unweighted(self.data)
        if hasattr(data, "load_state_dict"):
            data.load_state_dict(state["data"])
        else:
            chance.load_state(data, state["data"])
        self._batch = self._first = batch
        self._begin, self._epoch = state["begin"], whole(state["epoch"], "epoch", 0)


def unweighted(data: Any) -> Any:
    """Return the data that a WeightedDataset is made of; others as they are."""
    return data.data if isinstance(data, WeightedDataset) else data


def split(x: npt.NDArray[Any], y: npt.NDArray[Any], fraction: float, rng: np.random.Generator) -> Split:
    """Split at random into ``(x, y)`` to train on and a ``fraction`` of the samples to validate on.

    Integer labels (N) are stratified: each class has its share of both parts, to within one sample. Both parts are
    copies in the order of the originals. Raises :class:`ConfigError` where a part would be empty.

    >>> x, y = np.zeros((50, 3)), np.repeat([0, 1], 25)
    >>> (x_train, y_train), (x_val, y_val) = split(x, y, 0.2, np.random.default_rng(0))
    >>> x_train.shape, np.bincount(y_val)
    ((40, 3), array([5, 5]))
    """
    data = ArrayDataset(x, y)
    n = len(data)
    if not 0 < fraction < 1 or not 0 < round(fraction * n) < n:
        raise ConfigError(f"fraction={fraction} of {n} samples leaves one of the two parts empty")
    order = rng.permutation(n)
    if y.ndim == 1 and y.dtype.kind in "iu":
        order = order[np.argsort(y[order], kind="stable")]
    # Evenly spaced picks from an order that is random within each class and sorted by class.
    picks = (np.arange(round(fraction * n)) + 0.5) * n / round(fraction * n)
    held_back = np.zeros(n, bool)
    held_back[order[picks.astype(np.int64)]] = True
    return data[~held_back], data[held_back]
