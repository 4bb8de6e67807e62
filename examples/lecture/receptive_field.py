"""The receptive field grows with depth: the formula of the summary, and the pixels that a gradient reaches (L35).

    python examples/lecture/receptive_field.py            the 1,000 bundled test digits, some seconds
    python examples/lecture/receptive_field.py --full     the 10,000 of MNIST

Along each axis a layer with kernel K and stride S, on units that see `size` pixels and stand `stride` pixels apart:

    size ← size + (K - 1) · stride        stride ← stride · S
"""

import numpy as np
from common import digits, options
from matplotlib.patches import Rectangle

from cnnlib import Conv2d, Input, MaxPool2d, Model, set_algorithm
from cnnlib.plots.canvas import canvas, finish, panels
from cnnlib.summary import receptive_fields

args = options(__doc__)
_, (x, _) = digits(args.full)
rng = np.random.default_rng(args.seed)
set_algorithm("direct")  # the faster sums by Winograd's tiles leave rounding errors where a gradient is 0
layers = {
    "conv 1": Conv2d(1, 8, 3, padding=1, rng=rng),
    "conv 2": Conv2d(8, 8, 3, padding=1, rng=rng),
    "pool 1": MaxPool2d(2),
    "conv 3": Conv2d(8, 8, 3, padding=1, rng=rng),
    "pool 2": MaxPool2d(2),
    "conv 4": Conv2d(8, 8, 3, padding=1, rng=rng),
}
figure, page = canvas(None, (9, 6.6))

image = node = Input((1, 28, 28))
for (name, layer), ax in zip(layers.items(), panels(page, 2, 3), strict=True):
    node = layer(node)
    model = Model(image, node)
    field, _ = receptive_fields(model.graph)[-1]  # in height; the width has the same

    # The gradient of the unit in the middle, in all channels: how much each pixel matters to it, over all digits.
    middle = node.shape[1] // 2
    reached = np.zeros((28, 28))
    for batch in np.array_split(x, len(x) // 500):
        dy = np.zeros_like(model.forward(batch, training=True))
        dy[:, :, middle, middle] = 1
        reached += np.abs(model.backward(dy)).sum(axis=(0, 1)) / len(x)
    rows = np.flatnonzero(reached.any(axis=1))

    pixels = field.pixels(middle)
    print(f"{name}: formula {field.size} × {field.size}, stride {field.stride}, centre {field.centre:g}; ", end="")
    print(f"unit {middle} sees rows {pixels[0]} to {pixels[-1]}, its gradient reaches rows {rows[0]} to {rows[-1]}")

    ax.imshow(np.where(reached > 0, reached, np.nan), cmap="viridis", norm="log")
    corner = (pixels[0] - 0.5, pixels[0] - 0.5)
    ax.add_patch(Rectangle(corner, field.size, field.size, fill=False, edgecolor="#D55E00", linewidth=2))
    ax.set(title=f"{name}: {field.size} × {field.size}, stride {field.stride}", xticks=(0, 27), yticks=(0, 27))

figure.suptitle(
    "Where the middle unit's gradient reaches (brighter: larger), and its receptive field by formula (frame)"
)
finish(figure, args.save)
print(model.summary())
