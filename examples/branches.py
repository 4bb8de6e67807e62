"""A net with branches: two filter sizes look at the same digit, their features meet, and a shortcut is added.

            ┌─ 3×3 filters ─┐
    image ──┤               ├─ concat ─┬─ 3×3 filters ─ + ── pool ── linear ── scores
            └─ 5×5 filters ─┘          └────────────────┘

A layer called on a node gives a node. Several may read the same one; the gradients of its readers add up.

    python examples/branches.py               a few seconds on the bundled MNIST digits
"""

import argparse

import numpy as np

from cnnlib import SGD, Concat, Conv2d, CrossEntropyLoss, Flatten, Input, Linear, MaxPool2d, Model, ReLU, Trainer
from cnnlib.datasets import mnist_sample
from cnnlib.schedules import CosineLR

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--epochs", type=int, default=6, help="passes over the training images (default: %(default)s)")
epochs = options.parse_args().epochs
rng = np.random.default_rng(0)

image = Input((1, 28, 28), "image")
small = MaxPool2d(2)(ReLU()(Conv2d(1, 8, 3, padding="same", rng=rng, name="small")(image)))
large = MaxPool2d(2)(ReLU()(Conv2d(1, 8, 5, padding="same", rng=rng, name="large")(image)))
both = Concat(axis=1)(small, large)  # 16 × 14 × 14
features = both + ReLU()(Conv2d(16, 16, 3, padding="same", rng=rng, name="refine")(both))  # `+` is the layer Add
scores = Linear(16 * 7 * 7, 10, rng=rng, name="scores")(Flatten()(MaxPool2d(2)(features)))

model = Model(image, scores)
print(model.summary())

train, test = mnist_sample()
trainer = Trainer(model, CrossEntropyLoss(), SGD(CosineLR(0.05, epochs), momentum=0.9, weight_decay=5e-4))
trainer.fit(train, epochs=epochs, batch_size=64, seed=0)
print(f"test accuracy: {trainer.evaluate(test)['accuracy']:.2%} of {len(test[1]):,} digits")
