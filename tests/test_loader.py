"""Batches hand out every sample once, unconverted; split keeps classes in proportion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlib.datasets import ArrayDataset, Batches, as_dataset, split
from cnnlib.errors import ConfigError, DataError, DTypeError, ShapeError


def numbered(n):
    """N×2 vectors and labels that both tell the sample's index."""
    return np.stack([np.arange(n), -np.arange(n)], axis=1), np.arange(n)


class Squares:
    """A data set that is not made of arrays; it insists on index arrays."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        assert isinstance(index, np.ndarray)
        assert index.dtype == np.int64
        return (index[:, np.newaxis] ** 2).astype(np.float32), index


@given(n=st.integers(1, 40), batch_size=st.integers(1, 45), shuffle=st.booleans(), drop_last=st.booleans())
def test_every_sample_once(n, batch_size, shuffle, drop_last):
    if drop_last and batch_size > n:
        return
    rng = np.random.default_rng(0) if shuffle else None
    batches = Batches(numbered(n), batch_size, rng=rng, drop_last=drop_last)
    sizes, seen = [], []
    for x, y in batches:
        np.testing.assert_array_equal(x, np.stack([y, -y], axis=1))
        sizes.append(len(x))
        seen += y.tolist()
    assert len(sizes) == len(batches)
    assert all(size == batch_size for size in sizes[:-1])
    assert len(set(seen)) == len(seen) == (n // batch_size * batch_size if drop_last else n)
    if not shuffle:
        assert seen == list(range(len(seen)))


def test_order_comes_from_the_rng_alone():
    def epochs(seed):
        batches = Batches(numbered(50), 8, rng=np.random.default_rng(seed))
        return [[y.tolist() for _, y in batches] for _ in range(2)]

    assert epochs(1) == epochs(1) != epochs(2)
    first, second = epochs(1)
    assert first != second


def test_in_order_batches_are_views_and_types_stay():
    x, y = np.zeros((10, 1, 4, 4), np.uint8), np.arange(10, dtype=np.int32)
    for bx, by in Batches((x, y), 4):
        assert np.shares_memory(bx, x)
        assert np.shares_memory(by, y)
    for bx, by in Batches((x, y), 4, rng=np.random.default_rng(0)):
        assert bx.dtype == np.uint8
        assert by.dtype == np.int32
        assert bx.shape[1:] == (1, 4, 4)
        assert bx.flags.c_contiguous


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)], ids=["in order", "shuffled"])
def test_any_object_with_len_and_indices(rng):
    batches = list(Batches(Squares(), 3, rng=rng))
    assert [len(y) for _, y in batches] == [3, 3, 1]
    assert sorted(np.concatenate([y for _, y in batches]).tolist()) == list(range(7))
    assert all(np.array_equal(x[:, 0], y**2) for x, y in batches)


X, Y = np.zeros((4, 1, 5, 5), np.uint8), np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((X, Y[:3]), ShapeError, r"\(4, 1, 5, 5\) and \(3,\)"),
        ((X[:, 0], Y), ShapeError, r"\(4, 5, 5\).*x\[:, np\.newaxis\]"),
        ((Y, Y), ShapeError, r"got shape \(4,\)"),
        ((X, np.array(1)), ShapeError, r"\(\)"),
        ((X[:0], Y[:0]), DataError, "empty"),
        ((X.tolist(), Y), DTypeError, r"x must be a NumPy array, got list.*np\.asarray\(x\)"),
        ((X, Y.tolist()), DTypeError, "y must be a NumPy array"),
        ((X, Y, Y, Y), DataError, "got 4 items"),
        ((X, Y, 0 * Y), DataError, "sample_weight: all weights are zero"),
        ((X, Y, -1.0 * Y - 1), DataError, r"sample_weight\[0\] = -1: weights must be finite and at least 0"),
        ((X, Y, Y[:3]), ShapeError, r"sample_weight has shape \(3,\): expected a number each, \(4,\)"),
        (([X, X[:3]], Y), ShapeError, r"with x input 1 and y the targets: .*\(3, 1, 5, 5\) and \(4,\)"),
        (([X, X[:, 0]], Y), ShapeError, r"with x input 1 .*x\[:, np\.newaxis\]"),
        (([], Y), DataError, "the inputs are an empty list"),
        ((X, {}), DataError, "the targets are an empty dict"),
        ((X, {"main": Y, "aux": Y[:2]}), ShapeError, "y the targets 'aux'"),
        ((X, {"main": Y.tolist()}), DTypeError, "y must be a NumPy array"),
        (X, DTypeError, "ndarray"),
        (None, DTypeError, "NoneType"),
        ({}, DataError, "empty"),
    ],
)
def test_data_that_cannot_be_trained_on(data, error, message):
    with pytest.raises(error, match=message):
        Batches(data, 2)


def test_groups_come_as_they_went_in():
    xs, ys = (X, np.arange(8.0).reshape(4, 2)), {"main": Y, "aux": np.arange(4)}
    (images, vectors), targets = next(iter(Batches((xs, ys), 3)))
    assert np.shares_memory(images, X)
    assert (vectors.tolist(), targets["aux"].tolist()) == ([[0, 1], [2, 3], [4, 5]], [0, 1, 2])
    for (_, vectors), targets in Batches((xs, ys), 3, rng=np.random.default_rng(0)):
        np.testing.assert_array_equal(vectors[:, 0], 2 * targets["aux"])
    x, y = next(iter(Batches((X, {"main": Y}), 3)))
    assert (x.shape, y["main"].shape) == ((3, 1, 5, 5), (3,))


def test_settings_that_cannot_work():
    with pytest.raises(ConfigError, match="batch_size = 0: expected an integer of at least 1"):
        Batches((X, Y), 0)
    with pytest.raises(ConfigError, match="no batch of 5 in 4 samples"):
        Batches((X, Y), 5, drop_last=True)
    with pytest.raises(ConfigError, match=r"default_rng\(seed\)"):
        Batches((X, Y), 2, rng=0)


def test_as_dataset_takes_pairs_and_data_sets():
    data = ArrayDataset(X, Y)
    assert as_dataset(data) is data
    assert as_dataset([X, Y])[np.array([1, 3])][0].shape == (2, 1, 5, 5)


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(lambda counts: sum(counts) >= 2),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
)
def test_split_parts_and_proportions(counts, fraction, seed):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(y)
    x = np.arange(n)[:, np.newaxis]
    if not 0 < round(fraction * n) < n:
        with pytest.raises(ConfigError, match="empty"):
            split(x, y, fraction, rng)
        return
    (x_train, y_train), (x_val, y_val) = split(x, y, fraction, rng)
    assert len(x_val) == round(fraction * n)
    assert sorted([*x_train[:, 0], *x_val[:, 0]]) == list(range(n))
    np.testing.assert_array_equal(y[x_train[:, 0]], y_train)
    np.testing.assert_array_equal(y[x_val[:, 0]], y_val)
    share = np.bincount(y_val, minlength=len(counts))
    assert np.all(np.abs(share - np.array(counts) * len(x_val) / n) < 1 + 1e-9)


def test_split_is_random_and_repeatable():
    x, y = np.arange(100)[:, np.newaxis], np.repeat(np.arange(4), 25)
    picks = [tuple(split(x, y, 0.2, np.random.default_rng(seed))[1][0][:, 0]) for seed in (1, 1, 2)]
    assert picks[0] == picks[1] != picks[2]


@pytest.mark.parametrize("y", [np.linspace(0, 1, 20), np.zeros((20, 3))], ids=["regression", "soft targets"])
def test_split_without_classes(y):
    (_, y_train), (_, y_val) = split(np.zeros((20, 2)), y, 0.25, np.random.default_rng(0))
    assert len(y_train) == 15
    assert len(y_val) == 5


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, 0.01, float("nan")])
def test_split_refuses_empty_parts(fraction):
    with pytest.raises(ConfigError, match="fraction"):
        split(X, Y, fraction, np.random.default_rng(0))
