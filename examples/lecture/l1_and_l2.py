"""A line through points with outliers: the square of an error (L20) gives in to them, its absolute value (L21) less.

    python examples/lecture/l1_and_l2.py           some seconds; --full: 25 times as many points, ten data sets

A point's part of the gradient grows with its distance under MSE, and is sign(z - ẑ)/N under L1 however far it is off.
Without outliers, under noise that is normal, it is the square that comes nearer to the truth; and where outliers are
the majority (30 % of all are 60 % of those on the right) L1 goes with them, too.
"""

import numpy as np
from common import options

from cnnlib import SGD, CosineLR, L1Loss, Linear, MSELoss, Sequential, Trainer
from cnnlib.plots.canvas import canvas, finish, panels

args = options(__doc__, epochs=40)
points, repeats = (5_000, 10) if args.full else (200, 3)
shares, shown = (0.0, 0.05, 0.1, 0.2, 0.3), 2
losses = {"MSE": MSELoss(), "L1": L1Loss()}


def data(share, rng):
    """Return points along z = 2x + 1, normal noise of deviation 0.3; a share of all, those on the right, lie low."""
    x = rng.uniform(-1, 1, (points, 1))
    z = 2 * x + 1 + rng.normal(0, 0.3, x.shape)
    outliers = rng.choice(np.flatnonzero(x > 0), round(share * points), replace=False)
    z[outliers] = rng.normal(-4, 0.5, (len(outliers), 1))
    return x, z


def fit(x, z, loss):
    """Return slope and offset of the line that training with `loss` finds."""
    linear = Linear(1, 1, init="zeros", dtype=np.float64)
    trainer = Trainer(Sequential(linear, input_shape=1), loss, SGD(CosineLR(0.2, args.epochs), momentum=0.9))
    trainer.fit((x, z), epochs=args.epochs, batch_size=points // 5, seed=args.seed, verbose=0)
    return linear.weight.data[0, 0], linear.bias.data[0]


sets = [[data(share, np.random.default_rng(args.seed + i)) for i in range(repeats)] for share in shares]
lines = {name: np.array([[fit(*each, loss) for each in row] for row in sets]) for name, loss in losses.items()}
# How far a line is from the truth: the root mean square of the distance over x in -1…1.
errors = {name: np.sqrt((found[..., 0] - 2) ** 2 / 3 + (found[..., 1] - 1) ** 2) for name, found in lines.items()}

print(f"{points:,} points along z = 2 x + 1, means of {repeats} data sets")
print("          MSE: slope  offset  off by      L1: slope  offset  off by")
for i, share in enumerate(shares):
    row = ("{:10.3f} {:7.3f} {:7.3f}".format(*found[i].mean(axis=0), errors[n][i].mean()) for n, found in lines.items())
    print(f"{share:>8.0%}", "      ".join(row))

figure, ax = canvas(None, (10, 4.4))
left, right = panels(ax, 1, 2)
ends = np.array([-1.0, 1.0])
left.plot(*sets[shown][0], "o", color="#888888", alpha=0.5, markersize=3, label=f"points, {shares[shown]:.0%} outliers")
left.plot(ends, 2 * ends + 1, color="black", label="truth")
for (name, found), style in zip(lines.items(), ("--", "-."), strict=True):
    left.plot(ends, found[shown, 0, 0] * ends + found[shown, 0, 1], style, linewidth=2.5, label=name)
    (line,) = right.plot(shares, errors[name].mean(axis=1), style, label=name)
    right.plot(shares, errors[name], ".", color=line.get_color())
left.set(title="The lines that training finds", xlabel="x", ylabel="z")
right.set(title="Distance from the truth, each data set a dot", xlabel="share of outliers")
right.xaxis.set_major_formatter("{x:.0%}")
for panel in (left, right):
    panel.legend(frameon=False)
finish(figure, args.save)
