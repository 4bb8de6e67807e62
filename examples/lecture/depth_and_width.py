"""Depth against width: a sawtooth of |x1| + … + |x4|, by deep nets and by wide ones (L22).

    python examples/lecture/depth_and_width.py           some 15 seconds; --full: ten seeds, longer training

f(x) = 2 t(t(… mean |x_i|)) - 1: each tent t(s) = 1 - |1 - 2 s| folds what is below it and doubles the teeth. What nets
can express: built by hand, with two neurons a tent, 2 ReLU(s) - 4 ReLU(s - ½), a net is f. Along the line x1 = … = x4 f
has 2^(tents + 1) straight pieces, one hidden layer of n neurons at most n + 1: so many neurons it needs at least.
What training finds is another thing: all nets below have neurons enough for that line. Layers too many are a burden.
"""

import numpy as np
from common import options

from cnnlib import Adam, CosineLR, MSELoss, Trainer, models
from cnnlib.plots.canvas import canvas, finish, panels

args = options(__doc__, epochs=16, full_epochs=64)
rng = np.random.default_rng(args.seed)


def f(x, tents=2):
    """Return the sawtooth of … × 4 numbers, … × 1."""
    s = np.abs(x).mean(axis=-1, keepdims=True)
    for _ in range(tents):
        s = 1 - np.abs(1 - 2 * s)
    return 2 * s - 1


def built(tents):
    """Return f as a net: |x_i| = ReLU(x_i) + ReLU(-x_i), their mean into the first tent, each tent into the next."""
    net = models.mlp([4, 8, *[2] * tents, 1], dtype=np.float64)
    weights = [np.vstack([np.eye(4), -np.eye(4)]), 1 / 4, *[[2, -4]] * (tents - 1), [4, -8]]
    biases = [0, *[[0, -1 / 2]] * tents, -1]
    for layer, weight, bias in zip(list(net)[1::2], weights, biases, strict=True):  # [0] flattens, [2], … are ReLU
        layer.weight.data[:], layer.bias.data[:] = weight, bias
    return net


x = rng.laplace(size=(10_000, 4))  # scaled so that mean |x_i| is uniform in 0…1
x, x_new = np.split(x / np.abs(x).mean(axis=1, keepdims=True) * rng.uniform(size=(10_000, 1)), [8192])
print("built by hand: tents  hidden layers  neurons  largest error   one hidden layer: neurons at least")
for tents in (1, 2, 4, 8):
    error = np.abs(built(tents).predict(x_new) - f(x_new, tents)).max()
    print(f"{tents:>20} {tents + 1:>14} {8 + 2 * tents:>8} {error:>14.0e} {2 ** (tents + 1) - 1:>36}")

figure, ax = canvas(None, (11, 5.6))
left, right = panels(ax, 1, 2, widths=[3, 1.4])
views = panels(left, 2, 3)
plane = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2) * 2, axis=-1)  # (a, b, a, b)
views[0].imshow(f(plane), vmin=-1, vmax=1)
views[0].set(title="f at (a, b, a, b), two tents", xticks=[], yticks=[])
nets = {"1": [166], "1, wide": [833], "2": [28] * 2, "3": [20] * 3, "4": [16] * 4}
seeds = range(args.seed, args.seed + (10 if args.full else 3))
print(f"trained on two tents: parameters   squared error / variance of f, median and range of {len(seeds)} seeds")
for (name, widths), view in zip(nets.items(), views[1:], strict=True):
    runs = []
    for seed in seeds:
        net = models.mlp([4, *widths, 1], rng=seed)
        trainer = Trainer(net, MSELoss(), Adam(CosineLR(0.01, args.epochs)))
        trainer.fit((x, f(x)), epochs=args.epochs, batch_size=128, seed=seed, verbose=0)
        runs.append((np.mean((net.predict(x_new) - f(x_new)) ** 2) / f(x_new).var(), seed, net))
    errors, _, trained = zip(*sorted(runs), strict=True)
    size = sum(p.data.size for p in net.parameters().values())
    print(f"depth {name:<14} {size:>11,} {np.median(errors):>15.4f}   {errors[0]:.4f} to {errors[-1]:.4f}", flush=True)
    view.imshow(trained[len(seeds) // 2].predict(plane.reshape(-1, 4)).reshape(201, 201), vmin=-1, vmax=1)
    view.set(title=f"depth {name}", xticks=[], yticks=[])
    right.semilogy([name] * len(errors), errors, "o", color="black", fillstyle="none")
right.set(title="Squared error / variance, each seed", xlabel="depth: hidden layers")
finish(figure, args.save)
