"""Dropout: one net's test error over the epochs, plain, with dropout, with dropout and max-norm (L30, L31).

    python examples/lecture/dropout.py           784-384-384-10 on 4,000 bundled digits
    python examples/lecture/dropout.py --full    784-1024-1024-2048-10 on all of MNIST: the lecture's figure

Dropout hides a neuron with probability p, here 0.2 for pixels and 0.5 for hidden neurons, and scales what is left by
1/(1-p); in training alone. Max-norm keeps the weights that come into a neuron to a norm of at most c. The learning rate
and c were chosen on held-back training images; test images choose nothing, not even the epoch: the last one counts.
"""

from itertools import pairwise

import numpy as np
from common import digits, options

from cnnlib import SGD, CosineLR, CrossEntropyLoss, Dropout, Flatten, Layer, Linear, MaxNorm, ReLU, Sequential, Trainer
from cnnlib.plots import compare
from cnnlib.plots.canvas import COLOURS, canvas, finish

# Srivastava et al., "Dropout", JMLR 2014: test error on MNIST in percent, after a million updates.
PUBLISHED = {"plain": 1.62, "dropout": 1.25, "dropout, max-norm": 1.05}

args = options(__doc__, epochs=15, full_epochs=12)
train, test = digits(args.full)
sizes = (784, 1024, 1024, 2048, 10) if args.full else (784, 384, 384, 10)


def net(dropout: bool) -> Sequential:
    """Return [Dropout, Linear, ReLU] for each layer but for the last ReLU, and without Dropout if so wished."""
    rng = np.random.default_rng(args.seed)
    layers: list[Layer] = [Flatten()]
    for inputs, outputs in pairwise(sizes):
        if dropout:
            layers.append(Dropout(0.2 if inputs == 784 else 0.5))
        layers += [Linear(inputs, outputs, init="he_normal", rng=rng), ReLU()]
    return Sequential(*layers[:-1], input_shape=(1, 28, 28))


def draw(errors: dict[str, list[float]]) -> None:
    """Draw the figure; for the real experiment with a line at each published error."""
    figure, ax = canvas(None, (7.2, 4.4))
    compare(errors, ylabel="test error (%)", title="MLP " + "-".join(map(str, sizes)), ax=ax)
    for error, colour in zip(PUBLISHED.values() if args.full else (), COLOURS, strict=False):
        ax.axhline(error, color=colour, linewidth=1, linestyle=(0, (1, 3)))
        ax.text(1, error, f" {error} % published", transform=ax.get_yaxis_transform(), color=colour, va="center")
    ax.set_ylim(0, 4 if args.full else 20)
    finish(figure, args.save)


errors: dict[str, list[float]] = {}
rows = [f"{'':17}  training loss  test error  published"]
for name, published in PUBLISHED.items():
    trainer = Trainer(
        net("dropout" in name),
        CrossEntropyLoss(),
        SGD(CosineLR(0.05, args.epochs), momentum=0.9),
        constraint=MaxNorm(2) if "max-norm" in name else None,
    )
    print(name, flush=True)
    batch_size, verbose = (128, 2) if args.full else (64, 0)
    history = trainer.fit(train, test, epochs=args.epochs, batch_size=batch_size, seed=args.seed, verbose=verbose)
    errors[name] = [100 * (1 - accuracy) for accuracy in history["val_accuracy"]]
    draw(errors)  # after each net, so that a run that is broken off leaves what it has
    rows.append(f"{name:17}  {history['loss'][-1]:13.4f}  {errors[name][-1]:9.2f}%  {published:8.2f}%")
print("\n".join(rows))
