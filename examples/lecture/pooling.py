"""Pooling: a smaller image, no parameters, and less that changes when the image shifts by a pixel (L40).

    python examples/lecture/pooling.py            two seconds, on the 1,000 bundled test digits
    python examples/lecture/pooling.py --full     on the 10,000 of MNIST

Of each K × K window the largest value, or the mean; the windows are S pixels apart: H' = (H - K)/S + 1.
"""

import numpy as np
from common import digits, options

from cnnlib import AvgPool2d, MaxPool2d
from cnnlib.plots.canvas import canvas, finish, panels

args = options(__doc__)
_, (images, _) = digits(args.full)

# The slide's numbers, then AlexNet's overlapping windows.
slide = np.array([[[[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]], np.float32)
print(f"max, K=2, S=2: {slide[0, 0].astype(int).tolist()} → {MaxPool2d(2).forward(slide)[0, 0].astype(int).tolist()}")
print(f"average, K=2, S=2: {AvgPool2d(2).forward(slide)[0, 0].tolist()}")
for kernel, shape in ((2, (64, 224, 224)), (3, (96, 55, 55))):
    pool = MaxPool2d(kernel, stride=2)
    before, after = (" × ".join(map(str, size)) for size in (shape, pool.output_shape(shape)))
    print(f"max, K={kernel}, S=2: {before} → {after}, {len(pool.parameters())} parameters")

# How much changes when the digits move a pixel to the right: Σ |there - here| / Σ here.
x = images.astype(np.float32) / 255
moved = np.roll(x, 1, axis=3)
pools = {"max, K=2, S=2": MaxPool2d(2), "average, K=2, S=2": AvgPool2d(2), "max, K=3, S=2": MaxPool2d(3, stride=2)}
values = {"pixels": (x, moved)} | {name: (pool.forward(x), pool.forward(moved)) for name, pool in pools.items()}

figure, page = canvas(None, (10, 7.8))
for column, (name, (here, there)) in zip(panels(page, 1, 4), values.items(), strict=True):
    change = np.abs(there - here)
    share = change.sum() / here.sum()
    print(f"{name}: {share:.0%} changes when {len(x):,} digits move by a pixel")
    size = " × ".join(map(str, here.shape[2:]))
    titles = (f"{name}\n{size}", "a pixel to the right", f"changed (all digits: {share:.0%})")
    for ax, image, title in zip(panels(column, 3), (here, there, change), titles, strict=True):
        ax.imshow(image[7, 0], cmap="gray", vmin=0, vmax=1)
        ax.set(title=title, xticks=[], yticks=[])
finish(figure, args.save)
