"""What batch normalisation takes for mean and deviation at test time: the lecture's three choices (L28).

    python examples/lecture/batch_norm_statistics.py           4,000 bundled digits
    python examples/lecture/batch_norm_statistics.py --full    all of MNIST

1. those of the batch at hand: what the net says of a digit depends on the digits beside it, a small batch estimates
   badly, and a batch of one digit alone is nothing like those of training;
2. the running estimates, kept while training: they lag behind as long as the weights move fast;
3. those of the whole training set, measured layer by layer afterwards.
"""

from typing import Any

import numpy as np
from common import digits, options

from cnnlib import SGD, CrossEntropyLoss, Trainer, models, recalibrate_batchnorm
from cnnlib.datasets import Batches
from cnnlib.plots import compare
from cnnlib.plots.canvas import canvas, finish, panels

CHOICES = ("batch", "running", "whole training set")

args = options(__doc__, epochs=3)
train, test = digits(args.full)
model = models.modern_mlp([784, 100, 100, 10], input_shape=(1, 28, 28), rng=args.seed)
trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1))


def errors(data: Any, batch_size: int = 256) -> dict[str, float]:
    """Return the percentage of errors with each choice of statistics; the model stays as it is."""
    found, state = {}, model.state_dict()
    for choice in CHOICES:
        model.eval(bn_stats="batch" if choice == "batch" else "running")
        if choice == "whole training set":
            recalibrate_batchnorm(model, train[0])
        found[choice] = 100 * (1 - trainer.evaluate(data, batch_size)["accuracy"])
    model.load_state_dict(state)
    return found


def show(what: str, row: dict[str, float]) -> None:
    """Print a row of the table."""
    print(f"{what:29}", *(f"{error:17.1f}%" for error in row.values()))


print(f"{'error in the test':29}", *(f"{choice:>18}" for choice in CHOICES))
by_step: dict[int, dict[str, float]] = {}
batches = Batches(train, 64, rng=np.random.default_rng(args.seed))
for step, (x, y) in enumerate((batch for _ in range(args.epochs) for batch in batches), 1):
    trainer.train_step(x, y)
    if step & (step - 1) == 0:  # 1, 2, 4, 8, …
        by_step[step] = errors(test)
        show(f"after {step:,} steps of training", by_step[step])
by_size = {size: errors(test, size) for size in (1, 2, 4, 8, 16, 32, 64, 128, 256)}
for size, row in by_size.items():
    show(f"at the end, batches of {size}", row)
sorted_test = tuple(array[np.argsort(test[1], kind="stable")] for array in test)
show("batches of 64, digit by digit", errors(sorted_test, 64))

figure, ax = canvas(None, (10, 4))
labels = "steps of training", "digits in a test batch, at the end"
for panel, rows, label in zip(panels(ax, 1, 2), (by_step, by_size), labels, strict=True):
    curves = {choice: [row[choice] for row in rows.values()] for choice in CHOICES}
    compare(curves, list(rows), xlabel=label, ylabel="test error (%)", ax=panel)
    panel.set_xscale("log", base=2)
    panel.set_ylim(0, 100)
finish(figure, args.save)
