"""Does training by the default algorithm end where training by the plain sum does? LeNet-5, full MNIST, several seeds.

    python bench/algorithm_accuracy.py [--algorithms direct,accurate,fast] [--seeds 5] [--epochs 3]

Prints the test accuracy of every run, and for each algorithm mean and standard deviation over the seeds, and the mean
of the differences to the first algorithm, seed by seed, with its standard error.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import cnnlib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithms", default="direct,accurate,fast", help="names, the yardstick first")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    names, seeds = options.algorithms.split(","), range(options.seeds)
    train, test = cnnlib.datasets.mnist()
    accuracy = {name: [run(name, seed, options.epochs, train, test) for seed in seeds] for name in names}
    print(f"\n{'algorithm':10}  mean, %  deviation  difference to {names[0]}")
    for name in names:
        values = 100 * np.array(accuracy[name])
        apart = values - 100 * np.array(accuracy[names[0]])
        error = apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else float("nan")
        deviation = values.std(ddof=1) if len(values) > 1 else float("nan")
        print(f"{name:10}  {values.mean():7.3f}  {deviation:9.3f}  {apart.mean():+.3f} ± {error:.3f}")


def run(name: str, seed: int, epochs: int, train: tuple, test: tuple) -> float:
    """Return the test accuracy of one training run."""
    cnnlib.set_algorithm(name)
    start = time.perf_counter()
    model = cnnlib.models.lenet5(rng=seed)
    optimizer = cnnlib.SGD(0.01, momentum=0.9, weight_decay=5e-4)
    trainer = cnnlib.Trainer(model, cnnlib.CrossEntropyLoss(), optimizer)
    trainer.fit(train, epochs=epochs, seed=seed, verbose=0)
    accuracy = trainer.evaluate(test)["accuracy"]
    print(f"{name:10}  seed {seed}  {100 * accuracy:.2f} %  {time.perf_counter() - start:.1f} s", flush=True)
    return accuracy


if __name__ == "__main__":
    main()
