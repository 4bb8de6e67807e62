"""Batch normalisation trains faster and allows higher learning rates (L26, L27, and two of L29's four claims).

    python examples/lecture/batch_norm.py           4,000 bundled digits
    python examples/lecture/batch_norm.py --full    all of MNIST

A net of four hidden layers of 100 neurons, [Linear, BatchNorm, ReLU] against [Linear, ReLU], both by plain SGD. Each
learning rate is tried for two epochs. Then either net is trained at the rate that was the best for it on the training
images, which is fair to both. The other claims are in batch_norm_careless.py.
"""

import math
from itertools import pairwise

import numpy as np
from common import digits, options

from cnnlib import SGD, BatchNorm1d, CrossEntropyLoss, Flatten, Layer, Linear, ReLU, Sequential, Trainer
from cnnlib.errors import TrainingError
from cnnlib.plots import compare
from cnnlib.plots.canvas import canvas, finish, panels

args = options(__doc__, epochs=12)
train, test = digits(args.full)
RATES = (0.01, 0.03, 0.1, 0.3, 1, 3, 10)


def fit(norm: bool, lr: float, epochs: int) -> dict[str, list[float]]:
    """Return the history of a training; where the loss overflowed, an accuracy that is no number."""
    rng = np.random.default_rng(args.seed)
    layers: list[Layer] = [Flatten()]
    for inputs, outputs in pairwise((784, 100, 100, 100, 100)):
        layers.append(Linear(inputs, outputs, init="he_normal", rng=rng))
        layers += [BatchNorm1d(outputs), ReLU()] if norm else [ReLU()]
    model = Sequential(*layers, Linear(100, 10, rng=rng), input_shape=(1, 28, 28))
    try:
        return Trainer(model, CrossEntropyLoss(), SGD(lr)).fit(train, test, epochs=epochs, seed=args.seed, verbose=0)
    except TrainingError:
        return {"accuracy": [math.nan]}


def epochs_to_97(accuracies: list[float]) -> str:
    """Return the first epoch whose accuracy was at least 97 %."""
    return next((str(epoch) for epoch, accuracy in enumerate(accuracies, 1) if accuracy >= 0.97), "never")


by_rate: dict[str, list[float]] = {}
by_epoch: dict[str, list[float]] = {}
print(f"{'':10}  learning rate         97 % right in epoch")
print(f"{'':10}  highest that learns   best   in training   in the test")
for name, norm in {"with BN": True, "without BN": False}.items():
    by_rate[name] = [fit(norm, lr, epochs=2)["accuracy"][-1] for lr in RATES]
    highest = max(lr for lr, accuracy in zip(RATES, by_rate[name], strict=True) if accuracy > 0.5)
    best = RATES[int(np.nanargmax(by_rate[name]))]
    history = fit(norm, best, args.epochs)
    by_epoch[f"{name}, learning rate {best}"] = history["accuracy"]
    reached = f"{epochs_to_97(history['accuracy']):>11}   {epochs_to_97(history['val_accuracy']):>11}"
    print(f"{name:10}  {highest:>19}  {best:>5}   {reached}")

figure, ax = canvas(None, (10, 4))
left, right = panels(ax, 1, 2)
compare(by_epoch, ylabel="accuracy in training", title="trains faster", ax=left)
compare(
    by_rate, RATES, xlabel="learning rate", ylabel="accuracy after 2 epochs", title="higher learning rates", ax=right
)
right.set_xscale("log")
finish(figure, args.save)
