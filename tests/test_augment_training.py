"""Augmentation in training: the same whatever the batches, exact when resumed, and it teaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnlib
from cnnlib import SGD, CrossEntropyLoss, Trainer, augment
from cnnlib.callbacks import Checkpoint, LambdaCallback
from cnnlib.datasets import Batches
from cnnlib.errors import ConfigError, DataError
from cnnlib.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU
from cnnlib.model import Sequential
from cnnlib.selftest import nets

MOVED = augment.Compose(
    [augment.RandomAffine(10, (0.1, 0.1)), augment.GaussianNoise(), augment.MixUp(0.3, num_classes=10)]
)
(X, Y), (X_TEST, Y_TEST) = cnnlib.datasets.mnist_sample()


class Stop(Exception):
    """What ends a training in these tests."""


def changed(
    batch_size: int, epochs: int, shuffle: bool = True, **settings: Any
) -> list[dict[int, tuple[bytes, bytes]]]:
    """What every sample became, by epoch and place."""
    rng = np.random.default_rng(3) if shuffle else None
    batches = Batches((X[:50], Y[:50]), batch_size, rng=rng, augment=MOVED, seed=2, **settings)
    found = []
    for _ in range(epochs):
        samples = {}
        for x, y in batches:
            assert batches.indices is not None
            samples.update({int(i): (a.tobytes(), b.tobytes()) for i, a, b in zip(batches.indices, x, y, strict=True)})
        found.append(samples)
    return found


def test_what_happens_to_a_sample_depends_on_seed_epoch_and_place_alone() -> None:
    first, second = changed(7, 2)
    assert len(first) == 50
    assert [first, second] == changed(50, 2) == changed(16, 2, shuffle=False)
    assert all(first[i] != second[i] for i in first)


def test_batches_keep_their_weights_and_views() -> None:
    weight = np.arange(1.0, 51)
    for x, y, w in Batches((X[:50], Y[:50], weight), 20, augment=augment.RandomRotation(5)):
        assert (x.dtype, len(x)) == (np.uint8, len(y))
        assert w.tolist() == weight[int(w[0]) - 1 : int(w[-1])].tolist()
    assert np.shares_memory(next(iter(Batches((X, Y), 20)))[0], X)


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_go_on_where_they_were(shuffle: bool) -> None:
    def batches() -> Batches:
        rng = np.random.default_rng(1) if shuffle else None
        return Batches((X[:40], Y[:40]), 8, rng=rng, augment=MOVED, seed=9)

    whole = batches()
    wanted = [(x.tobytes(), y.tobytes()) for _ in range(3) for x, y in whole]
    for stop in (1, 5, 6, 12):
        left, state = batches(), None
        for done, _ in enumerate((b for _ in range(3) for b in left), 1):
            if done == stop:
                state = left.state_dict()
                break
        other = batches()
        other.load_state_dict(state or {})
        rest = [(x.tobytes(), y.tobytes()) for _ in range(3) for x, y in other][: 15 - stop]
        assert rest == wanted[stop:]


@pytest.mark.parametrize("step", [1, 5, 9, 16])
def test_a_resumed_training_is_exact(tmp_path: Path, step: int) -> None:
    """Stopped in the middle of an epoch, or at its end, it comes to the same bits."""

    def fit(*callbacks: Any, batch_size: int = 32) -> str:
        model = nets.build("normalized")
        trainer = nets.trainer(model, *callbacks, epochs=4)
        x, y = nets.images(100)
        soft = augment.Compose([augment.RandomAffine(8, (0.1, 0.1)), augment.MixUp(0.5, int(y.max()) + 1)])
        history = trainer.fit((x, y), epochs=4, batch_size=batch_size, seed=3, verbose=0, augment=soft)
        return nets.digest(model, history)

    def stop(trainer: Any, *_: Any) -> None:
        if trainer.position.step == step:
            raise Stop

    with pytest.raises(Stop):
        fit(LambdaCallback(on_batch_end=stop), Checkpoint(tmp_path, every=1, resume=True))
    resumed = fit(LambdaCallback(on_batch_end=lambda *_: None), Checkpoint(tmp_path, every=1, resume=True))
    assert resumed == fit()


def test_another_augmentation_is_another_training(tmp_path: Path) -> None:
    def fit(transform: Any, resume: bool) -> None:
        model = Sequential(Flatten(), Linear(784, 10, rng=0), input_shape=(1, 28, 28))
        trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1), callbacks=[Checkpoint(tmp_path, resume=resume)])
        trainer.fit((X[:64], Y[:64]), verbose=0, augment=transform)

    fit(augment.RandomRotation(5), False)
    with pytest.raises(ConfigError, match=r"augment: 'RandomRotation\(degrees=\(-5.0, 5.0\)"):
        fit(augment.RandomRotation(6), True)
    with pytest.raises(ConfigError, match=r"augment: .* 'None' here"):
        fit(None, True)


def test_same_seed_same_training_and_another_one_with_another() -> None:
    def weights(seed: int, transform: Any) -> bytes:
        model = Sequential(Flatten(), Linear(784, 10, rng=0), input_shape=(1, 28, 28))
        trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1))
        trainer.fit((X[:64], Y[:64]), verbose=0, shuffle=False, seed=seed, augment=transform, batch_size=16)
        return bytes(model.parameters()["1.weight"].data.tobytes())

    assert weights(1, MOVED) == weights(1, MOVED) != weights(2, MOVED)
    assert weights(1, None) == weights(2, None)


def test_a_net_learns_from_few_digits_what_moved_digits_are() -> None:
    """Tested on digits that are shifted, the net that saw them move is right far more often."""
    shifted = augment.RandomAffine(0, translate=(0.2, 0.2))(X_TEST, rng=99)
    right = {}
    for name, transform in (("plain", None), ("moved", augment.RandomAffine(0, translate=(0.2, 0.2)))):
        model = Sequential(
            *(Conv2d(1, 8, 5, rng=0), ReLU(), MaxPool2d(2), Conv2d(8, 16, 5, rng=1), ReLU(), MaxPool2d(2)),
            *(Flatten(), Linear(256, 10, rng=2)),
            input_shape=(1, 28, 28),
        )
        trainer = Trainer(model, CrossEntropyLoss(), SGD(0.05, momentum=0.9))
        trainer.fit((X, Y), epochs=4, seed=1, verbose=0, augment=transform)
        right[name] = trainer.evaluate((shifted, Y_TEST))["accuracy"]
    assert right["moved"] > 0.75
    assert right["moved"] > right["plain"] + 0.1


def test_mixup_trains_with_cross_entropy_and_is_measured() -> None:
    model = Sequential(Flatten(), Linear(784, 10, rng=0), input_shape=(1, 28, 28))
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1, momentum=0.9))
    history = trainer.fit((X, Y), (X_TEST, Y_TEST), epochs=2, verbose=0, augment=augment.MixUp(0.2, num_classes=10))
    assert history["val_accuracy"][-1] > 0.8
    assert history["accuracy"][-1] > 0.6


def test_any_function_augments() -> None:
    seen = []

    def invert(x: Any, y: Any, rng: augment.BatchRandom) -> Any:
        seen.append(rng.positions.tolist())
        return 255 - x, y

    (x, y), *_ = Batches((X[:9], Y[:9]), 4, augment=invert)
    np.testing.assert_array_equal(x, 255 - X[:4])
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert y.tolist() == Y[:4].tolist()


def test_what_cannot_augment_or_be_augmented() -> None:
    with pytest.raises(ConfigError, match="augment = 'flip': expected a function"):
        Batches((X, Y), 4, augment="flip")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="augment returned ndarray, expected"):
        next(iter(Batches((X, Y), 4, augment=lambda x, y, rng: x)))
    model = Sequential(Flatten(), Linear(784, 10, rng=0), input_shape=(1, 28, 28))
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1))
    with pytest.raises(ConfigError, match="augment needs to know where in the data"):
        trainer.fit(iter([(X[:4], Y[:4])]), augment=MOVED, verbose=0)


def test_a_dry_run_augments_too() -> None:
    seen = []
    model = Sequential(Flatten(), Linear(784, 10, rng=0), input_shape=(1, 28, 28))
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1))
    trainer.fit((X, Y), verbose=0, fast_dev_run=True, augment=lambda x, y, rng: (seen.append(len(x)), (x, y))[1])
    trainer.fit(list(Anew()), verbose=0, fast_dev_run=True)
    assert seen == [64]


# Any iterable of batches


class Anew:
    """Batches that are made each time they are asked for."""

    def __iter__(self) -> Any:
        return ((X[i : i + 32], Y[i : i + 32]) for i in range(0, 256, 32))


def trained(data: Any, epochs: int = 2) -> tuple[float, dict[str, float]]:
    model = Sequential(Flatten(), Linear(784, 10, rng=0), input_shape=(1, 28, 28))
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1))
    trainer.fit(data, epochs=epochs, verbose=0, shuffle=False, batch_size=32)
    return float(np.abs(model.parameters()["1.weight"].data).sum()), trainer.evaluate((X_TEST, Y_TEST))


def test_any_iterable_of_batches_trains_and_is_evaluated() -> None:
    wanted = trained((X[:256], Y[:256]))
    assert trained(Anew()) == wanted
    assert trained(list(Anew())) == wanted
    assert trained(list(Anew())[:2]) == trained((X[:64], Y[:64]))  # two batches, not a pair (x, y)
    assert trained(Batches((X[:256], Y[:256]), 32)) == wanted
    assert trained(iter(Anew()), epochs=1) == trained((X[:256], Y[:256]), epochs=1)
    with pytest.raises(DataError, match="a generator runs only once"):
        trained(iter(Anew()))


def test_pytorchs_loader_is_such_an_iterable() -> None:
    torch = pytest.importorskip("torch")
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X[:256].copy()), torch.from_numpy(Y[:256].copy()))
    loader = torch.utils.data.DataLoader(pairs, batch_size=32)
    assert trained(loader) == trained((X[:256], Y[:256]))
