"""What it costs to look at every loss and gradient for NaN and infinity: LeNet-5's training step with and without.

    python bench/check_finite.py [--rounds 200] [--batch 64]

Steps of both kinds take turns in one process; the medians' ratio is printed.
"""

import argparse
import statistics
import time

import numpy as np

import cnnlib

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--rounds", type=int, default=200)
options.add_argument("--batch", type=int, default=64)
args = options.parse_args()

rng = np.random.default_rng(0)
x = rng.integers(0, 256, size=(args.batch, 1, 28, 28)).astype(np.uint8)
y = rng.integers(10, size=args.batch)
for threads in (1, cnnlib.get_num_threads()):
    cnnlib.set_num_threads(threads)
    trainers = {}
    for check in (False, True):
        loss, optimizer = cnnlib.CrossEntropyLoss(), cnnlib.SGD(0.01, momentum=0.9)
        trainers[check] = cnnlib.Trainer(cnnlib.models.lenet5(rng=0), loss, optimizer, check_finite=check)
    times = {False: [], True: []}
    for step in range(args.rounds + 20):
        for check in (False, True) if step % 2 else (True, False):
            for again in range(2):  # the first brings the other trainer's weights out of the caches
                start = time.perf_counter()
                trainers[check].train_step(x, y)
                if again and step >= 20:
                    times[check].append(time.perf_counter() - start)
    without, checked = statistics.median(times[False]), statistics.median(times[True])
    print(f"{threads} threads: {without * 1e3:.3f} ms without, {checked * 1e3:.3f} ms with, {checked / without:.4f}")
