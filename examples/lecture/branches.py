"""Branches, concatenation, addition: a net whose groups of neurons part and meet again (L23, L24, L25).

    python examples/lecture/branches.py            4,000 bundled digits, some seconds; --full for all of MNIST

            ┌─ 3×3 filters ─┐
    image ──┤               ├─ concat ─┬─ 3×3 filters ─ + ── pool ── linear ── scores
            └─ 5×5 filters ─┘          └────────────────┘

A layer called on a node gives a node, which any number of layers may read; backward, the gradients of its readers add.
The picture is the graph.
"""

import numpy as np
from common import digits, options

from cnnlib import SGD, CosineLR, CrossEntropyLoss, Input, Model, Trainer, plots
from cnnlib.layers import Add, Concat, Conv2d, Flatten, Linear, MaxPool2d, ReLU

args = options(__doc__, epochs=6, full_epochs=3)
rng = np.random.default_rng(args.seed)

# Two fully connected layers read x, and what they make of it is added: ∂J/∂x = W₁ᵀ ∂J/∂y + W₂ᵀ ∂J/∂y.
x = Input(4)
first, second = Linear(4, 3, rng=rng), Linear(4, 3, rng=rng)
both = Model(x, Add()(first(x), second(x)))
both.forward(rng.normal(size=(1, 4)), training=True)
dy = np.ones((1, 3), np.float32)
print("gradient of x")
print("  through the first layer: ", (dy @ first.weight.data).round(3)[0])
print("  through the second layer:", (dy @ second.weight.data).round(3)[0])
print("  through the sum of both: ", both.backward(dy).round(3)[0])

image = Input((1, 28, 28), "image")
fine = MaxPool2d(2)(ReLU()(Conv2d(1, 8, 3, padding="same", rng=rng, name="fine")(image)))
coarse = MaxPool2d(2)(ReLU()(Conv2d(1, 8, 5, padding="same", rng=rng, name="coarse")(image)))
joined = Concat(axis=1)(fine, coarse)  # 16 × 14 × 14
features = joined + ReLU()(Conv2d(16, 16, 3, padding="same", rng=rng, name="refine")(joined))  # `+` is the layer Add
scores = Linear(16 * 7 * 7, 10, rng=rng, name="scores")(Flatten()(MaxPool2d(2)(features)))
model = Model(image, scores)
print(model.summary())
plots.graph(model, save=args.save)

train, test = digits(args.full)
trainer = Trainer(model, CrossEntropyLoss(), SGD(CosineLR(0.05, args.epochs), momentum=0.9, weight_decay=5e-4))
trainer.fit(train, epochs=args.epochs, batch_size=64, seed=args.seed)
print(f"test accuracy: {trainer.evaluate(test)['accuracy']:.2%} of {len(test[1]):,} digits")
