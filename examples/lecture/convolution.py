"""Convolution: sparse connections, shared parameters, output sizes, padding, and what they cost (L34, L36 to L39).

    python examples/lecture/convolution.py            a second; the filter slides over a bundled digit
    python examples/lecture/convolution.py --full     over one of MNIST

One filter W of C × K × K slides over the image; each place gives one number, a dot product plus a bias:

    y[i, j] = b + Σ_{c,p,q} W[c, p, q] x[c, i S + p - P, j S + q - P]
"""

import numpy as np
from common import digits, options
from matplotlib.patches import Rectangle

from cnnlib import Conv2d, Linear, Sequential
from cnnlib.errors import ShapeError
from cnnlib.plots.canvas import canvas, finish, panels
from cnnlib.shapes import output_size

args = options(__doc__)
_, (images, _) = digits(args.full)
rng = np.random.default_rng(args.seed)

# L34: five outputs of five inputs. As a matrix, row by row what an output reads, a convolution is sparse.
conv, dense = Conv2d(1, 1, (1, 3), padding="same", bias=False, rng=rng), Linear(5, 5, bias=False, rng=rng)
matrix = conv.forward(np.eye(5, dtype=np.float32).reshape(5, 1, 1, 5)).reshape(5, 5).T
print(f"L34: {conv.weight.data.size} parameters, {np.count_nonzero(matrix)} connections instead of 25 and 25")

# L36: one number is a dot product of 75 terms plus a bias.
image = rng.normal(size=(1, 3, 32, 32)).astype(np.float32)
six = Conv2d(3, 6, 5, rng=rng)
y = six.forward(image)
terms = six.weight.data[2].ravel() * image[0, :, 10:15, 20:25].ravel()
print(f"L36: {image.shape[1:]} → {y.shape[1:]}; filter 2 at (10, 20) is {y[0, 2, 10, 20]:.4f}", end=", ")
print(f"the sum of {terms.size} products and the bias {terms.sum() + six.bias.data[2]:.4f}")

# L37: output sizes. L38: the padding that keeps the size. L39: what it costs.
print("L37:", ", ".join(f"7 × 7 by 3 × 3 at stride {s}: {output_size(7, 3, s)}" for s in (1, 2, 3)))
try:
    output_size(7, 3, 3, exact=True)
except ShapeError as error:
    print("    ", error)
print("L38:", ", ".join(f"F = {f}, P = {f // 2}: {output_size(32, f, padding=f // 2)}" for f in (3, 5, 7)), "of 32")
print("L39:", Sequential(Conv2d(3, 10, 5, padding=2), input_shape=(3, 32, 32)).summary(), sep="\n")

edge = Conv2d(1, 1, 3, padding=1, bias=False)
edge.weight.data[0, 0] = [[1, 0, -1], [2, 0, -2], [1, 0, -1]]
digit = images[:1].astype(np.float32) / 255
found = edge.forward(digit)[0, 0]
i, j = np.unravel_index(found.argmax(), found.shape)
rim = np.pad(np.zeros((6, 6)), (0, 1), constant_values=0.5)
pictures = {
    "a 3 × 3 window of the digit …": (digit[0, 0], [(i - 1, j - 1, 3)]),
    "… times the filter, added up, …": (edge.weight.data[0, 0], []),
    f"… is one number: {found[i, j]:.2f}": (found, [(i, j, 1)]),
    "convolution: sparse, 3 parameters": (matrix, []),
    "fully connected: 25 parameters": (dense.weight.data, []),
    "stride 3 on 7 × 7: a rim is left": (rim, [(0, 0, 3), (0, 3, 3), (3, 0, 3), (3, 3, 3)]),
}
figure, page = canvas(None, (10, 6.6))
for ax, (title, (table, windows)) in zip(panels(page, 2, 3), pictures.items(), strict=True):
    largest = 1.5 * np.abs(table).max()
    ax.pcolormesh(table, cmap="RdBu_r", vmin=-largest, vmax=largest, edgecolor="#cccccc", linewidth=0.3)
    ax.set(title=title, xticks=[], yticks=[], aspect="equal", ylim=(len(table), 0))
    for top, left, size in windows:
        ax.add_patch(Rectangle((left, top), size, size, fill=False, edgecolor="black", linewidth=2.5))
    for (row, column), value in np.ndenumerate(table if len(table) < 7 else []):
        ax.text(column + 0.5, row + 0.5, f"{value:.2g}", ha="center", va="center")
finish(figure, args.save)
