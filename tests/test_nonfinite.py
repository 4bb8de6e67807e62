"""The first NaN or infinity in a loss or gradient ends training, and the message says where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlib import _kernels, checkpoint, config
from cnnlib.callbacks import Checkpoint
from cnnlib.errors import NonFiniteError, TrainingError
from cnnlib.functional.finite import all_finite
from cnnlib.layers import Flatten, Layer, Linear, ReLU, register
from cnnlib.losses import CrossEntropyLoss
from cnnlib.model import Sequential
from cnnlib.optim import SGD, AdamW
from cnnlib.selftest import nets
from cnnlib.trainer import Trainer


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", config.supported_isas())
def test_all_finite_sees_each_element(isa: str, dtype: type) -> None:
    with config.using(isa=isa):
        for size in (0, 1, 3, 15, 16, 17, 33, 16384, 40000):
            x = np.full(size, np.finfo(dtype).max, dtype)
            x[::2] *= -1
            assert all_finite(x)
            for place in {0, size // 2, size - 1} if size else ():
                for bad in (np.nan, np.inf, -np.inf):
                    kept, x[place] = x[place], bad
                    assert not all_finite(x)
                    x[place] = kept


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", [(2, 30, 20), (65, 300, 200), (300, 30, 200)])
@pytest.mark.parametrize("adam", [False, True])
def test_a_fused_step_spares_the_rows_with_a_bad_gradient(
    adam: bool, sizes: tuple[int, int, int], threads: int
) -> None:
    n, inputs, outputs = sizes
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(n, inputs)).astype(np.float32), rng.normal(size=(n, outputs)).astype(np.float32)
    weight = rng.normal(size=(outputs, inputs)).astype(np.float32)
    dy[n // 2, 7] = np.inf
    fields = (adam, 0, 0, 0.1, 0, 0, 1, 0.9, 0.99, 1e-8)
    options = (n, False, False, False)

    def stepped(check: int) -> tuple[Any, bool]:
        w = weight.copy()
        state = (w, np.zeros_like(w), np.zeros_like(w)) if adam else (w, None, None)
        call = _kernels.linear_backward["float"]
        with config.using(threads=threads):
            good = call(None, None, None, dy.ravel(), x.ravel(), w, None, options, state, (check, *fields))
        return w, good

    (checked, good), (unchecked, unlooked) = stepped(1), stepped(0)
    assert not good
    assert unlooked
    assert np.array_equal(checked[7], weight[7])
    assert not np.isfinite(unchecked[7]).any()
    assert np.array_equal(np.delete(checked, 7, 0), np.delete(unchecked, 7, 0))


@register
class Spoiling(Layer):
    """The identity; from some step on, the gradient of one sample is infinite."""

    at = 0

    def output_shape(self, x: Any) -> Any:
        return x

    def apply(self, x: Any, *, training: bool = False, out: Any = None) -> Any:
        self.at -= training
        return x.copy(), None

    def gradients(self, dy: Any, saved: Any, needs: Any = (True,), outs: Any = (None,)) -> Any:
        dx = dy.copy()
        if self.at < 0:
            dx[1] = np.inf
        return (dx,)


def net(hidden: int = 20) -> Sequential:
    spoiling = Spoiling(name="spoiling")
    layers = [Linear(784, hidden, rng=0), ReLU(), spoiling, Linear(hidden, 10, rng=1)]
    return Sequential(Flatten(), *layers, input_shape=(1, 28, 28))


@pytest.mark.parametrize("hidden", [20, 400], ids=["plain", "fused"])  # 400 · 784 floats are stepped in backward
@pytest.mark.parametrize("optimizer", [lambda: SGD(0.05, 0.9), lambda: AdamW(0.01)])
def test_a_gradient_names_layer_tensor_epoch_batch_and_samples(tmp_path: Path, hidden: int, optimizer: Any) -> None:
    model = net(hidden)
    model["spoiling"].at = 6
    trainer = Trainer(model, CrossEntropyLoss(), optimizer(), callbacks=[Checkpoint(tmp_path, every=1)])
    trainer.optimizer.large = 1 << 20
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit(nets.images(64), epochs=3, batch_size=16, seed=1, verbose=0)
    error = caught.value
    assert (error.name, error.epoch, error.batch) == ("1.weight", 2, 3)
    assert len(set(error.samples)) == 16
    assert str(error).startswith(f"epoch 2, batch 3 (samples {error.samples[0]}, ")
    assert "the gradient of '1.weight' (Linear(784, " in str(error)
    assert "is finite" in str(error)
    assert "clip_norm" in str(error)
    assert isinstance(error, TrainingError)
    _, state, damaged = checkpoint.newest(tmp_path)
    assert state["run"]["position"] == [2, 2, 6]
    assert not damaged
    assert all(np.isfinite(array).all() for array in state["model"].values())


def test_of_several_the_layer_next_to_the_output_is_named() -> None:
    model = Sequential(
        Flatten(), Linear(784, 600, rng=0), Linear(600, 10, rng=1), Spoiling(name="last"), input_shape=(1, 28, 28)
    )
    model["last"].at = 0
    with pytest.raises(NonFiniteError, match=r"^the gradient of '2\.weight'"):
        Trainer(model, CrossEntropyLoss(), SGD(0.1)).train_step(*nets.images(8))


def test_a_loss_names_the_first_layer_that_overflows_and_the_samples() -> None:
    model = Sequential(
        Flatten(), Linear(784, 20, rng=0), ReLU(), Linear(20, 10, rng=1, name="top"), input_shape=(1, 28, 28)
    )
    model["top"].weight.data[...] = 3e38
    x, y = nets.images(64)
    with pytest.raises(NonFiniteError, match=r"the output of 'top' \(Linear.*\) is the first that is not") as caught:
        Trainer(model, CrossEntropyLoss(), SGD(0.1)).fit((x, y), verbose=0)
    assert caught.value.name == "loss"
    x = x.astype(np.float32)
    x[[5, 40], 0, 3, 3] = np.nan
    with pytest.raises(NonFiniteError, match=r"\(samples (5|40), (5|40)\): the loss is nan; the inputs") as caught:
        nets.trainer(nets.build("lenet5")).fit((x, y), verbose=0)
    assert set(caught.value.samples) == {5, 40}


def test_looking_can_be_left_out() -> None:
    model = net()
    model["spoiling"].at = 0
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1), check_finite=False)
    trainer.train_step(*nets.images(8))
    assert not np.isfinite(model.parameters()["1.weight"].data).all()
    # ReLU may hide it from the loss: only a look at the gradients tells.
    assert np.isfinite(trainer.train_step(*nets.images(8)))
