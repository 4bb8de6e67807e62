"""Batch normalisation forgives a careless initialisation and makes sigmoids viable (the other two claims of L29).

    python examples/lecture/batch_norm_careless.py           4,000 bundled digits
    python examples/lecture/batch_norm_careless.py --full    all of MNIST

A net of four hidden layers of 100 neurons, [Linear, BatchNorm, activation] against [Linear, activation], by plain SGD
at one learning rate. Its first weights are drawn as He et al. do for ReLU, then all multiplied by a factor; where that
is not 1, nothing but batch normalisation keeps the signal from dying or growing on its way up.
"""

import math
from itertools import pairwise

import numpy as np
from common import digits, options

from cnnlib import SGD, BatchNorm1d, CrossEntropyLoss, Flatten, Layer, Linear, ReLU, Sequential, Sigmoid, Trainer
from cnnlib.errors import TrainingError
from cnnlib.plots import compare
from cnnlib.plots.canvas import canvas, finish, panels

args = options(__doc__, epochs=10)
train, _ = digits(args.full)
FACTORS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10)


def fit(norm: bool, epochs: int, factor: float = 1, activation: type[Layer] = ReLU) -> list[float]:
    """Return the accuracy in training, epoch by epoch; where the loss overflowed, what is no number."""
    rng = np.random.default_rng(args.seed)
    layers: list[Layer] = [Flatten()]
    for inputs, outputs in pairwise((784, 100, 100, 100, 100)):
        layers.append(Linear(inputs, outputs, init="he_normal", rng=rng))
        layers[-1].parameters()["weight"].data *= factor
        layers += [BatchNorm1d(outputs), activation()] if norm else [activation()]
    model = Sequential(*layers, Linear(100, 10, rng=rng), input_shape=(1, 28, 28))
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1))
    try:
        return trainer.fit(train, epochs=epochs, seed=args.seed, verbose=0)["accuracy"]
    except TrainingError:
        return [math.nan]


def cells(accuracies: list[float]) -> str:
    """Return the accuracies as one row of the table."""
    return "".join(f"{accuracy:12.1%}" if math.isfinite(accuracy) else f"{'overflow':>12}" for accuracy in accuracies)


nets = {"with BN": True, "without BN": False}
by_factor = {name: [fit(norm, 2, factor)[-1] for factor in FACTORS] for name, norm in nets.items()}
by_epoch = {name: fit(norm, args.epochs, activation=Sigmoid) for name, norm in nets.items()}
print(f"{'accuracy in training':26}" + "".join(f"{name:>12}" for name in nets))
for factor, *accuracies in zip(FACTORS, *by_factor.values(), strict=True):
    print(f"2 epochs, weights × {factor:<6}" + cells(accuracies))
print(f"{f'{args.epochs} epochs with sigmoids':26}" + cells([accuracies[-1] for accuracies in by_epoch.values()]))

figure, ax = canvas(None, (10, 4))
left, right = panels(ax, 1, 2)
scale = {"xlabel": "factor on the first weights", "ylabel": "accuracy after 2 epochs"}
compare(by_factor, FACTORS, title="careless initialisation", ax=left, **scale)
compare(by_epoch, ylabel="accuracy in training", title="sigmoids", ax=right)
left.set_xscale("log")
finish(figure, args.save)
