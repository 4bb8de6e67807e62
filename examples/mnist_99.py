"""The race to 99 %: a small net learns to read MNIST's digits in two epochs, in a few seconds on two cores.

    time python examples/mnist_99.py          60,000 digits to train, 10,000 to test (12 MB, downloaded once)
    python examples/mnist_99.py --seeds 5     five nets: other weights, another order of the digits
    python examples/mnist_99.py --held-back   tested on the last 10,000 training digits, trained on the others
    python examples/mnist_99.py --sample      the 5,000 bundled digits

What saves time: the empty margin is cut off, the net is small, two epochs are enough. What makes them enough: Adam at a
rate that rises fast and falls to 0, batch normalisation before the classifier, and images that move by up to a pixel.
"""

import argparse

import numpy as np

import cnnlib
from cnnlib import AdamW, BatchNorm1d, Conv2d, CosineLR, CrossEntropyLoss, Flatten, Linear, MaxPool2d, ReLU, Sequential

EPOCHS, BATCH, SIZE = 2, 96, 24  # 60,000 is 625 times 96; images are 28 × 28, the digits in them 20 × 20

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--seeds", type=int, default=1, help="how many nets to train (default: %(default)s)")
options.add_argument("--held-back", action="store_true", help="leave the test digits alone")
options.add_argument("--sample", action="store_true", help="the bundled digits")
args = options.parse_args()
if args.seeds < 1:
    options.error(f"--seeds {args.seeds}: expected at least 1")


class Moving:
    """Images as a data set of SIZE × SIZE windows: a batch is cut out at one place, up to a pixel off the centre."""

    def __init__(self, x, y, seed):
        self.x, self.y, self.rng = x, y, np.random.default_rng(seed)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, indices):
        top, left = self.rng.integers(1, 4, size=2)
        return self.x[indices, :, top : top + SIZE, left : left + SIZE], self.y[indices]


(x, y), (x_test, y_test) = cnnlib.datasets.mnist_sample() if args.sample else cnnlib.datasets.mnist()
if args.held_back:
    (x, x_test), (y, y_test) = np.split(x, [-len(x) // 6]), np.split(y, [-len(y) // 6])

accuracies = []
for seed in range(args.seeds):
    he = {"init": "he_normal", "rng": np.random.default_rng(seed)}
    features = [Conv2d(1, 16, 5, **he), ReLU(), MaxPool2d(2), Conv2d(16, 24, 3, **he), ReLU(), MaxPool2d(2)]
    classifier = [Flatten(), Linear(24 * 4 * 4, 128, **he), BatchNorm1d(128), ReLU(), Linear(128, 10, **he)]
    model = Sequential(*features, *classifier, input_shape=(1, SIZE, SIZE))
    optimizer = AdamW(CosineLR(0.02, EPOCHS, warmup=0.2), betas=(0.9, 0.99), weight_decay=0)
    trainer = cnnlib.Trainer(model, CrossEntropyLoss(), optimizer)
    trainer.fit(Moving(x, y, seed), epochs=EPOCHS, batch_size=BATCH, seed=seed)
    accuracies.append(trainer.evaluate((x_test[:, :, 2:-2, 2:-2], y_test))["accuracy"])
    print(f"seed {seed}, test accuracy: {accuracies[-1]:.2%} of {len(y_test):,} digits")
print(f"mean of {args.seeds}: {np.mean(accuracies):.3%}")
